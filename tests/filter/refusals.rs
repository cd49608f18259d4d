//! A refused batch: the answer says so, the stream continues, and the batch can be sent again.

use std::time::Duration;

use bytes::Bytes;
use hotlist::pipeline::BatchRefusal;
use hotlist::proto::filter::v1::{Answer, FilterRequest, FilterResponse};
use hotlist::source::Limits;
use prost::Message;
use tonic::Code;
use tonic::codec::CompressionEncoding;

use crate::common::{Agent, Server, Sinks, bad, good, metrics, plain_judge, request, until};
use crate::raw::Raw;

fn refusal(answer: &FilterResponse) -> (u64, u32, &str) {
    let refusal = answer.refusal.as_ref().expect("a refusal");
    assert!(answer.events.is_empty() && answer.hits.is_empty() && answer.snapshot.is_empty(), "{answer:?}");
    (answer.id, refusal.code, &refusal.message)
}

/// Scenario: a sink refuses two batches of three for reasons of two kinds. Guarantee: each is answered in its place with
/// the sink's reason, the third is taken, and so are the others when they are sent again.
#[tokio::test]
async fn what_a_sink_refuses_can_be_sent_again() {
    let sinks = Sinks::gated();
    let reasons =
        [BatchRefusal::ResourceExhausted("it is full".into()), BatchRefusal::Unavailable("it is away".into())];
    *sinks.refusals.lock().unwrap() = reasons.into();
    let mut agent = Agent::open(Server::plain(&sinks).client().await).await;
    for id in [1, 2, 3] {
        agent.send(request(id, &[&good(0)], Answer::Events));
        sinks.wait_for(1).await;
        sinks.let_pass(1);
    }
    assert_eq!(refusal(&agent.answer().await), (1, Code::Unavailable as u32, "it is away"));
    assert_eq!(refusal(&agent.answer().await), (2, Code::ResourceExhausted as u32, "it is full"));
    assert_eq!(agent.answer().await.refusal, None);
    sinks.let_pass(2);
    for id in [1, 2] {
        agent.send(request(id, &[&good(0)], Answer::Events));
        let answer = agent.answer().await;
        assert_eq!((answer.id, answer.events.len(), answer.refusal), (id, 1, None));
    }
}

/// Scenario: a stream says that it passed more Hotlists than may be. Guarantee: each batch is refused with the reason, as at
/// the other sources, and no sink gets it.
#[tokio::test]
async fn a_loop_is_refused() {
    let sinks = Sinks::open();
    let limits = Limits { max_hops: 3, ..Limits::default() };
    let mut client = Server::start(limits, 4, plain_judge(), &sinks).client().await;
    let mut asked = tonic::Request::new(tokio_stream::iter([request(7, &[&good(0)], Answer::Events)]));
    asked.metadata_mut().insert("hotlist-hops", "4".parse().unwrap());
    let mut answers = client.stream(asked).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let (id, code, text) = refusal(&answer);
    assert_eq!((id, code), (7, Code::Unavailable as u32));
    assert!(text.contains("limits.max_hops"), "{text}");
    assert!(sinks.taken.lock().unwrap().is_empty());
}

/// Guarantee: bytes that are no request, and a request that asks for what is not known, are refused for good with the
/// id that can be read; what follows is answered.
#[tokio::test]
async fn what_cannot_be_read_is_refused_and_the_stream_goes_on() {
    let mut raw = Raw::open(&Server::plain(&Sinks::open()).address, &[]).await;
    let unknown = FilterRequest { id: 3, answer: 9, ..FilterRequest::default() }.encode_to_vec();
    let cut = [&FilterRequest { id: 4, ..FilterRequest::default() }.encode_to_vec()[..], &[0x12, 9, b'{']].concat();
    let of_another_type = [&[0x08, 5][..], &[0x10, 1]].concat();
    for (message, id, text) in [
        (&b"\xff\xff\xff"[..], 0, "cannot be read"),
        (&unknown, 3, "answer 9 of the FilterRequest"),
        (&cut, 4, "cannot be read"),
        (&of_another_type, 5, "field 2 of the FilterRequest"),
    ] {
        raw.frame(0, message).await;
        let answer = raw.answer().await;
        let (of, code, said) = refusal(&answer);
        assert_eq!((of, code), (id, Code::InvalidArgument as u32));
        assert!(said.contains(text), "{said}");
    }
    raw.frame(1, b"x").await;
    assert!(refusal(&raw.answer().await).2.contains("no `grpc-encoding`"));
    raw.frame(0, &request(6, &[&bad(0)], Answer::Hits).encode_to_vec()).await;
    assert_eq!(raw.answer().await.hits.len(), 1);
    raw.finish();
    assert_eq!(raw.end().await.0, Code::Ok as i32);
}

/// Guarantee: a batch beyond the limit, as it is or when it is inflated, is stepped over without room for it, refused
/// for good, and the next one is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_stepped_over() {
    let limits = Limits { max_request_bytes: 64 << 10, in_flight_bytes: 1 << 20, ..Limits::default() };
    let server = Server::start(limits, 8, plain_judge(), &Sinks::open());
    let large = FilterRequest { id: 77, events: vec![Bytes::from(vec![b' '; 5 << 20])], answer: 0 };
    for (encoding, id, text) in
        [(None, 77, "more than 65536"), (Some(CompressionEncoding::Gzip), 0, "inflates to more than 65536")]
    {
        let mut client = server.client().await;
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
        }
        let mut agent = Agent::open(client).await;
        agent.send(large.clone());
        agent.send(request(78, &[&bad(0)], Answer::Hits));
        let answer = agent.answer().await;
        let (of, code, said) = refusal(&answer);
        assert_eq!((of, code), (id, Code::InvalidArgument as u32), "{said}");
        assert!(said.contains(text), "{said}");
        assert_eq!(agent.answer().await.hits.len(), 1);
    }
}

/// Scenario: batches that wait for a sink hold all the room. Guarantee: the next one is refused as overload, with its
/// id, and is taken when it is sent again after the others were answered.
#[tokio::test]
async fn without_room_a_batch_is_refused_and_can_be_sent_again() {
    let limits = Limits {
        max_request_bytes: 64 << 10,
        in_flight_bytes: 160 << 10,
        admission_wait: Duration::from_millis(50),
        ..Limits::default()
    };
    let (handle, sinks) = (metrics(), Sinks::gated());
    let mut agent = Agent::open(Server::start(limits, 8, plain_judge(), &sinks).client().await).await;
    let large = |id| FilterRequest { id, events: vec![Bytes::from(vec![b' '; 63 << 10])], answer: 0 };
    agent.send(large(1));
    agent.send(large(2));
    sinks.wait_for(2).await;
    agent.send(large(3));
    agent.send(FilterRequest::default());
    until(&handle, "hotlist_source_requests_total{source=\"agents\",status=\"resource_exhausted\"}", 1.0).await;
    // The answer stands behind those of the first two.
    sinks.let_pass(9);
    assert_eq!((agent.answer().await.id, agent.answer().await.id), (1, 2));
    let answer = agent.answer().await;
    let (id, code, text) = refusal(&answer);
    if code != Code::ResourceExhausted as u32 || !text.contains("163840 bytes") {
        panic!("{answer:?}");
    }
    assert_eq!(id, 3);
    agent.answer().await;
    agent.send(large(3));
    assert_eq!(agent.answer().await.refusal, None);
}
