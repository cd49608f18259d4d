//! The long run: load without a pause while everything around the process changes. The next hop refuses, resets and moves to
//! another address; indicators and configuration change every few seconds; collectors come and go, at times more of them
//! than there are descriptors for; the file of hits is rotated; nobody reads the log. `make prove PART=soak` runs it, as
//! root, since it mounts a file over `/etc/hosts` for the process; `SOAK_SECONDS` says for how long.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::otlp::{render_record, request_of};
use nix::sys::signal::Signal;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::chance::chance;
use crate::client::{Answer, Connection, export_encoded};
use crate::next_hop::{Mood, NextHop};
use crate::process::{Hotlist, PATIENCE, Scene};

const WORKERS: usize = 4;
/// One batch in so many has a hit.
const HIT_EVERY: usize = 20;
const CONFIG_RELOADS: &str = "hotlist_config_reloads_total{result=\"applied\"}";
const SNAPSHOTS: &str = "hotlist_snapshot_reloads_total{result=\"applied\"}";

fn events_of(batch: usize) -> usize {
    1 + batch % 40
}

fn batch(worker: usize, batch: usize) -> Vec<u8> {
    let address = if batch.is_multiple_of(HIT_EVERY) { "198.51.100.23" } else { "192.0.2.1" };
    let documents: Vec<Value> = (0..events_of(batch))
        .map(|event| {
            let ip = if event == 0 { address } else { "192.0.2.2" };
            json!({ "event": { "id": format!("{worker}-{batch}") }, "source": { "ip": ip }, "message": "m".repeat(200) })
        })
        .collect();
    request_of(documents.iter().map(|document| (0, document)))
}

/// How often each batch of a worker was sent until it was acknowledged, and how often it arrived whole.
#[derive(Default)]
struct Ledger {
    sent: [Vec<u32>; WORKERS],
    arrived: [Vec<u32>; WORKERS],
}

/// A collector that sends batch after batch, each until it is acknowledged, over a connection that it keeps.
async fn collector(worker: usize, address: String, stop: Arc<AtomicBool>, ledger: Arc<Mutex<Ledger>>) {
    let mut connection = None;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let message = batch(worker, number);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let answer = match number % 7 {
                0 => export_encoded(&address, "zstd", &zstd::encode_all(message.as_slice(), 1).unwrap()).await,
                _ => send(&mut connection, &address, &message).await,
            };
            match answer {
                Ok(Answer { status: 0, .. }) => break,
                Ok(answer) => assert!(matches!(answer.status, 8 | 14), "only what is retried: {answer:?}"),
                Err(_) => connection = None,
            }
            // Collectors pause before they retry, and so does this one; nothing relies on how long.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ledger.lock().unwrap().sent[worker].push(attempts);
    }
}

async fn send(connection: &mut Option<Connection>, address: &str, message: &[u8]) -> Result<Answer, String> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(address).await?),
    };
    open.export(message).await
}

/// Enters what has arrived into the ledger.
fn note_arrivals(next_hop: &NextHop, ledger: &Mutex<Ledger>) {
    for request in next_hop.take() {
        let message = request.message();
        let (mut count, mut first) = (0, None);
        OTLP.records(&message, |span| {
            count += 1;
            first.get_or_insert(span.record.payload());
        })
        .unwrap();
        let event: Value = serde_json::from_slice(&render_record(&message[first.unwrap()])).unwrap();
        let (worker, number) = event["event"]["id"].as_str().unwrap().split_once('-').unwrap();
        let (worker, number): (usize, usize) = (worker.parse().unwrap(), number.parse().unwrap());
        assert_eq!(count, events_of(number), "a batch arrives whole");
        let arrived = &mut ledger.lock().unwrap().arrived[worker];
        arrived.resize(arrived.len().max(number + 1), 0);
        arrived[number] += 1;
    }
}

/// The next answer of the next hop, and for how long.
fn mood(chance: &mut StdRng) -> (Mood, Duration) {
    let mood = match chance.random_range(0..10) {
        0 => Mood::Refuse(14),
        1 => Mood::Refuse([2, 4, 8, 13, 16][chance.random_range(0..5)]),
        2 => Mood::Hold,
        3 => Mood::BreakOff,
        4 => Mood::Slow(Duration::from_millis(chance.random_range(1..900))),
        _ => Mood::Accept,
    };
    (mood, Duration::from_millis(chance.random_range(200..3_000)))
}

