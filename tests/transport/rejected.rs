//! Batches of which the next hop refuses a part permanently: the search, and the rejected file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hotlist::config::Endpoint;
use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::otlp as encoding;
use hotlist::sink::grpc::{GrpcSink, Settings};
use hotlist::sink::rejected::{self, Entry};
use hotlist::sink::{RejectedFile, Sink, SinkBackend};
use hotlist::source::Limits;
use serde_json::json;

use crate::client::Client;
use crate::next_hop::{Arrived, NextHop};
use crate::sidecar::{Identity, Sidecar};
use crate::wire::frame;

/// A batch of records with these texts, in one resource and scope.
pub fn batch(texts: &[String]) -> Vec<u8> {
    let documents: Vec<_> = texts.iter().map(|text| json!({ "message": text })).collect();
    encoding::request_of((1..).zip(&documents))
}

/// `count` texts, of which those at `bad` are bad.
pub fn texts(count: usize, bad: impl Fn(usize) -> bool) -> Vec<String> {
    (0..count).map(|at| format!("{} {at}", if bad(at) { "bad" } else { "good" })).collect()
}

/// The texts of the records of a batch.
pub fn read(message: &Bytes) -> Vec<String> {
    let mut texts = Vec::new();
    OTLP.records(message, |span| {
        let record: serde_json::Value =
            serde_json::from_slice(&encoding::render_record(&message[span.record.payload()])).unwrap();
        texts.push(record["message"].as_str().unwrap().to_owned());
    })
    .unwrap();
    texts
}

/// The batches that the next hop took, and the number of requests.
#[derive(Default)]
pub struct Seen {
    taken: Mutex<BTreeMap<String, usize>>,
    requests: AtomicUsize,
}

impl Seen {
    pub fn requests(&self) -> usize {
        self.requests.swap(0, Ordering::Relaxed)
    }

    pub fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.taken.lock().unwrap()).into_keys().collect()
    }
}

/// A next hop that refuses what `refuse` refuses, and takes everything else.
pub async fn next_hop(refuse: impl Fn(&[String], Arrived) -> Option<Arrived> + Send + 'static) -> (String, Arc<Seen>) {
    let mut next_hop = NextHop::start().await;
    let (endpoint, seen) = (next_hop.endpoint.clone(), Arc::new(Seen::default()));
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let arrived = next_hop.arrived().await;
            noted.requests.fetch_add(1, Ordering::Relaxed);
            let texts = read(&arrived.message());
            if let Some(arrived) = refuse(&texts, arrived) {
                for text in texts {
                    *noted.taken.lock().unwrap().entry(text).or_default() += 1;
                }
                arrived.ok();
            }
        }
    });
    (endpoint, seen)
}

pub fn refuse_bad(texts: &[String], arrived: Arrived) -> Option<Arrived> {
    if texts.iter().any(|text| text.starts_with("bad")) {
        arrived.answer_status(3, "malformed record");
        return None;
    }
    Some(arrived)
}

pub fn sidecar_with(endpoint: &str, file: Option<&Path>, settings: Settings) -> Sidecar {
    let file = file.map(|path| Arc::new(RejectedFile::open(path.to_owned(), 1 << 20).unwrap()));
    let settings = Settings { rejected: file, ..settings };
    let sink = GrpcSink::otlp(Endpoint::parse(endpoint).unwrap(), settings);
    let sink = Arc::new(Sink::new("next", SinkBackend::Grpc(Box::new(sink))));
    Sidecar::with(Limits::default(), Identity, [sink])
}

pub fn entries(path: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    rejected::read(path, |line| entries.push(line.entry.unwrap())).unwrap();
    entries
}

fn rejected_texts(path: &Path) -> Vec<String> {
    let mut texts: Vec<String> = entries(path).iter().flat_map(|entry| read(&entry.request)).collect();
    texts.sort();
    texts
}

