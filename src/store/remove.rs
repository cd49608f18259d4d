//! Removes a disconnected node: its record, and its alerts if requested.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Store, StoreError, of_tenant};
use crate::names::Name;

/// The treatment of the alerts of a removed node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertDisposal {
    /// They are kept in the store.
    Keep,
    /// They are removed with the node.
    Remove,
}

/// The reason that a node was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The node has no record.
    #[error("node {name}{} does not exist{}; `hotlist nodes` lists all nodes", tenant_suffix(.tenant.as_ref()), other_tenants(.others))]
    Unknown {
        name: Name,
        /// The requested tenant.
        tenant: Option<Name>,
        /// The tenants that have a node of this name.
        others: Vec<String>,
    },
    #[error(
        "node {name}{} is connected; stop it first, and after a control plane was killed wait up to 90 s",
        tenant_suffix(.tenant.as_ref())
    )]
    Connected { name: Name, tenant: Option<Name> },
    /// The alerts are being written.
    #[error("node {name}: {path} is being written by a ReportAlerts stream; stop the node first, or keep its alerts")]
    Alerts { name: Name, path: PathBuf },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn tenant_suffix(tenant: Option<&Name>) -> String {
    tenant.map_or_else(|| " without a tenant".to_owned(), |tenant| format!(" of tenant {tenant}"))
}

fn other_tenants(tenants: &[String]) -> String {
    if tenants.is_empty() { String::new() } else { format!(", but one of tenant {} does", tenants.join(", ")) }
}

impl Store {
    /// Removes the record of a disconnected node. Returns the number and total length of its alert files, which are
    /// removed or kept.
    ///
    /// # Errors
    /// The node does not exist, is connected, or the store cannot be changed. Alerts are removed first, so the record
    /// stays until all of them are removed.
    pub fn remove_node(
        &self,
        tenant: Option<&Name>,
        name: &Name,
        alerts: AlertDisposal,
        now: Timestamp,
    ) -> Result<(u64, u64), RemoveError> {
        let path = of_tenant(&self.nodes(), tenant).join(format!("{name}.json"));
        if !path.exists() {
            let named = |node: &super::NodeRecord| node.name == name.as_str();
            let others = self.read_nodes(None)?.into_iter().filter(named).filter_map(|node| node.tenant).collect();
            return Err(RemoveError::Unknown { name: name.clone(), tenant: tenant.cloned(), others });
        }
        // A connected node writes an unreadable record again within 30 s.
        if self.read_node(tenant, name).is_some_and(|node| node.is_connected(now)) {
            return Err(RemoveError::Connected { name: name.clone(), tenant: tenant.cloned() });
        }
        let directory = of_tenant(&self.alerts(), tenant).join(name.as_str());
        let files = alert_files(&directory)?;
        let bytes = files.iter().map(|(_, bytes)| bytes).sum();
        if alerts == AlertDisposal::Remove {
            for (path, _) in &files {
                remove_alerts(name, path)?;
            }
        }
        // An empty directory is not needed; one with alerts is kept.
        let _ = std::fs::remove_dir(&directory);
        std::fs::remove_file(&path).map_err(|cause| StoreError::write(&path, cause))?;
        Ok((files.len() as u64, bytes))
    }
}

fn alert_files(directory: &Path) -> Result<Vec<(PathBuf, u64)>, StoreError> {
    let failed = |cause| StoreError::read(directory, cause);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.path().extension().is_some_and(|extension| extension == "ndjson") {
            files.push((entry.path(), entry.metadata().map_err(failed)?.len()));
        }
    }
    Ok(files)
}

