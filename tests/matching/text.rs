//! Indicators in text: the texts of events in each protocol, lines, and what is found where.

use std::sync::Arc;

use bytes::Bytes;
use hotlist::detect::{Detector, Verdict};
use hotlist::encoding::{Format, otlp, transcode};
use hotlist::intel::indicator::Indicator;
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::matcher::{Hit, Matcher};
use hotlist::observable::Kind;
use hotlist::pipeline::Work;
use hotlist::policy::Policy;
use hotlist::schema::FieldTable;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{detector, indicator, judge};

const ALL: MatchOptions = MatchOptions { text: true, ..MatchOptions::EXACT };
const MD5: &str = "44d88612fea8a8f36de82e1278abb02f";

fn indicators() -> Vec<Indicator> {
    [
        (Kind::Ip, "203.0.113.66"),
        (Kind::Ip, "2001:db8::66"),
        (Kind::Ip, "198.51.100.0/24"),
        (Kind::Domain, "evil.example"),
        (Kind::Domain, "setup.exe"),
        (Kind::Url, "http://evil.example/x"),
        (Kind::Email, "mallory@evil.example"),
        (Kind::Md5, MD5),
    ]
    .map(|(kind, value)| indicator(kind, value))
    .into()
}

fn detector_over(table: FieldTable, options: MatchOptions, policy: Option<Policy>) -> Detector {
    detector(&Arc::new(table), options, policy, vec![(Feed::named("feed"), indicators())])
}

fn everywhere() -> Detector {
    detector_over(FieldTable::shipped().unwrap(), ALL, None)
}

/// Path, indicator, and bytes in the text.
type Found = (String, String, Option<(usize, usize)>);

/// Path, indicator and bytes in the text of each hit, in the order of the hits.
fn found(detector: &Detector, hits: &[Hit]) -> Vec<Found> {
    let table = detector.snapshot.table();
    let place = |hit: &Hit| hit.in_text.as_ref().map(|text| (text.at.start, text.at.end));
    hits.iter().map(|hit| (hit.path(table).to_owned(), hit.name.to_string(), place(hit))).collect()
}

fn names(detector: &Detector, verdict: &Verdict) -> Vec<String> {
    let mut names: Vec<String> = found(detector, &verdict.hits).into_iter().map(|(_, name, _)| name).collect();
    names.sort();
    names
}

fn line(detector: &Detector, line: &str) -> Verdict {
    detector.text(line.as_bytes(), &mut Matcher::new(&detector.snapshot), Timestamp::UNIX_EPOCH)
}

#[test]
fn a_line_hits_at_each_token_and_says_where() {
    let detector = everywhere();
    let verdict = line(&detector, "sshd[1]: from 203.0.113.66 port 22 (evil.example)");
    assert_eq!(
        found(&detector, &verdict.hits),
        [
            ("message".to_owned(), "203.0.113.66".to_owned(), Some((14, 26))),
            ("message".to_owned(), "evil.example".to_owned(), Some((36, 48))),
        ]
    );
    assert_eq!(&*verdict.hits[0].value, b"203.0.113.66");
    for (text, expected) in [
        ("GET http://evil.example/x HTTP/1.1", vec!["evil.example", "http://evil.example/x"]),
        ("[2001:DB8::66]:443", vec!["2001:db8::66"]),
        ("<mallory@evil.example>", vec!["mallory@evil.example"]),
        (&format!("MD5={}", MD5.to_uppercase()), vec![MD5]),
        ("to 198.51.100.9:80", vec!["198.51.100.0/24"]),
        // An address behind a word is a version, and no network covers it; a listed address counts.
        ("Agent/198.51.100.9", vec![]),
        ("Agent/203.0.113.66", vec!["203.0.113.66"]),
        // No such top level exists, whatever a feed has.
        ("ran setup.exe", vec![]),
        ("notevil.example 203.0.113.660 x203.0.113.66", vec![]),
    ] {
        assert_eq!(names(&detector, &line(&detector, text)), expected, "{text}");
    }
}

#[test]
fn texts_are_scanned_where_the_configuration_says_so() {
    let document = json!({
        "message": "from 203.0.113.66",
        "process": { "command_line": "curl http://evil.example/x", "args": ["a", "evil.example,"] },
        "my.own": { "deep": [{ "note": format!("hash {MD5}.") }] },
        "count": 3,
    });
    let text = |path: &str, name: &str, start, end| (path.to_owned(), name.to_owned(), Some((start, end)));
    let detector = everywhere();
    assert_eq!(
        found(&detector, &judge(&detector, &document).hits),
        [
            text("message", "203.0.113.66", 5, 17),
            text("process.command_line", "http://evil.example/x", 5, 26),
            text("process.command_line", "evil.example", 12, 24),
            text("process.args", "evil.example", 0, 12),
            text("my.own.deep.note", MD5, 5, 37),
        ]
    );
    let mut table = FieldTable::shipped().unwrap();
    table.add_text("message").unwrap();
    table.add_text("my.own.deep.note").unwrap();
    table.add_text("process.command_line").unwrap();
    let detector = detector_over(table, MatchOptions::EXACT, None);
    assert_eq!(
        found(&detector, &judge(&detector, &document).hits),
        [
            text("message", "203.0.113.66", 5, 17),
            text("process.command_line", "http://evil.example/x", 5, 26),
            text("process.command_line", "evil.example", 12, 24),
            text("my.own.deep.note", MD5, 5, 37),
        ]
    );
    let detector = detector_over(FieldTable::shipped().unwrap(), MatchOptions::EXACT, None);
    assert!(judge(&detector, &document).hits.is_empty());
}