/// Scenario: one, several, adjacent and all but one bad records among a hundred. Guarantee: the answer is OK, the next
/// hop has every good one, the file every bad one, once, with what is needed to understand it.
#[tokio::test]
async fn the_rest_of_a_batch_is_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let (endpoint, seen) = next_hop(refuse_bad).await;
    type IsBad = fn(usize) -> bool;
    let cases: [(&str, IsBad); 5] = [
        ("one", |at| at == 42),
        ("several", |at| at % 17 == 3),
        ("adjacent at the start", |at| at < 40),
        ("adjacent at the end", |at| at >= 60),
        ("every second", |at| at % 2 == 0),
    ];
    for (case, bad) in cases {
        let path = directory.path().join(case);
        let sidecar = sidecar_with(&endpoint, Some(&path), Settings::default());
        let client = Client::connect(&sidecar.address).await;
        let texts = texts(100, bad);
        let answer = client.export(frame(0, &batch(&texts))).await;
        assert_eq!(answer.status(), 0, "{case}: {}", answer.message());
        let (mut bad, mut good): (Vec<_>, Vec<_>) = texts.into_iter().partition(|text| text.starts_with("bad"));
        bad.sort();
        good.sort();
        assert_eq!((rejected_texts(&path), seen.taken()), (bad, good), "{case}");
        let entry = entries(&path).remove(0);
        assert_eq!((entry.sink.as_str(), &entry.endpoint), ("next", &endpoint));
        assert_eq!((entry.status.as_str(), entry.message.as_str()), ("invalid_argument", "malformed record"));
    }
}

/// Guarantee: one bad record of 10,000 costs at most 80 requests, in five round trips.
#[tokio::test]
async fn the_search_is_short() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected");
    let (endpoint, seen) = next_hop(refuse_bad).await;
    let sidecar = sidecar_with(&endpoint, Some(&path), Settings::default());
    let client = Client::connect(&sidecar.address).await;
    let answer = client.export(frame(0, &batch(&texts(10_000, |at| at == 7_777)))).await;
    assert_eq!(answer.status(), 0, "{}", answer.message());
    assert_eq!(rejected_texts(&path), ["bad 7777"]);
    assert!(seen.requests() <= 80);
    assert_eq!(seen.taken().len(), 9_999);
}

/// Scenario: the next hop refuses whatever it gets. Guarantee: UNAVAILABLE, nothing in the file, and few requests a
/// try; once the next hop is repaired, the retry is delivered, and the search works as before.
#[tokio::test]
async fn a_next_hop_that_refuses_everything_is_not_the_records_fault() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected");
    let mended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let now = Arc::clone(&mended);
    let (endpoint, seen) = next_hop(move |texts, arrived| {
        if now.load(Ordering::Relaxed) {
            return refuse_bad(texts, arrived);
        }
        arrived.answer_status(3, "no tenant");
        None
    })
    .await;
    let sidecar = sidecar_with(&endpoint, Some(&path), Settings::default());
    let client = Client::connect(&sidecar.address).await;
    let wire = frame(0, &batch(&texts(10_000, |at| at == 5)));
    let answer = client.export(wire.clone()).await;
    assert_eq!(answer.status(), 14);
    assert!(answer.message().contains("32 records"), "{}", answer.message());
    assert!(seen.requests() < 200);
    for _ in 0..10 {
        assert_eq!(client.export(wire.clone()).await.status(), 14);
        assert!(seen.requests() <= 2, "the batch, and one record of it");
    }
    assert_eq!(entries(&path), []);
    mended.store(true, Ordering::Relaxed);
    assert_eq!(client.export(wire).await.status(), 0);
    assert_eq!(rejected_texts(&path), ["bad 5"]);
    assert_eq!(seen.taken().len(), 9_999);
}

