//! Segment files: what is written is found again, and nothing that was changed is ever served.

// Says to clippy what cargo knows: helpers here are test code, too.
#![cfg(test)]

mod damage;
mod law;
mod seeds;

use std::sync::Arc;

use hotlist::intel::indicator::{Confidence, Context, Feed, Indicator, Target, Term, TermValue, Tlp};
use hotlist::intel::segment::{HashKey, Segment, SegmentBuilder};
use hotlist::intel::term;
use hotlist::observable::Kind;
use jiff::Timestamp;

pub(crate) fn indicator(kind: Kind, written: &str) -> Indicator {
    let value = term::value(kind, written).unwrap_or_else(|| panic!("`{written}` is no {kind}"));
    Indicator {
        id: None,
        terms: vec![Term { value, target: Target::Kind }],
        program: None,
        context: Arc::default(),
        valid_from: None,
        valid_until: None,
        revoked: false,
        port: None,
        line: 1,
    }
}

/// One indicator of each kind, and one of everything that an indicator can have.
pub(crate) fn every_kind() -> Vec<Indicator> {
    let at = |indicator: Indicator, path: &str| {
        let terms = indicator.terms.into_iter();
        Indicator {
            terms: terms.map(|term| Term { target: Target::StixPath(path.into()), ..term }).collect(),
            ..indicator
        }
    };
    let mut full = indicator(Kind::Url, "https://evil.example/a?b");
    full.terms.push(indicator(Kind::Url, "evil.example/c").terms.remove(0));
    full.id = Some("indicator--1".into());
    full.context = Arc::new(Context {
        name: Some("A name".into()),
        description: Some("What it is".into()),
        kill_chain_phases: vec!["command-and-control".into(), "delivery".into()],
        confidence: Confidence::High,
        tlp: Some(Tlp::AmberStrict),
        reference: Some("https://report.example/1".into()),
        first_seen: Some(Timestamp::UNIX_EPOCH),
        last_seen: Some("2024-01-31T01:02:03.000000004Z".parse().unwrap()),
    });
    full.valid_from = Some("1969-12-31T23:59:59.9Z".parse().unwrap());
    full.valid_until = Some("2030-01-01T00:00:00Z".parse().unwrap());
    (full.revoked, full.port) = (true, Some(443));
    let mut later = indicator(Kind::Number, "443");
    if let TermValue::Number { comparison, .. } = &mut later.terms[0].value {
        *comparison = hotlist::intel::indicator::Comparison::Greater;
    }
    vec![
        indicator(Kind::Ip, "192.0.2.1"),
        indicator(Kind::Ip, "198.51.100.0/25"),
        indicator(Kind::Ip, "2001:db8::1"),
        indicator(Kind::Ip, "2001:db8::/33"),
        indicator(Kind::Domain, "evil.example"),
        indicator(Kind::Domain, "*.worse.example"),
        full,
        indicator(Kind::Md5, &"0a".repeat(16)),
        indicator(Kind::Sha1, &"1b".repeat(20)),
        indicator(Kind::Sha256, &"2c".repeat(32)),
        indicator(Kind::Sha512, &"3d".repeat(64)),
        indicator(Kind::Ssdeep, "3:AXGBicFlgVNhBGcL6wCrFQEv:AXGHsNhxLsr2C"),
        indicator(Kind::Email, "mallory@evil.example"),
        indicator(Kind::User, "mallory"),
        at(indicator(Kind::Text, "rm -rf /"), "process:command_line"),
        at(indicator(Kind::Name, "tcp"), "network-traffic:protocols[*]"),
        at(indicator(Kind::DnsType, "txt"), "domain-name:x_query_type"),
        at(indicator(Kind::Path, r"C:\evil.exe"), "process:cwd"),
        at(indicator(Kind::Number, "31337"), "network-traffic:dst_port"),
        at(later, "network-traffic:dst_port"),
        at(indicator(Kind::Time, "2024-01-31"), "process:created_time"),
    ]
}

/// The file of a segment with these feeds.
pub(crate) fn file(feeds: &[(Feed, Vec<Indicator>)]) -> Vec<u8> {
    let mut builder = SegmentBuilder::with_fingerprints();
    for (feed, indicators) in feeds {
        builder.feed(feed);
        indicators.iter().for_each(|indicator| builder.add(indicator).unwrap());
    }
    builder.finish(HashKey::Content).unwrap()
}

/// A file of every kind, with a tombstone.
pub(crate) fn small() -> Vec<u8> {
    let kinds = Segment::from_bytes(file(&[(Feed::named("f"), every_kind())]), None).unwrap();
    let mut builder = SegmentBuilder::with_fingerprints();
    builder.feed(&Feed::named("f"));
    every_kind().iter().for_each(|indicator| builder.add(indicator).unwrap());
    let table = kinds.tables().next().unwrap().id();
    builder.withdraw(&kinds.feeds()[0], table, vec![192, 0, 2, 9], 7);
    builder.finish(HashKey::Content).unwrap()
}
