//! The answers of a stream: complete, in order, and untouched where nothing hit.

use hotlist::proto::filter::v1::Answer;
use hotlist::source::Limits;
use serde_json::Value;
use tonic::codec::CompressionEncoding;

use crate::common::{Agent, Server, Sinks, bad, good, plain_judge, request};

/// Scenario: 300 batches of 0 to 40 events and some of megabytes, so that some are matched in place and others on
/// workers, all sent before an answer is read. Guarantee: one answer for each, in order; each event is there, the same
/// bytes where it does not hit, tagged where it does; then the stream ends well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_batch_is_answered_in_order_and_whole() {
    let sinks = Sinks::open();
    let mut agent = Agent::open(Server::plain(&sinks).client().await).await;
    let event = |batch: usize, at: usize| match at % 7 {
        3 => bad(batch * 1000 + at),
        _ => good(batch * 1000 + at) + &" ".repeat(if batch.is_multiple_of(50) { 50_000 } else { 0 }),
    };
    for batch in 0..300 {
        let events: Vec<String> = (0..batch % 41).map(|at| event(batch, at)).collect();
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        agent.send(request(batch as u64 + 1000, &events, Answer::Unspecified));
    }
    agent.finish();
    for batch in 0..300 {
        let answer = agent.answer().await;
        assert_eq!((answer.id, &*answer.snapshot), (batch as u64 + 1000, "7"));
        assert_eq!((answer.hits.len(), answer.malformed.len(), answer.refusal), (0, 0, None));
        assert_eq!(answer.events.len(), batch % 41);
        for (at, came) in answer.events.iter().enumerate() {
            if at % 7 == 3 {
                let came: Value = serde_json::from_slice(came).unwrap();
                assert_eq!(came["n"], batch * 1000 + at);
                assert_eq!(came["tags"], serde_json::json!(["threat-match"]));
                assert_eq!(came["threat"]["enrichments"][0]["hotlist"]["snapshot"], "7");
            } else {
                assert_eq!(came, event(batch, at).as_bytes());
            }
        }
    }
    assert_eq!(agent.next().await.unwrap(), None, "the end is OK");
    assert_eq!(sinks.taken.lock().unwrap().len(), 300);
}

/// Guarantee: with ANSWER_HITS only what hit comes back, tagged, with its index.
#[tokio::test]
async fn only_hits_come_back_when_that_is_asked() {
    let sinks = Sinks::open();
    let mut agent = Agent::open(Server::plain(&sinks).client().await).await;
    agent.send(request(1, &[&good(0), &bad(1), &good(2), &bad(3)], Answer::Hits));
    agent.send(request(2, &[&good(0)], Answer::Hits));
    let answer = agent.answer().await;
    assert_eq!(answer.events.len(), 0);
    let hits: Vec<(u32, Value)> =
        answer.hits.iter().map(|hit| (hit.index, serde_json::from_slice(&hit.event).unwrap())).collect();
    assert_eq!(
        hits.iter().map(|(index, event)| (*index, event["n"].as_u64())).collect::<Vec<_>>(),
        [(1, Some(1)), (3, Some(3))]
    );
    assert!(hits.iter().all(|(_, event)| event["tags"][0] == "threat-match"));
    let nothing = agent.answer().await;
    assert_eq!((nothing.id, nothing.hits.len(), &*nothing.snapshot), (2, 0, "7"));
    let taken = sinks.taken.lock().unwrap();
    assert_eq!((taken[0].records, taken[0].hits, taken[1].hits), (4, 2, 0));
}

/// Guarantee: an event that is not an object, or cannot be walked, passes as it is and is named; the other events are
/// matched.
#[tokio::test]
async fn malformed_events_pass_and_are_named() {
    let sinks = Sinks::open();
    let mut agent = Agent::open(Server::plain(&sinks).client().await).await;
    let mut batch = request(9, &["", "[1]", &bad(2), "{\"a\":", &good(4), "null", "{} {}"], Answer::Events);
    batch.events.push(vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}'].into());
    batch.events.push(vec![0, 1, 2, 0xff].into());
    agent.send(batch.clone());
    let answer = agent.answer().await;
    assert_eq!(answer.malformed, [0, 1, 3, 5, 6, 8]);
    for (at, (came, sent)) in answer.events.iter().zip(&batch.events).enumerate() {
        assert_eq!(came == sent, at != 2, "{at}");
    }
    assert_eq!(answer.events.len(), 9);
}

/// Guarantee: compressed requests are understood, small and large ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_requests_are_understood() {
    let sinks = Sinks::open();
    let server = Server::start(Limits::default(), 2, plain_judge(), &sinks);
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut agent = Agent::open(server.client().await.send_compressed(encoding)).await;
        for events in [1, 5000] {
            let events: Vec<String> = (0..events).map(bad).collect();
            let events: Vec<&str> = events.iter().map(String::as_str).collect();
            agent.send(request(1, &events, Answer::Hits));
            assert_eq!(agent.answer().await.hits.len(), events.len());
        }
    }
}

/// Guarantee: the headers of the stream go with each batch, for sinks that send some of them on.
#[tokio::test]
async fn sinks_see_the_headers_of_the_stream() {
    let sinks = Sinks::open();
    let mut client = Server::plain(&sinks).client().await;
    let mut asked = tonic::Request::new(tokio_stream::iter([request(1, &[], Answer::Events)]));
    asked.metadata_mut().insert("x-tenant", "blue".parse().unwrap());
    let mut answers = client.stream(asked).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().id, 1);
    let taken = sinks.taken.lock().unwrap();
    let values: Vec<_> = taken[0].metadata.values(&"x-tenant".parse().unwrap()).collect();
    assert_eq!(values, ["blue"]);
}