/// Removes a file that no stream writes to.
fn remove_alerts(name: &Name, path: &Path) -> Result<(), RemoveError> {
    let removed = File::open(path).and_then(|file| match file.try_lock() {
        // The lock is held until the file is removed.
        Ok(()) => std::fs::remove_file(path).map(|()| true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    });
    match removed {
        Ok(true) => Ok(()),
        Ok(false) => Err(RemoveError::Alerts { name: name.clone(), path: path.to_owned() }),
        Err(cause) => Err(StoreError::write(path, cause).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Labels, NodeRecord};

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn put(store: &Store, tenant: &str, node: &str, connected: bool, at: i64) {
        let at = Timestamp::from_second(at).unwrap();
        let record = NodeRecord {
            tenant: Some(tenant.to_owned()),
            name: node.to_owned(),
            labels: Labels::default(),
            software: String::new(),
            stream: "s".to_owned(),
            instance: "i".to_owned(),
            instances: Vec::new(),
            connected,
            heard: at,
            written: at,
            slots: Vec::new(),
            statistics: None,
        };
        store.write_node(Some(&name(tenant)), &name(node), &record).unwrap();
    }

    /// Guarantee: the refusal of an unknown node names the node, its tenant, other tenants that have a node of this name,
    /// and the command that lists all nodes.
    #[test]
    fn the_text_of_an_unknown_node_names_the_tenants_that_have_it() {
        let unknown = |tenant: Option<&str>, others: &[&str]| {
            let others = others.iter().map(ToString::to_string).collect();
            RemoveError::Unknown { name: name("n"), tenant: tenant.map(name), others }.to_string()
        };
        let text = unknown(Some("a"), &["b"]);
        for part in ["node n of tenant a ", "tenant b", "`hotlist nodes`"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = unknown(None, &[]);
        assert!(text.contains("node n without a tenant") && text.contains("`hotlist nodes`"), "{text}");
        assert!(!text.contains("of tenant"), "{text}");
    }

    /// Scenario: nodes that are gone, connected, and unknown, with alerts that somebody writes or nobody does. Guarantee:
    /// only what is gone goes, alerts only when asked for and when nobody writes them, and each refusal names the node.
    #[test]
    fn a_node_that_is_gone_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let (a, now) = (name("a"), Timestamp::from_second(1000).unwrap());
        let remove = |node: &str, alerts| store.remove_node(Some(&a), &name(node), alerts, now);
        let left = || store.read_nodes(None).unwrap().into_iter().map(|node| node.name).collect::<Vec<_>>();
        put(&store, "a", "gone", false, 990);
        put(&store, "a", "here", true, 990);
        put(&store, "a", "killed", true, 900);
        put(&store, "b", "other", false, 990);

        let error = remove("here", AlertDisposal::Keep).unwrap_err();
        assert!(matches!(&error, RemoveError::Connected { tenant: Some(tenant), .. } if *tenant == a), "{error}");
        let error = remove("other", AlertDisposal::Keep).unwrap_err();
        assert!(matches!(&error, RemoveError::Unknown { others, .. } if *others == ["b"]), "{error}");
        let error = store.remove_node(None, &name("none"), AlertDisposal::Keep, now).unwrap_err();
        let is_unknown = |error: &RemoveError| match error {
            RemoveError::Unknown { tenant, others, .. } => tenant.is_none() && others.is_empty(),
            _ => false,
        };
        assert!(is_unknown(&error), "{error}");

        let mut log = store.alert_log(Some(&a), &name("gone"));
        log.append(&[bytes::Bytes::from_static(b"{}")], now).unwrap();
        let error = remove("gone", AlertDisposal::Remove).unwrap_err();
        assert!(matches!(&error, RemoveError::Alerts { path, .. } if path.starts_with(store.alerts())), "{error}");
        assert_eq!(left(), ["gone", "here", "killed", "other"], "nothing changed");
        drop(log);
        assert_eq!(remove("gone", AlertDisposal::Keep).unwrap(), (1, 3));
        assert_eq!(left(), ["here", "killed", "other"]);
        put(&store, "a", "gone", false, 990);
        assert_eq!(remove("gone", AlertDisposal::Remove).unwrap(), (1, 3));
        assert!(!store.alerts().join("a/gone").exists());
        assert_eq!(remove("killed", AlertDisposal::Remove).unwrap(), (0, 0), "its word has grown old");
        assert_eq!(left(), ["here", "other"]);
    }
}
