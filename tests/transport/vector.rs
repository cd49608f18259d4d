//! Vector's own protocol: what its sink sends, what its source answers, and what the sidecar makes of both.

use std::sync::Arc;

use bytes::Bytes;
use hotlist::config::Endpoint;
use hotlist::encoding::Format;
use hotlist::pipeline::{BatchRefusal, HitRecord, MatchedMessage, Signal, Transform, Work};
use hotlist::sink::grpc::{GrpcSink, Settings};
use hotlist::sink::{Fanout, RejectedFile, Sink, SinkBackend, rejected};
use hotlist::source::health::Health;
use hotlist::source::{Limits, SharedResources, VectorSource};
use http::Request;
use prost::Message as _;
use serde_json::json;

use crate::client::{Answer, Client, full};
use crate::next_hop::NextHop;
use crate::peer::{self, Event, EventWrapper, Named, PushEventsRequest};
use crate::shared::shared;
use crate::sidecar::{Sidecar, loopback, otlp};
use crate::wire::{frame, gzip};

pub const PUSH_EVENTS: &str = "/vector.Vector/PushEvents";
const HEALTH_CHECK: &str = "/vector.Vector/HealthCheck";

/// A log event hits when `hit` stands in it; it is left as it is.
pub struct Marked;

impl Transform for Marked {
    fn process(&self, format: Format, message: Bytes, _: &Work) -> Result<MatchedMessage, BatchRefusal> {
        let refuse = |error: hotlist::encoding::EnvelopeError| BatchRefusal::InvalidArgument(error.to_string());
        let mut batch = MatchedMessage::unmatched(format, message.clone()).map_err(refuse)?;
        for (place, record) in format.records(&message).map_err(refuse)?.into_iter().enumerate() {
            let is_log = format.signal(&record) == Signal::Logs;
            if is_log && record.windows(3).any(|part| part == b"hit") {
                batch.hits.push(HitRecord { place, record, ..HitRecord::default() });
            }
        }
        Ok(batch)
    }
}

/// A sidecar with a `vector` source.
pub fn sidecar(sinks: impl IntoIterator<Item = Arc<Sink>>, health: Health) -> Sidecar {
    let limits = Limits { max_request_bytes: 1 << 20, ..Limits::default() };
    let shared = SharedResources::start(&limits).unwrap();
    let deliver = Arc::new(Fanout::new(sinks));
    let bound = VectorSource::bind("vector", &loopback(), limits, &shared, Arc::new(Marked), deliver, health);
    Sidecar::serve(bound.unwrap())
}

/// A required sink that speaks Vector's protocol and takes everything.
pub fn vector(next_hop: &NextHop, settings: Settings) -> Arc<Sink> {
    let sink = GrpcSink::vector(Endpoint::parse(&next_hop.endpoint).unwrap(), settings);
    Arc::new(Sink::new("next", SinkBackend::Grpc(Box::new(sink))))
}

