//! The settings of the client: the configuration with its files read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{ClientTls, Control, Endpoint};
use crate::file_timeout::within;
use crate::intel::manifest::{KeyError, PublicKey};

/// The settings of the client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The endpoint of the control plane.
    pub endpoint: Endpoint,
    /// TLS for an `https` endpoint.
    pub tls: Option<ClientTls>,
    /// The name of this node.
    pub node: String,
    /// The labels of this node.
    pub labels: BTreeMap<String, String>,
    /// The audience whose manifests are accepted.
    pub audience: String,
    /// The keys whose signatures are trusted; if empty, manifests need no signature.
    pub trusted: Vec<PublicKey>,
    /// The directory of the cache.
    pub cache: PathBuf,
    /// The maximum size of the segments in the cache, in bytes.
    pub cache_bytes: u64,
    /// Pauses and time-outs.
    pub timing: Timing,
}

/// Pauses and time-outs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The silence after which the control plane is pinged.
    pub ping_after: Duration,
    /// The time limit for the response to a ping.
    pub ping_timeout: Duration,
    /// The time limits for connecting and for opening the stream.
    pub open: Duration,
    /// The first and the longest pause between attempts to connect; pauses double, with jitter.
    pub back_off: (Duration, Duration),
    /// The interval of statistics reports.
    pub report: Duration,
    /// The time limit for receiving the next data of a fetch.
    pub stall: Duration,
    /// The first and the longest pause before a version is retried that was refused for lack of space or of a segment.
    pub retry: (Duration, Duration),
    /// How long a reload may run at idle priority; one second more for each 64 MiB.
    pub patience: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            ping_after: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(10),
            open: Duration::from_secs(10),
            back_off: (Duration::from_millis(100), Duration::from_secs(30)),
            report: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            retry: (Duration::from_secs(30), Duration::from_secs(600)),
            patience: Duration::from_millis(100),
        }
    }
}

/// The reason that a file of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(
        "intel.control.trusted_keys: {path}: cannot be read: {cause}; give the path of a file that this process can read"
    )]
    Read { path: PathBuf, cause: std::io::Error },
    /// A file does not contain a public key.
    #[error("intel.control.trusted_keys: {path}: {cause}")]
    Key { path: PathBuf, cause: KeyError },
}

impl Settings {
    /// Loads the settings of a configuration. `host` is the host name, the default name of the node.
    ///
    /// # Errors
    /// A key cannot be read or is not valid.
    pub fn load(control: &Control, host: &str) -> Result<Settings, SettingsError> {
        let key = |path: &PathBuf| {
            let pem = within(path, |path| std::fs::read(path))
                .map_err(|cause| SettingsError::Read { path: path.clone(), cause })?;
            PublicKey::from_pem(&pem).map_err(|cause| SettingsError::Key { path: path.clone(), cause })
        };
        let timing = Timing { ping_after: control.ping_after, ping_timeout: control.ping_timeout, ..Timing::default() };
        Ok(Settings {
            endpoint: control.endpoint.clone(),
            tls: control.tls.clone(),
            node: control.node_name(host),
            labels: control.labels.clone(),
            audience: control.audience.clone(),
            trusted: control.trusted_keys.iter().map(key).collect::<Result<_, _>>()?,
            cache: control.cache.clone(),
            cache_bytes: control.cache_bytes as u64,
            timing,
        })
    }
}

/// Returns the host name; empty if the system does not provide it.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Format};
    use crate::intel::manifest::Key;

    fn load(keys: &str) -> Result<Settings, SettingsError> {
        let text = format!(
            "sources: {{ a: {{ type: filter, address: 'unix:/a' }} }}\nintel:\n  control: {{ endpoint: 'unix:/c', \
             audience: a, cache: c, ping_after: 2s, trusted_keys: [{keys}] }}\n"
        );
        let config = Config::parse(&text, Format::Yaml, &|_| None).unwrap();
        Settings::load(&config.intel.control.unwrap(), "Host_1")
    }

    #[test]
    fn keys_are_read_and_a_bad_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let key = Key::from_seed([3; 32]).unwrap();
        let path = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let good = path("good.pub", key.public().to_pem());
        let settings = load(&good).unwrap();
        assert_eq!((settings.trusted, settings.node.as_str()), (vec![key.public()], "host-1"));
        assert_eq!((settings.timing.ping_after, settings.cache_bytes), (Duration::from_secs(2), 8 << 30));
        let error = load(&format!("{good}, none.pub")).unwrap_err();
        assert!(matches!(&error, SettingsError::Read { path, .. } if path.ends_with("none.pub")), "{error}");
        let error = load(&path("private.pem", key.to_pem())).unwrap_err();
        assert!(matches!(&error, SettingsError::Key { path, .. } if path.ends_with("private.pem")), "{error}");
    }

    #[test]
    fn this_host_has_a_name() {
        assert!(!host_name().is_empty());
    }
}
