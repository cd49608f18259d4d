//! The window of a stream, and what becomes of clients that do not read.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hotlist::proto::filter::v1::{Answer, FilterRequest};
use hotlist::source::Limits;
use prost::Message;
use tonic::Code;

use crate::common::{Agent, PATIENCE, Server, Sinks, metrics, plain_judge, request, until};
use crate::raw::Raw;

const IN_FLIGHT: &str = "hotlist_in_flight_bytes";
const CUT: &str = "hotlist_filter_streams_cut_total{source=\"agents\"}";

/// Scenario: 60 batches are sent at once, and the sink lets them through one by one, by turns from three streams.
/// Guarantee: of one stream never more than its window are in work, all are answered in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_the_window_is_in_work() {
    for window in [1, 3] {
        let sinks = Sinks::gated();
        let server = Server::start(Limits::default(), window, plain_judge(), &sinks);
        let mut agent = Agent::open(server.client().await).await;
        for id in 0..60 {
            agent.send(request(id, &["{}"], Answer::Events));
        }
        sinks.wait_for(window as u32).await;
        for id in 0..60 {
            sinks.let_pass(1);
            // With more than one batch in work, any of them may be released; the first is still answered first.
            if window == 1 {
                assert_eq!(agent.answer().await.id, id);
            }
        }
        if window > 1 {
            for id in 0..60 {
                assert_eq!(agent.answer().await.id, id);
            }
        }
        assert_eq!(sinks.most_inside.load(Ordering::SeqCst), window);
    }
}

fn large(id: u64) -> Vec<u8> {
    FilterRequest { id, events: vec![Bytes::from(vec![b' '; 200 << 10])], answer: 0 }.encode_to_vec()
}

/// Scenario: a client sends batches as long as it may, and reads no answer; then it reads. Guarantee: it is held back,
/// the room that it holds is that of its window, and every answer comes, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_late_is_held_back_and_loses_nothing() {
    let (handle, sinks) = (metrics(), Sinks::open());
    let server = Server::start(Limits::default(), 4, plain_judge(), &sinks);
    let mut raw = Raw::open(&server.address, &[]).await;
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(500), raw.frame(0, &large(sent))).await.is_ok() {
        sent += 1;
        assert!(sent < 100, "nothing holds the client back");
    }
    // Four in the window, and what the HTTP/2 windows hold: 1 MiB is that of a stream here.
    assert!((4..=4 + 7).contains(&sent), "{sent}");
    // Its message, its answer, and the place of a document that cannot be read.
    until(&handle, IN_FLIGHT, 4.0 * 202.0 * 1024.0).await;
    for id in 0..sent {
        assert_eq!(raw.answer().await.id, id);
    }
    assert_eq!(sinks.taken.lock().unwrap().len() as u64, sent);
    until(&handle, IN_FLIGHT, 0.0).await;
}

/// Scenario: a client takes no answer for longer than it may. Guarantee: its stream ends with UNAVAILABLE and a reason,
/// its room is given back, and other streams of the connection would live on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_told_to_go() {
    let handle = metrics();
    let limits = Limits { receive_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = Server::start(limits, 4, plain_judge(), &Sinks::open());
    let mut raw = Raw::open(&server.address, &[]).await;
    for id in 0..4 {
        raw.frame(0, &large(id)).await;
    }
    until(&handle, CUT, 1.0).await;
    let (code, text) = raw.end().await;
    assert_eq!(code, Code::Unavailable as i32);
    assert!(text.contains("300 ms"), "{text}");
    until(&handle, IN_FLIGHT, 0.0).await;
    until(&handle, "hotlist_filter_streams{source=\"agents\"}", 0.0).await;
    assert!(!raw.connection.is_finished());
}

/// Scenario: the client does not take the end either. Guarantee: its connection is closed, and its room given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_at_all_loses_its_connection() {
    let handle = metrics();
    let (receive_timeout, stall_timeout) = (Duration::from_millis(300), Duration::from_millis(200));
    let limits = Limits { receive_timeout, stall_timeout, ..Limits::default() };
    let server = Server::start(limits, 4, plain_judge(), &Sinks::open());
    let mut raw = Raw::open(&server.address, &[]).await;
    for id in 0..2 {
        raw.frame(0, &large(id)).await;
    }
    tokio::time::timeout(PATIENCE, &mut raw.connection).await.expect("the connection stays").unwrap();
    until(&handle, IN_FLIGHT, 0.0).await;
    until(&handle, "hotlist_connections_closed_total{listener=\"agents\",reason=\"not_taken\"}", 1.0).await;
}