/// The headers of Vector: no user agent, no time-out.
pub async fn call(client: &Client, path: &str, encoding: Option<&str>, wire: Bytes) -> Answer {
    let mut request = Request::post(format!("http://sidecar{path}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    client.send(request.body(full(wire)).unwrap()).await
}

pub async fn push(client: &Client, message: &[u8]) -> Answer {
    call(client, PUSH_EVENTS, None, frame(0, message)).await
}

pub fn named(name: &str) -> Named {
    Named { name: name.to_owned() }
}

fn event(text: &str) -> EventWrapper {
    peer::log(&json!({ "message": text }))
}

fn events(texts: &[&str]) -> Vec<u8> {
    PushEventsRequest { events: texts.iter().map(|text| event(text)).collect() }.encode_to_vec()
}

/// Scenario: every request that was recorded of a real Vector, compressed ones as they were on the wire, metrics on the
/// same call. Guarantee: the same protobuf arrives at a next hop that speaks the same, byte for byte.
#[tokio::test]
#[ignore = "needs ../shared"]
async fn recorded_requests_pass_byte_for_byte() {
    let directory = shared("captures/vector");
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(directory.join("index.json")).unwrap()).unwrap();
    let mut next_hop = NextHop::start().await;
    let sidecar = sidecar([vector(&next_hop, Settings::default())], Health::default());
    let client = Client::connect(&sidecar.address).await;
    let (mut passed, mut compressed) = (0, 0);
    let requests = index["captures"].as_array().unwrap().iter().flat_map(|capture| {
        let requests = capture["requests"].as_array().cloned().unwrap_or_default();
        requests.into_iter().filter(|request| request["path"] == PUSH_EVENTS)
    });
    for request in requests {
        let read = |key: &str| request[key].as_str().map(|name| std::fs::read(directory.join(name)).unwrap());
        let plain = read("file");
        let (encoding, wire) = match (read("frame_file"), &plain) {
            (Some(wire), _) => (request["grpc_encoding"].as_str(), Bytes::from(wire)),
            (None, Some(plain)) => (None, frame(0, plain)),
            (None, None) => continue,
        };
        let (answer, arrived) = tokio::join!(call(&client, PUSH_EVENTS, encoding, wire), async {
            let arrived = next_hop.arrived().await;
            let (path, message) = (arrived.head.uri.path().to_owned(), arrived.message());
            arrived.ok();
            (path, message)
        });
        assert_eq!((answer.status(), arrived.0.as_str()), (0, PUSH_EVENTS), "{request}");
        match plain {
            Some(plain) => assert!(arrived.1 == plain, "{request}"),
            None => assert_eq!(arrived.1.len() as u64, request["message_bytes"].as_u64().unwrap(), "{request}"),
        }
        (passed, compressed) = (passed + 1, compressed + usize::from(encoding.is_some()));
    }
    assert!(passed >= 15 && compressed >= 3, "{passed}, {compressed}");
}

/// Guarantee: HealthCheck says whether the process is ready, PushEvents needs no question before it, and another method
/// is UNIMPLEMENTED.
#[tokio::test]
async fn health_is_that_of_the_process() {
    let health = Health::default();
    let next_hop = NextHop::start().await;
    let sidecar = sidecar([vector(&next_hop, Settings::default())], health.clone());
    next_hop.accept_all();
    let client = Client::connect(&sidecar.address).await;
    let status = async |body: &[u8]| {
        let answer = call(&client, HEALTH_CHECK, None, frame(0, b"")).await;
        assert_eq!((answer.status(), &answer.body[5..]), (0, body));
    };
    status(&[8, 1]).await;
    assert_eq!(push(&client, &events(&["a"])).await.status(), 0);
    health.set_ready(true);
    status(&[]).await;
    health.drain();
    status(&[8, 1]).await;
    assert_eq!(call(&client, "/vector.Vector/Other", None, frame(0, b"")).await.status(), 12);
}

/// Guarantee: as a client the sidecar asks as Vector does, and recognises whether a next hop serves.
#[tokio::test]
async fn a_sink_asks_for_the_health_of_its_next_hop() {
    let mut next_hop = NextHop::start().await;
    let sink = GrpcSink::vector(Endpoint::parse(&next_hop.endpoint).unwrap(), Settings::default());
    let asked = async |answer: &[u8]| {
        let arrived = next_hop.arrived().await;
        assert_eq!(arrived.head.uri.path(), HEALTH_CHECK);
        assert_eq!(&arrived.wire[..], [0; 5]);
        arrived.answer_message(answer);
    };
    let mut asked = asked;
    let (health, ()) = tokio::join!(sink.check_health("next"), asked(&[]));
    assert_eq!(health, Ok(()));
    let (health, ()) = tokio::join!(sink.check_health("next"), asked(&[8, 1]));
    assert!(matches!(&health, Err(BatchRefusal::Unavailable(text)) if text.contains("not serving")), "{health:?}");
}

/// Scenario: the next hop answers each of the 17 codes. Guarantee: what Vector sees is OK, or a status that it retries:
/// never one at which it drops the batch.
#[tokio::test]
async fn every_answer_of_the_next_hop_becomes_one_that_vector_understands() {
    let mut next_hop = NextHop::start().await;
    let sidecar = sidecar([vector(&next_hop, Settings::default())], Health::default());
    let client = Client::connect(&sidecar.address).await;
    let message = events(&["a"]);
    for code in 0..17 {
        let expected = match code {
            0 => 0,
            8 => 8,
            _ => 14,
        };
        let (answer, ()) = tokio::join!(push(&client, &message), async {
            let arrived = next_hop.arrived().await;
            if code == 0 { drop(arrived.ok()) } else { arrived.answer_status(code, "no") }
            // A message that is said to be too large (OUT_OF_RANGE) is tried by its only event.
        });
        assert_eq!(answer.status(), expected, "{code}: {}", answer.message());
    }
}

/// Scenario: one of three events is refused permanently, in the words of Vector's source when the sink behind it
/// rejects (DATA_LOSS) or of any server (INVALID_ARGUMENT). Guarantee: it goes to the rejected file as a request of its
/// own, the others arrive, and Vector gets OK.
#[tokio::test]
async fn a_rejected_event_is_kept_and_the_rest_delivered() {
    for (code, status) in [(15, "data_loss"), (3, "invalid_argument")] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rejected.ndjson");
        let file = Some(Arc::new(RejectedFile::open(path.clone(), 1 << 20).unwrap()));
        let mut next_hop = NextHop::start().await;
        let sidecar =
            sidecar([vector(&next_hop, Settings { rejected: file, ..Settings::default() })], Health::default());
        let client = Client::connect(&sidecar.address).await;
        let message = events(&["good 1", "bad", "good 2"]);
        let mut pushed = Box::pin(push(&client, &message));
        let mut taken = Vec::new();
        let answer = loop {
            tokio::select! {
                answer = &mut pushed => break answer,
                arrived = next_hop.arrived() => {
                    let request = PushEventsRequest::decode(arrived.message()).unwrap();
                    if request.events.contains(&event("bad")) {
                        arrived.answer_status(code, "Delivery failed");
                    } else {
                        taken.extend(request.events);
                        arrived.ok();
                    }
                }
            }
        };
        assert_eq!(answer.status(), 0, "{}", answer.message());
        assert_eq!(taken.len(), 2);
        assert!(taken.contains(&event("good 1")) && taken.contains(&event("good 2")));
        let mut entries = Vec::new();
        rejected::read(&path, |line| entries.push(line.entry.unwrap())).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].format, entries[0].status.as_str()), (Format::Vector, status));
        assert_eq!(&entries[0].request[..], events(&["bad"]));
    }
}

