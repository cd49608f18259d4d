//! `kill -9` under load: of the next hop, of the sidecar, of both. What was acknowledged is at the next hop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hotlist::encoding::otlp::request_of;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::chance::chance;
use crate::client::export;
use crate::process::{Hotlist, PATIENCE, Scene};

const WORKERS: usize = 4;
const EVENTS_A_BATCH: usize = 20;
/// One event in so many hits.
const HIT_EVERY: usize = 10;

/// A configuration whose sockets are files, so that a restart is at the same place.
fn front(scene: &Scene) -> std::path::PathBuf {
    scene.indicators("planted", &["198.51.100.23"]);
    let place = |name: &str| scene.path(name).display().to_string();
    let text = format!(
        r#"sources: {{ agents: {{ type: otlp, address: "unix:{}" }} }}
intel: {{ files: ["{}/*"] }}
sinks:
  next: {{ type: otlp, inputs: [agents], endpoint: "unix:{}" }}
  hits: {{ type: ndjson, inputs: [agents], path: "{}", only: hits }}
log: {{ format: json }}
"#,
        place("front.sock"),
        place("indicators"),
        place("next.sock"),
        place("hits.ndjson")
    );
    scene.write("front.yaml", &text)
}

/// The next hop is another Hotlist, which matches nothing and writes every event to a file before it acknowledges.
fn next(scene: &Scene) -> std::path::PathBuf {
    let text = format!(
        r#"sources: {{ front: {{ type: otlp, address: "unix:{}" }} }}
sinks: {{ all: {{ type: ndjson, inputs: [front], path: "{}" }} }}
log: {{ format: json }}
"#,
        scene.path("next.sock").display(),
        scene.path("all.ndjson").display()
    );
    scene.write("next.yaml", &text)
}

/// The state of the clients when they have ended.
#[derive(Default)]
struct Sent {
    /// How often each event was sent. The last time it was acknowledged.
    attempts: BTreeMap<String, usize>,
}

/// A client that sends batch after batch, each until it is acknowledged.
async fn client(
    worker: usize,
    address: String,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<watch::Sender<usize>>,
    sent: Arc<Mutex<Sent>>,
) {
    for batch in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let ids: Vec<String> = (0..EVENTS_A_BATCH).map(|event| format!("{worker}-{batch}-{event}")).collect();
        let documents: Vec<Value> = ids
            .iter()
            .enumerate()
            .map(|(event, id)| {
                let address = if event % HIT_EVERY == 0 { "198.51.100.23" } else { "192.0.2.1" };
                json!({ "event": { "id": id }, "source": { "ip": address } })
            })
            .collect();
        let message = request_of(documents.iter().map(|document| (1, document)));
        let mut attempts = 0;
        loop {
            attempts += 1;
            match export(&address, &message).await {
                Ok(answer) if answer.status == 0 => break,
                Ok(answer) => assert_eq!(answer.status, 14, "only a transient status: {answer:?}"),
                Err(_) => {}
            }
            // Collectors pause before they retry, and so does this one; nothing relies on how long.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sent.lock().unwrap().attempts.extend(ids.into_iter().map(|id| (id, attempts)));
        acknowledged.send_modify(|acknowledged| *acknowledged += EVENTS_A_BATCH);
    }
}

/// How often each event stands in a file, and how many of its lines are not JSON.
fn counted(path: &Path) -> (BTreeMap<String, usize>, usize) {
    let (mut counts, mut torn) = (BTreeMap::new(), 0);
    for line in std::fs::read_to_string(path).unwrap().lines() {
        match serde_json::from_str::<Value>(line) {
            Ok(event) => *counts.entry(event["event"]["id"].as_str().unwrap().to_owned()).or_insert(0) += 1,
            Err(_) => torn += 1,
        }
    }
    (counts, torn)
}

/// Kills a process, now and then again while it starts, and starts it.
fn restart(running: Hotlist, config: &Path, chance: &mut StdRng) -> Hotlist {
    running.kill();
    if chance.random_bool(0.2) {
        let starting = Hotlist::spawn(config);
        std::thread::sleep(moment(chance, 60_000));
        starting.kill();
    }
    Hotlist::start(config)
}

