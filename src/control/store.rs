//! The directory that a control plane serves. Everything in it is a file that is written whole under a temporary name
//! and then renamed, so that any number of processes can read it, and a killed one leaves nothing half.
//!
//! ```text
//! segments/<digest>.seg                        segments, named by their SHA-256
//! publications/<name>.<serve|shadow>.json      what is published, to whom
//! publications/history/<name>.<mode>.<version>.json
//! nodes/<tenant or _>/<node>.json              what is known of a node
//! alerts/<tenant or _>/<node>/<…>.ndjson       alerts of a node
//! ```

mod alerts;
mod catalogue;
mod error;
mod files;
mod instances;
mod nodes;
mod publication;
mod publish;
mod quotas;
mod remove;
mod rollout;
mod snapshot;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use alerts::{AlertLog, AlertLogError};
pub use catalogue::Catalogued;
pub use error::StoreError;
pub use instances::InstanceRecord;
pub use nodes::{NodeRecord, SlotRecord, StatisticsRecord, WRITE_AGAIN};
pub use publication::{
    Labels, LabelsError, MAX_LABEL_BYTES, MAX_LABELS, Made, Publication, PublicationError, TENANT, check_labels,
};
pub use publish::{Draft, KEPT, PublishError};
pub use quotas::TenantQuotas;
pub use remove::{Alerts, RemoveError};
pub use rollout::{Progress, Rollout};
pub use snapshot::{MAX_PUBLICATIONS, Snapshot};
pub use watch::Watched;

use super::client::is_cache;
use super::names::Name;
use crate::intel::manifest::Digest;

/// Stands for no tenant in paths; it is no [`Name`].
const NO_TENANT: &str = "_";

/// Where everything lies. It is a path; nothing is kept open. Clones share what is known of its use.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    quotas: TenantQuotas,
    usage: Arc<quotas::Usage>,
    /// Who publishes.
    author: Option<Made>,
}

impl Store {
    /// Makes the directories that are missing, for this process's user alone.
    ///
    /// # Errors
    /// One cannot be made, or the directory is the cache of a node.
    pub fn open(root: impl Into<PathBuf>) -> Result<Store, StoreError> {
        let store = Store { root: root.into(), quotas: TenantQuotas::default(), usage: Arc::default(), author: None };
        if is_cache(&store.root) {
            return Err(StoreError::Cache(store.root));
        }
        let all = [store.segments(), store.publications(), store.history(), store.nodes(), store.alerts()];
        for directory in all {
            files::make_directory(&directory).map_err(|cause| StoreError::write(&directory, cause))?;
        }
        Ok(store)
    }

    /// The same store, whose publications say that this user made them, and why.
    #[must_use]
    pub fn with_author(self, by: String, note: String) -> Store {
        Store { author: Some(Made { by, how: String::new(), note }), ..self }
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where segments are.
    pub fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    /// The file of a segment.
    pub fn segment(&self, digest: &Digest) -> PathBuf {
        self.segments().join(format!("{digest}.seg"))
    }

    /// Where publications are.
    pub fn publications(&self) -> PathBuf {
        self.root.join("publications")
    }

    /// Where superseded publications are.
    pub fn history(&self) -> PathBuf {
        self.publications().join("history")
    }

    fn nodes(&self) -> PathBuf {
        self.root.join("nodes")
    }

    fn alerts(&self) -> PathBuf {
        self.root.join("alerts")
    }
}

fn of_tenant(directory: &Path, tenant: Option<&Name>) -> PathBuf {
    directory.join(tenant.map_or(NO_TENANT, Name::as_str))
}
