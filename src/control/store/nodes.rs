//! What is known of each node, for whoever asks any control plane of the store. A file is written by the control plane
//! that has the node's stream, at most once a second, and now and then while nothing happens, so that the word of a
//! control plane that was killed grows old.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::{self, Durable};
use super::publication::Labels;
use super::{Store, StoreError, of_tenant};
use crate::control::names::Name;
use crate::intel::manifest::Mode;

/// The most nodes of a tenant that are known.
pub const MAX_NODES: usize = 10_000;
/// A connected node's file is written anew at least so often.
pub const WRITE_AGAIN: Duration = Duration::from_secs(30);
/// For how long a file's word is believed that its node is connected.
pub const BELIEVED: Duration = Duration::from_secs(90);
/// The longest file.
const MAX_FILE: u64 = 64 << 10;

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// The version of its program.
    pub software: String,
    /// Names the stream that this is of: the end of an old one does not count when there is a new one.
    pub stream: String,
    /// Whether that stream is open.
    pub connected: bool,
    /// When the node said something last.
    pub heard: Timestamp,
    /// When this was written.
    pub written: Timestamp,
    /// What its slots hold.
    pub slots: Vec<SlotRecord>,
    /// What it counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<StatisticsRecord>,
}

/// What is known of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// Which.
    pub mode: Mode,
    /// The version in it.
    pub version: u64,
    /// The version that was refused last; 0 for none.
    pub refused_version: u64,
    /// The number of a gRPC status.
    pub code: u32,
    /// Why it was refused.
    pub reason: String,
}

/// What a node counted since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatisticsRecord {
    /// Events.
    pub events: u64,
    /// Hits.
    pub hits: u64,
    /// Indicators that serve.
    pub indicators: u64,
    /// Age of the newest feed in seconds.
    pub newest_feed_age_seconds: u64,
}

impl NodeRecord {
    /// Whether it has a stream, as far as the file can tell.
    pub fn is_connected(&self, now: Timestamp) -> bool {
        self.connected && seconds_between(self.written, now) <= BELIEVED.as_secs()
    }

    /// For how long it has said nothing, in seconds.
    pub fn age_seconds(&self, now: Timestamp) -> u64 {
        seconds_between(self.heard, now)
    }
}

impl Store {
    /// Writes what is known of a node.
    ///
    /// # Errors
    /// It cannot be written, or there are too many nodes.
    pub fn write_node(&self, tenant: Option<&Name>, name: &Name, record: &NodeRecord) -> Result<(), StoreError> {
        let directory = of_tenant(&self.nodes(), tenant);
        let path = directory.join(format!("{name}.json"));
        let failed = |cause| StoreError::write(&path, cause);
        if !path.exists() {
            std::fs::create_dir_all(&directory).map_err(failed)?;
            if std::fs::read_dir(&directory).map_err(failed)?.count() >= MAX_NODES {
                return Err(StoreError::TooManyNodes { path: directory, most: MAX_NODES });
            }
        }
        let content = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        files::write(&path, &content, Durable::No).map_err(failed)
    }

    /// Notes that the stream of a node ended, unless the node has another one by now.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn end_node(&self, tenant: Option<&Name>, name: &Name, record: &NodeRecord) -> Result<(), StoreError> {
        let path = of_tenant(&self.nodes(), tenant).join(format!("{name}.json"));
        match read(&path) {
            Some(last) if last.stream != record.stream => Ok(()),
            _ => self.write_node(tenant, name, record),
        }
    }

    /// What is known of a node, if anything is.
    pub fn read_node(&self, tenant: Option<&Name>, name: &Name) -> Option<NodeRecord> {
        let path = of_tenant(&self.nodes(), tenant).join(format!("{name}.json"));
        path.exists().then(|| read(&path)).flatten()
    }

    /// All nodes, or those of a tenant, in order of tenant and name. A file that is none is left out, and told.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn read_nodes(&self, tenant: Option<&Name>) -> Result<Vec<NodeRecord>, StoreError> {
        let directory = self.nodes();
        let directories = match tenant {
            Some(_) => vec![of_tenant(&directory, tenant)],
            None => entries(&directory)?,
        };
        let mut nodes = Vec::new();
        for directory in directories.iter().filter(|directory| directory.is_dir()) {
            for path in entries(directory)? {
                let named = path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with(".tmp-"));
                nodes.extend(Some(&path).filter(|_| named).and_then(|path| read(path)));
            }
        }
        nodes.sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
        Ok(nodes)
    }
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>, StoreError> {
    let failed = |cause| StoreError::read(directory, cause);
    std::fs::read_dir(directory).map_err(failed)?.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
}

fn read(path: &Path) -> Option<NodeRecord> {
    let content = files::read(path, MAX_FILE).ok()?;
    serde_json::from_slice(&content)
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "a node's file cannot be read"))
        .ok()
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> u64 {
    later.as_second().saturating_sub(earlier.as_second()).try_into().unwrap_or(0)
}