/// Guarantee: metrics and traces pass untouched together with log events to a sink of the same protocol; where no sink
/// takes them the call is UNIMPLEMENTED and nothing of it is sent anywhere.
#[tokio::test]
async fn metrics_and_traces_pass_or_are_refused() {
    let others = vec![
        EventWrapper { event: Some(Event::Metric(named("m"))) },
        event("a"),
        EventWrapper { event: Some(Event::Trace(named("t"))) },
    ];
    let message = PushEventsRequest { events: others }.encode_to_vec();
    let mut next_hop = NextHop::start().await;
    let mut backend = NextHop::start().await;
    let both = sidecar(
        [vector(&next_hop, Settings::default()), otlp(&backend.endpoint, Settings::default())],
        Health::default(),
    );
    let client = Client::connect(&both.address).await;
    let (answer, (arrived, converted)) = tokio::join!(push(&client, &message), async {
        let (first, second) = tokio::join!(next_hop.arrived(), backend.arrived());
        let messages = (first.message(), second.message());
        first.ok();
        second.ok();
        messages
    });
    assert_eq!((answer.status(), &arrived[..]), (0, &message[..]));
    assert_eq!(Format::Otlp.records(&converted).unwrap().len(), 1);

    let alone = sidecar([otlp(&backend.endpoint, Settings::default())], Health::default());
    let client = Client::connect(&alone.address).await;
    let answer = push(&client, &message).await;
    assert_eq!(answer.status(), 12);
    assert!(answer.message().contains("metrics"), "{}", answer.message());
    assert!(backend.is_idle());
}

/// Guarantee: what can never succeed is INVALID_ARGUMENT, at which Vector gives up: no envelope, corrupt compression,
/// more than the limit. An event that cannot be read passes together with the others.
#[tokio::test]
async fn what_cannot_succeed_is_invalid_and_a_malformed_event_passes() {
    let mut next_hop = NextHop::start().await;
    let sidecar = sidecar([vector(&next_hop, Settings::default())], Health::default());
    let client = Client::connect(&sidecar.address).await;
    let bomb = gzip(&vec![0; 2 << 20]);
    for (encoding, wire) in [
        (None, frame(0, &[0x08, 1, 0x0a, 9])),
        (None, frame(0, &[0x08])),
        (Some("gzip"), frame(1, b"no gzip")),
        (Some("gzip"), frame(1, &bomb)),
        (None, frame(0, &vec![0; (1 << 20) + 1])),
    ] {
        assert_eq!(call(&client, PUSH_EVENTS, encoding, wire).await.status(), 3);
    }
    assert_eq!(call(&client, PUSH_EVENTS, Some("snappy"), frame(1, b"x")).await.status(), 12);
    assert!(next_hop.is_idle());
    let message = [events(&["a"]), vec![0x0a, 2, 0x08, 1], events(&["b"])].concat();
    let (answer, arrived) = tokio::join!(push(&client, &message), async {
        let arrived = next_hop.arrived().await;
        let message = arrived.message();
        arrived.ok();
        message
    });
    assert_eq!((answer.status(), &arrived[..]), (0, &message[..]));
}
