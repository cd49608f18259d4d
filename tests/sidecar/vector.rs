//! Vector's protocol through the real binary: hits are tagged among bytes that stay, and an end in the middle of trouble
//! loses nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hotlist::encoding::otlp::request_of;
use nix::sys::signal::Signal;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::client::{Answer, EXPORT, frame, send};
use crate::next_hop::NextHop;
use crate::peer::{self, Event, EventWrapper, Kind, Log, Metadata, Named, PushEventsRequest};
use crate::process::{Hotlist, PATIENCE, Scene};

const PUSH_EVENTS: &str = "/vector.Vector/PushEvents";

async fn push(address: &str, message: &[u8]) -> Result<Answer, String> {
    let headers = [("te", "trailers"), ("content-type", "application/grpc")];
    send(address, PUSH_EVENTS, &headers, frame(0, message)).await
}

/// The configuration of [`Scene::readme`] with the protocol of Vector on both sides.
fn vector(scene: &Scene, endpoint: &str) -> std::path::PathBuf {
    let config = scene.readme(endpoint);
    let text = std::fs::read_to_string(&config).unwrap().replace("type: otlp", "type: vector");
    scene.write("hotlist.yaml", &text)
}

fn document(event: &EventWrapper) -> Value {
    serde_json::from_slice(&hotlist::encoding::vector::render_record(&event.encode_to_vec())).unwrap()
}

/// Scenario: a request as Vector sends it, with hits in fields, in a list and in a line of JSON, between quiet events,
/// a metric, and an event that cannot be read. Guarantee: the hits keep their content and get their enrichment, in the
/// fields of the event; everything else arrives byte for byte; the hits are in the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_are_tagged_among_bytes_that_stay() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23", "evil.example"]);
    let hotlist = Hotlist::start(&vector(&scene, &next_hop.endpoint));
    hotlist.wait_for("the next hop is healthy");
    assert_eq!(next_hop.take().len(), 1, "the question");
    let metadata =
        Metadata { value: Some(peer::value(&json!({ "vector": { "k": "v" } }))), source_event_id: vec![7; 16] };
    let with = |document: Value| {
        let log = Log { fields: peer::fields(&document), metadata_full: Some(metadata.clone()), ..Log::default() };
        peer::wrap(log)
    };
    let line = r#"{"dns":{"question":{"name":"evil.example"}},"n":1}"#;
    let events = [
        with(json!({ "source": { "ip": "192.0.2.1" }, "tags": ["a"] })),
        with(json!({ "destination": { "ip": "198.51.100.23" }, "tags": ["a"], "port": 443 })),
        EventWrapper { event: Some(Event::Metric(Named { name: "m".to_owned() })) },
        with(json!({ "related": { "ip": ["192.0.2.1", "198.51.100.23"] } })),
        with(json!({ "message": line, "host": "h" })),
    ];
    let malformed = [0x0a, 2, 0x08, 1];
    let message = [PushEventsRequest { events: events.to_vec() }.encode_to_vec(), malformed.to_vec()].concat();
    let answer = push(&hotlist.address(), &message).await.unwrap();
    assert_eq!(answer, Answer { status: 0, message: String::new() });

    let [arrived] = &next_hop.take()[..] else { panic!("one request") };
    let bytes = arrived.message();
    assert!(bytes.ends_with(&malformed), "what cannot be read passes");
    let arrived = PushEventsRequest::decode(&bytes[..bytes.len() - malformed.len()]).unwrap().events;
    assert_eq!((&arrived[0], &arrived[2]), (&events[0], &events[2]), "quiet events and metrics are untouched");
    for (at, field, value) in [
        (1, "destination.ip", "198.51.100.23"),
        (3, "related.ip", "198.51.100.23"),
        (4, "dns.question.name", "evil.example"),
    ] {
        let (tagged, before) = (document(&arrived[at]), document(&events[at]));
        let enrichment = &tagged["threat"]["enrichments"][0];
        assert_eq!(
            (&enrichment["matched"]["field"], &enrichment["matched"]["atomic"]),
            (&json!(field), &json!(value)),
            "{tagged}"
        );
        assert!(tagged["tags"].as_array().unwrap().contains(&json!("threat-match")), "{tagged}");
        for (key, old) in before.as_object().unwrap().iter().filter(|(key, _)| *key != "tags") {
            assert_eq!(&tagged[key], old, "{key}");
        }
        let Some(Event::Log(log)) = &arrived[at].event else { panic!("{:?}", arrived[at]) };
        assert_eq!(log.metadata_full.as_ref(), Some(&metadata));
    }
    let Some(Event::Log(log)) = &arrived[1].event else { panic!("{:?}", arrived[1]) };
    assert_eq!(log.fields["port"].kind, Some(Kind::Integer(443)), "types stay");
    let hits: Vec<Value> = scene.ndjson("hits.ndjson");
    assert_eq!(hits.len(), 3);
    assert_eq!(hits[2]["message"], line);
    let malformed = "hotlist_malformed_records_total{reason=\"unreadable\"} 1\n";
    assert!(hotlist.admin("/metrics").await.1.contains(malformed));
}

