//! Publication after publication under load, some of them bad. Every event is matched with one version, no event is
//! lost, and every node refuses a bad version with the reason.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hotlist::encoding::otlp::request_of;
use hotlist::intel::manifest::{Digest, SegmentRef};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
    thread_schedule_policy,
};

use crate::client::Connection;
use crate::common::{Fleet, enrichments, event, events_in, lines, pause, reports, serves};
use crate::next_hop::NextHop;
use crate::process::Hotlist;

/// How often something is published. `FLEET_PUBLISHES` says otherwise, and that the times are to be measured.
const PUBLISHES: u64 = 40;
/// Every tenth publication is bad.
const BAD_EVERY: u64 = 10;
const NODES: [&str; 3] = ["n1", "n2", "n3"];
const WORKERS_A_NODE: usize = 2;
const EVENTS_A_BATCH: usize = 5;
/// What a collector waits between an answer and the next batch.
const BETWEEN_BATCHES: Duration = Duration::from_millis(20);
/// How long nothing is published behind each publication, to compare with.
const QUIET: Duration = Duration::from_millis(200);
/// An event has the domains of so many generations, so that whatever serves finds its own.
const GENERATIONS: u64 = 8;

/// The state that all collectors share.
#[derive(Default)]
struct Load {
    /// The content that is published now.
    generation: AtomicU64,
    stop: AtomicBool,
    /// How often each event was sent until it was acknowledged.
    sent: Mutex<HashMap<String, usize>>,
    /// When each acknowledged batch was sent, and how long it took.
    took: Mutex<Vec<(Instant, Duration)>>,
}

/// Starts a collector on a thread of its own: what it measures is not to wait for the checker.
fn start(node: usize, worker: usize, address: String, load: &Arc<Load>) -> JoinHandle<()> {
    let load = Arc::clone(load);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(collector(node, worker, address, load));
    })
}

/// A collector that sends batch after batch, each until it is acknowledged.
async fn collector(node: usize, worker: usize, address: String, load: Arc<Load>) {
    let mut connection = None;
    for number in 0.. {
        if load.stop.load(Ordering::Relaxed) {
            return;
        }
        let newest = load.generation.load(Ordering::Relaxed) + 1;
        let generations = newest.saturating_sub(GENERATIONS - 1)..=newest;
        let mut hosts: Vec<String> = generations.flat_map(|of| ["a", "b", "v"].map(|feed| domain(feed, of))).collect();
        hosts.push("constant.example".to_owned());
        let ids: Vec<String> = (0..EVENTS_A_BATCH).map(|event| format!("{node}-{worker}-{number}-{event}")).collect();
        let documents: Vec<Value> = ids.iter().map(|id| event(id, &hosts)).collect();
        let message = request_of(documents.iter().map(|document| (0, document)));
        let mut attempts = 0;
        loop {
            attempts += 1;
            let start = Instant::now();
            match send(&mut connection, &address, &message).await {
                Ok(0) => {
                    load.took.lock().unwrap().push((start, start.elapsed()));
                    break;
                }
                Ok(status) => assert!(matches!(status, 8 | 14), "only what is retried: {status}"),
                Err(_) => connection = None,
            }
        }
        load.sent.lock().unwrap().extend(ids.into_iter().map(|id| (id, attempts)));
        // So that two cores suffice; nothing relies on how long.
        tokio::time::sleep(BETWEEN_BATCHES).await;
    }
}

async fn send(connection: &mut Option<Connection>, address: &str, message: &[u8]) -> Result<i32, String> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(address).await?),
    };
    open.export(message).await.map(|answer| answer.status)
}

fn domain(feed: &str, generation: u64) -> String {
    format!("{feed}{generation}.example")
}

/// The events that have arrived.
#[derive(Default)]
struct Arrived {
    counts: HashMap<String, usize>,
    /// Of each name of a snapshot, which generation it is, on whatever node.
    versions: BTreeMap<String, u64>,
}

impl Arrived {
    /// Enters what came since the last time, and holds every event to one version.
    fn record_arrivals(&mut self, next: &NextHop) {
        for request in next.take() {
            for event in events_in(&request.message()) {
                self.note_event(&event);
            }
        }
    }

