//! Ends of streams: by the client's end, half a message, a stall, a client that is gone, and a drain.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hotlist::proto::filter::v1::Answer;
use hotlist::source::{ConnectionAge, Limits};
use prost::Message;
use tonic::Code;

use crate::common::{Agent, PATIENCE, Server, Sinks, bad, metrics, plain_judge, request, until};
use crate::raw::Raw;

fn ended(end: &str) -> String {
    format!("hotlist_filter_streams_ended_total{{source=\"agents\",end=\"{end}\"}}")
}

/// Guarantee: what came whole before is answered; half a message, and what is no gRPC, end the stream for good.
#[tokio::test]
async fn half_a_message_ends_the_stream_behind_the_answers() {
    let server = Server::plain(&Sinks::open());
    let whole = request(1, &[&bad(0)], Answer::Hits).encode_to_vec();
    for (flag, length, text) in
        [(0, 2, "after 2 of the 5 bytes"), (0, 7, "after 2 of the"), (9, 7, "gRPC message is 9")]
    {
        let mut raw = Raw::open(&server.address, &[]).await;
        raw.frame(0, &whole).await;
        let next = [&[flag, 0, 0, 0, 99][..], &whole].concat();
        raw.bytes(next[..length].to_vec().into()).await;
        raw.finish();
        assert_eq!(raw.answer().await.hits.len(), 1);
        let (code, said) = raw.end().await;
        assert_eq!(code, Code::InvalidArgument as i32);
        assert!(said.contains(text), "{said}");
    }
}

/// Guarantee: between messages a stream may idle for longer than inside one; inside one it may not.
#[tokio::test]
async fn a_stream_may_idle_between_messages_and_not_inside_one() {
    let (stall_timeout, receive_timeout) = (Duration::from_millis(100), Duration::from_millis(200));
    let limits = Limits { stall_timeout, receive_timeout, ..Limits::default() };
    let mut raw = Raw::open(&Server::start(limits, 8, plain_judge(), &Sinks::open()).address, &[]).await;
    let whole = request(1, &[&bad(0)], Answer::Hits).encode_to_vec();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        raw.frame(0, &whole).await;
        assert_eq!(raw.answer().await.hits.len(), 1);
    }
    raw.bytes(vec![0, 0, 0, 0, 9, 1].into()).await;
    let (code, text) = raw.end().await;
    assert_eq!((code, text.contains("limits.min_upload_rate")), (Code::Unavailable as i32, true), "{text}");
}

/// Scenario: a client goes away while its batches wait for a sink. Guarantee: their delivery is given up, and all
/// their room is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_gone_leaves_nothing_behind() {
    let (handle, sinks) = (metrics(), Sinks::gated());
    let agent = Agent::open(Server::plain(&sinks).client().await).await;
    for id in 0..3 {
        agent.send(request(id, &[&bad(0)], Answer::Events));
    }
    sinks.wait_for(3).await;
    drop(agent);
    until(&handle, &ended("cancelled"), 1.0).await;
    until(&handle, "hotlist_in_flight_bytes", 0.0).await;
    assert_eq!(sinks.inside.load(Ordering::SeqCst), 0);
    assert_eq!(sinks.taken.lock().unwrap().len(), 0);
}

/// Scenario: a drain begins while two batches wait for a sink, half of a third is there, and another stream idles.
/// Guarantee: both are answered, then the streams end with UNAVAILABLE, so that clients connect elsewhere, and the
/// source is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_answers_what_is_in_work_and_ends_the_stream() {
    let (handle, sinks) = (metrics(), Sinks::gated());
    let server = Server::plain(&sinks);
    let (mut busy, mut idle) = (Raw::open(&server.address, &[]).await, Raw::open(&server.address, &[]).await);
    for id in [1, 2] {
        busy.frame(0, &request(id, &[&bad(0)], Answer::Hits).encode_to_vec()).await;
    }
    busy.bytes(vec![0, 0, 0, 0, 99, 1].into()).await;
    sinks.wait_for(2).await;
    let drained = server.drain();
    let (code, text) = idle.end().await;
    assert_eq!((code, text.contains("reconnect")), (Code::Unavailable as i32, true), "{text}");
    assert!(!drained.is_finished(), "two batches are in work");
    sinks.let_pass(2);
    assert_eq!((busy.answer().await.id, busy.answer().await.id), (1, 2));
    assert_eq!(busy.end().await.0, Code::Unavailable as i32);
    tokio::time::timeout(PATIENCE, drained).await.expect("the source is not done").unwrap();
    until(&handle, &ended("drained"), 2.0).await;
}

/// Scenario: a connection reaches its largest age while a batch of its stream waits for a sink, and another while its
/// stream idles. Guarantee: the batch is answered, and both streams end with UNAVAILABLE, so that clients connect again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_on_an_old_connection_ends_after_what_is_in_work() {
    let (handle, sinks) = (metrics(), Sinks::gated());
    let age = ConnectionAge { after: Duration::from_millis(300), grace: PATIENCE };
    let limits = Limits { max_connection_age: Some(age), ..Limits::default() };
    let server = Server::start(limits, 8, plain_judge(), &sinks);
    let (mut busy, mut idle) = (Raw::open(&server.address, &[]).await, Raw::open(&server.address, &[]).await);
    busy.frame(0, &request(1, &[&bad(0)], Answer::Hits).encode_to_vec()).await;
    sinks.wait_for(1).await;
    let (code, text) = idle.end().await;
    assert_eq!((code, text.contains("reconnect")), (Code::Unavailable as i32, true), "{text}");
    sinks.let_pass(1);
    assert_eq!(busy.answer().await.id, 1);
    assert_eq!(busy.end().await.0, Code::Unavailable as i32);
    until(&handle, "hotlist_connections_closed_total{listener=\"agents\",reason=\"max_age\"}", 2.0).await;
}
