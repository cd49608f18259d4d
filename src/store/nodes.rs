//! Node records, shared by all control planes of a store. A record is written by the control plane that has the node's
//! stream, at most once per second, and regularly without changes, so that records of a killed control plane become
//! outdated.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::files;
use super::instances::{self, InstanceRecord, TRUSTED_FOR};
use super::publication::Labels;
use super::{Store, StoreError, of_tenant};
use crate::durable::{self, Durability, TEMPORARY};
use crate::escape::Escaped;
use crate::intel::manifest::Mode;
use crate::names::Name;

/// The maximum interval of writing the record of a connected node.
pub const WRITE_AGAIN: Duration = Duration::from_secs(30);
/// The maximum size of a record.
const MAX_FILE: u64 = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    pub name: String,
    pub labels: Labels,
    /// The version of its software.
    pub software: String,
    /// The id of its stream: the end of an older stream does not count when there is a newer one.
    pub stream: String,
    /// The id of its process.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// The processes that recently used this name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceRecord>,
    /// Whether the stream is open.
    pub connected: bool,
    /// The time of the node's last request.
    pub heard: Timestamp,
    /// The time at which this record was written.
    pub written: Timestamp,
    /// The content of its slots.
    pub slots: Vec<SlotRecord>,
    /// Its counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<StatisticsRecord>,
}

/// The state of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    pub mode: Mode,
    /// The active version.
    pub version: u64,
    /// The version that was refused last; 0 for none.
    pub refused_version: u64,
    /// The code of a gRPC status.
    pub code: u32,
    /// The reason of the refusal.
    pub reason: String,
}

/// Counters since the start of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatisticsRecord {
    pub events: u64,
    pub hits: u64,
    /// Active indicators.
    pub indicators: u64,
    pub newest_feed_age_seconds: u64,
    /// Whether the canary is found; `None`: the node has none, or does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_found: Option<bool>,
}

impl NodeRecord {
    /// Returns whether the node has an open stream, as far as the record shows.
    pub fn is_connected(&self, now: Timestamp) -> bool {
        self.connected && seconds_between(self.written, now) <= TRUSTED_FOR.as_secs()
    }

    /// Returns the time since the node's last request, in seconds.
    pub fn age_seconds(&self, now: Timestamp) -> u64 {
        seconds_between(self.heard, now)
    }

    /// Returns the processes that use the name at the same time, by id; empty unless there are several.
    pub fn duplicates(&self, now: Timestamp) -> Vec<&InstanceRecord> {
        instances::duplicates(&self.instances, now)
    }

    fn add_instances_of(&mut self, earlier: &NodeRecord) {
        instances::add_earlier(&mut self.instances, &earlier.instances, self.written);
    }
}

impl Store {
    /// Writes the record of a node, including the processes that other streams saw under its name, and returns the stored
    /// record. A record of a newer stream is kept.
    ///
    /// # Errors
    /// The record cannot be written, or exceeds a quota.
    pub fn write_node(
        &self,
        tenant: Option<&Name>,
        name: &Name,
        record: &NodeRecord,
    ) -> Result<NodeRecord, StoreError> {
        let mut record = record.clone();
        if let Some(found) = self.read_node(tenant, name) {
            if found.stream != record.stream && found.heard > record.heard {
                let mut newer = found.clone();
                newer.add_instances_of(&record);
                if newer == found {
                    return Ok(found);
                }
                record = newer;
            } else {
                record.add_instances_of(&found);
            }
        }
        self.replace_node(tenant, name, &record)?;
        Ok(record)
    }

    fn replace_node(&self, tenant: Option<&Name>, name: &Name, record: &NodeRecord) -> Result<(), StoreError> {
        let directory = of_tenant(&self.nodes(), tenant);
        let path = directory.join(format!("{name}.json"));
        let failed = |cause| StoreError::write(&path, cause);
        let content = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        if !path.exists() {
            durable::make_directory(&directory).map_err(failed)?;
            let most = self.quotas.nodes;
            if std::fs::read_dir(&directory).map_err(failed)?.count() >= most {
                return Err(StoreError::TooManyNodes { path: directory, most });
            }
            // Later updates have about the same length.
            if !self.charge(tenant, content.len() as u64) {
                return Err(StoreError::TenantBytes(directory));
            }
        }
        durable::replace(&path, &content, Durability::Unsynced).map_err(failed)
    }

    /// Records that the stream of a node ended, unless the node has a newer stream.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn end_node(&self, tenant: Option<&Name>, name: &Name, record: &NodeRecord) -> Result<(), StoreError> {
        let mut left = match self.read_node(tenant, name) {
            Some(last) if last.stream != record.stream => last,
            // The node was removed meanwhile.
            None => return Ok(()),
            Some(last) => NodeRecord { instances: last.instances, ..record.clone() },
        };
        let known = left.instances.len();
        // A process with a newer stream is still connected.
        if left.stream == record.stream || left.instance != record.instance {
            left.instances.retain(|one| one.id != record.instance);
        }
        if left.stream == record.stream || left.instances.len() != known {
            self.replace_node(tenant, name, &left)?;
        }
        Ok(())
    }

    pub fn read_node(&self, tenant: Option<&Name>, name: &Name) -> Option<NodeRecord> {
        let path = of_tenant(&self.nodes(), tenant).join(format!("{name}.json"));
        path.exists().then(|| read(&path)).flatten()
    }

    /// Returns all nodes, or those of a tenant, by tenant and name. Malformed files are logged and left out.
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
                let named = path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with(TEMPORARY));
                nodes.extend(Some(&path).filter(|_| named).and_then(|path| read(path)));
            }
        }
        nodes.sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
        Ok(nodes)
    }
}