    fn note_event(&mut self, event: &Value) {
        let id = event["event"]["id"].as_str().unwrap();
        let mut found: BTreeSet<(&str, &str)> = BTreeSet::new();
        let mut versions = BTreeSet::new();
        for one in enrichments(event) {
            found.insert((one["feed"]["name"].as_str().unwrap(), one["indicator"]["name"].as_str().unwrap()));
            versions.insert(one["hotlist"]["snapshot"].as_str().unwrap());
        }
        let generation = found.iter().find_map(|(feed, name)| {
            let number = name.strip_prefix('v')?.strip_suffix(".example")?;
            (*feed == "versions").then(|| number.parse::<u64>().unwrap())
        });
        let generation = generation.unwrap_or_else(|| panic!("{id}: {found:?}"));
        let [a, b, v] = ["a", "b", "v"].map(|feed| domain(feed, generation));
        let whole = [("a", &*a), ("b", &*b), ("constant", "constant.example"), ("versions", &*v)];
        assert_eq!(found, BTreeSet::from(whole), "{id}: a mix");
        assert_ne!(generation % BAD_EVERY, 0, "{id}: a bad one serves");
        assert_eq!(versions.len(), 1, "{id}");
        let known = *self.versions.entry(versions.pop_first().unwrap().to_owned()).or_insert(generation);
        assert_eq!(known, generation, "{id}: one version has one content");
        *self.counts.entry(id.to_owned()).or_default() += 1;
    }
}

/// Compiles a generation. Now and then the chains of the feeds are rebuilt, and a feed grows or shrinks.
fn compile(fleet: &Fleet, generation: u64) {
    let one = |feed: &str| lines(&[&domain(feed, generation)]);
    let more: String = (0..generation % 5).map(|more| format!("more-{more}.example\n")).collect();
    fleet.compile(&[
        ("a.txt", one("a")),
        ("b.txt", one("b")),
        ("constant.txt", format!("constant.example\n{more}")),
        ("versions.txt", one("v")),
    ]);
    if generation % 7 == 3 {
        fleet.prints(&["compact", "--store", "store"]);
    }
}

/// Publishes what is compiled in a way that no node may take. Its version, and what the refusal says.
fn publish_bad(fleet: &Fleet, number: u64) -> (u64, &'static str) {
    let (store, key, mut now) = (fleet.store(), fleet.key(), Timestamp::now());
    let mut draft = fleet.draft();
    let words = match number % 3 {
        0 => {
            // A flipped byte, and the right name for it.
            let last = draft.segments.len() - 1;
            let mut bytes = std::fs::read(store.segment(&draft.segments[last].digest)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            let digest = Digest::sha256(&bytes);
            std::fs::write(store.segment(&digest), &bytes).unwrap();
            draft.segments[last] = SegmentRef { digest, bytes: bytes.len() as u64 };
            "segment "
        }
        1 => {
            draft.audience = "other".to_owned();
            "the audience `other`"
        }
        _ => {
            now -= SignedDuration::from_hours(2);
            draft.lifetime = Some(SignedDuration::from_hours(1));
            "the manifest expired at "
        }
    };
    (store.publish(draft, Some(&key), now).unwrap().manifest.version, words)
}

/// How many there are, the one in the middle, and the one that a hundredth exceeds.
fn quantiles(took: impl Iterator<Item = Duration>) -> String {
    let mut took: Vec<Duration> = took.collect();
    took.sort();
    let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default();
    format!("{}, p50 {:.2?}, p99 {:.2?}", took.len(), at(50), at(99))
}

/// From now on this thread, and the commands that it starts, run where nothing else wants to: an operator publishes on
/// another machine, and who checks is not there at all, so neither is to take processors from what is measured. Nothing
/// for a machine with other tests at work, where it would hardly run.
fn stand_back() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    // Besides the policy a niceness is set, which may not be allowed and does not matter.
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    assert_eq!(thread_schedule_policy(), Ok(idle));
}

/// Scenario: three sidecars take events all the time while one generation after another is published: changes, feeds
/// rebuilt as a whole, several at once, and every tenth damaged, for others, or expired. Guarantee: no event is matched
/// with a mix of versions or with a bad one, none is lost, bad ones are refused with their reason while the last good
/// one stays active, and all sidecars end at the last good one.
#[test]
fn no_event_is_judged_by_a_mix() {
    // On a thread that ends with it.
    let checker = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(publish_and_check());
    });
    checker.join().unwrap();
}