/// Scenario: batches of one record each, all refused. Guarantee: after 32 it is no longer taken for the records' fault.
#[tokio::test]
async fn single_records_do_not_fill_the_file_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected");
    let (endpoint, _) = next_hop(refuse_bad).await;
    let sidecar = sidecar_with(&endpoint, Some(&path), Settings::default());
    let client = Client::connect(&sidecar.address).await;
    for at in 0..40 {
        let answer = client.export(frame(0, &batch(&[format!("bad {at}")]))).await;
        assert_eq!(answer.status(), if at < 32 { 0 } else { 14 }, "{at}");
    }
    assert_eq!(entries(&path).len(), 32);
    assert_eq!(client.export(frame(0, &batch(&["good".to_owned()]))).await.status(), 0);
    assert_eq!(client.export(frame(0, &batch(&["bad again".to_owned()]))).await.status(), 0);
}

/// Scenario: a next hop whose limit is below `max_request_bytes`, in the words of several servers. Guarantee: the batch
/// arrives in parts, also without a rejected file; a record that is too large alone goes to the file.
#[tokio::test]
async fn what_is_too_large_arrives_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let answers: [fn(Arrived); 4] = [
        |arrived| arrived.answer_status(11, "Error, decoded message length too large: found 2000 bytes"),
        |arrived| arrived.answer_status(8, "Received message larger than max (2000 vs. 1000)"),
        |arrived| arrived.answer_status(3, "the message has 2000 bytes, more than 1000: send smaller batches"),
        |arrived| arrived.answer_http(413),
    ];
    for (number, refuse) in answers.into_iter().enumerate() {
        let (endpoint, seen) = next_hop(move |_, arrived| {
            if arrived.message().len() > 1000 {
                refuse(arrived);
                return None;
            }
            Some(arrived)
        })
        .await;
        let without_file = sidecar_with(&endpoint, None, Settings::default());
        let client = Client::connect(&without_file.address).await;
        let mut texts = texts(100, |_| false);
        assert_eq!(client.export(frame(0, &batch(&texts))).await.status(), 0, "{number}");
        assert_eq!(seen.taken().len(), 100, "{number}");

        texts[50] = "x".repeat(2000);
        let answer = client.export(frame(0, &batch(&texts))).await;
        assert_eq!(answer.status(), 14, "{number}");
        assert!(answer.message().contains("set `rejected`"), "{}", answer.message());

        seen.taken();
        let path = directory.path().join(number.to_string());
        let with_file = sidecar_with(&endpoint, Some(&path), Settings::default());
        let client = Client::connect(&with_file.address).await;
        assert_eq!(client.export(frame(0, &batch(&texts))).await.status(), 0, "{number}");
        assert_eq!((rejected_texts(&path), seen.taken().len()), (vec![texts[50].clone()], 99), "{number}");
    }
}

/// Scenario: malformed content and no rejected file. Guarantee: UNAVAILABLE after one request, as nothing can be kept.
#[tokio::test]
async fn without_a_file_malformed_content_stays_with_the_collector() {
    let (endpoint, seen) = next_hop(refuse_bad).await;
    let sidecar = sidecar_with(&endpoint, None, Settings::default());
    let client = Client::connect(&sidecar.address).await;
    assert_eq!(client.export(frame(0, &batch(&texts(100, |at| at == 1)))).await.status(), 14);
    assert_eq!((seen.requests(), seen.taken().len()), (1, 0));
}

/// Guarantee: a file that cannot take the records, here because it is full, makes the batch UNAVAILABLE; with room again
/// the retry is OK and each record is there once.
#[tokio::test]
async fn a_full_file_acknowledges_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected");
    let (endpoint, _) = next_hop(refuse_bad).await;
    let sidecar = sidecar_with(&endpoint, Some(&path), Settings::default());
    let client = Client::connect(&sidecar.address).await;
    std::fs::write(&path, vec![b'\n'; 1 << 20]).unwrap();
    let wire = frame(0, &batch(&texts(10, |at| at % 4 == 1)));
    let answer = client.export(wire.clone()).await;
    assert_eq!(answer.status(), 14);
    assert!(answer.message().contains("1048576 bytes"), "{}", answer.message());
    std::fs::write(&path, "").unwrap();
    assert_eq!(client.export(wire).await.status(), 0);
    assert_eq!(rejected_texts(&path), ["bad 1", "bad 5", "bad 9"]);
}

