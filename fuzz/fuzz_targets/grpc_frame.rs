//! Requests over gRPC and HTTP, and gRPC statuses: any body in any data frames gives one of the promised answers, and what
//! is delivered is the message that was framed.
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;
use hotlist::encoding::{Format, Rope};
use hotlist::net::grpc::status::{GRPC_MESSAGE, GRPC_STATUS, decode_message};
use hotlist::net::grpc::{Code, FrameHeader, HEADER_LEN, RopeBody, Status};
use hotlist::pipeline::{Accepted, Batch, BatchRefusal, BoxFuture, Deliver, MatchedMessage, Signal, Transform, Work};
use hotlist::source::{Limits, OtlpSource, SharedResources};
use http::{HeaderMap, HeaderValue, Request, Response, Version, request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tonic::body::Body;
use tower::Service;

/// What `grpc-encoding` may say; none is the last.
const ENCODINGS: [&str; 4] = ["gzip", "zstd", "identity", "snappy"];

// The first byte says which encoding the request names, and whether it is framed here; the second how long its first
// data frames are; the rest is the body, or the message to be framed.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [how, cut, rest @ ..] = bytes else { return };
    statuses(rest);
    let encoding = ENCODINGS.get(usize::from(how & 7)).copied();
    let body = match how >> 3 & 3 {
        0 => framed(rest, false),
        1 => framed(rest, true),
        _ => Bytes::copy_from_slice(rest),
    };
    exported(encoding, body, usize::from(*cut));
    let media = if how >> 5 & 1 == 0 { "application/x-protobuf" } else { "application/json" };
    posted(media, encoding, Bytes::copy_from_slice(rest), usize::from(*cut));
});

/// A status in headers is read whatever it is, and what we write is read as it was meant.
fn statuses(bytes: &[u8]) {
    let (number, message) = bytes.split_at(bytes.len().min(2));
    let mut headers = HeaderMap::new();
    for (name, value) in [(GRPC_STATUS, number), (GRPC_MESSAGE, message)] {
        headers.extend(HeaderValue::from_bytes(value).ok().map(|value| (Some(name), value)));
    }
    let read = Status::read(&headers);
    assert_eq!(read.is_some(), headers.contains_key(GRPC_STATUS));
    let message: String = decode_message(message).chars().take(1024).collect();
    let status = Status::new(read.map_or(Code::Internal, |status| status.code), message);
    let mut written = HeaderMap::new();
    status.write(&mut written);
    let read = Status::read(&written).expect("it was written");
    assert_eq!((read.code, &read.message), (status.code, &status.message));
    // Overload asks to retry after a second, whether the status says so or not.
    assert_eq!(read.retry_delay.is_some(), status.code == Code::ResourceExhausted);
}

/// The message behind a header, as a sink writes it.
fn framed(message: &[u8], compressed: bool) -> Bytes {
    let mut rope = Rope::default();
    message.chunks(1500).for_each(|part| rope.push(Bytes::copy_from_slice(part)));
    let body = RopeBody::new(&rope, compressed).expect("it is short");
    let body = body.collect().now_or_never().expect("it waits for nothing").expect("it cannot fail").to_bytes();
    assert_eq!(body[HEADER_LEN..], *message);
    body
}

/// Sends a request through the source.
fn exported(encoding: Option<&'static str>, body: Bytes, cut: usize) {
    let head = Request::post(Signal::Logs.export_path()).version(Version::HTTP_2);
    let head = head.header("content-type", "application/grpc");
    let head = encoding.into_iter().fold(head, |head, encoding| head.header("grpc-encoding", encoding));
    let (answer, delivered) = sent(head, body.clone(), cut);

    let header = body.first_chunk().and_then(|header| FrameHeader::read(*header).ok());
    match Status::read(answer.headers()).map_or(Code::Ok, |status| status.code) {
        Code::Ok => {
            let header = header.expect("there is a header");
            assert_eq!(header.len as usize, body.len() - HEADER_LEN);
            let delivered = delivered.expect("nothing is acknowledged that was not delivered");
            assert!(delivered.len() <= MOST);
            assert!(header.compressed || delivered == body[HEADER_LEN..]);
        }
        Code::InvalidArgument => assert_eq!(delivered, None),
        Code::Unimplemented => assert_eq!((encoding, delivered), (Some("snappy"), None)),
        code => panic!("{code} is no answer to bytes"),
    }
}

/// Sends a body over HTTP/1.1.
fn posted(media: &str, encoding: Option<&'static str>, body: Bytes, cut: usize) {
    let head = Request::post("/v1/logs").header("content-type", media);
    let head = encoding.into_iter().fold(head, |head, encoding| head.header("content-encoding", encoding));
    let (answer, delivered) = sent(head, body.clone(), cut);
    assert_eq!(answer.headers()["content-type"], media);
    match answer.status().as_u16() {
        200 => {
            let delivered = delivered.expect("nothing is acknowledged that was not delivered");
            assert!(delivered.len() <= MOST);
            let plain = media != "application/json" && encoding.is_none_or(|encoding| encoding == "identity");
            assert!(!plain || delivered == body);
        }
        400 | 413 => assert_eq!(delivered, None),
        415 => assert_eq!((encoding, delivered), (Some("snappy"), None)),
        status => panic!("{status} is no answer to bytes"),
    }
}

/// The answer to a body in so many bytes a frame, and what was delivered.
fn sent(head: request::Builder, body: Bytes, cut: usize) -> (Response<Body>, Option<Bytes>) {
    let mut rest = body;
    let mut frames: Vec<_> = (0..3).map(|_| rest.split_to(cut.min(rest.len()))).collect();
    frames.push(rest);
    let frames = futures_util::stream::iter(frames.into_iter().map(|data| Ok::<_, Infallible>(Frame::data(data))));
    let request = head.body(Body::new(StreamBody::new(frames))).expect("it is a request");
    SOURCE.with_borrow_mut(|source| {
        let answer = source.runtime.block_on(source.service.call(request)).expect("it is infallible");
        (answer, source.delivered.lock().expect("no panic before").take())
    })
}

/// The longest message that is taken.
const MOST: usize = 64 << 10;

struct Source {
    runtime: tokio::runtime::Runtime,
    service: OtlpSource,
    delivered: Arc<Mutex<Option<Bytes>>>,
}

thread_local! {
    static SOURCE: RefCell<Source> = RefCell::new(Source::start());
}

impl Source {
    fn start() -> Source {
        let limits = Limits { max_request_bytes: MOST, workers: 1, ..Limits::default() };
        let delivered = Arc::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("there are threads");
        let shared = SharedResources::start(&limits).expect("there are threads");
        let deliver = Arc::new(Keep(Arc::clone(&delivered)));
        let service = OtlpSource::new("source", limits, &shared, Arc::new(Pass), deliver).expect("the limits work");
        Source { runtime, service, delivered }
    }
}

/// Matches nothing.
struct Pass;

impl Transform for Pass {
    fn process(&self, _: Format, message: Bytes, _: &Work) -> Result<MatchedMessage, BatchRefusal> {
        Ok(MatchedMessage { message: Rope::from(message), ..MatchedMessage::default() })
    }
}

/// Keeps the last message.
struct Keep(Arc<Mutex<Option<Bytes>>>);

impl Deliver for Keep {
    fn deliver(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Accepted, BatchRefusal>> {
        *self.0.lock().expect("no panic before") = Some(Bytes::copy_from_slice(&batch.events.message.to_bytes()));
        Box::pin(async { Ok(Accepted::default()) })
    }
}
