//! A law over whatever a next hop answers: nothing that was acknowledged is lost, and no collector retries forever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hotlist::config::Endpoint;
use hotlist::encoding::Format;
use hotlist::encoding::otlp::request_of;
use hotlist::sink::grpc::{GrpcSink, Settings};
use hotlist::sink::{RejectedFile, Sink, SinkBackend, rejected};
use hotlist::source::Limits;
use hotlist::source::health::Health;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::client::Client;
use crate::metrics::PATIENCE;
use crate::next_hop::{Arrived, NextHop};
use crate::peer;
use crate::sidecar::Sidecar;
use crate::vector::{Marked, push, sidecar};
use crate::wire::frame;

/// The answer of a next hop to one request.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Any gRPC status; 0 takes the events.
    Status(u8),
    /// An HTTP status without a gRPC one.
    Http(u16),
    /// Says that it did not look at it.
    TurnAway,
}

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        6 => (0u8..17).prop_map(Does::Status),
        2 => Just(Does::Status(0)),
        1 => prop::sample::select(vec![200, 404, 413, 429, 502, 503]).prop_map(Does::Http),
        1 => Just(Does::TurnAway),
    ]
}

/// Some batches of events, each bad ones among them.
fn batches() -> impl Strategy<Value = Vec<Vec<bool>>> {
    prop::collection::vec(prop::collection::vec(prop::bool::weighted(0.2), 1..12), 1..4)
}

fn ids(format: Format, message: &Bytes) -> Vec<String> {
    let id = |record: &Bytes| {
        let event: Value = serde_json::from_slice(&format.render_record(record)).unwrap();
        event["id"].as_str().unwrap().to_owned()
    };
    format.records(message).unwrap().iter().map(id).collect()
}

/// Follows the script, then takes everything but bad events, which it refuses for good.
fn answer(format: Format, arrived: Arrived, script: &mut dyn Iterator<Item = Does>, taken: &mut BTreeSet<String>) {
    let events = ids(format, &arrived.message());
    let honest = || Does::Status(if events.iter().any(|id| id.starts_with("bad")) { 3 } else { 0 });
    match script.next().unwrap_or_else(honest) {
        Does::Status(0) => {
            taken.extend(events);
            arrived.ok();
        }
        Does::Status(status) => arrived.answer_status(status, "by the script"),
        Does::Http(status) => arrived.answer_http(status),
        Does::TurnAway => arrived.turn_away(),
    }
}

async fn holds(format: Format, batches: Vec<Vec<bool>>, script: Vec<Does>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected.ndjson");
    let settings = Settings {
        rejected: Some(Arc::new(RejectedFile::open(path.clone(), 1 << 20).unwrap())),
        ..Settings::default()
    };
    let mut next_hop = NextHop::start().await;
    let endpoint = Endpoint::parse(&next_hop.endpoint).unwrap();
    let grpc = if format == Format::Vector { GrpcSink::vector } else { GrpcSink::otlp };
    let sinks = [Arc::new(Sink::new("next", SinkBackend::Grpc(Box::new(grpc(endpoint, settings)))))];
    let sidecar = match format {
        Format::Vector => sidecar(sinks, Health::default()),
        _ => Sidecar::with(Limits::default(), Marked, sinks),
    };
    let client = Client::connect(&sidecar.address).await;
    // Each answer of the script may cost one try, and the honest ones that follow two more. A try that meets the sink's
    // back-off costs nothing but time: a collector waits longer between two.
    let most = script.len() + 2;
    let deadline = Instant::now() + PATIENCE;
    let mut script = script.into_iter();
    let (mut taken, mut sent) = (BTreeSet::new(), BTreeSet::new());
    for (number, batch) in batches.iter().enumerate() {
        let name = |(at, bad): (usize, &bool)| format!("{} {number} {at}", if *bad { "bad" } else { "good" });
        let documents: Vec<Value> = batch.iter().enumerate().map(name).map(|id| json!({ "id": id })).collect();
        sent.extend(documents.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        let message = match format {
            Format::Vector => peer::request(&documents),
            _ => request_of(documents.iter().map(|event| (1, event))),
        };
        let mut tries = 0;
        loop {
            assert!(tries <= most && Instant::now() < deadline, "retried for ever");
            let mut exported = Box::pin(async {
                match format {
                    Format::Vector => push(&client, &message).await,
                    _ => client.export(frame(0, &message)).await,
                }
            });
            let mut reached = false;
            let told = loop {
                tokio::select! {
                    told = &mut exported => break told,
                    arrived = next_hop.arrived() => {
                        reached = true;
                        answer(format, arrived, &mut script, &mut taken);
                    }
                }
            };
            tries += usize::from(reached);
            match told.status() {
                0 => break,
                // Both are retried by every collector; nothing else is ever said of a good request.
                8 | 14 => {}
                status => panic!("{status}: {}", told.message()),
            }
        }
    }
    let mut kept = BTreeSet::new();
    rejected::read(&path, |line| kept.extend(ids(format, &line.entry.unwrap().request))).unwrap();
    let there: BTreeSet<String> = taken.union(&kept).cloned().collect();
    assert_eq!(there, sent, "taken {taken:?}, kept {kept:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Law: each batch is acknowledged after at most as many tries as the next hop gave malformed answers, and then
    /// each of its events was taken by the next hop or is in the rejected file.
    #[test]
    fn acknowledged_is_delivered_and_nothing_is_retried_for_ever(
        batches in batches(),
        script in prop::collection::vec(does(), 0..40),
        format in prop::sample::select(vec![Format::Otlp, Format::Vector]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(holds(format, batches, script));
    }
}
