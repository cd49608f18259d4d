//! Text that is fields: CEF, LEEF and `key=value` lines have the hits of the same event as a JSON document, and their tokens.

use std::collections::BTreeSet;
use std::ops::Range;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use hotlist::detect::{Budgets, Detector, Verdict};
use hotlist::encoding::otlp;
use hotlist::intel::snapshot::{Feed, MatchOptions, Origin};
use hotlist::matcher::{Hit, Matcher};
use hotlist::observable::{Kind, Malformed};
use hotlist::policy::{Policy, Suppression};
use hotlist::schema::{Field, FieldId, FieldKind, FieldTable};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::common::{EXACT, Sent, detector, indicator, judge, send_request};
use crate::fields::written;
use crate::schemas::{KINDS, c2, detectors, examples};

const TEXT: MatchOptions = MatchOptions { text: true, ..EXACT };

/// A format: its schema, and how pairs are written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Cef,
    Leef,
    LeefWithDelimiter,
    Words,
}

impl Format {
    const ALL: [Format; 4] = [Format::Cef, Format::Leef, Format::LeefWithDelimiter, Format::Words];

    /// A value as it stands in a line.
    fn value(self, value: &str) -> String {
        match self {
            Format::Cef => value.replace('\\', r"\\").replace('=', r"\="),
            Format::Leef | Format::LeefWithDelimiter => value.to_owned(),
            Format::Words => format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"")),
        }
    }

    fn line(self, pairs: &[(&str, &str)]) -> String {
        let (header, separator) = match self {
            Format::Cef => (r"<134>Nov 30 11:25:06 fw CEF:0|Ex\|ample|Firewall|1.0|100|name|8|", " "),
            Format::Leef => ("Nov 30 11:25:06 ids LEEF:1.0|Example|IDS|1.0|100|", "\t"),
            Format::LeefWithDelimiter => ("LEEF:2.0|Example|IDS|1.0|100|x5E|", "^"),
            Format::Words => ("host app[1]: level=info n=1 ", " "),
        };
        let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={}", self.value(value))).collect();
        format!("{header}{}{separator}end=1", pairs.join(separator))
    }
}

fn judge_line(detector: &Detector, line: &str) -> Verdict {
    detector.text(line.as_bytes(), &mut Matcher::new(&detector.snapshot), Timestamp::UNIX_EPOCH)
}

/// What an OTLP record with the line as its body leads to.
fn send_line(detector: &Detector, line: &str) -> Sent {
    let request = Bytes::from(otlp::request_of([(0, &json!(line))]));
    send_request(detector, request, Timestamp::UNIX_EPOCH)
}

/// Path, indicator, and the text at the offsets of each hit.
fn found<'l>(detector: &Detector, hits: &[Hit], line: &'l str) -> Vec<(String, String, &'l str)> {
    let table = detector.snapshot.table();
    let part = |hit: &Hit| hit.in_text.as_ref().map_or("", |text| &line[text.at.clone()]);
    hits.iter().map(|hit| (hit.path(table).to_owned(), hit.name.to_string(), part(hit))).collect()
}