/// Scenario: the search meets a fault that is not the records': the next hop breaks down in its middle. Guarantee:
/// UNAVAILABLE, nothing in the file; the retry ends well and asks nothing twice that it found before.
#[tokio::test]
async fn a_search_that_was_cut_goes_on_with_the_retry() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected");
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let still = Arc::clone(&broken);
    let alone = Arc::new(Mutex::new(Vec::new()));
    let refused_alone = Arc::clone(&alone);
    let (endpoint, _) = next_hop(move |texts, arrived| {
        if let [text] = texts
            && text.starts_with("bad")
        {
            refused_alone.lock().unwrap().push(text.clone());
            if still.load(Ordering::Relaxed) && refused_alone.lock().unwrap().len() > 2 {
                refused_alone.lock().unwrap().pop();
                arrived.answer_status(14, "going down");
                return None;
            }
        }
        refuse_bad(texts, arrived)
    })
    .await;
    let sidecar = sidecar_with(&endpoint, Some(&path), Settings::default());
    let client = Client::connect(&sidecar.address).await;
    let wire = frame(0, &batch(&texts(200, |at| at % 20 == 0)));
    assert_eq!(client.export(wire.clone()).await.status(), 14);
    assert_eq!(entries(&path), []);
    broken.store(false, Ordering::Relaxed);
    assert_eq!(client.export(wire.clone()).await.status(), 0);
    assert_eq!(entries(&path).len(), 10);
    let mut asked = alone.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, rejected_texts(&path), "each was asked for alone once, in both tries together");
    // The batch was acknowledged, so the same bytes are another batch, with records and lines of its own.
    assert_eq!(client.export(wire).await.status(), 0);
    assert_eq!(entries(&path).len(), 20);
}

/// Scenario: records with the same bytes are refused in batch after batch, the file is moved away, and then the next hop
/// accepts them and refuses others. Guarantee: each record of each batch is in the file once for each time that it
/// occurs, or at the next hop: a verdict is never reused.
#[tokio::test]
async fn a_verdict_belongs_to_one_delivery() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected");
    let refused = Arc::new(Mutex::new("bad"));
    let now = Arc::clone(&refused);
    let (endpoint, seen) = next_hop(move |texts, arrived| {
        if texts.iter().any(|text| text == *now.lock().unwrap()) {
            arrived.answer_status(3, "malformed record");
            return None;
        }
        Some(arrived)
    })
    .await;
    let sidecar = sidecar_with(&endpoint, Some(&path), Settings::default());
    let client = Client::connect(&sidecar.address).await;
    let export = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        client.export(frame(0, &batch(&texts)))
    };
    assert_eq!(export(&["good 1", "bad"]).await.status(), 0);
    assert_eq!(rejected_texts(&path), ["bad"]);
    assert_eq!(export(&["good 2", "bad", "bad"]).await.status(), 0);
    assert_eq!(rejected_texts(&path), ["bad", "bad", "bad"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(export(&["good 3", "bad"]).await.status(), 0);
    assert_eq!(rejected_texts(&path), ["bad"]);
    *refused.lock().unwrap() = "worse";
    std::fs::remove_file(&path).unwrap();
    seen.taken();
    assert_eq!(export(&["good 4", "bad", "worse"]).await.status(), 0);
    assert_eq!((rejected_texts(&path), seen.taken()), (vec!["worse".to_owned()], vec!["bad".into(), "good 4".into()]));
}

/// Scenario: a search was cut, and then two batches with the same bytes come at the same time. Guarantee: one of them
/// continues the search, the other begins its own, and each writes its own lines.
#[tokio::test]
async fn an_unfinished_search_is_continued_by_one_retry_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected");
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let still = Arc::clone(&broken);
    let (endpoint, _) = next_hop(move |texts, arrived| {
        if still.load(Ordering::Relaxed) && texts.len() == 1 {
            arrived.answer_status(14, "going down");
            return None;
        }
        refuse_bad(texts, arrived)
    })
    .await;
    let sidecar = sidecar_with(&endpoint, Some(&path), Settings::default());
    let client = Client::connect(&sidecar.address).await;
    let wire = frame(0, &batch(&texts(100, |at| at % 50 == 7)));
    assert_eq!(client.export(wire.clone()).await.status(), 14);
    broken.store(false, Ordering::Relaxed);
    let (one, other) = tokio::join!(client.export(wire.clone()), client.export(wire));
    assert_eq!((one.status(), other.status()), (0, 0));
    assert_eq!(rejected_texts(&path), ["bad 57", "bad 57", "bad 7", "bad 7"]);
}

