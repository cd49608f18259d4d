//! An `otlp` sink with `protocol: http`, in front of a receiver that answers what a test says.

use std::sync::Arc;

use bytes::Bytes;
use hotlist::config::Endpoint;
use hotlist::encoding::Format;
use hotlist::encoding::otlp::request_of;
use hotlist::net::grpc::{Encoding, Status};
use hotlist::pipeline::Signal;
use hotlist::sink::grpc::{GrpcSink, Settings};
use hotlist::sink::rejected::Entry;
use hotlist::sink::{RejectedFile, Sink, SinkBackend};
use hotlist::source::Limits;
use http::{Request, Response, request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::client::{Answer, Client};
use crate::http_client::HttpClient;
use crate::sidecar::{Identity, Sidecar};
use crate::vector::Marked;
use crate::wire::{frame, gunzip};

/// One POST, unanswered.
struct Posted {
    head: request::Parts,
    body: Bytes,
    answer: oneshot::Sender<Response<Full<Bytes>>>,
}

impl Posted {
    fn answer(self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        self.answer.send(response.body(Full::new(Bytes::copy_from_slice(body))).unwrap()).unwrap();
    }
}

/// A receiver over HTTP/1.1.
async fn receiver() -> (String, UnboundedReceiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (posted, posts) = unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, posted) = (listener.accept().await.unwrap().0, posted.clone());
            let serve = service_fn(move |request: Request<Incoming>| {
                let posted = posted.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let (answer, answered) = oneshot::channel();
                    assert!(posted.send(Posted { head, body, answer }).is_ok());
                    Ok::<_, hyper::Error>(answered.await.unwrap())
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
        }
    });
    (endpoint, posts)
}

fn sink(endpoint: &str, base_path: &str, settings: Settings) -> Arc<Sink> {
    let sink = GrpcSink::otlp_http(Endpoint::parse(endpoint).unwrap(), base_path, None, settings);
    Arc::new(Sink::new("next", SinkBackend::Grpc(Box::new(sink))))
}

async fn answered(
    client: &Client,
    posts: &mut UnboundedReceiver<Posted>,
    with: (u16, &[(&str, &str)], &[u8]),
) -> Answer {
    let answer = async { posts.recv().await.unwrap().answer(with.0, with.1, with.2) };
    tokio::join!(client.export(frame(0, b"abc")), answer).0
}

/// Guarantee: a batch is one POST of protobuf to the path of its signal, compressed as configured and named so; a connection
/// serves many.
#[tokio::test]
async fn a_batch_is_a_post() {
    for (compression, named) in [(Encoding::Identity, None), (Encoding::Gzip, Some("gzip"))] {
        let (endpoint, mut posts) = receiver().await;
        let settings = Settings { compression, ..Settings::default() };
        let sidecar = Sidecar::with(Limits::default(), Identity, [sink(&endpoint, "/otlp/", settings)]);
        let client = Client::connect(&sidecar.address).await;
        for _ in 0..3 {
            let (answer, ()) = tokio::join!(client.export(frame(0, b"abc")), async {
                let posted = posts.recv().await.unwrap();
                let header = |name: &str| posted.head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
                assert_eq!((posted.head.method.as_str(), posted.head.uri.path()), ("POST", "/otlp/v1/logs"));
                assert_eq!(header("content-type").as_deref(), Some("application/x-protobuf"));
                assert_eq!(header("content-encoding").as_deref(), named);
                assert_eq!(header("content-length"), Some(posted.body.len().to_string()));
                assert_eq!((header("hotlist-hops").as_deref(), header("te")), (Some("1"), None));
                let body = if named.is_some() { gunzip(&posted.body) } else { posted.body.to_vec() };
                assert_eq!(body, b"abc");
                posted.answer(200, &[("content-type", "application/x-protobuf")], b"");
            });
            assert_eq!(answer.status(), 0, "{answer:?}");
        }
    }
}

/// Guarantee: each status means what the OTLP specification says, the delay before a retry is passed on, and the
/// receiver's text is reported.
#[tokio::test]
async fn every_status_over_http() {
    let (endpoint, mut posts) = receiver().await;
    let sidecar = Sidecar::with(Limits::default(), Identity, [sink(&endpoint, "", Settings::default())]);
    let client = Client::connect(&sidecar.address).await;
    let status = b"\x08\x07\x12\x0dtoken expired";
    let protobuf = ("content-type", "application/x-protobuf");
    for (http, headers, body, code, delay, says) in [
        (429, vec![("retry-after", "30")], b"slow down".as_slice(), 8, Some(30), "slow down"),
        (429, vec![], b"", 8, Some(1), "429"),
        (503, vec![("retry-after", "5")], b"", 14, Some(5), "503"),
        (502, vec![], b"<html>bad gateway</html>", 14, None, "bad gateway"),
        (504, vec![], b"", 14, None, "504"),
        (500, vec![], b"", 14, None, "500"),
        (401, vec![protobuf], status, 14, None, "token expired"),
        (404, vec![], b"", 14, None, "base_path"),
        (400, vec![], b"bad mapping", 14, None, "set `rejected`"),
    ] {
        let answer = answered(&client, &mut posts, (http, &headers, body)).await;
        assert_eq!(answer.status(), code, "{http}: {answer:?}");
        assert!(answer.message().contains(says), "{http}: {}", answer.message());
        let told = Status::read(&answer.headers).unwrap().retry_delay.map(|delay| delay.as_secs());
        assert_eq!(told, delay, "{http}");
    }
    let mut http = HttpClient::connect(&sidecar.address).await;
    let (answer, ()) = tokio::join!(http.export(b"abc"), async {
        posts.recv().await.unwrap().answer(503, &[("retry-after", "5")], b"");
    });
    assert_eq!((answer.http, &answer.headers["retry-after"]), (503, &"5".parse().unwrap()));
}