impl Store {
    /// Removes the records of nodes that have sent nothing since `before`, temporary files of killed processes, and the
    /// directories of these nodes' alerts when they are empty. Returns the number of nodes.
    ///
    /// # Errors
    /// A directory cannot be read. A file that cannot be removed is left for the next time.
    pub fn forget_nodes(&self, before: Timestamp) -> Result<usize, StoreError> {
        let mut forgotten = 0;
        for directory in entries(&self.nodes())?.iter().filter(|directory| directory.is_dir()) {
            for path in entries(directory)? {
                let written = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
                let written = written.and_then(|written| Timestamp::try_from(written).ok());
                let is_node = path.extension().is_some_and(|extension| extension == "json");
                // The age of a file that cannot be read is its modification time.
                let heard =
                    if is_node { read(&path).map(|node| node.heard.max(node.written)).or(written) } else { written };
                if heard.is_none_or(|heard| heard >= before) {
                    continue;
                }
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(path = %Escaped(path.display()), error = %Escaped(&error), "cannot remove the record of a silent node");
                } else if is_node {
                    forgotten += 1;
                    let tenant = directory.file_name().unwrap_or_default();
                    // Alerts must be removed by people; an empty directory is not needed.
                    let _ = std::fs::remove_dir(self.alerts().join(tenant).join(path.file_stem().unwrap_or_default()));
                }
            }
        }
        Ok(forgotten)
    }
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>, StoreError> {
    let failed = |cause| StoreError::read(directory, cause);
    std::fs::read_dir(directory).map_err(failed)?.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
}

fn read(path: &Path) -> Option<NodeRecord> {
    let content = files::read(path, MAX_FILE).ok()?;
    serde_json::from_slice(&content)
        .inspect_err(|error| tracing::warn!(path = %Escaped(path.display()), error = %Escaped(&error), "cannot read a node's record"))
        .ok()
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> u64 {
    later.as_second().saturating_sub(earlier.as_second()).try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::TenantQuotas;

    fn record(name: &str, heard: i64) -> NodeRecord {
        let heard = Timestamp::from_second(heard).unwrap();
        NodeRecord {
            tenant: Some("a".to_owned()),
            name: name.to_owned(),
            labels: Labels::default(),
            software: String::new(),
            stream: String::new(),
            instance: String::new(),
            instances: Vec::new(),
            connected: true,
            heard,
            written: heard,
            slots: Vec::new(),
            statistics: None,
        }
    }

    /// Scenario: nodes whose latest messages came at different times, with and without alerts, and a damaged file.
    /// Guarantee: the records of old nodes are deleted, their alerts stay, and nothing else is touched.
    #[test]
    fn nodes_that_are_gone_are_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let name = |text: &str| Name::parse(text).unwrap();
        let tenant = name("a");
        for (node, heard) in [("old", 100), ("alerted", 100), ("new", 300)] {
            store.write_node(Some(&tenant), &name(node), &record(node, heard)).unwrap();
        }
        let alerts = store.alerts().join("a");
        std::fs::create_dir_all(alerts.join("old")).unwrap();
        std::fs::create_dir_all(alerts.join("alerted")).unwrap();
        std::fs::write(alerts.join("alerted/x.ndjson"), "{}").unwrap();
        std::fs::write(store.nodes().join("a/damaged.json"), "{").unwrap();
        assert_eq!(store.forget_nodes(Timestamp::from_second(200).unwrap()).unwrap(), 2);
        let left: Vec<_> = store.read_nodes(None).unwrap().into_iter().map(|node| node.name).collect();
        assert_eq!(left, ["new"]);
        assert!(store.nodes().join("a/damaged.json").exists(), "it was written just now");
        assert!(!alerts.join("old").exists() && alerts.join("alerted/x.ndjson").exists());
        assert_eq!(store.forget_nodes(Timestamp::MAX).unwrap(), 2);
    }

    /// Guarantee: a tenant gets no more nodes and no more bytes than its quotas, known nodes are still written, and
    /// another tenant is not touched.
    #[test]
    fn a_tenant_fills_its_own_part_only() {
        let root = tempfile::tempdir().unwrap();
        let bytes = serde_json::to_vec(&record("n1", 1)).unwrap().len() as u64;
        let name = |text: &str| Name::parse(text).unwrap();
        let (a, b) = (name("a"), name("b"));
        let write =
            |store: &Store, tenant: &Name, node: &str| store.write_node(Some(tenant), &name(node), &record(node, 1));
        let store = Store::open(root.path()).unwrap();
        let few = store.with_quotas(TenantQuotas { nodes: 2, ..TenantQuotas::default() });
        write(&few, &a, "n1").unwrap();
        write(&few, &a, "n2").unwrap();
        assert!(matches!(write(&few, &a, "n3"), Err(StoreError::TooManyNodes { most: 2, .. })));
        write(&few, &a, "n1").unwrap();
        write(&few, &b, "n1").unwrap();
        let small = Store::open(root.path()).unwrap();
        let small = small.with_quotas(TenantQuotas { bytes: 3 * bytes, ..TenantQuotas::default() });
        write(&small, &a, "n3").unwrap();
        assert!(matches!(write(&small, &a, "n4"), Err(StoreError::TenantBytes(_))));
        write(&small, &a, "n3").unwrap();
        write(&small, &b, "n4").unwrap();
        let alerts = [bytes::Bytes::from(vec![b'x'; 2 * bytes as usize])];
        let refused = small.alert_log(Some(&b), &name("n4")).append(&alerts, Timestamp::UNIX_EPOCH);
        assert!(matches!(refused, Err(crate::store::AlertLogError::Tenant(_))), "{refused:?}");
        small.alert_log(Some(&name("c")), &name("n4")).append(&alerts, Timestamp::UNIX_EPOCH).unwrap();
    }
}
