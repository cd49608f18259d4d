//! A next hop that is slow, silent, refuses or breaks off, under clients that keep trying: what they see, what the process
//! keeps in memory, and that everything is delivered once the next hop is well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::otlp::{render_record, request_of};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Answer, Connection};
use crate::next_hop::{Mood, NextHop};
use crate::process::{Hotlist, PATIENCE, Scene};

/// A batch with one event, of about so many bytes.
fn event(id: usize, bytes: usize) -> Bytes {
    request_of([(1, &json!({ "id": id, "source": { "ip": "192.0.2.1" }, "message": "x".repeat(bytes) }))]).into()
}

/// How often each event arrived.
fn delivered(next_hop: &NextHop) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for request in next_hop.take() {
        let message = request.message();
        OTLP.records(&message, |span| {
            let event: Value = serde_json::from_slice(&render_record(&message[span.record.payload()])).unwrap();
            *counts.entry(event["id"].as_u64().unwrap() as usize).or_insert(0) += 1;
        })
        .unwrap();
    }
    counts
}

/// Clients that send one event each, again and again until it is acknowledged.
struct Clients {
    tasks: JoinSet<Vec<Answer>>,
    /// How many got a refusal.
    refused: watch::Receiver<usize>,
}

impl Clients {
    fn start(address: &str, ids: std::ops::Range<usize>, bytes: usize) -> Clients {
        let (heard, refused) = watch::channel(0);
        let heard = Arc::new(heard);
        let mut tasks = JoinSet::new();
        for id in ids {
            let (address, heard) = (address.to_owned(), Arc::clone(&heard));
            tasks.spawn(async move {
                let message = event(id, bytes);
                let mut connection = Connection::open(&address).await.unwrap();
                let mut answers: Vec<Answer> = Vec::new();
                loop {
                    let answer = connection.export(&message).await.unwrap();
                    if answer.status == 0 {
                        return answers;
                    }
                    if answers.is_empty() {
                        heard.send_modify(|heard| *heard += 1);
                    }
                    answers.push(answer);
                    // Collectors pause before they retry, and so does this one; nothing relies on how long.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        Clients { tasks, refused }
    }

    /// Waits until so many got a refusal.
    async fn refused(&mut self, count: usize) {
        tokio::time::timeout(PATIENCE, self.refused.wait_for(|refused| *refused >= count)).await.unwrap().unwrap();
    }

    /// All refusals, once every client was acknowledged.
    async fn acknowledged(mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(ended) = tokio::time::timeout(PATIENCE, self.tasks.join_next()).await.expect("not acknowledged")
        {
            answers.extend(ended.unwrap());
        }
        answers
    }
}

/// Scenario: the next hop takes a second for each answer, and 40 clients send a mebibyte each where there is room for
/// 16. Guarantee: a client for which there is no room gets RESOURCE_EXHAUSTED, and nothing else; the memory stays
/// within the limit; a small event passes among them; and each event is at the next hop exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_next_hop_fills_the_room_and_not_the_memory() {
    const CLIENTS: usize = 40;
    const SLOW: Duration = Duration::from_secs(1);
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let config = scene.sidecar(&next_hop.endpoint, "", "limits: { in_flight_bytes: 16MiB }\n");
    let text = std::fs::read_to_string(&config).unwrap();
    let source = "type: otlp, max_request_bytes: 2MiB, address";
    let hotlist = Hotlist::start(&scene.write("hotlist.yaml", &text.replacen("type: otlp, address", source, 1)));
    next_hop.set(Mood::Slow(SLOW));
    let before = hotlist.resident_kib();
    let mut clients = Clients::start(&hotlist.address(), 1..CLIENTS + 1, 1_000_000);
    clients.refused(1).await;
    let begun = Instant::now();
    let small = Clients::start(&hotlist.address(), 0..1, 10).acknowledged().await;
    assert!(begun.elapsed() < SLOW * 4, "a small event waits {:?} behind large ones: {small:?}", begun.elapsed());
    let refusals = [clients.acknowledged().await, small].concat();
    let exhausted = |answer: &Answer| answer.status == 8 && answer.message.contains("limits.in_flight_bytes");
    assert!(refusals.iter().all(exhausted), "{refusals:?}");
    assert_eq!(delivered(&next_hop), (0..CLIENTS + 1).map(|id| (id, 1)).collect());
    assert_eq!(hotlist.metric("hotlist_in_flight_bytes").await, 0.0);
    let answered = "hotlist_source_requests_total{source=\"agents\",status=\"resource_exhausted\"}";
    assert_eq!(hotlist.metric(answered).await, refusals.len() as f64);
    // In addition to the limit: an HTTP/2 window per connection (what a client sends before it is admitted), and one
    // copy on the way out.
    let (grown, bound) = (hotlist.peak_kib() - before, (16 + CLIENTS as u64 * 2 + 16) << 10);
    println!("{grown} KiB more at most, {bound} allowed; {} refusals", refusals.len());
    assert!(grown < bound, "{grown} KiB more at most, {bound} allowed");
}

/// Scenario: the next hop falls silent, breaks off its answers, or answers one of the sixteen statuses, each while
/// eight clients send an event and try again; then it recovers. Guarantee: each client gets a status that it retries,
/// with the sink and the cause; nothing is acknowledged before the next hop recovers; then each event is there, once
/// unless the next hop took it without answering in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_delivered_once_the_next_hop_is_well() {
    const CLIENTS: usize = 8;
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let hotlist = Hotlist::start(&scene.sidecar(&next_hop.endpoint, ", timeout: 300ms", ""));
    // A stream that is reset at once may be so before its headers were sent.
    let faults = [(Mood::Hold, "no answer within 300 ms"), (Mood::BreakOff, "broke off|stream error received")];
    let statuses = (1..=16).map(|status| (Mood::Refuse(status), "the next hop answered"));
    for (round, (mood, cause)) in faults.into_iter().chain(statuses).enumerate() {
        next_hop.set(mood);
        let ids = round * CLIENTS..(round + 1) * CLIENTS;
        let mut clients = Clients::start(&hotlist.address(), ids.clone(), 1_000);
        clients.refused(CLIENTS).await;
        assert!(next_hop.take().is_empty(), "{mood:?}");
        next_hop.set(Mood::Accept);
        let refusals = clients.acknowledged().await;
        let has_cause = |answer: &Answer| cause.split('|').any(|cause| answer.message.contains(cause));
        for answer in &refusals {
            let waits = ["no connection: ", "next attempt in"].iter().all(|part| answer.message.contains(part));
            assert_eq!(answer.status, if mood == Mood::Refuse(8) { 8 } else { 14 }, "{mood:?}: {answer:?}");
            assert!(answer.message.contains("sink next"), "{mood:?}: {answer:?}");
            assert!(has_cause(answer) || waits, "{mood:?}: {answer:?}");
        }
        assert!(refusals.iter().any(has_cause), "{mood:?}: {refusals:?}");
        let delivered = delivered(&next_hop);
        assert_eq!(delivered.keys().copied().collect::<Vec<_>>(), ids.collect::<Vec<_>>(), "{mood:?}");
        // Who answers after the time-out has the event already, and gets it again.
        let late = if mood == Mood::Hold { refusals.len() } else { 0 };
        assert!(delivered.values().sum::<usize>() <= CLIENTS + late, "{mood:?}: {delivered:?}");
    }
    for status in ["timeout", "connection", "unknown", "unauthenticated"] {
        let answers = format!("hotlist_next_hop_answers_total{{sink=\"next\",status=\"{status}\"}}");
        assert!(hotlist.metric(&answers).await >= 1.0, "{status}");
    }
    assert_eq!(hotlist.metric("hotlist_in_flight_bytes").await, 0.0);
}
