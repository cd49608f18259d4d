//! The store directory of a control plane. Every file is replaced atomically (see [`durable`]). So any number of processes can read the store, and a killed process leaves no partial file.
//!
//! ```text
//! segments/<digest>.seg                        segments, named by their SHA-256
//! publications/<name>.<serve|shadow>.json      active publications
//! publications/history/<name>.<mode>.<version>.json
//! feeds/<name>.json                           compiled feeds, each with its segments
//! nodes/<tenant or _>/<node>.json              node records
//! alerts/<tenant or _>/<node>/<…>.ndjson       alerts of a node
//! ```

mod alerts;
mod catalogue;
mod compile;
mod error;
mod files;
mod instances;
mod nodes;
mod publication;
mod publication_set;
mod publish;
mod quotas;
mod remove;
mod rollout;
mod segments;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use alerts::{AlertLog, AlertLogError};
pub use catalogue::KeptVersion;
pub use compile::{Change, CompileError, Compiled, FeedContent, FeedState, ReadError, SegmentState, StateError};
pub use error::StoreError;
pub use instances::InstanceRecord;
pub use nodes::{NodeRecord, SlotRecord, StatisticsRecord, WRITE_AGAIN};
pub use publication::{
    Labels, LabelsError, MAX_LABEL_BYTES, MAX_LABELS, Provenance, Publication, PublicationError, TENANT, check_labels,
};
pub use publication_set::{MAX_PUBLICATIONS, PublicationSet};
pub use publish::{Draft, KEPT, PublishError};
pub use quotas::TenantQuotas;
pub use remove::{AlertDisposal, RemoveError};
pub use rollout::{NodeProgress, Rollout};
pub use segments::{is_segment_file, open_segment_file};
pub use watch::PublicationWatch;

use crate::durable;
use crate::names::{Name, is_cache};

/// The directory of nodes without a tenant; not a valid [`Name`].
const NO_TENANT: &str = "_";

/// A store, given by its path; no file is kept open. Clones share their usage counts.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    quotas: TenantQuotas,
    usage: Arc<quotas::TenantUsage>,
    /// The author of publications.
    author: Option<Provenance>,
}

impl Store {
    /// Returns the store in a directory, which need not exist. Compiling creates what it needs.
    ///
    /// # Errors
    /// The directory is the cache of a node.
    pub fn at(root: impl Into<PathBuf>) -> Result<Store, StoreError> {
        let root = root.into();
        if is_cache(&root) {
            return Err(StoreError::Cache(root));
        }
        Ok(Store { root, quotas: TenantQuotas::default(), usage: Arc::default(), author: None })
    }

    /// Opens the store, and creates missing directories, accessible only to this process's user.
    ///
    /// # Errors
    /// A directory cannot be created, or the directory is the cache of a node.
    pub fn open(root: impl Into<PathBuf>) -> Result<Store, StoreError> {
        let store = Store::at(root)?;
        let all = [store.segments(), store.publications(), store.history(), store.nodes(), store.alerts()];
        for directory in all {
            durable::make_directory(&directory).map_err(|cause| StoreError::write(&directory, cause))?;
        }
        Ok(store)
    }

    /// Returns the same store, with this author and note in new publications.
    #[must_use]
    pub fn with_author(self, by: String, note: String) -> Store {
        Store { author: Some(Provenance { by, how: String::new(), note }), ..self }
    }

    /// Returns the store directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the directory of the segments.
    pub fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    /// Returns the directory of the publications.
    pub fn publications(&self) -> PathBuf {
        self.root.join("publications")
    }

    /// Returns the directory of superseded publications.
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
