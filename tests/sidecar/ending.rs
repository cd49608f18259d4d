//! How a process is stopped: the delay for collectors that end at the same moment, a second signal, and signals while a
//! path hangs.

use std::time::{Duration, Instant};

use hotlist::encoding::otlp::request_of;
use nix::sys::signal::Signal;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde_json::json;

use crate::client::{Connection, export};
use crate::next_hop::{Mood, NextHop};
use crate::process::{Hotlist, PATIENCE, Scene};

fn event() -> Vec<u8> {
    request_of([(1, &json!({ "source": { "ip": "198.51.100.23" } }))])
}

async fn scene(more: &str) -> (Scene, NextHop, std::path::PathBuf) {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let config = scene.sidecar(&next_hop.endpoint, "", more);
    (scene, next_hop, config)
}

async fn until_not_ready(hotlist: &Hotlist) {
    let deadline = Instant::now() + PATIENCE;
    while hotlist.admin("/readyz").await.0 == 200 {
        assert!(Instant::now() < deadline, "/readyz stays 200");
    }
}

/// Scenario: SIGTERM reaches sidecar and collector at the same moment, and the collector sends what it has left, on its
/// open connection and on new ones. Guarantee: readiness goes off at once, requests are acknowledged for the whole delay,
/// and the process ends by itself with exit code 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_stay_open_for_the_delay() {
    const DELAY: Duration = Duration::from_secs(2);
    let (_scene, _next_hop, config) = scene("shutdown: { grace: 20s, delay: 2s }\n").await;
    let hotlist = Hotlist::start(&config);
    let address = hotlist.address();
    let mut connection = Connection::open(&address).await.unwrap();
    let begun = Instant::now();
    hotlist.signal(Signal::SIGTERM);
    until_not_ready(&hotlist).await;
    let mut sent = 0;
    while begun.elapsed() < DELAY / 2 {
        assert_eq!(connection.export(&event()).await.unwrap().status, 0);
        assert_eq!(export(&address, &event()).await.unwrap().status, 0);
        sent += 2;
    }
    assert!(sent > 0);
    let (status, log) = hotlist.wait();
    assert!(begun.elapsed() >= DELAY, "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("sources stay open"), "{log}");
}

/// Guarantee: somebody at a terminal does not wait for collectors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_has_no_delay() {
    let (_scene, _next_hop, config) = scene("shutdown: { grace: 100s, delay: 90s }\n").await;
    let hotlist = Hotlist::start(&config);
    hotlist.signal(Signal::SIGINT);
    let (status, log) = hotlist.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("sources stay open"), "{log}");
}

/// Scenario: a second signal during the delay, and one while a request waits for a next hop that never answers. Guarantee:
/// the process ends now, with exit code 1 and the reason, and the request is not acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_process_now() {
    for (more, first) in
        [("shutdown: { grace: 100s, delay: 90s }\n", Signal::SIGTERM), ("shutdown: { grace: 100s }\n", Signal::SIGINT)]
    {
        let (_scene, next_hop, config) = scene(more).await;
        next_hop.set(Mood::Hold);
        let hotlist = Hotlist::start(&config);
        let address = hotlist.address();
        let client = tokio::spawn(async move { export(&address, &event()).await });
        next_hop.held(1).await;
        hotlist.signal(first);
        hotlist.wait_for(if first == Signal::SIGTERM { "sources stay open" } else { "draining" });
        hotlist.signal(Signal::SIGTERM);
        let (status, log) = hotlist.wait();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("before it had drained"), "{log}");
        assert!(tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap().is_err());
    }
}

/// Scenario: the file of a sink is a pipe that has no reader. Guarantee: a start is refused with the reason; so is a
/// reload, events are still delivered to the earlier sinks, and SIGTERM ends the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_without_a_reader_is_refused_and_blocks_nothing() {
    let (scene, _next_hop, config) = scene("shutdown: { delay: 0s }\n").await;
    let good = std::fs::read_to_string(&config).unwrap();
    let pipe = scene.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let bad = good.replace("hits.ndjson", "pipe");
    let (status, log) = Hotlist::spawn(&scene.write("bad.yaml", &bad)).wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("pipe that no process reads"), "{log}");

    let hotlist = Hotlist::start(&config);
    scene.write("hotlist.yaml", &bad);
    hotlist.signal(Signal::SIGHUP);
    hotlist.wait_for("pipe that no process reads");
    assert_eq!(export(&hotlist.address(), &event()).await.unwrap().status, 0);
    assert_eq!(scene.ndjson("hits.ndjson").len(), 1);
    hotlist.signal(Signal::SIGTERM);
    let (status, log) = hotlist.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// Scenario: the file of a sink is a pipe with a reader. Guarantee: the hits arrive there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_with_a_reader_takes_hits() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::OpenOptionsExt;

    let (scene, _next_hop, config) = scene("").await;
    let pipe = scene.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    // Opened without waiting for a writer, which comes later.
    let reader = std::fs::File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(&pipe)
        .unwrap();
    let text = std::fs::read_to_string(&config).unwrap().replace("hits.ndjson", "pipe");
    let hotlist = Hotlist::start(&scene.write("hotlist.yaml", &text));
    assert_eq!(export(&hotlist.address(), &event()).await.unwrap().status, 0);
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    assert!(line.contains("threat-match"), "{line}");
}

/// Scenario: reading the configuration hangs at a reload, because it became a pipe that has no writer. Guarantee:
/// events and probes are answered meanwhile, and SIGTERM ends the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_hangs_blocks_neither_events_nor_the_end() {
    let (_scene, _next_hop, config) = scene("shutdown: { delay: 0s }\n").await;
    let hotlist = Hotlist::start(&config);
    std::fs::remove_file(&config).unwrap();
    mknodat(CWD, &config, FileType::Fifo, Mode::RWXU, 0).unwrap();
    hotlist.signal(Signal::SIGHUP);
    hotlist.wait_for("SIGHUP received");
    assert_eq!(export(&hotlist.address(), &event()).await.unwrap().status, 0);
    assert_eq!(hotlist.admin("/livez").await.0, 200);
    hotlist.signal(Signal::SIGTERM);
    let (status, log) = hotlist.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// Scenario: the reader of a sink's pipe stalls, so that a write to it never ends. Guarantee: SIGTERM ends the process when
/// the grace period is over, and what was not written is not acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_hangs_does_not_hold_up_the_end() {
    let (scene, _next_hop, config) = scene("shutdown: { grace: 500ms, delay: 0s }\n").await;
    let pipe = scene.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _reader = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let text = std::fs::read_to_string(&config).unwrap().replace("hits.ndjson", "pipe");
    let hotlist = Hotlist::start(&scene.write("hotlist.yaml", &text));
    let large = request_of([(1, &json!({ "source": { "ip": "198.51.100.23" }, "message": "x".repeat(20_000) }))]);
    let address = hotlist.address();
    let mut stuck = loop {
        let mut client = tokio::spawn({
            let (address, large) = (address.clone(), large.clone());
            async move { export(&address, &large).await }
        });
        match tokio::time::timeout(Duration::from_secs(1), &mut client).await {
            Ok(answer) => assert_eq!(answer.unwrap().unwrap().status, 0),
            Err(_) => break client,
        }
    };
    hotlist.signal(Signal::SIGTERM);
    let (status, log) = hotlist.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    let answer = tokio::time::timeout(PATIENCE, &mut stuck).await.unwrap().unwrap();
    assert!(answer.is_err(), "{answer:?}");
}
