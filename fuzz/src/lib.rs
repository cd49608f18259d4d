//! The common parts of the fuzz targets: the field table, a visitor that remembers, and what must hold of every import.

pub mod batch;
pub mod logs;

use std::sync::{Arc, LazyLock};

use hotlist::encoding::tag::{Enrichment, Frame, Node};
use hotlist::encoding::{Value, Visitor};
use hotlist::feed::{ColumnMapping, FeedFormat, FeedOptions, Import, Limits, Unusable, import};
use hotlist::schema::{FieldId, FieldTable, PathTrie};

/// The field table as shipped, CTI rows included.
pub static TABLE: LazyLock<FieldTable> = LazyLock::new(|| FieldTable::embedded(true).expect("the shipped table loads"));

/// A trie that wants every field.
pub static TRIE: LazyLock<PathTrie> = LazyLock::new(|| TABLE.trie(|_, _| true));

/// Every value that a walk visited, in its order.
#[derive(Debug, Default, PartialEq)]
pub struct Seen(pub Vec<(FieldId, String)>);

impl Visitor for Seen {
    fn value(&mut self, field: FieldId, value: Value<'_>) {
        self.0.push((field, format!("{value:?}")));
    }
}

/// An enrichment as a hit gives it.
pub fn enrichment() -> serde_json::Value {
    serde_json::json!({
        "indicator": {"type": "ipv4-addr", "ip": "203.0.113.5", "name": "203.0.113.5"},
        "matched": {"id": "indicator--1", "field": "source.ip", "atomic": "203.0.113.5"},
        "feed": {"name": "test"},
    })
}

/// The same hit as one of an event of OCSF gives it, with flat values.
pub fn hit() -> Enrichment {
    let text = |text: &str| Node::Text(text.into());
    let data = Node::Object(vec![
        ("matched", Node::Object(vec![("id", text("indicator--1")), ("field", text("source.ip"))])),
        ("feed", Node::Object(vec![("name", text("test"))])),
        ("hotlist", Node::Object(vec![("rule", text("feed:test"))])),
    ]);
    let root = Node::Object(vec![("value", Node::EventValue), ("type", text("threat-match")), ("data", data)]);
    let identity = [("uid", "indicator--1"), ("name", "source.ip"), ("vendor_name", "test")];
    let osint = Node::Object(identity.map(|(key, value)| (key, text(value))).into());
    let flat = ["source.ip", "high", "CTI", "203.0.113.5"].map(Arc::from);
    Enrichment::new(Arc::new(Frame::with(root, Some(osint), Some(flat))), (*b"203.0.113.5").into(), "".into())
}

/// Small bounds, so that short inputs reach them.
const LIMITS: Limits =
    Limits { line_bytes: 256, json_line_bytes: 512, document_bytes: 3 << 10, unpacked_bytes: 8 << 10, indicators: 64 };

/// Imports a file in a format, or in the detected one: with the defaults, and with every option of a configuration set.
pub fn feed(format: Option<FeedFormat>, bytes: &[u8]) {
    let column = |name: &str| Some(name.to_owned());
    let mut plain = FeedOptions { format, limits: LIMITS, ..FeedOptions::default() };
    if format == Some(FeedFormat::Json) {
        plain.columns.value = column("value");
    }
    let columns = ColumnMapping {
        value: column("ioc.value"),
        kind: column("type"),
        valid_from: column("from"),
        valid_until: column("until"),
        kill_chain_phases: column("phases"),
        description: column("text"),
        confidence: column("score"),
        tlp: column("tlp"),
        name: column("name"),
        reference: column("link"),
        id: column("id"),
        first_seen: column("first"),
        last_seen: column("last"),
    };
    let told =
        FeedOptions { columns, default_kind: Some(hotlist::observable::Kind::User), subdomains: true, ..plain.clone() };
    for options in [plain, told] {
        match import(bytes, "feed", &options, &TABLE) {
            Ok(import) => check(&import, bytes),
            // The message is made for a person; making it must not fail either.
            Err(error) => drop(error.to_string()),
        }
    }
}

/// What holds of every import, whatever the file.
fn check(import: &Import, bytes: &[u8]) {
    // Of a file that is packed or in UTF-16 the lines are not those of its bytes.
    let is_plain =
        !["\x1f".as_bytes(), b"\x28\xb5\x2f\xfd", b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| bytes.starts_with(mark));
    // A line ends with a line feed, a carriage return, or both.
    let is_end = |at: usize| bytes[at] == b'\n' || (bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
    let ends = (0..bytes.len()).filter(|at| is_end(*at)).count();
    let lines = ends + usize::from(bytes.last().is_some_and(|last| !matches!(last, b'\n' | b'\r')));
    let is_line = |line: u32| line >= 1 && (!is_plain || line as usize <= lines);
    for indicator in &import.indicators {
        assert!(!indicator.terms.is_empty(), "an indicator without terms: {indicator:?}");
        assert!(is_line(indicator.line), "not one of the {lines} lines: {indicator:?}");
    }
    for unusable in &import.unusable {
        assert!(is_line(unusable.line), "not one of the {lines} lines: {unusable:?}");
        assert!(!unusable.reason.is_empty(), "no reason: {unusable:?}");
        assert!(unusable.excerpt.chars().count() <= Unusable::MAX_EXCERPT, "too long: {unusable:?}");
        assert!(!unusable.excerpt.contains(char::is_control), "it would disturb a terminal: {unusable:?}");
    }
}
