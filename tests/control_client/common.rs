//! A node in the test's process, and manifests for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hotlist::config::Endpoint;
use hotlist::intel::manifest::{Digest, Key, Manifest, Mode, Origin, Rule, SegmentRef, Signed};
use hotlist::provider::control::{Client, OpenError, Settings, Statistics, Status, Timing};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::recorder::Recorder;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What tests count as bytes that are enough for anything.
pub const ROOMY: u64 = 1 << 30;

/// The key that signs.
pub fn key() -> Key {
    Key::from_seed([1; 32]).unwrap()
}

/// Whom nobody trusts.
pub fn stranger() -> Key {
    Key::from_seed([2; 32]).unwrap()
}

pub fn manifest(version: u64, segments: &[&[u8]]) -> Manifest {
    let segment = |bytes: &&[u8]| SegmentRef { digest: Digest::sha256(bytes), bytes: bytes.len() as u64 };
    Manifest {
        audience: "acme".to_owned(),
        version,
        mode: Mode::Serve,
        issued: "2026-01-01T00:00:00Z".parse().unwrap(),
        expires: None,
        segments: segments.iter().map(segment).collect(),
        revocations: Vec::new(),
        rules: vec![Rule { feed: "f".to_owned(), enabled: true, origin: Origin::Feed }],
    }
}

pub fn sign(manifest: &Manifest) -> Signed {
    sign_with(&[&key()], manifest)
}

pub fn sign_with(keys: &[&Key], manifest: &Manifest) -> Signed {
    let bytes = manifest.to_bytes().unwrap();
    Signed { signatures: keys.iter().map(|key| key.sign(&bytes)).collect(), manifest: bytes }
}

/// A signed manifest of a version without segments.
pub fn bare(version: u64) -> Signed {
    sign(&manifest(version, &[]))
}

/// Bytes that are another for each seed.
pub fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Patience of a test: short pauses, reports only where they are asked for, and nothing is late.
pub fn timing() -> Timing {
    Timing {
        back_off: (Duration::from_millis(5), Duration::from_millis(50)),
        report: Duration::from_secs(3600),
        stall: Duration::from_millis(500),
        retry: (Duration::from_millis(20), Duration::from_millis(50)),
        patience: Duration::from_secs(3600),
        ..Timing::default()
    }
}

pub fn settings(directory: &Path, plane: SocketAddr) -> Settings {
    Settings {
        endpoint: Endpoint::parse(&format!("http://{plane}")).unwrap(),
        tls: None,
        node: "node-1".to_owned(),
        labels: BTreeMap::from([("zone".to_owned(), "b".to_owned())]),
        audience: "acme".to_owned(),
        trusted: vec![key().public()],
        cache: directory.join("cache"),
        cache_bytes: ROOMY,
        timing: timing(),
    }
}

/// A client at work.
pub struct Running {
    pub status: watch::Receiver<Status>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start(settings: Settings, recorder: &Arc<Recorder>) -> Running {
        Running::try_start(settings, recorder).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_start(settings: Settings, recorder: &Arc<Recorder>) -> Result<Running, OpenError> {
        let counted = Statistics { events: 5, hits: 4, indicators: 3, newest_feed_age_seconds: 2, canary_found: None };
        let client = Client::open(settings, Arc::clone(recorder), Box::new(move || counted))?;
        let status = client.status();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(client.run(async { drop(stopped.await) }));
        Ok(Running { status, stop, task })
    }

    /// Ends it; then nothing of it is left.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the client does not end").unwrap();
    }

    /// Waits until its status is so.
    pub async fn until(&mut self, what: &str, so: impl FnMut(&Status) -> bool) -> Status {
        let mut watch = self.status.clone();
        let reached = tokio::time::timeout(PATIENCE, watch.wait_for(so)).await;
        let Ok(status) = reached else { panic!("never: {what}: {}", *self.status.borrow()) };
        status.unwrap().clone()
    }
}

pub fn segment_path(directory: &Path, bytes: &[u8]) -> PathBuf {
    directory.join(format!("cache/segments/{}.seg", Digest::sha256(bytes)))
}

pub fn part_path(directory: &Path, bytes: &[u8]) -> PathBuf {
    segment_path(directory, bytes).with_extension("part")
}

/// Metrics of the process, which is that of one test under nextest and of all tests otherwise: only growth counts.
pub fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| hotlist::telemetry::init_metrics().unwrap())
}

/// The value of a series, 0 when there is none.
pub fn series(name: &str) -> f64 {
    let text = metrics().render();
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.map_or(0.0, |value| value.parse().unwrap())
}
