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
mod error;
mod files;
mod nodes;
mod publication;
mod publish;
mod snapshot;
mod watch;

use std::path::{Path, PathBuf};

pub use alerts::{AlertLog, AlertLogError};
pub use error::StoreError;
pub use nodes::{NodeRecord, SlotRecord, StatisticsRecord, WRITE_AGAIN};
pub use publication::{
    Labels, LabelsError, MAX_LABEL_BYTES, MAX_LABELS, Publication, PublicationError, TENANT, check_labels,
};
pub use publish::{Draft, KEPT, PublishError};
pub use snapshot::{MAX_PUBLICATIONS, Snapshot};
pub use watch::Watched;

use super::names::Name;
use crate::intel::manifest::Digest;

/// Stands for no tenant in paths; it is no [`Name`].
const NO_TENANT: &str = "_";

/// Where everything lies. It is a path; nothing is kept open.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Makes the directories that are missing.
    ///
    /// # Errors
    /// One cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Store, StoreError> {
        let store = Store { root: root.into() };
        let all = [store.segments(), store.publications(), store.history(), store.nodes(), store.alerts()];
        for directory in all {
            std::fs::create_dir_all(&directory).map_err(|cause| StoreError::write(&directory, cause))?;
        }
        Ok(store)
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