/// Guarantee: a partial success is passed on.
#[tokio::test]
async fn a_partial_success_over_http() {
    let (endpoint, mut posts) = receiver().await;
    let sidecar = Sidecar::with(Limits::default(), Identity, [sink(&endpoint, "", Settings::default())]);
    let client = Client::connect(&sidecar.address).await;
    let partial = ExportLogsPartialSuccess { rejected_log_records: 2, error_message: "too old".to_owned() };
    let response = ExportLogsServiceResponse { partial_success: Some(partial) };
    let answer = answered(&client, &mut posts, (200, &[], &response.encode_to_vec())).await;
    assert_eq!(answer.status(), 0);
    assert_eq!(ExportLogsServiceResponse::decode(&answer.body[5..]).unwrap(), response);
}

/// Scenario: a receiver refuses each request with one bad record for good. Guarantee: that record is kept, and the others are
/// delivered, as over gRPC.
#[tokio::test]
async fn refused_records_are_searched_over_http() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected.ndjson");
    let rejected = Some(Arc::new(RejectedFile::open(path.clone(), 1 << 20).unwrap()));
    let (endpoint, mut posts) = receiver().await;
    let sink = sink(&endpoint, "", Settings { rejected, ..Settings::default() });
    let sidecar = Sidecar::with(Limits::default(), Marked, [sink]);
    let client = Client::connect(&sidecar.address).await;
    let documents: Vec<_> =
        (0..40).map(|id| json!({ "id": if id == 17 { "bad".into() } else { id.to_string() } })).collect();
    let message = request_of(documents.iter().map(|document| (1, document)));
    let mut exported = Box::pin(client.export(frame(0, &message)));
    let answer = loop {
        tokio::select! {
            answer = &mut exported => break answer,
            posted = posts.recv() => {
                let posted = posted.unwrap();
                let is_bad = posted.body.windows(3).any(|bytes| bytes == b"bad");
                posted.answer(if is_bad { 400 } else { 200 }, &[], b"bad mapping");
            }
        }
    };
    assert_eq!(answer.status(), 0, "{answer:?}");
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(kept.lines().count(), 1);
    assert!(kept.contains("http_400") && kept.contains("bad mapping"), "{kept}");
}

/// Guarantee: what was rejected over HTTP can be sent again over HTTP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_records_are_sent_again_over_http() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected.ndjson");
    let file = RejectedFile::open(path.clone(), 1 << 20).unwrap();
    let request = Bytes::from(request_of([(1, &json!({ "id": "bad" }))]));
    let entry = Entry {
        time: jiff::Timestamp::UNIX_EPOCH,
        sink: "next".to_owned(),
        endpoint: "http://127.0.0.1:4318".to_owned(),
        format: Format::Otlp,
        signal: Signal::Logs,
        status: "http_400".to_owned(),
        message: String::new(),
        partial: None,
        request: request.clone(),
    };
    file.append(&[entry]).unwrap();
    let (endpoint, mut posts) = receiver().await;
    let file = path.clone();
    let resent = tokio::task::spawn_blocking(move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hotlist"));
        command.args(["rejected", "resend"]).arg(file);
        command.args(["--endpoint", &endpoint, "--protocol", "http", "--base-path", "/otlp"]).output().unwrap()
    });
    let posted = posts.recv().await.unwrap();
    assert_eq!((posted.head.uri.path(), &posted.body), ("/otlp/v1/logs", &request));
    posted.answer(200, &[], b"");
    let output = resent.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
}

/// Scenario: nobody listens; then a gRPC receiver does. Guarantee: the error says so.
#[tokio::test]
async fn a_receiver_that_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let grpc = crate::next_hop::NextHop::start().await;
    for (endpoint, says) in [(endpoint, "no connection"), (grpc.endpoint.clone(), "HTTP/1.1")] {
        let sidecar = Sidecar::with(Limits::default(), Identity, [sink(&endpoint, "", Settings::default())]);
        let client = Client::connect(&sidecar.address).await;
        let answer = client.export(frame(0, b"abc")).await;
        assert_eq!(answer.status(), 14);
        assert!(answer.message().contains(says), "{}", answer.message());
    }
}
