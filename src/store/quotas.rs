//! Quotas of a tenant in the store: a number of nodes, and bytes of alerts and node records. Usage is measured on disk
//! every 30 s, and estimated in between; control planes that share a store measure separately.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Store, of_tenant};
use crate::names::Name;

/// How long a measurement is used.
const MEASURE_AGAIN: Duration = Duration::from_secs(30);
/// The minimum age of a measurement before it is repeated because no room is left.
const MEASURE_WHEN_FULL: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantQuotas {
    /// Nodes with a record, and nodes with alerts.
    pub nodes: usize,
    /// Bytes of alerts and node records together.
    pub bytes: u64,
}

impl Default for TenantQuotas {
    fn default() -> TenantQuotas {
        TenantQuotas { nodes: 10_000, bytes: 8 << 30 }
    }
}

#[derive(Debug, Default)]
pub(super) struct TenantUsage(Mutex<HashMap<Option<Name>, TenantBytes>>);

/// `None` before the first measurement.
type TenantBytes = Arc<Mutex<Option<Measure>>>;

#[derive(Clone, Copy, Debug)]
struct Measure {
    bytes: u64,
    at: Instant,
}

impl Store {
    #[must_use]
    pub fn with_quotas(self, quotas: TenantQuotas) -> Store {
        Store { quotas, ..self }
    }

    /// Charges bytes to a tenant, and returns whether they fit into its quota. Blocks.
    pub(super) fn charge(&self, tenant: Option<&Name>, bytes: u64) -> bool {
        let of_tenant = {
            let mut all = self.usage.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(tenant.cloned()).or_default())
        };
        // A tenant with many files delays only itself.
        let mut measure = of_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |measure: &Measure| measure.bytes.saturating_add(bytes) <= self.quotas.bytes;
        let is_good = |measure: &Measure| {
            let age = measure.at.elapsed();
            age < if fits(measure) { MEASURE_AGAIN } else { MEASURE_WHEN_FULL }
        };
        let mut found = match measure.as_ref().filter(|measure| is_good(measure)) {
            Some(found) => *found,
            None => Measure { bytes: self.used(tenant), at: Instant::now() },
        };
        let fits = fits(&found);
        if fits {
            found.bytes += bytes;
        }
        *measure = Some(found);
        fits
    }

    /// Returns the bytes that a tenant uses in the store.
    fn used(&self, tenant: Option<&Name>) -> u64 {
        [self.nodes(), self.alerts()].iter().map(|all| bytes_below(&of_tenant(all, tenant), 2)).sum()
    }
}

/// Returns the size of the files of a directory and its subdirectories. Ignores files that vanish meanwhile.
fn bytes_below(directory: &Path, depth: usize) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let each = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        match metadata.is_dir() {
            true if depth > 0 => Some(bytes_below(&entry.path(), depth - 1)),
            true => None,
            false => Some(metadata.len()),
        }
    });
    each.sum()
}