/// Scenario: the next hop closes every connection after it took a request, collectors try again and again, and a signal
/// ends the sidecar in between; for each protocol. Guarantee: it is gone within 2 s with exit code 0, and nothing that
/// was not delivered was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_while_the_next_hop_closes_acknowledges_nothing_undelivered() {
    const CLIENTS: usize = 4;
    let message = |path: &str, id: usize| {
        let document = json!({ "id": id });
        if path == EXPORT { request_of([(1, &document)]) } else { peer::request([&document]) }
    };
    for path in [EXPORT, PUSH_EVENTS] {
        let scene = Scene::new();
        scene.indicators("planted", &["198.51.100.23"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let closed = Arc::new(AtomicUsize::new(0));
        let closing = Arc::clone(&closed);
        // Takes the preface and what comes with it, and is gone.
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut bytes = vec![0; 1 << 16];
                let _ = stream.readable().await;
                let _ = stream.try_read(&mut bytes);
                closing.fetch_add(1, Ordering::Relaxed);
            }
        });
        let config = if path == EXPORT { scene.readme(&endpoint) } else { vector(&scene, &endpoint) };
        let mut hotlist = Hotlist::start(&config);
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let collectors: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (address, stop, answers) = (hotlist.address(), Arc::clone(&stop), Arc::clone(&answers));
                let message = message(path, client);
                tokio::spawn(async move {
                    let headers = [("te", "trailers"), ("content-type", "application/grpc")];
                    while !stop.load(Ordering::Relaxed) {
                        match send(&address, path, &headers, frame(0, &message)).await {
                            Ok(answer) => answers.lock().unwrap().push(answer.status),
                            // The sidecar is gone.
                            Err(_) => break,
                        }
                    }
                })
            })
            .collect();
        let deadline = Instant::now() + PATIENCE;
        while closed.load(Ordering::Relaxed) < 3 || answers.lock().unwrap().len() < 20 {
            assert!(Instant::now() < deadline, "{}", hotlist.log());
            tokio::task::yield_now().await;
        }
        let ended = Instant::now();
        // Without the delay of a SIGTERM.
        hotlist.signal(Signal::SIGINT);
        while hotlist.is_running() {
            assert!(ended.elapsed() < Duration::from_secs(2), "still there: {}", hotlist.log());
            tokio::task::yield_now().await;
        }
        let (status, log) = hotlist.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        stop.store(true, Ordering::Relaxed);
        for collector in collectors {
            collector.await.unwrap();
        }
        let answers = std::mem::take(&mut *answers.lock().unwrap());
        assert!(answers.iter().all(|status| *status == 14), "{path}: {answers:?}");
    }
}