fn value_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Guarantee: a value at the key of any row of CEF and LEEF is found there in a line, its offsets are those of the value, and
/// the columns decide whether it counts; the live stream finds the same.
#[test]
fn every_key_of_cef_and_leef_is_found_in_text() {
    let mut rows = 0;
    for (name, formats) in [("cef", &[Format::Cef][..]), ("leef", &[Format::Leef, Format::LeefWithDelimiter])] {
        let table = Arc::new(FieldTable::of_schemas(&[name]).unwrap());
        let of = |origin| {
            let detectors = detectors(&table, origin);
            let live = |kind: Kind| {
                let feed = Feed { origin, ..Feed::named("feed") };
                let feeds = vec![(feed, vec![indicator(kind, &written(kind))])];
                (kind, detector(&table, TEXT, Some(Policy::default()), feeds))
            };
            (detectors, KINDS.map(live))
        };
        let (cti, collections) = (of(Origin::Feed), of(Origin::Collection));
        let is_short = |field: &&Field| !field.name.contains('.');
        for (at, field) in table.iter().map(|(_, field)| field).filter(is_short).enumerate() {
            for (kind, value) in examples(field) {
                let value = value_of(&value);
                rows += 1;
                for ((detectors, live), counts) in [(&cti, field.cti), (&collections, field.collection)] {
                    let detector = &detectors.iter().find(|(of, _)| *of == kind).unwrap().1;
                    for format in formats {
                        let line = format.line(&[("cat", "x"), (&field.name, &value)]);
                        let verdict = judge_line(detector, &line);
                        let hits = found(detector, &verdict.hits, &line);
                        let hits: Vec<_> = hits.iter().map(|(path, _, part)| (path.as_str(), *part)).collect();
                        let dropped: Vec<Suppression> = verdict.suppressed.iter().map(|(_, reason)| *reason).collect();
                        let written = format.value(&value);
                        let expected: (&[(&str, &str)], &[Suppression]) = match counts {
                            true => (&[(field.name.as_str(), written.as_str())], &[]),
                            false => (&[], &[Suppression::Column]),
                        };
                        assert_eq!((&hits[..], &dropped[..]), expected, "{name} {} {kind}: {line}", field.name);
                        if at % 5 == 0 {
                            let live = &live.iter().find(|(of, _)| *of == kind).unwrap().1;
                            assert_eq!(send_line(live, &line).hits, verdict.hits, "{name} {} {kind}", field.name);
                        }
                    }
                }
            }
        }
    }
    assert!(rows > 150, "{rows} rows");
}

fn indicators() -> Vec<hotlist::intel::indicator::Indicator> {
    let others = [
        (Kind::Ip, "2001:db8::66"),
        (Kind::Ip, "198.51.100.0/24"),
        (Kind::Domain, "evil.example"),
        (Kind::Url, "http://evil.example/x?a=b"),
        (Kind::Email, "mallory@evil.example"),
        (Kind::User, "mallory"),
        (Kind::Md5, "44d88612fea8a8f36de82e1278abb02f"),
        (Kind::Name, "evil tool.exe"),
        (Kind::Path, r"C:\evil\run.exe"),
    ];
    others.map(|(kind, value)| indicator(kind, value)).into_iter().chain([c2(Kind::Ip)]).collect()
}

fn everywhere(options: MatchOptions) -> Detector {
    let table = Arc::new(FieldTable::shipped().unwrap());
    detector(&table, options, Some(Policy::default()), vec![(Feed::named("feed"), indicators())])
}

const KEYS: [&str; 20] = [
    "src",
    "dst",
    "dhost",
    "request",
    "suser",
    "usrName",
    "fileHash",
    "fname",
    "filePath",
    "cs1",
    "av",
    "act",
    "url",
    "host",
    "uri",
    "source.ip",
    "destination.ip",
    "user.name",
    "requestParameters",
    "unknown",
];

const VALUES: [&str; 20] = [
    "203.0.113.7",
    "203.0.113.7:443",
    "198.51.100.9",
    "198.51.100.9, 203.0.113.7",
    "2001:db8::66",
    "[2001:db8::66]:443",
    "evil.example",
    "EVIL.example.",
    "http://evil.example/x?a=b",
    "http://evil.example/x?a=b&dst=203.0.113.7",
    "/x?a=b",
    "mallory@evil.example",
    r"EVIL\mallory",
    "Mallory",
    "44D88612FEA8A8F36DE82E1278ABB02F",
    "MD5=44d88612fea8a8f36de82e1278abb02f",
    "evil tool.exe",
    r"c:\evil\run.exe",
    r#"{"destination.ip":"203.0.113.7"}"#,
    "nothing here",
];

/// Fields and the indicators found at them.
type FieldFindings = BTreeSet<(String, String)>;

/// Path and indicator of what was found at fields, as hits and as dropped by policy.
fn at_fields(detector: &Detector, verdict: &Verdict) -> (FieldFindings, FieldFindings) {
    let table = detector.snapshot.table();
    let show = |hit: &Hit| (hit.path(table).to_owned(), hit.name.to_string());
    let is_field = |hit: &&Hit| hit.field != FieldId::TEXT;
    let dropped = verdict.suppressed.iter().map(|(hit, _)| hit);
    (verdict.hits.iter().filter(is_field).map(show).collect(), dropped.filter(is_field).map(show).collect())
}

static OF_FIELDS: LazyLock<Detector> = LazyLock::new(|| everywhere(EXACT));
static OF_TEXT: LazyLock<Detector> = LazyLock::new(|| everywhere(TEXT));

