//! The sidecar's own client at a real control plane: both ends of the stream as they are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hotlist::config::{ClientTls, Endpoint};
use hotlist::intel::manifest::{Key, Mode, PublicKey};
use hotlist::names::Name;
use hotlist::provider::control::{Apply, Candidate, Client, Settings, Statistics, Timing};
use hotlist::store::Draft;
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::certificates::Authority;
use crate::common::{PATIENCE, Plane, Scene, draft};

/// A version, and the first bytes of each of its segments.
type Version = (u64, Vec<Vec<u8>>);

/// The program of a node. It refuses a version that the test does not like.
struct Program {
    serves: watch::Sender<BTreeMap<Mode, Version>>,
    dislikes: Mutex<u64>,
}

impl Apply for Program {
    type Ready = Version;

    fn prepare(&self, _: Mode, candidate: &Candidate) -> Result<Self::Ready, String> {
        let version = candidate.manifest.version;
        if *self.dislikes.lock().unwrap() == version {
            return Err("the snapshot would be too large".to_owned());
        }
        Ok((version, candidate.segments.iter().map(|path| std::fs::read(path).unwrap()[..4].to_vec()).collect()))
    }

    fn publish(&self, mode: Mode, ready: Self::Ready) {
        self.serves.send_modify(|serves| drop(serves.insert(mode, ready)));
    }

    fn clear(&self, mode: Mode) {
        self.serves.send_modify(|serves| drop(serves.remove(&mode)));
    }
}

/// A client at work.
struct Node {
    program: Arc<Program>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Node {
    async fn start(settings: Settings) -> Node {
        let program = Arc::new(Program { serves: watch::Sender::default(), dislikes: Mutex::new(0) });
        let applies = Arc::clone(&program);
        let count = || Statistics { events: 5, hits: 4, indicators: 3, newest_feed_age_seconds: 2, canary_found: None };
        let open = move || Client::open(settings, applies, Box::new(count));
        let client = tokio::task::spawn_blocking(open).await.unwrap().unwrap_or_else(|error| panic!("{error}"));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(client.run(async { drop(stopped.await) }));
        Node { program, stop, task }
    }

    /// Waits until this version serves, and gives the beginnings of its segments.
    async fn serves(&self, mode: Mode, version: u64) -> Vec<Vec<u8>> {
        let mut serves = self.program.serves.subscribe();
        let found = serves.wait_for(|serves| serves.get(&mode).map_or(0, |(found, _)| *found) == version);
        let found = timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("version {version} never serves"));
        found.unwrap().get(&mode).map(|(_, segments)| segments.clone()).unwrap_or_default()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn settings(directory: &Path, endpoint: &str, trusted: PublicKey) -> Settings {
    let timing = Timing { back_off: (Duration::from_millis(5), Duration::from_millis(50)), ..Timing::default() };
    Settings {
        endpoint: Endpoint::parse(endpoint).unwrap(),
        tls: None,
        node: "n1".to_owned(),
        labels: BTreeMap::from([("tenant".to_owned(), "a".to_owned())]),
        audience: "acme".to_owned(),
        trusted: vec![trusted],
        cache: directory.join("cache"),
        cache_bytes: 1 << 30,
        timing,
    }
}

/// Scenario: publications in all ways, at a node of the same program: a first one of several segments, one that it
/// cannot serve, a shadow, its promotion, and the way back. Guarantee: it serves each within the stream's time, names
/// its reason for what it refuses, and operators see all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecars_client_follows_the_control_plane() {
    let scene = Scene::new();
    let key = Key::from_seed([7; 32]).unwrap();
    let (one, two) = (scene.segment(&[b"one.", &[1; 300_000][..]].concat()), scene.segment(b"two."));
    let now = Timestamp::now();
    let publish = |draft: Draft| scene.store.publish(draft, Some(&key), now).unwrap();
    publish(draft("p", &[("tenant", "a")], &[one, two]));
    let plane = Plane::start(&scene).await;
    let node = Node::start(settings(scene.path(), &format!("http://{}", plane.address), key.public())).await;
    assert_eq!(node.serves(Mode::Serve, 1).await, [b"one.", b"two."]);

    *node.program.dislikes.lock().unwrap() = 2;
    publish(draft("p", &[("tenant", "a")], &[two]));
    let nodes = plane.nodes_when(|nodes| nodes[0].slots[0].refused_version == 2).await;
    let slot = &nodes[0].slots[0];
    assert_eq!((slot.version, slot.wanted_version), (1, 2));
    assert!(slot.error.as_ref().unwrap().message.contains("the snapshot would be too large"), "{slot:?}");
    assert_eq!(nodes[0].statistics.unwrap().events, 5);

    publish(Draft { mode: Mode::Shadow, ..draft("p", &[("tenant", "a")], &[two]) });
    assert_eq!(node.serves(Mode::Shadow, 3).await, [b"two."]);
    let name = Name::parse("p").unwrap();
    scene.store.promote(&name, None, Some(&key), now).unwrap();
    assert_eq!(node.serves(Mode::Serve, 4).await, [b"two."]);
    node.serves(Mode::Shadow, 0).await;
    scene.store.rollback(&name, 1, None, Some(&key), now).unwrap();
    assert_eq!(node.serves(Mode::Serve, 5).await, [b"one.", b"two."]);
    let nodes = plane.nodes_when(|nodes| nodes[0].slots[0].version == 5).await;
    assert!(nodes[0].connected && nodes[0].slots[0].error.is_none());

    // The control plane goes, the node serves on; another one comes, and the node follows it.
    plane.end().await;
    node.stop().await;
    let plane = Plane::start(&scene).await;
    let node = Node::start(settings(scene.path(), &format!("http://{}", plane.address), key.public())).await;
    node.serves(Mode::Serve, 5).await;
    publish(draft("p", &[("tenant", "a")], &[two]));
    assert_eq!(node.serves(Mode::Serve, 6).await, [b"two."]);
    node.stop().await;
}

/// Scenario: the same over mutual TLS, with a second publication for another tenant. Guarantee: the tenant of the
/// certificate counts, whatever the node's labels are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecars_client_shows_its_certificate() {
    let scene = Scene::new();
    let key = Key::from_seed([7; 32]).unwrap();
    let (of_a, of_b) = (scene.segment(b"of A"), scene.segment(b"of B"));
    for (tenant, segment) in [("a", of_a), ("b", of_b)] {
        scene.store.publish(draft(tenant, &[("tenant", tenant)], &[segment]), Some(&key), Timestamp::now()).unwrap();
    }
    let authority = Authority::new();
    let tls = authority.files(scene.path(), &authority.sign());
    let plane = Plane::start_with(&scene, Some(&tls)).await;
    let identity = authority.client(&["spiffe://example.org/tenant/b"]);
    let [cert_file, key_file] = [("n1.pem", &identity.pem), ("n1.key", &identity.key)]
        .map(|(name, content)| crate::certificates::write(scene.path(), name, content));
    let settings = settings(scene.path(), &format!("https://{}", plane.address), key.public());
    let tls = ClientTls {
        ca_file: tls.client_ca_file.clone(),
        cert_file: Some(cert_file),
        key_file: Some(key_file),
        server_name: None,
    };
    let node = Node::start(Settings { tls: Some(tls), ..settings }).await;
    assert_eq!(node.serves(Mode::Serve, 2).await, [b"of B"]);
    node.stop().await;
}