async fn publish_and_check() {
    let measured = std::env::var("FLEET_PUBLISHES").ok();
    let publishes = measured.as_ref().map_or(PUBLISHES, |publishes| publishes.parse().unwrap());
    let (fleet, next, load) = (Fleet::new(), NextHop::start().await, Arc::new(Load::default()));
    load.generation.store(1, Ordering::Relaxed);
    compile(&fleet, 1);
    let mut good = fleet.publish(&[]);
    let _plane = fleet.plane();
    let sidecars = NODES.map(|node| Hotlist::start(&fleet.sidecar(node, &next, "")));
    for sidecar in &sidecars {
        serves(sidecar, good).await;
    }
    let mut collectors = Vec::new();
    for (node, sidecar) in sidecars.iter().enumerate() {
        for worker in 0..WORKERS_A_NODE {
            collectors.push(start(node, worker, sidecar.address(), &load));
        }
    }
    if measured.is_some() {
        stand_back();
    }
    let mut arrived = Arrived::default();
    let (mut publishing, mut reloads, mut quiets) = (Vec::new(), Vec::new(), Vec::new());
    for generation in 2..=publishes {
        load.generation.store(generation, Ordering::Relaxed);
        compile(&fleet, generation);
        let start = Instant::now();
        let in_force;
        if generation % BAD_EVERY == 0 {
            let (version, words) = publish_bad(&fleet, generation / BAD_EVERY);
            in_force = fleet.in_force();
            for sidecar in &sidecars {
                reports(sidecar, &format!("version {version} was refused")).await;
            }
            reloads.push(in_force..Instant::now());
            publishing.push(start..Instant::now());
            for (node, sidecar) in NODES.iter().zip(&sidecars) {
                let slot = fleet.node(node, "serve", |slot| slot["refused_version"] == version).await;
                let reason = slot["error"]["message"].as_str().unwrap();
                assert!(reason.contains(words), "{reason}");
                assert_eq!(slot["version"], good);
                serves(sidecar, good).await;
            }
        } else {
            good = fleet.publish(&[]);
            in_force = fleet.in_force();
            // Some overtake the previous publication.
            if generation % 4 != 1 || (generation + 1) % BAD_EVERY == 0 {
                for sidecar in &sidecars {
                    serves(sidecar, good).await;
                }
            }
            reloads.push(in_force..Instant::now());
            publishing.push(start..Instant::now());
        }
        arrived.record_arrivals(&next);
        if generation % 4 != 1 {
            let start = Instant::now();
            while start.elapsed() < QUIET {
                // Looked at as in a reload.
                for sidecar in &sidecars {
                    serves(sidecar, good).await;
                }
                pause().await;
            }
            quiets.push(start..Instant::now());
        }
        assert!(collectors.iter().all(|collector| !collector.is_finished()), "a collector failed");
    }
    for sidecar in &sidecars {
        serves(sidecar, good).await;
    }
    load.stop.store(true, Ordering::Relaxed);
    for collector in collectors {
        collector.join().unwrap();
    }
    arrived.record_arrivals(&next);
    let sent = load.sent.lock().unwrap();
    for (id, attempts) in sent.iter() {
        let count = arrived.counts.get(id).copied().unwrap_or(0);
        assert!((1..=*attempts).contains(&count), "{id} arrived {count} times, sent {attempts} times");
    }
    assert_eq!(sent.len(), arrived.counts.len());
    let took = load.took.lock().unwrap();
    let within = |times: &[Range<Instant>]| {
        quantiles(took.iter().filter(|(at, took)| meets(times, *at..*at + *took)).map(|(_, took)| *took))
    };
    println!("{publishes} publications, {} events", sent.len());
    println!("  reloads: {}", quantiles(reloads.iter().map(|reload| reload.end - reload.start)));
    println!("  exports while nothing is published: {}", within(&quiets));
    println!("  exports during reloads: {}", within(&reloads));
    println!("  exports during `hotlist publish` and the reload behind it: {}", within(&publishing));
}

/// Whether a time has a moment in common with one of these.
fn meets(times: &[Range<Instant>], of: Range<Instant>) -> bool {
    times.iter().any(|time| time.start <= of.end && of.start <= time.end)
}
