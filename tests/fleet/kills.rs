//! `kill -9` of the sidecar and of the control plane, at points that are chosen and at points that are not. After a
//! restart the last good version is active at once, even if all other processes are away; the sidecar catches up
//! afterwards; a version that was not published is never activated.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::RngExt;

use crate::chance::chance;
use crate::common::{Fleet, judged, logged, metric, pause, serves};
use crate::next_hop::NextHop;
use crate::process::{Hotlist, PATIENCE};
use crate::proxy::Proxy;

/// Indicators of a feed of which each version is another; some MB as a segment.
const BULK: u32 = 100_000;
/// Random points. `FLEET_KILLS` says how many.
const KILLS: u64 = 20;

/// One node whose sockets are files, so that a restart is at the same place.
struct Stage {
    fleet: Fleet,
    next: NextHop,
    proxy: Proxy,
    /// The content that was published last: `g<n>.example`.
    published: u64,
    version: u64,
}

impl Stage {
    fn new() -> Stage {
        let fleet = Fleet::new();
        let next = NextHop::start_unix(&fleet.scene.path("next.sock"));
        let proxy = Proxy::start(&fleet.scene.path("proxy.sock"), &fleet.scene.path("plane.sock"));
        Stage { fleet, next, proxy, published: 0, version: 0 }
    }

    fn address(&self) -> String {
        format!("unix:{}", self.fleet.scene.path("in.sock").display())
    }

    fn start(&self) -> Hotlist {
        Hotlist::start(&self.fleet.config("n1", &self.address(), &self.proxy.endpoint, &self.next.endpoint, "", ""))
    }

    /// Publishes other content. What comes after it is compiled, too, and not published.
    fn publish(&mut self) {
        self.published += 1;
        let content = |number: u64| ("feed.txt", format!("g{number}.example\n"));
        self.fleet.compile(&[content(self.published)]);
        self.version = self.fleet.publish(&[]);
        self.fleet.compile(&[content(self.published + 1)]);
    }

    /// The same with a large segment that nobody has yet.
    fn publish_bulk(&mut self) {
        let word = self.published + 1;
        let bulk = (0..BULK).map(|number| format!("{:08x}-{word}.example\n", number.wrapping_mul(2_654_435_769)));
        std::fs::remove_file(self.fleet.scene.path("store/feeds/bulk.json")).ok();
        self.fleet.compile(&[("bulk.txt", bulk.collect())]);
        self.publish();
    }

    /// Which content serves.
    async fn serves(&self) -> u64 {
        let hosts: Vec<String> = (0..=self.published + 1).map(|number| format!("g{number}.example")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let found = judged(&self.address(), &self.next, &hosts).await;
        assert_eq!(found.len(), 1, "one version: {found:?}");
        found[0].strip_prefix("feed:g").unwrap().strip_suffix(".example").unwrap().parse().unwrap()
    }

    /// Ready when what was published last serves.
    async fn caught_up(&self, hotlist: &Hotlist) {
        serves(hotlist, self.version).await;
        assert_eq!(self.serves().await, self.published);
    }

    /// The largest segment of the store, as the node keeps it.
    fn kept_bulk(&self) -> PathBuf {
        let feed = std::fs::read(self.fleet.scene.path("store/feeds/bulk.json")).unwrap();
        let feed: serde_json::Value = serde_json::from_slice(&feed).unwrap();
        let digest = feed["segments"][0]["digest"].as_str().unwrap().to_owned();
        self.fleet.scene.path(&format!("cache-n1/segments/{digest}.seg"))
    }

    /// Ready when the node has written some of it. What came may wait for a turn of its threads before.
    async fn begun_bulk(&self) {
        let (part, deadline) = (self.kept_bulk().with_extension("part"), std::time::Instant::now() + PATIENCE);
        while std::fs::metadata(&part).map_or(0, |part| part.len()) == 0 {
            assert!(std::time::Instant::now() < deadline);
            pause().await;
        }
    }

    /// Whether the part that an earlier process had written was not fetched again. A late fetch starts again once.
    async fn resumed(&self, hotlist: &Hotlist) -> bool {
        metric(hotlist, "hotlist_control_resumed_fetches_total").await >= 1.0
    }
}

/// Scenario: the sidecar is killed while it connects, with half a segment fetched, with all fetched and nothing
/// applied, and as soon as it has applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_killed_anywhere_serves_the_last_good_version() {
    let mut stage = Stage::new();
    stage.publish();
    let _plane = stage.fleet.plane();
    let hotlist = stage.start();
    stage.caught_up(&hotlist).await;
    hotlist.kill();

    // While it connects.
    stage.publish();
    stage.proxy.allow(0);
    let before = stage.proxy.connections();
    let hotlist = stage.start();
    stage.proxy.connected_after(before).await;
    hotlist.kill();
    let hotlist = stage.start();
    assert_eq!(stage.serves().await, stage.published - 1);
    stage.proxy.allow(usize::MAX);
    stage.caught_up(&hotlist).await;