/// Scenario: a next hop that takes 400 ms for each answer, and a deadline of 4 s, too short for 12 steps. Guarantee: bad records of a batch of
/// thousands are found in time, because parts are asked for together.
#[tokio::test]
async fn a_slow_next_hop_is_searched_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected");
    let mut slow = NextHop::start().await;
    let endpoint = slow.endpoint.clone();
    tokio::spawn(async move {
        loop {
            let arrived = slow.arrived().await;
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(400)).await;
                if let Some(arrived) = refuse_bad(&read(&arrived.message()), arrived) {
                    arrived.ok();
                }
            });
        }
    });
    let settings = Settings { deadline: Duration::from_secs(4), ..Settings::default() };
    let sidecar = sidecar_with(&endpoint, Some(&path), settings);
    let client = Client::connect(&sidecar.address).await;
    let answer = client.export(frame(0, &batch(&texts(4_000, |at| at == 1234 || at == 3001)))).await;
    assert_eq!(answer.status(), 0, "{}", answer.message());
    assert_eq!(rejected_texts(&path), ["bad 1234", "bad 3001"]);
}

/// Guarantee: parts of a batch above `max_request_bytes` are searched too, into one file.
#[tokio::test]
async fn parts_of_a_split_batch_are_searched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected");
    let (endpoint, seen) = next_hop(refuse_bad).await;
    let settings = Settings { max_request_bytes: 1000, ..Settings::default() };
    let sidecar = sidecar_with(&endpoint, Some(&path), settings);
    let client = Client::connect(&sidecar.address).await;
    let answer = client.export(frame(0, &batch(&texts(200, |at| at % 50 == 0)))).await;
    assert_eq!(answer.status(), 0, "{}", answer.message());
    assert_eq!((rejected_texts(&path).len(), seen.taken().len()), (4, 196));
}

/// Guarantee: with a rejected file, the client sees OK for the statuses that blame the record, RESOURCE_EXHAUSTED for
/// overload, and UNAVAILABLE for everything else, of which nothing is in the file.
#[tokio::test]
async fn what_the_client_sees_for_each_status() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected");
    let mut next_hop = NextHop::start().await;
    let sidecar = sidecar_with(&next_hop.endpoint, Some(&path), Settings::default());
    let client = Client::connect(&sidecar.address).await;
    let wire = |text: String| frame(0, &batch(&[text]));
    for status in 1..=16 {
        let (answer, ()) = tokio::join!(client.export(wire(format!("status {status}"))), async {
            next_hop.arrived().await.answer_status(status, "it says so");
        });
        let expected = match status {
            3 | 11 => 0,
            8 => 8,
            _ => 14,
        };
        assert_eq!(answer.status(), expected, "{status}: {}", answer.message());
    }
    let (answer, ()) = tokio::join!(client.export(wire("undecodable".to_owned())), async {
        next_hop.arrived().await.answer_status(13, "failed to decode Protobuf message: invalid wire type");
    });
    assert_eq!(answer.status(), 0, "{}", answer.message());
    for (http, expected) in [(413, 0), (400, 14), (401, 14), (404, 14), (429, 14), (503, 14)] {
        let (answer, ()) = tokio::join!(client.export(wire(format!("HTTP {http}"))), async {
            next_hop.arrived().await.answer_http(http);
        });
        assert_eq!(answer.status(), expected, "HTTP {http}: {}", answer.message());
    }
    assert_eq!(rejected_texts(&path), ["HTTP 413", "status 11", "status 3", "undecodable"]);
}