/// A random time. Nothing waits for anything with it: it is the moment that a kill meets which is random.
fn moment(chance: &mut StdRng, microseconds: u64) -> Duration {
    Duration::from_micros(chance.random_range(0..microseconds))
}

/// Scenario: four clients that retry what was not acknowledged, while the next hop, the sidecar or both are killed at
/// fifty random moments and started again. Guarantee: every acknowledged event is at the next hop, and every
/// acknowledged hit is in the file of hits; an event is there twice only when it had to be sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_kills_of_either_side() {
    const KILLS: usize = 50;
    let mut chance = chance();
    let scene = Scene::new();
    let (front, next) = (front(&scene), next(&scene));
    let (mut next_hop, mut sidecar) = (Hotlist::start(&next), Hotlist::start(&front));
    let (acknowledged, mut progress) = watch::channel(0);
    let (acknowledged, stop, sent) = (Arc::new(acknowledged), Arc::new(AtomicBool::new(false)), Arc::default());
    let clients: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            tokio::spawn(client(worker, sidecar.address(), stop, acknowledged, Arc::clone(&sent)))
        })
        .collect();
    let started = Instant::now();
    for round in 0..KILLS {
        // The way is open again, and then comes some moment of the batches' way.
        let goal = *progress.borrow() + EVENTS_A_BATCH * chance.random_range(1..20);
        tokio::time::timeout(PATIENCE, progress.wait_for(|acknowledged| *acknowledged >= goal)).await.unwrap().unwrap();
        tokio::time::sleep(moment(&mut chance, 20_000)).await;
        match round % 3 {
            0 => next_hop = restart(next_hop, &next, &mut chance),
            1 => sidecar = restart(sidecar, &front, &mut chance),
            _ => {
                // The one or the other goes first, and the one or the other comes first.
                if chance.random_bool(0.5) {
                    sidecar.kill();
                    next_hop = restart(next_hop, &next, &mut chance);
                    sidecar = Hotlist::start(&front);
                } else {
                    next_hop.kill();
                    sidecar = restart(sidecar, &front, &mut chance);
                    next_hop = Hotlist::start(&next);
                }
            }
        }
    }
    let goal = *progress.borrow() + 1000;
    tokio::time::timeout(PATIENCE, progress.wait_for(|acknowledged| *acknowledged >= goal)).await.unwrap().unwrap();
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap();
    }
    let took = started.elapsed();

    let sent = sent.lock().unwrap();
    let (delivered, torn) = counted(&scene.path("all.ndjson"));
    let (hits, torn_hits) = counted(&scene.path("hits.ndjson"));
    // A round kills each of them at most twice.
    assert!(torn.max(torn_hits) <= 2 * KILLS, "a kill tears at most one line: {torn}, {torn_hits}");
    let missing: Vec<&String> = sent.attempts.keys().filter(|id| !delivered.contains_key(*id)).collect();
    assert!(missing.is_empty(), "{} acknowledged events are lost: {missing:?}", missing.len());
    let too_often: Vec<&String> =
        sent.attempts.iter().filter(|(id, sent)| delivered[*id] > **sent).map(|(id, _)| id).collect();
    assert!(too_often.is_empty(), "delivered more often than sent: {too_often:?}");
    let unsent: Vec<&String> = delivered.keys().filter(|id| !sent.attempts.contains_key(*id)).collect();
    assert!(unsent.is_empty(), "every batch was acknowledged in the end: {unsent:?}");
    let wanted: BTreeSet<&String> = sent.attempts.keys().filter(|id| is_hit(id)).collect();
    assert_eq!(hits.keys().collect::<BTreeSet<_>>(), wanted, "the file of hits");
    let again = sent.attempts.values().filter(|attempts| **attempts > 1).count();
    assert!(again > 0, "the kills were noticed");
    let twice = delivered.values().filter(|count| **count > 1).count();
    println!(
        "{} events acknowledged, {again} sent again, {twice} delivered twice or more, {KILLS} kills in {took:?}",
        sent.attempts.len()
    );
}

fn is_hit(id: &str) -> bool {
    let event: usize = id.rsplit('-').next().unwrap().parse().unwrap();
    event.is_multiple_of(HIT_EVERY)
}
