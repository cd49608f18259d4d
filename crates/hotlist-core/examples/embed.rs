//! Matches log events against a list of indicators inside another program: `cargo run --package hotlist-core --example embed`.
//!
//! The list is compiled to a snapshot once. A snapshot is immutable and shared: threads match against it at the same time,
//! and a new list is a new snapshot.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use hotlist_core::detect::Detector;
use hotlist_core::intel::indicator::{Feed, Indicator};
use hotlist_core::intel::snapshot::{MatchOptions, SnapshotBuilder};
use hotlist_core::intel::term;
use hotlist_core::observable::Kind;
use hotlist_core::policy::Policy;
use hotlist_core::schema::FieldTable;
use jiff::Timestamp;

/// One indicator on each line: its kind and its value.
const LIST: &str = "\
ip,203.0.113.0/24
domain,*.evil.example
url,https://files.example.net/dropper.exe
sha256,275A021BBFB6489E54D471899F7DB9D1663FC695EC2FE2A2C4538AABF651FD0F
domain,not a domain
";

/// Events in ECS, nested or dotted. The last one has no hit.
const EVENTS: [&str; 3] = [
    r#"{"@timestamp":"2026-01-02T03:04:05Z","source.ip":"198.51.100.7","destination":{"ip":"203.0.113.80","port":443}}"#,
    r#"{"dns":{"question":{"name":"CDN.Evil.example."}},"file":{"hash":{"sha256":"275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"}}}"#,
    r#"{"destination.ip":"192.0.2.1","url.full":"https://files.example.net/"}"#,
];

/// Reads the list, matches each event, and writes what was found to `out`.
pub fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut indicators = Vec::new();
    for (line, text) in (1..).zip(LIST.lines()) {
        let (word, written) = text.split_once(',').ok_or("a line is `kind,value`")?;
        let kind = Kind::parse(word).ok_or("a kind is not known")?;
        // A value that is not exactly one of its kind is not an indicator. Report to your users which lines are not used.
        match term::value(kind, written) {
            Some(value) => indicators.push(Indicator { line, ..Indicator::from_value(value) }),
            None => writeln!(out, "line {line} is not used: `{written}` is not of the kind {kind}")?,
        }
    }

    // The seed keys the hash tables. Take a random one, so that nobody can choose values that collide.
    let seed = 42;
    let table = Arc::new(FieldTable::embedded(true)?);
    let mut builder = SnapshotBuilder::new(table, MatchOptions::EXACT, seed);
    builder.add_feed(Feed::named("blocklist"), indicators)?;
    let snapshot = Arc::new(builder.build("blocklist of today"));

    // Without a policy every finding is a hit, also those outside of an indicator's time of validity.
    let detector = Detector { policy: Some(Policy::default()), ..Detector::new(Arc::clone(&snapshot)) };
    let arrival: Timestamp = "2026-01-02T03:04:06Z".parse()?;
    for event in EVENTS {
        let verdict = detector.event(event.as_bytes(), arrival)?;
        for hit in &verdict.hits {
            let field = &snapshot.table().get(hit.field).name;
            let feed = &snapshot.feed_of(hit.posting.indicator).name;
            let value = String::from_utf8_lossy(&hit.value);
            writeln!(out, "{field} is {value}, the {} {} of {feed}", hit.kind, hit.name)?;
        }
        if !verdict.hits.is_empty() {
            let tagged = detector.tag_document(event.as_bytes(), &verdict)?;
            writeln!(out, "{}", String::from_utf8_lossy(&tagged))?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut std::io::stdout().lock())
}
