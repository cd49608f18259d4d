//! Several sinks: which events each one gets, in which format, and whom the answer waits for.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use hotlist::config::{Endpoint, Fsync};
use hotlist::encoding::Format;
use hotlist::encoding::otlp::request_of;
use hotlist::sink::grpc::{GrpcSink, Settings};
use hotlist::sink::ndjson::{NdjsonSink, Output};
use hotlist::sink::{Only, Sink, SinkBackend};
use hotlist::source::Limits;
use hotlist::source::health::Health;
use prost::Message as _;
use serde_json::{Value, json};

use crate::client::Client;
use crate::next_hop::NextHop;
use crate::peer::{self, Event, EventWrapper, PushEventsRequest};
use crate::sidecar::Sidecar;
use crate::vector::{Marked, named, push, sidecar};
use crate::wire::frame;

fn sink(format: Format, next_hop: &NextHop, only: Only) -> Sink {
    let endpoint = Endpoint::parse(&next_hop.endpoint).unwrap();
    let sink = match format {
        Format::Vector => GrpcSink::vector(endpoint, Settings::default()),
        _ => GrpcSink::otlp(endpoint, Settings::default()),
    };
    Sink::new("next", SinkBackend::Grpc(Box::new(sink))).with_only(only)
}

fn documents() -> Vec<Value> {
    ["quiet 1", "hit 1", "quiet 2", "hit 2", "quiet 3"].iter().map(|text| json!({ "message": text })).collect()
}

/// The texts of the log events of a message.
fn texts(format: Format, message: &Bytes) -> Vec<String> {
    let records = format.records(message).unwrap();
    let text = |record: &Bytes| {
        let event: Value = serde_json::from_slice(&format.render_record(record)).unwrap();
        event["message"].as_str().unwrap_or("no log event").to_owned()
    };
    records.iter().map(text).collect()
}

/// Guarantee: whatever protocol the batch came by and the sink speaks, a sink gets the events that its condition wants,
/// in order, and nobody else's.
#[tokio::test]
async fn each_sink_gets_what_its_condition_wants() {
    let hits = ["hit 1", "hit 2"].map(str::to_owned).to_vec();
    let quiet = ["quiet 1", "quiet 2", "quiet 3"].map(str::to_owned).to_vec();
    let all: Vec<String> = documents().iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect();
    for (only, expected) in [(Only::All, all), (Only::Hits, hits), (Only::NotHits, quiet)] {
        for source in [Format::Otlp, Format::Vector] {
            for spoken in [Format::Otlp, Format::Vector] {
                let mut next_hop = NextHop::start().await;
                let sinks = [Arc::new(sink(spoken, &next_hop, only))];
                let (sidecar, message) = match source {
                    Format::Vector => (sidecar(sinks, Health::default()), peer::request(&documents())),
                    _ => {
                        let sidecar = Sidecar::with(Limits::default(), Marked, sinks);
                        (sidecar, request_of(documents().iter().map(|event| (1, event))))
                    }
                };
                let client = Client::connect(&sidecar.address).await;
                let sent = async {
                    match source {
                        Format::Vector => push(&client, &message).await,
                        _ => client.export(frame(0, &message)).await,
                    }
                };
                let (answer, arrived) = tokio::join!(sent, async {
                    let arrived = next_hop.arrived().await;
                    let message = arrived.message();
                    arrived.ok();
                    message
                });
                assert_eq!(answer.status(), 0);
                assert_eq!(texts(spoken, &arrived), expected, "{only:?} from {source:?} to {spoken:?}");
                if only == Only::All && source == spoken {
                    assert_eq!(&arrived[..], &message[..], "untouched");
                }
            }
        }
    }
}

/// Guarantee: a sink for which a batch has nothing is not called, and does not hold the answer up; metrics and traces
/// are among what is no hit.
#[tokio::test]
async fn a_sink_without_events_is_not_called() {
    let (mut hits, mut quiet) = (NextHop::start().await, NextHop::start().await);
    let sinks =
        [Arc::new(sink(Format::Vector, &hits, Only::Hits)), Arc::new(sink(Format::Vector, &quiet, Only::NotHits))];
    let sidecar = sidecar(sinks, Health::default());
    let client = Client::connect(&sidecar.address).await;
    let send = async |events: Vec<EventWrapper>, next_hop: &mut NextHop| {
        let message = PushEventsRequest { events }.encode_to_vec();
        let (answer, arrived) = tokio::join!(push(&client, &message), async {
            let arrived = next_hop.arrived().await;
            let message = arrived.message();
            arrived.ok();
            message
        });
        assert_eq!(answer.status(), 0);
        PushEventsRequest::decode(arrived).unwrap().events
    };
    let metric = EventWrapper { event: Some(Event::Metric(named("m"))) };
    let log = |text: &str| peer::log(&json!({ "message": text }));
    assert_eq!(send(vec![log("quiet"), metric.clone()], &mut quiet).await, [log("quiet"), metric]);
    assert!(hits.is_idle());
    assert_eq!(send(vec![log("hit")], &mut hits).await, [log("hit")]);
    assert!(quiet.is_idle());
}

/// Scenario: a required sink, one that is not required and never answers, and a file of the hits. Guarantee: the answer
/// waits for the required ones only, and a refusal of a required one is the answer, whatever the others say.
#[tokio::test]
async fn the_answer_waits_for_the_required_sinks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hits.ndjson");
    let (mut required, mut optional) = (NextHop::start().await, NextHop::start().await);
    let file = NdjsonSink::open(Output::File(path.clone()), Fsync::Batch).unwrap();
    let sinks = [
        Arc::new(sink(Format::Vector, &required, Only::All)),
        Arc::new(sink(Format::Otlp, &optional, Only::All).with_required(false)),
        Arc::new(Sink::new("hits", SinkBackend::Ndjson(file)).with_only(Only::Hits)),
    ];
    let sidecar = sidecar(sinks, Health::default());
    let client = Client::connect(&sidecar.address).await;
    let message = peer::request(&documents());
    let (answer, ()) =
        tokio::join!(push(&client, &message), async { required.arrived().await.answer_status(14, "later") });
    assert_eq!(answer.status(), 14);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "", "the file comes after the network");
    let (answer, _) = tokio::join!(push(&client, &message), async { required.arrived().await.ok() });
    assert_eq!(answer.status(), 0);
    let unanswered = optional.arrived().await;
    assert_eq!(texts(Format::Otlp, &unanswered.message()).len(), 5);
    let lines = std::fs::read_to_string(&path).unwrap();
    let lines: BTreeSet<String> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["message"].to_string()).collect();
    assert_eq!(lines, ["\"hit 1\"", "\"hit 2\""].map(str::to_owned).into());
}