proptest! {
    /// A line has the findings at fields that the document with the same keys and values has, whatever the format; a record
    /// with the line as its body has the hits of the line; and each indicator is found in a value once.
    #[test]
    fn a_line_has_the_findings_of_its_document(pairs in proptest::collection::vec((proptest::sample::select(&KEYS[..]), proptest::sample::select(&VALUES[..])), 1..7)) {
        let (detector, live) = (&*OF_FIELDS, &*OF_TEXT);
        let mut members: Map<String, Value> = Map::new();
        for (key, value) in &pairs {
            members.entry(*key).or_insert_with(|| json!([])).as_array_mut().unwrap().push(json!(value));
        }
        let document = judge(detector, &Value::Object(members));
        for format in Format::ALL {
            let line = format.line(&pairs);
            let verdict = judge_line(detector, &line);
            prop_assert_eq!(at_fields(detector, &verdict), at_fields(detector, &document), "{}", line);
            let mut seen: Vec<(Range<usize>, &str)> = Vec::new();
            for hit in verdict.hits.iter().chain(verdict.suppressed.iter().map(|(hit, _)| hit)) {
                let Some(at) = hit.in_text.as_ref().map(|text| text.at.clone()) else { continue };
                let is_apart = |known: &Range<usize>| at.end <= known.start || known.end <= at.start;
                let is_new = seen.iter().all(|(known, name)| *name != &*hit.name || is_apart(known));
                prop_assert!(is_new, "{:?} {} again in {}", at, hit.name, line);
                seen.push((at, &hit.name));
            }
            let sent = send_line(live, &line);
            let show = |hits: &[Hit]| {
                let place = |hit: &Hit| hit.in_text.as_ref().map(|text| (text.at.start, text.at.end));
                hits.iter().map(|hit| (hit.field, hit.name.clone(), place(hit))).collect::<Vec<_>>()
            };
            prop_assert_eq!(show(&sent.hits), show(&verdict.hits), "{}", line);
        }
    }
}

/// Scenario: command-and-control addresses and other values in lines. Guarantee: the sides, columns and exclusions of the
/// rows hold, what no key covers is found as a token, and nothing twice.
#[test]
fn fields_win_over_tokens_and_keep_their_rules() {
    let detector = everywhere(TEXT);
    for (line, expected) in [
        // The side that opened the connection does not count for command and control.
        ("CEF:0|a|b|1|c|d|5|src=203.0.113.7 dpt=1", &[][..]),
        ("CEF:0|a|b|1|c|d|5|dst=203.0.113.7 dpt=1", &[("dst", "203.0.113.7")]),
        (
            "CEF:0|a|b|1|c|d|5|dst=203.0.113.7 msg=to 203.0.113.7 again",
            &[("dst", "203.0.113.7"), ("message", "203.0.113.7")],
        ),
        // The version of a device is not an address, in the header as in the extension.
        ("CEF:0|a|b|203.0.113.7|c|d|5|av=203.0.113.7 dpt=1", &[]),
        ("LEEF:1.0|a|b|203.0.113.7|c|sev=1", &[]),
        // A key that no row knows is text, and so is what stands before the header.
        (
            "fw 203.0.113.7 CEF:0|a|b|1|c|d|5|own=evil.example",
            &[("message", "203.0.113.7"), ("message", "evil.example")],
        ),
        // The host in a URL is a token of its own.
        (
            "CEF:0|a|b|1|c|d|5|request=http://evil.example/x?a\\=b",
            &[("request", "http://evil.example/x?a=b"), ("message", "evil.example")],
        ),
        // Tabs that became blanks do not move an address to the other side.
        ("LEEF:1.0|a|b|1|c|src=192.0.2.1 dst=203.0.113.7 sev=1", &[("dst", "203.0.113.7")]),
        ("LEEF:1.0|a|b|1|c|src=192.0.2.1#011dst=203.0.113.7#011sev=1", &[("dst", "203.0.113.7")]),
        ("level=info source.ip=192.0.2.1 destination.ip=203.0.113.7", &[("destination.ip", "203.0.113.7")]),
        // Parts of URLs are composed.
        (
            "level=info host=evil.example uri=\"/x?a=b\"",
            &[("host", "evil.example"), ("uri", "http://evil.example/x?a=b")],
        ),
        // A sentence is text.
        ("went from src=203.0.113.7 to dst=192.0.2.1", &[("message", "203.0.113.7")]),
    ] {
        let verdict = judge_line(&detector, line);
        let hits = found(&detector, &verdict.hits, line);
        let hits: Vec<_> = hits.iter().map(|(path, name, _)| (path.as_str(), name.as_str())).collect();
        assert_eq!(hits, expected, "{line}");
    }
}

