//! `examples/fan-out`: requests recorded from both collectors, and what each next hop gets of them.

use hotlist::config::SinkKind;
use hotlist::encoding::Format;
use serde_json::Value;

use super::vector::{PLANTED, PUSH_EVENTS, assert_is_tagged, assert_sends_safely, assert_takes_safely, recorded};
use super::{collector, config, decoded, port, source_port, start};
use crate::client::EXPORT;
use crate::next_hop::{Mood, NextHop, Received};
use crate::process::Scene;
use crate::replay::{captures, records_of};

const NAME: &str = "fan-out";

/// Guarantee: each agent sends to its source and gives up on a request only after Hotlist did; the SIEM takes at the
/// port that its sink sends to; each sink on the way that an agent waits for keeps what is refused in a file of its own.
#[test]
fn the_parts_fit_each_other() {
    let config = config(NAME);
    let source = |id: &str| config.sources.iter().find(|source| source.id == id).unwrap();
    let mut deadline = 0;
    for sink in config.sinks.iter() {
        let (SinkKind::Otlp(grpc) | SinkKind::Vector(grpc)) = &sink.kind else { continue };
        assert_eq!(grpc.rejected.is_some(), sink.required, "{}", sink.id);
        deadline = deadline.max(grpc.timeout.as_secs());
        if let SinkKind::Vector(_) = sink.kind {
            assert_takes_safely(NAME, &collector(NAME, "siem.yaml"), port(&grpc.endpoint));
        }
    }
    assert_sends_safely(NAME, &collector(NAME, "vector.yaml"), source("vector"), deadline);
    let fluent_bit = collector(NAME, "fluent-bit.yaml");
    let output = &fluent_bit["pipeline"]["outputs"][0];
    assert_eq!(output["port"], source_port(source("fluent-bit")));
    assert!(output["net.io_timeout"].as_u64().unwrap() > deadline);
    // All else is that of the pair which `fluent_bit.rs` looks at.
    let other = collector("fluent-bit/backend", "fluent-bit.yaml");
    assert_eq!(output, &other["pipeline"]["outputs"][0]);
}

/// The events of the only request.
fn events(received: Vec<Received>) -> Vec<Value> {
    let [request] = &*received else { panic!("{} requests", received.len()) };
    let message = request.message();
    match &*request.path {
        EXPORT => records_of(&message).iter().map(|record| decoded::otlp(record)).collect(),
        PUSH_EVENTS => Format::Vector.records(&message).unwrap().iter().map(|event| decoded::vector(event)).collect(),
        other => panic!("{other}"),
    }
}

fn is_tagged(event: &Value) -> bool {
    event["threat"]["enrichments"].is_array()
}

/// Scenario: a request recorded from each collector, both with an event that hits and others that do not. Guarantee:
/// the back end gets every event as OTLP, the SIEM the hits as Vector's events, the third one the others, and the file
/// the hits. The answer to the agent waits for the SIEM, but not for the third sink; and a batch that the SIEM refused
/// is in the file only once it was sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ../shared"]
async fn each_next_hop_gets_what_its_condition_says() {
    let (fluent_bit, vector) = (captures(), recorded());
    let whole = fluent_bit.iter().find(|capture| capture.name == "02-basic-wholebody.00.bin").unwrap();
    let parsed = vector.iter().find(|request| request.label == "fileparse").unwrap();
    let (scene, backend, siem, third) =
        (Scene::new(), NextHop::start().await, NextHop::start().await, NextHop::start().await);
    let next_hops = [(24317, &backend), (26000, &siem), (34317, &third)];
    let hotlist = start(&scene, NAME, &next_hops, &PLANTED);
    let from_fluent_bit = async || {
        let line = hotlist.wait_for("\"source is listening\",\"source\":\"fluent-bit\"");
        let headers: Vec<(&str, &str)> = whole.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let wire = crate::client::frame(0, &whole.message);
        crate::client::send(line["address"].as_str().unwrap(), EXPORT, &headers, wire).await.unwrap().status
    };
    let from_vector = async || super::vector::replay(&hotlist, "vector", parsed).await;

    siem.set(Mood::Refuse(14));
    assert_eq!(from_fluent_bit().await, 14);
    assert_eq!(scene.ndjson("hits.ndjson").len(), 0, "the file comes after the network");
    siem.set(Mood::Accept);
    backend.take();

    third.set(Mood::Hold);
    let originals = [
        whole.records().iter().map(|record| decoded::otlp(record)).collect(),
        parsed.records().iter().map(|event| decoded::vector(event)).collect(),
    ];
    for (round, before) in originals.into_iter().enumerate() {
        let before: Vec<Value> = before;
        assert_eq!(if round == 0 { from_fluent_bit().await } else { from_vector().await }, 0);
        let everything = events(backend.take());
        assert_eq!(everything.len(), before.len());
        let (hits, others): (Vec<Value>, Vec<Value>) = everything.iter().cloned().partition(is_tagged);
        assert_eq!(hits.len(), 1);
        assert_eq!(events(siem.take()), hits);
        assert_eq!(scene.ndjson("hits.ndjson").len(), round + 1);
        let at = everything.iter().position(is_tagged).unwrap();
        if round == 1 {
            assert_is_tagged(before[at].clone(), hits[0].clone());
        }
        for (before, after) in before.iter().zip(&everything).filter(|(_, after)| !is_tagged(after)) {
            assert_eq!(before, after);
        }

        third.held(round + 1).await;
        third.set(Mood::Accept);
        third.accepted(round + 1).await;
        assert_eq!(events(third.take()), others);
        third.set(Mood::Hold);
    }
}