/// Indicators that change, now and then to something that is none.
fn rewrite(scene: &Scene, chance: &mut StdRng) {
    let path = scene.path("indicators/changing.txt");
    let content = match chance.random_range(0..5) {
        0 => vec![0, 159, 146, 150],
        _ => {
            let lines = (0..2_000).map(|_| Ipv4Addr::from(chance.random_range(0x0b00_0000..0x0c00_0000u32)));
            lines.map(|address| format!("{address}\n")).collect::<String>().into_bytes()
        }
    };
    std::fs::write(scene.path("staged"), content).unwrap();
    std::fs::rename(scene.path("staged"), path).unwrap();
}

/// Addresses of the next hop, and one where nothing listens.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
const DEAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
/// Open files that the process may have, and connections of the crowd, which are more.
const FILES: u32 = 256;
const CROWD: usize = 320;

/// The next hop's name has another address now, at times behind one where nothing listens.
fn move_name(scene: &Scene, chance: &mut StdRng) {
    let at = ADDRESSES[chance.random_range(0..2)];
    let dead = if chance.random_bool(0.3) { format!("{DEAD} next.test\n") } else { String::new() };
    scene.write("hosts", &format!("127.0.0.1 localhost\n{dead}{at} next.test\n"));
}

/// More connections than the process has descriptors for, for a moment. The process answers its probes all the while.
async fn crowd(hotlist: &Hotlist) {
    let mut streams = Vec::new();
    for _ in 0..CROWD {
        // What does not fit waits in the listener's queue, or is refused.
        streams.extend(TcpStream::connect(hotlist.address()).await);
    }
    let (status, text) = hotlist.admin("/livez").await;
    assert_eq!(status, 200, "{text}");
}

/// Collectors that come for a moment: silent, half of a greeting, or a frame without an end.
async fn passers_by(address: &str) {
    for sent in [b"".as_slice(), b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\x40\0\x01"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
    }
}

/// The most of the samples of one fifth of the run.
fn fifth(samples: &[u64], number: usize) -> u64 {
    let length = samples.len() / 5;
    *samples[number * length..(number + 1) * length].iter().max().unwrap()
}