/// Scenario: a line in a field that `match.text` names, in a string of a document, and where text is off. Guarantee: the
/// enrichment has the key's path, its meaning and the offsets in the string; text that is off is not read.
#[test]
fn lines_in_events_are_read_where_text_is() {
    let line = "CEF:0|a|b|1|c|d|5|src=192.0.2.1 dst=203.0.113.7";
    let document = json!({ "event": { "original": line } });
    let mut table = FieldTable::shipped().unwrap();
    table.add_text("event.original").unwrap();
    let feeds = || vec![(Feed::named("feed"), indicators())];
    let named = detector(&Arc::new(table), EXACT, Some(Policy::default()), feeds());
    for detector in [named, everywhere(TEXT)] {
        let verdict = judge(&detector, &document);
        let tagged = detector.tag_document(document.to_string().as_bytes(), &verdict).unwrap();
        let tagged: Value = serde_json::from_slice(&tagged).unwrap();
        let enrichments = tagged["threat"]["enrichments"].as_array().unwrap();
        assert_eq!(enrichments.len(), 1, "{tagged}");
        assert_eq!(enrichments[0]["matched"]["field"], "dst");
        assert_eq!(enrichments[0]["matched"]["atomic"], "203.0.113.7");
        assert_eq!(enrichments[0]["hotlist"]["ecs_field"], "destination.ip");
        assert_eq!(enrichments[0]["hotlist"]["offset"], json!({ "start": 36, "end": 47 }));
    }
    assert!(judge(&everywhere(EXACT), &document).hits.is_empty());
}

/// Guarantee: events with a CEF or LEEF line count for their schema.
#[test]
fn lines_count_for_their_schema() {
    let live = everywhere(TEXT);
    for (format, schema) in [(Format::Cef, "cef"), (Format::Leef, "leef")] {
        let sent = send_line(&live, &format.line(&[("dst", "192.0.2.1")]));
        let schemas: Vec<_> = sent.report.schemas.iter().map(|(name, count)| (*name, count)).collect();
        assert_eq!(schemas, [(schema, 1)]);
    }
}

/// Guarantee: findings in pairs take part in the budget of a record; a value with escapes that is too long to unescape is
/// counted as malformed; pairs beyond those that are read are reported.
#[test]
fn pairs_are_bounded_and_what_is_left_out_is_counted() {
    let live = everywhere(TEXT);
    let of_budget = Detector { budgets: Budgets { record_findings: 3, ..live.budgets }, ..live.clone() };
    let keys: Vec<String> = (1..=6).map(|number| format!("cs{number}")).collect();
    let pairs: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "evil.example")).collect();
    let sent = send_line(&of_budget, &Format::Cef.line(&pairs));
    assert_eq!((sent.hits.len(), sent.report.truncated.total()), (3, 1));

    let long = format!("{}\\=evil.example", "x".repeat(200 << 10));
    let sent = send_line(&live, &format!("CEF:0|a|b|1|c|d|5|src=192.0.2.1 cs1={long}"));
    let cs1 = live.snapshot.table().id("cs1").unwrap();
    assert_eq!(sent.report.malformed.iter().collect::<Vec<_>>(), [(cs1, Malformed::TooLong, 1)]);

    let many = format!("{}suser=mallory", "own=1 ".repeat(20_000));
    let sent = send_line(&live, &many);
    let truncated: Vec<_> = sent.report.truncated.iter().map(|(budget, count)| (budget.as_str(), count)).collect();
    assert_eq!((sent.hits.len(), truncated), (0, vec![("record_lookups", 1)]));
}

