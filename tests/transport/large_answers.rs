//! Answers with much to say: long texts and details in trailers, long messages, and a wish for when to come again.

use std::sync::Arc;

use bytes::Bytes;
use hotlist::encoding::otlp::request_of;
use hotlist::net::grpc::{Code, Status};
use hotlist::sink::RejectedFile;
use hotlist::sink::grpc::Settings;
use hotlist::source::Limits;
use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use prost::Message;
use serde_json::json;

use crate::client::{Answer, Client};
use crate::http_client::HttpClient;
use crate::next_hop::{Arrived, NextHop};
use crate::sidecar::{Identity, Sidecar, otlp};
use crate::vector::Marked;
use crate::wire::frame;

/// A status with a text and details of so many bytes.
fn status(code: u8, text: usize, details: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    headers.insert("grpc-message", HeaderValue::try_from("a bad field ".repeat(text / 12)).unwrap());
    headers.insert("grpc-status-details-bin", HeaderValue::try_from("A".repeat(details / 4 * 4)).unwrap());
    headers
}

/// Guarantee: a status stays what it is, however long its text and details are, before a body or behind one; the collector
/// gets the beginning of the text.
#[tokio::test]
async fn a_status_with_much_to_say_keeps_its_code() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;
    for (text, details) in [(1 << 10, 0), (15 << 10, 15 << 10), (64 << 10, 0), (0, 64 << 10), (64 << 10, 64 << 10)] {
        for behind_a_body in [false, true] {
            let (answer, ()) = tokio::join!(client.export(frame(0, b"abc")), async {
                next_hop.arrived().await.answer_with(status(7, text, details), behind_a_body);
            });
            assert_eq!(answer.status(), 14, "{text} {details} {behind_a_body}");
            let message = answer.message();
            assert!(message.contains("PERMISSION_DENIED"), "{text} {details} {behind_a_body}: {message}");
            assert!(message.contains("a bad field") || text == 0, "{message}");
            assert!(message.len() < 2000, "{}", message.len());
        }
    }
}

fn is_bad(message: &Bytes) -> bool {
    message.windows(3).any(|bytes| bytes == b"bad")
}

/// Scenario: a next hop refuses one record of four, with a text of 64 KiB. Guarantee: that record is found and kept, and the
/// others are delivered, as with a short text.
#[tokio::test]
async fn a_refusal_with_a_long_text_is_still_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected.ndjson");
    let rejected = Some(Arc::new(RejectedFile::open(path.clone(), 1 << 20).unwrap()));
    let mut next_hop = NextHop::start().await;
    let sink = otlp(&next_hop.endpoint, Settings { rejected, ..Settings::default() });
    let sidecar = Sidecar::with(Limits::default(), Marked, [sink]);
    let client = Client::connect(&sidecar.address).await;
    let documents = ["good 0", "bad 1", "good 2", "good 3"].map(|id| json!({ "id": id }));
    let message = request_of(documents.iter().map(|document| (1, document)));
    let mut exported = Box::pin(client.export(frame(0, &message)));
    let answer = loop {
        tokio::select! {
            answer = &mut exported => break answer,
            arrived = next_hop.arrived() => match is_bad(&arrived.message()) {
                true => arrived.answer_with(status(3, 64 << 10, 0), false),
                false => drop(arrived.ok()),
            },
        }
    };
    assert_eq!(answer.status(), 0, "{answer:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
}

/// Guarantee: OK is OK, however long its message is: the count of a partial success is passed on with the beginning of its
/// text.
#[tokio::test]
async fn an_ok_with_a_long_message_is_ok() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let client = Client::connect(&sidecar.address).await;
    for (rejected, length) in [(0, 0), (1, 60_000), (2, 70_000), (3, 4 << 20)] {
        let error_message = "w".repeat(length);
        let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message };
        let response = ExportLogsServiceResponse { partial_success: Some(partial) };
        let (answer, _) = tokio::join!(client.export(frame(0, b"abc")), async {
            next_hop.arrived().await.answer_message(&response.encode_to_vec())
        });
        assert_eq!(answer.status(), 0, "{length}");
        let told = ExportLogsServiceResponse::decode(&answer.body[5..]).unwrap().partial_success.unwrap_or_default();
        assert_eq!(told.rejected_log_records, rejected, "{length}");
        assert_eq!(told.error_message.len(), length.min(4096), "{length}");
    }
}

fn delay(answer: &Answer) -> Option<u64> {
    Status::read(&answer.headers).unwrap().retry_delay.map(|delay| delay.as_secs())
}

/// Scenario: the next hop is overloaded or away for a while, and says when to come again: in RetryInfo, or as a gateway
/// in `Retry-After`. Guarantee: the collector gets the delay in its own protocol; without one, only overload gets a
/// second.
#[tokio::test]
async fn the_wish_for_when_to_come_again_is_passed_on() {
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::with(Limits::default(), Identity, [otlp(&next_hop.endpoint, Settings::default())]);
    let grpc = Client::connect(&sidecar.address).await;
    let mut http = HttpClient::connect(&sidecar.address).await;
    let says = |arrived: Arrived, code, seconds: Option<u64>| {
        let mut headers = HeaderMap::new();
        let status = Status::new(code, "busy");
        match seconds {
            Some(seconds) => status.with_retry_delay(std::time::Duration::from_secs(seconds)).write(&mut headers),
            None => {
                headers.insert("grpc-status", HeaderValue::from(u16::from(code.number())));
            }
        }
        arrived.answer_with(headers, false);
    };
    for (code, seconds, status, told, over_http, retry_after) in [
        (Code::ResourceExhausted, None, 8, Some(1), 429, "1"),
        (Code::ResourceExhausted, Some(30), 8, Some(30), 429, "30"),
        (Code::ResourceExhausted, Some(1 << 40), 8, Some(3600), 429, "3600"),
        (Code::Unavailable, None, 14, None, 503, "1"),
        (Code::Unavailable, Some(30), 14, Some(30), 503, "30"),
    ] {
        let (answer, ()) = tokio::join!(grpc.export(frame(0, b"abc")), async {
            says(next_hop.arrived().await, code, seconds);
        });
        assert_eq!((answer.status(), delay(&answer)), (status, told), "{code} {seconds:?}");
        let (answer, ()) = tokio::join!(http.export(b"abc"), async {
            says(next_hop.arrived().await, code, seconds);
        });
        assert_eq!((answer.http, answer.headers["retry-after"].to_str().unwrap()), (over_http, retry_after), "{code}");
    }
    let (answer, ()) = tokio::join!(grpc.export(frame(0, b"abc")), async {
        next_hop.arrived().await.answer_http_later(503, 20);
    });
    assert_eq!((answer.status(), delay(&answer)), (14, Some(20)));
}