/// Guarantee, after all that: every acknowledged batch is at the next hop, whole, and no more often than it was sent;
/// every hit of it is in the file; the memory of the last fifth of the time is that of the second, give or take a tenth
/// and 16 MiB; the file descriptors are those of the beginning; nothing panicked; and a signal ends it with exit code 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes SOAK_SECONDS, half an hour by default; `make prove` runs it"]
async fn a_long_run_loses_nothing_and_keeps_nothing() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(1_800, |seconds| seconds.parse().unwrap());
    let mut chance = chance();
    let (scene, next_hop) = (Scene::new(), NextHop::start_on(&ADDRESSES).await);
    scene.indicators("planted", &["198.51.100.23"]);
    scene.indicators("changing", &["203.0.113.1"]);
    move_name(&scene, &mut chance);
    let (_, port) = next_hop.endpoint.rsplit_once(':').unwrap();
    let config = scene.sidecar(&format!("http://next.test:{port}"), ", timeout: 1s", "");
    let hotlist = Hotlist::spawn_among(&scene.path("hosts"), &config, FILES);
    hotlist.wait_for("source is listening");
    let ledger: Arc<Mutex<Ledger>> = Arc::default();
    hotlist.signal(Signal::SIGHUP);
    hotlist.until_metric(CONFIG_RELOADS, |reloads| reloads > 0.0).await;
    assert_eq!(Connection::open(&hotlist.address()).await.unwrap().export(b"").await.unwrap().status, 0);
    next_hop.take();
    let open = "hotlist_connections{listener=\"agents\"}";
    hotlist.until_metric(open, |open| open == 0.0).await;
    let files = hotlist.open_files();

    let stop = Arc::new(AtomicBool::new(false));
    let collectors: Vec<_> = (0..WORKERS)
        .map(|worker| tokio::spawn(collector(worker, hotlist.address(), Arc::clone(&stop), Arc::clone(&ledger))))
        .collect();
    let (begun, mut next_mood, mut next_config) = (Instant::now(), Instant::now(), Instant::now());
    let (mut samples, mut moods, mut rotations) = (Vec::new(), 0, 0);
    // A second after the other, which is the pace of what changes.
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    while begun.elapsed() < Duration::from_secs(seconds) {
        pace.tick().await;
        samples.push(hotlist.resident_kib());
        note_arrivals(&next_hop, &ledger);
        passers_by(&hotlist.address()).await;
        if Instant::now() >= next_mood {
            let (mood, time) = mood(&mut chance);
            next_hop.set(mood);
            (next_mood, moods) = (Instant::now() + time, moods + 1);
        }
        // Times without a common factor, so that everything meets everything.
        let second = samples.len();
        if second % 3 == 0 {
            rewrite(&scene, &mut chance);
        }
        if second % 7 == 0 {
            move_name(&scene, &mut chance);
            next_hop.reset();
        }
        if second % 11 == 0 && scene.path("hits.ndjson").exists() {
            rotations += 1;
            std::fs::rename(scene.path("hits.ndjson"), scene.path(&format!("hits.{rotations}.ndjson"))).unwrap();
        }
        if second % 23 == 0 {
            crowd(&hotlist).await;
        }
        hotlist.stall_log(second % 31 > 20);
        if Instant::now() >= next_config {
            hotlist.signal(Signal::SIGHUP);
            next_config = Instant::now() + Duration::from_secs(17);
        }
    }
    next_hop.set(Mood::Accept);
    hotlist.stall_log(false);
    stop.store(true, Ordering::Relaxed);
    for collector in collectors {
        tokio::time::timeout(PATIENCE, collector).await.expect("not acknowledged").unwrap();
    }
    note_arrivals(&next_hop, &ledger);

    let ledger = std::mem::take(&mut *ledger.lock().unwrap());
    let rotated = (1..=rotations).map(|number| format!("hits.{number}.ndjson"));
    let files_of_hits: Vec<String> = rotated.chain(["hits.ndjson".to_owned()]).collect();
    let lines = files_of_hits.iter().filter(|name| scene.path(name).exists()).flat_map(|name| scene.ndjson(name));
    let hits: BTreeSet<String> = lines.map(|event| event["event"]["id"].as_str().unwrap().to_owned()).collect();
    let (mut batches, mut again, mut twice, mut events, mut expected) = (0, 0, 0, 0, BTreeSet::new());
    for worker in 0..WORKERS {
        let (sent, arrived) = (&ledger.sent[worker], &ledger.arrived[worker]);
        assert_eq!(sent.len(), arrived.len(), "every batch was acknowledged in the end");
        for (number, (sent, arrived)) in sent.iter().zip(arrived).enumerate() {
            assert!(
                (1..=*sent).contains(arrived),
                "{worker}-{number} was sent {sent} times and arrived {arrived} times"
            );
            again += usize::from(*sent > 1);
            twice += usize::from(*arrived > 1);
            events += events_of(number);
            if number.is_multiple_of(HIT_EVERY) {
                expected.insert(format!("{worker}-{number}"));
            }
        }
        batches += sent.len();
    }
    assert_eq!(hits, expected);
    hotlist.until_metric("hotlist_in_flight_bytes", |bytes| bytes == 0.0).await;
    hotlist.until_metric(open, |open| open == 0.0).await;
    let (snapshots, configurations) = (hotlist.metric(SNAPSHOTS).await, hotlist.metric(CONFIG_RELOADS).await);
    let (early, late) = (fifth(&samples, 1), fifth(&samples, 4));
    println!(
        "{:?}: {events} events in {batches} batches acknowledged, {again} batches sent again, {twice} arrived twice or \
         more; {moods} moods of the next hop, {rotations} rotations, {snapshots} snapshots, {configurations} \
         configurations; resident at most \
         {early} KiB in the second fifth, {late} KiB in the last; {} files open before, {} after",
        begun.elapsed(),
        files.len(),
        hotlist.open_files().len()
    );
    let deadline = Instant::now() + PATIENCE;
    while hotlist.open_files().len() > files.len() {
        assert!(Instant::now() < deadline, "{files:#?} became {:#?}", hotlist.open_files());
    }
    assert!(late <= early + early / 10 + (16 << 10), "{samples:?}");
    hotlist.signal(Signal::SIGTERM);
    let (status, log) = hotlist.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("panic"), "{log}");
}