/// Scenario: text fields in documents in pairs, as deep as they go. Guarantee: reading ends, and the address is found.
#[test]
fn lines_in_documents_in_lines_are_read_to_a_depth() {
    let mut table = FieldTable::shipped().unwrap();
    table.push(Field::own("log", FieldKind::Json)).unwrap();
    table.add_text("log").unwrap();
    let feeds = vec![(Feed::named("feed"), indicators())];
    let detector = detector(&Arc::new(table), TEXT, Some(Policy::default()), feeds);
    let mut line = "level=info n=1 destination.ip=203.0.113.7".to_owned();
    for _ in 0..6 {
        line = Format::Words.line(&[("log", &json!({ "log": line }).to_string())]);
        let verdict = judge_line(&detector, &line);
        assert!(verdict.hits.iter().any(|hit| *hit.name == *"203.0.113.7"), "{line}");
    }
}

/// Scenario: a line with a time of its own, long before it arrived. Guarantee: the time of the event is the line's.
#[test]
fn the_time_of_a_line_is_the_event_time() {
    let detector = everywhere(TEXT);
    for line in [
        "CEF:0|a|b|1|c|d|5|rt=1331901000000 dst=203.0.113.7",
        "LEEF:1.0|a|b|1|c|devTime=1331901000000\tdst=203.0.113.7",
        "time=2012-03-16T12:30:00Z level=info destination.ip=203.0.113.7",
    ] {
        let time = "2012-03-16T12:30:00Z".parse::<Timestamp>().unwrap();
        assert_eq!(judge_line(&detector, line).facts.time, time, "{line}");
        assert_eq!(detector.event_time(line.as_bytes()), Some(time), "{line}");
    }
    let line = "dst 203.0.113.7";
    assert_eq!(judge_line(&detector, line).facts.time, Timestamp::UNIX_EPOCH);
}

/// Scenario: `hotlist scan` of sample lines of each format, which are written from the formats' documentation. Guarantee:
/// what stands at a key is found at its field, and the rest as tokens.
#[test]
fn the_samples_of_each_format_are_found_at_their_fields() {
    let directory = tempfile::tempdir().unwrap();
    let feed = directory.path().join("feed.txt");
    let values = [
        "203.0.113.66",
        "2001:db8::66",
        "c2.example.net",
        "http://c2.example.net/get?id=7",
        "http://c2.example.net/get?id=7&v=2",
        "mallory@example.net",
        "44d88612fea8a8f36de82e1278abb02f",
        "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f",
    ];
    std::fs::write(&feed, values.join("\n")).unwrap();
    for (name, expected) in [
        (
            "cef.log",
            &[
                "1 dhost c2.example.net",
                "1 dst 203.0.113.66",
                "2 fileHash 44d88612fea8a8f36de82e1278abb02f",
                "2 message c2.example.net",
                "2 request http://c2.example.net/get?id=7&v=2",
                "3 c6a2 2001:db8::66",
                "3 cs1 c2.example.net",
                "3 duser mallory@example.net",
                "3 fileHash 275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f",
            ][..],
        ),
        (
            "leef.log",
            &[
                "1 dst 203.0.113.66",
                "2 message c2.example.net",
                "2 resource c2.example.net",
                "2 url http://c2.example.net/get?id=7",
                "2 usrName mallory@example.net",
                "3 identHostName c2.example.net",
                "3 vSrc 2001:db8::66",
            ],
        ),
        (
            "logfmt.log",
            &[
                "1 destination.ip 203.0.113.66",
                "1 message c2.example.net",
                "1 url.full http://c2.example.net/get?id=7",
                "2 host c2.example.net",
                "2 message mallory@example.net",
                "2 remote_addr 203.0.113.66",
                "2 uri http://c2.example.net/get?id=7",
                "3 message 203.0.113.66",
                "3 to mallory@example.net",
            ],
        ),
        (
            "firewall.log",
            &[
                "1 dstip 203.0.113.66",
                "1 hostname c2.example.net",
                "1 url http://c2.example.net/get?id=7",
                "2 DST 203.0.113.66",
            ],
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
        command.args(["scan", "--emit", "hits", "--indicators"]).arg(&feed);
        let output = command.arg("--events").arg(format!("examples/events/text/{name}")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let hits: BTreeSet<String> = text
            .lines()
            .map(|line| {
                let hit: Value = serde_json::from_str(line).unwrap();
                format!("{} {} {}", hit["line"], value_of(&hit["field"]), value_of(&hit["indicator"]))
            })
            .collect();
        assert_eq!(
            hits.iter().map(String::as_str).collect::<Vec<_>>(),
            expected,
            "{name}: {output:?}",
            output = String::from_utf8_lossy(&output.stderr)
        );
    }
}
