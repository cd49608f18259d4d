//! The metadata of requests to the next hop: the sink's own headers, and metadata of the collector's
//! request.

use std::sync::Arc;

use hotlist::encoding::otlp as encoding;
use hotlist::sink::grpc::Settings;
use hotlist::sink::{Headers, RejectedFile};
use hotlist::source::Limits;
use http::{HeaderMap, HeaderName};
use serde_json::json;

use crate::client::{Client, full, request};
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar, otlp};
use crate::wire::{frame, records};

fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// Scenario: a sink with a fixed header, one from a file, and two keys that are sent on, one of them binary. Guarantee:
/// the next hop gets exactly those, every value of a key in order, and nothing else of the collector's.
#[tokio::test]
async fn headers_and_forwarded_metadata_arrive() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "Bearer one\n").unwrap();
    let mut headers = Headers::default();
    headers.fixed(HeaderName::from_static("x-scope"), "tenant 1").unwrap();
    headers.file(HeaderName::from_static("authorization"), token.clone()).unwrap();
    let forward_metadata = ["x-source", "x-trace-bin", "x-absent"].map(HeaderName::from_static).to_vec();
    let mut next_hop = NextHop::start().await;
    let settings = Settings { headers: Arc::new(headers), forward_metadata, ..Settings::default() };
    let sidecar = Sidecar::with(Limits::default(), Identity, [otlp(&next_hop.endpoint, settings)]);
    let client = Client::connect(&sidecar.address).await;
    let inbound = [
        ("x-source", "a"),
        ("x-source", "b"),
        ("x-trace-bin", "AP8BAg"),
        ("authorization", "Bearer of-the-collector"),
        ("x-private", "p"),
    ];
    let send = || client.send(request(&inbound).body(full(frame(0, b"abc"))).unwrap());
    let (answer, head) = tokio::join!(send(), async {
        let arrived = next_hop.arrived().await;
        let head = arrived.head.clone();
        arrived.answer_status(16, "who are you");
        head
    });
    assert_eq!(answer.status(), 14);
    assert_eq!(values(&head.headers, "x-source"), ["a", "b"]);
    assert_eq!(values(&head.headers, "x-trace-bin"), ["AP8BAg"]);
    assert_eq!(values(&head.headers, "x-scope"), ["tenant 1"]);
    assert_eq!(values(&head.headers, "authorization"), ["Bearer one"]);
    assert!(!head.headers.contains_key("x-private") && !head.headers.contains_key("x-absent"));

    // The next hop did not take the token: the next request has the file's new one, however young the old one is.
    std::fs::write(&token, "Bearer two\n").unwrap();
    let (answer, head) = tokio::join!(send(), async {
        let arrived = next_hop.arrived().await;
        let head = arrived.head.clone();
        arrived.ok();
        head
    });
    assert_eq!((answer.status(), values(&head.headers, "authorization")), (0, vec!["Bearer two".to_owned()]));
}

/// Guarantee: every part of a split batch carries the metadata, and so does every request of a search.
#[tokio::test]
async fn parts_carry_the_metadata() {
    let directory = tempfile::tempdir().unwrap();
    let mut next_hop = NextHop::start().await;
    let settings = Settings {
        max_request_bytes: 1000,
        forward_metadata: vec![HeaderName::from_static("x-tenant")],
        rejected: Some(Arc::new(RejectedFile::open(directory.path().join("rejected"), 1 << 20).unwrap())),
        ..Settings::default()
    };
    let sidecar = Sidecar::with(Limits::default(), Identity, [otlp(&next_hop.endpoint, settings)]);
    let client = Client::connect(&sidecar.address).await;
    let send = |message: &[u8]| client.send(request(&[("x-tenant", "t")]).body(full(frame(0, message))).unwrap());
    let (answer, ()) = tokio::join!(send(&records(3, 900)), async {
        for _ in 0..3 {
            let arrived = next_hop.arrived().await;
            assert_eq!(values(&arrived.head.headers, "x-tenant"), ["t"]);
            arrived.ok();
        }
    });
    assert_eq!(answer.status(), 0);

    let documents = [json!({ "message": "a" }), json!({ "message": "b" })];
    let (answer, ()) = tokio::join!(send(&encoding::request_of((1..).zip(&documents))), async {
        for number in 0..3 {
            let arrived = next_hop.arrived().await;
            assert_eq!(values(&arrived.head.headers, "x-tenant"), ["t"]);
            if number == 0 { arrived.answer_status(3, "malformed") } else { drop(arrived.ok()) }
        }
    });
    assert_eq!(answer.status(), 0);
}