    // With half a segment. What was written of it, a MiB at a time, is not fetched again.
    stage.proxy.allow(2 << 20);
    stage.publish_bulk();
    stage.proxy.exhausted().await;
    stage.begun_bulk().await;
    assert_eq!(stage.serves().await, stage.published - 1);
    hotlist.kill();
    stage.proxy.allow(0);
    let hotlist = stage.start();
    assert_eq!(stage.serves().await, stage.published - 1);
    stage.proxy.allow(usize::MAX);
    stage.caught_up(&hotlist).await;
    assert!(stage.resumed(&hotlist).await);

    // Between fetching and applying, as far as that can be met.
    stage.publish_bulk();
    let (kept, deadline) = (stage.kept_bulk(), std::time::Instant::now() + PATIENCE);
    while !kept.exists() {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    hotlist.kill();
    stage.proxy.allow(0);
    let hotlist = stage.start();
    let serving = stage.serves().await;
    assert!((stage.published - 1..=stage.published).contains(&serving), "{serving}");
    stage.proxy.allow(usize::MAX);
    stage.caught_up(&hotlist).await;

    // As soon as it serves; whether it is written down by then is chance.
    let served = hotlist.log().matches("snapshot active").count();
    stage.publish();
    logged(&hotlist, "snapshot active", served + 1).await;
    hotlist.kill();
    stage.proxy.allow(0);
    let hotlist = stage.start();
    let serving = stage.serves().await;
    assert!((stage.published - 1..=stage.published).contains(&serving), "{serving}");
    stage.proxy.allow(usize::MAX);
    stage.caught_up(&hotlist).await;
}

/// Scenario: the sidecar is stopped while a segment is half fetched. Guarantee: it ends at once with exit code 0, and
/// the written part of the segment is not fetched again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_ends_well_while_it_fetches() {
    let mut stage = Stage::new();
    stage.publish();
    let _plane = stage.fleet.plane();
    let hotlist = stage.start();
    stage.caught_up(&hotlist).await;
    stage.proxy.allow(1 << 20);
    stage.publish_bulk();
    stage.proxy.exhausted().await;
    stage.begun_bulk().await;
    hotlist.signal(Signal::SIGTERM);
    let (status, log) = hotlist.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let hotlist = stage.start();
    assert_eq!(stage.serves().await, stage.published - 1);
    stage.proxy.allow(usize::MAX);
    stage.caught_up(&hotlist).await;
    assert!(stage.resumed(&hotlist).await);
}

/// Scenario: the control plane is killed while a sidecar connects, with half a segment sent, and as soon as it has
/// published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_killed_anywhere_is_only_away() {
    let mut stage = Stage::new();
    stage.publish();
    let plane = stage.fleet.plane();
    let hotlist = stage.start();
    stage.caught_up(&hotlist).await;

    // While the sidecar connects.
    hotlist.kill();
    stage.publish();
    stage.proxy.allow(0);
    let before = stage.proxy.connections();
    let hotlist = stage.start();
    stage.proxy.connected_after(before).await;
    drop(plane);
    stage.proxy.allow(usize::MAX);
    assert_eq!(stage.serves().await, stage.published - 1);
    let plane = stage.fleet.plane();
    stage.caught_up(&hotlist).await;

    // With half a segment sent.
    stage.proxy.allow(2 << 20);
    stage.publish_bulk();
    stage.proxy.exhausted().await;
    drop(plane);
    assert_eq!(stage.serves().await, stage.published - 1);
    stage.proxy.allow(usize::MAX);
    let plane = stage.fleet.plane();
    stage.caught_up(&hotlist).await;

    // As soon as there is something to send.
    stage.publish();
    drop(plane);
    let serving = stage.serves().await;
    assert!((stage.published - 1..=stage.published).contains(&serving), "{serving}");
    let _plane = stage.fleet.plane();
    stage.caught_up(&hotlist).await;
}

/// Scenario: something is published, and after a random while one of the two is killed, or both; again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_lose_no_version_and_invent_none() {
    let kills = std::env::var("FLEET_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let (mut stage, mut chance) = (Stage::new(), chance());
    stage.publish();
    let mut plane = Some(stage.fleet.plane());
    let mut hotlist = stage.start();
    stage.caught_up(&hotlist).await;
    // Pauses between attempts to connect grow while a process lives, so that it is not always the control plane.
    let mut since = 0;
    for kill in 0..kills {
        let committed = stage.published;
        stage.publish();
        tokio::time::sleep(Duration::from_millis(chance.random_range(0..120))).await;
        let victims = if since == 2 { 0 } else { chance.random_range(0..3) };
        since = if victims == 1 { since + 1 } else { 0 };
        if victims > 0 {
            plane = None;
        }
        if victims != 1 {
            hotlist.kill();
            // Whatever it is restarted into, the control plane does not answer yet.
            stage.proxy.allow(0);
            hotlist = stage.start();
        }
        let serving = stage.serves().await;
        assert!(
            (committed..=stage.published).contains(&serving),
            "kill {kill}: {serving}, not {committed} or the next"
        );
        stage.proxy.allow(usize::MAX);
        plane = plane.or_else(|| Some(stage.fleet.plane()));
        stage.caught_up(&hotlist).await;
    }
    drop(plane);
}