/// Scenario: a value at a field that is looked up there, with texts scanned as well. Guarantee: it is found once, at the
/// field.
#[test]
fn a_value_at_a_field_is_not_found_in_its_text_again() {
    let detector = everywhere();
    let document =
        json!({ "source.ip": "203.0.113.66", "url": { "full": "http://evil.example/x" }, "other": "203.0.113.66" });
    assert_eq!(
        found(&detector, &judge(&detector, &document).hits),
        [
            ("source.ip".to_owned(), "203.0.113.66".to_owned(), None),
            ("url.full".to_owned(), "http://evil.example/x".to_owned(), None),
            ("url.full".to_owned(), "evil.example".to_owned(), Some((7, 19))),
            ("other".to_owned(), "203.0.113.66".to_owned(), Some((0, 12))),
        ]
    );
}

/// What stands where Hotlist writes is not text of the event.
#[test]
fn the_enrichments_of_an_event_are_not_scanned() {
    let detector = everywhere();
    let enrichment = json!([{ "matched": { "atomic": "203.0.113.66" } }]);
    let document = json!({ "threat": { "enrichments": enrichment }, "tags": ["203.0.113.66"], "hotlist": { "x": "203.0.113.66" } });
    assert!(judge(&detector, &document).hits.is_empty());
}

/// The same document and the same texts in each protocol give the same hits, and the enrichment has the offsets.
#[test]
fn each_protocol_finds_the_same_in_texts() {
    let detector = detector_over(FieldTable::shipped().unwrap(), ALL, Some(Policy::default()));
    let document = json!({ "log": { "line": "from 203.0.113.66:22" }, "tags": ["x"] });
    let request = Bytes::from(otlp::request_of([(0, &document)]));
    let vector = transcode(&request, Format::Otlp, Format::Vector, |_| true).unwrap();
    for (format, message) in [(Format::Otlp, request), (Format::Vector, vector)] {
        let (batch, _) = detector.batch(format, message, Timestamp::UNIX_EPOCH, &Work::default()).unwrap();
        let expected = [("log.line".to_owned(), "203.0.113.66".to_owned(), Some((5, 17)))];
        assert_eq!(found(&detector, &batch.hits[0].hits), expected, "{format:?}");
        let rendered: Value = serde_json::from_slice(&format.render_record(&batch.hits[0].record)).unwrap();
        let rendered = rendered.to_string();
        assert!(rendered.contains(r#""offset":{"start":5,"end":17}"#), "{rendered}");
        assert!(rendered.contains(r#""field":"log.line""#), "{rendered}");
    }
}

#[test]
fn a_body_that_is_text_is_scanned() {
    let detector = everywhere();
    let request = Bytes::from(otlp::request_of([(0, &json!("from 203.0.113.66"))]));
    let (batch, _) = detector.batch(Format::Otlp, request, Timestamp::UNIX_EPOCH, &Work::default()).unwrap();
    assert_eq!(found(&detector, &batch.hits[0].hits), [("body".to_owned(), "203.0.113.66".to_owned(), Some((5, 17)))]);
}

/// Scenario: defanged forms in texts, and the same values plainly. Guarantee: with the option both are found, each at its place
/// in the text and once; without it only the plain ones are.
#[test]
fn defanged_forms_are_found_where_the_option_says_so() {
    let text = "see hxxp://evil[.]example/x or mallory[at]evil(dot)example, 203[.]0[.]113[.]66 and 2001:db8::66";
    let both = detector_over(FieldTable::shipped().unwrap(), MatchOptions { text_refang: true, ..ALL }, None);
    let place = |hit: &Hit| hit.in_text.as_ref().map(|at| text[at.at.clone()].to_owned()).unwrap();
    let shown = |hits: &[Hit]| -> Vec<(String, String)> {
        let mut shown: Vec<_> = hits.iter().map(|hit| (hit.name.to_string(), place(hit))).collect();
        shown.sort();
        shown
    };
    let pair = |name: &str, place: &str| (name.to_owned(), place.to_owned());
    let expected = [
        pair("2001:db8::66", "2001:db8::66"),
        pair("203.0.113.66", "203[.]0[.]113[.]66"),
        pair("evil.example", "evil[.]example"),
        pair("http://evil.example/x", "hxxp://evil[.]example/x"),
        pair("mallory@evil.example", "mallory[at]evil(dot)example"),
    ];
    assert_eq!(shown(&line(&both, text).hits), expected);
    assert_eq!(shown(&line(&everywhere(), text).hits), expected[..1]);
    let request = Bytes::from(otlp::request_of([(0, &json!(text))]));
    let (batch, _) = both.batch(Format::Otlp, request, Timestamp::UNIX_EPOCH, &Work::default()).unwrap();
    assert_eq!(shown(&batch.hits[0].hits), expected);
    // A line that is fields, in which a value is defanged.
    let names = names(&both, &line(&both, "CEF:0|a|b|1|c|d|5|dst=203[.]0[.]113[.]66 src=203.0.113.66"));
    assert_eq!(names, ["203.0.113.66", "203.0.113.66"]);
}
