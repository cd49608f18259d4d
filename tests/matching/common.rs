//! Small detectors, and events for them.

use std::sync::Arc;

use bytes::Bytes;
use hotlist::detect::{Budgets, Detector, Report, Verdict};
use hotlist::encoding::Tagging;
use hotlist::encoding::otlp::{encode_json, request_of};
use hotlist::encoding::wire::put_bytes;
use hotlist::intel::indicator::{Context, Indicator, Target, Term};
use hotlist::intel::snapshot::{Feed, MatchOptions, SnapshotBuilder};
use hotlist::intel::term;
use hotlist::matcher::{Hit, Matcher};
use hotlist::observable::Kind;
use hotlist::pipeline::{MatchedMessage, Work};
use hotlist::policy::{Policy, Suppression};
use hotlist::schema::FieldTable;
use jiff::Timestamp;
use serde_json::Value;

pub const EXACT: MatchOptions = MatchOptions::EXACT;

pub fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A time in nanoseconds since 1970, as OTLP has it.
pub fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap()
}

pub fn table() -> Arc<FieldTable> {
    Arc::new(FieldTable::embedded(true).unwrap())
}

pub fn of_terms(terms: Vec<Term>) -> Indicator {
    Indicator {
        id: None,
        terms,
        program: None,
        context: Arc::new(Context::default()),
        valid_from: None,
        valid_until: None,
        revoked: false,
        port: None,
        line: 1,
    }
}

/// An indicator of one value, looked for at every field of its kind.
pub fn indicator(kind: Kind, written: &str) -> Indicator {
    let value = term::value(kind, written).unwrap_or_else(|| panic!("`{written}` is no {kind}"));
    of_terms(vec![Term { value, target: Target::Kind }])
}

pub fn detector(
    table: &Arc<FieldTable>,
    options: MatchOptions,
    policy: Option<Policy>,
    feeds: Vec<(Feed, Vec<Indicator>)>,
) -> Detector {
    let mut builder = SnapshotBuilder::new(table.clone(), options, 11);
    for (feed, indicators) in feeds {
        builder.add_feed(feed, indicators).unwrap();
    }
    Detector {
        snapshot: Arc::new(builder.build("acme@42")),
        policy,
        tagging: Tagging::default(),
        budgets: Budgets::default(),
    }
}

/// The detector without budgets that an event can exceed, to compare everything that is found.
pub fn unbounded(detector: &Detector) -> Detector {
    Detector { budgets: Budgets::OFFLINE, ..detector.clone() }
}

/// The verdict on a JSON document that arrived at the epoch.
pub fn judge(detector: &Detector, document: &Value) -> Verdict {
    let mut matcher = Matcher::new(&detector.snapshot);
    matcher.set_limit(detector.budgets.record_findings);
    detector
        .document(document.to_string().as_bytes(), detector.snapshot.trie(), &mut matcher, Timestamp::UNIX_EPOCH)
        .unwrap()
}

/// What a batch leads to.
pub struct Sent {
    pub batch: MatchedMessage,
    pub report: Report,
    pub hits: Vec<Hit>,
    /// Its bytes stayed the same.
    pub is_same: bool,
}

impl Sent {
    /// The reasons of the findings that policy dropped.
    pub fn reasons(&self) -> Vec<Suppression> {
        let each = self.report.suppressions.iter();
        each.flat_map(|(reason, number)| std::iter::repeat_n(*reason, number as usize)).collect()
    }
}

/// Sends an OTLP request to a detector.
pub fn send_request(detector: &Detector, request: impl Into<Bytes>, arrival: Timestamp) -> Sent {
    let request = request.into();
    let format = hotlist::encoding::Format::Otlp;
    let (batch, report) = detector.batch(format, request.clone(), arrival, &Work::default()).unwrap();
    let hits: Vec<Hit> = batch.hits.iter().flat_map(|record| record.hits.iter().cloned()).collect();
    assert_eq!(report.hits.total(), hits.len() as u64, "what is counted is what was found");
    let is_same = batch.message.to_bytes() == request;
    Sent { batch, report, hits, is_same }
}

/// What a batch of one OTLP record with this body leads to.
pub fn send(detector: &Detector, document: &Value) -> Sent {
    send_request(detector, request_of([(0, document)]), Timestamp::UNIX_EPOCH)
}

/// The same for each way in which a record can carry a document: its body as key-values, its body as JSON in a string,
/// and its attributes.
pub fn send_each_way(detector: &Detector, document: &Value) -> Vec<(&'static str, Sent)> {
    let mut record = Vec::new();
    for (key, value) in document.as_object().unwrap() {
        let mut attribute = Vec::new();
        put_bytes(&mut attribute, 1, key.as_bytes());
        put_bytes(&mut attribute, 2, &encode_json(value));
        put_bytes(&mut record, 6, &attribute);
    }
    // Field 2 of the scope is the record, field 2 of the resource the scope, field 1 of the request the resource.
    let attributes = [2, 2, 1].iter().fold(record, |inner, number| {
        let mut outer = Vec::new();
        put_bytes(&mut outer, *number, &inner);
        outer
    });
    let requests = [
        ("OTLP body", request_of([(0, document)])),
        ("OTLP body of JSON", request_of([(0, &Value::String(document.to_string()))])),
        ("OTLP attributes", attributes),
    ];
    requests.map(|(way, request)| (way, send_request(detector, request, Timestamp::UNIX_EPOCH))).into()
}

/// The name of the field of a hit.
pub fn field_of<'d>(detector: &'d Detector, hit: &Hit) -> &'d str {
    &detector.snapshot.table().get(hit.field).name
}

/// A document with `value` at a dotted path, as nested objects.
pub fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |inner, label| serde_json::json!({ label: inner }))
}
