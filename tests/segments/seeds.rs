//! The seeds of the fuzz target `segment`: segments of this version, small, each with something of its own.

use std::path::PathBuf;
use std::sync::Arc;

use hotlist::intel::indicator::{Feed, Indicator};
use hotlist::intel::pattern;
use hotlist::intel::segment::Segment;
use hotlist::observable::Kind;
use hotlist::schema::FieldTable;

use crate::{file, indicator, small};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/segment")
}

pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let table = FieldTable::embedded(true).unwrap();
    let pattern = |written: &str| {
        let compiled = pattern::compile(written, &table).unwrap();
        Indicator {
            terms: compiled.terms,
            program: compiled.program.map(Box::new),
            ..indicator(Kind::Domain, "evil.example")
        }
    };
    let patterns = vec![
        pattern("[domain-name:value = 'evil.example' AND network-traffic:dst_port != 80]"),
        pattern("[url:value = 'http://evil.example/a' AND (file:size > 3 OR file:name = 'a.exe')]"),
        indicator(Kind::Domain, "evil.example"),
    ];
    let same: Vec<Indicator> = (0..5).map(|_| indicator(Kind::Domain, "evil.example")).collect();
    let mut described = indicator(Kind::Ip, "192.0.2.1");
    described.context = Arc::new(hotlist::intel::indicator::Context { name: Some("a".into()), ..Default::default() });
    let options = Feed { subdomains: true, url_prefix: true, ..Feed::named("options") };
    let wide = vec![indicator(Kind::Domain, "worse.example"), indicator(Kind::Url, "evil.example/a"), described];
    vec![
        ("nothing", file(&[])),
        ("empty_feed", file(&[(Feed::named("f"), Vec::new())])),
        ("one", file(&[(Feed::named("f"), vec![indicator(Kind::Ip, "192.0.2.1")])])),
        ("every_kind", small()),
        ("patterns", file(&[(options.clone(), patterns)])),
        ("lists", file(&[(Feed::named("f"), same), (options, wide)])),
    ]
}

/// Run this after a change of the format, and commit what it writes: `cargo test --test segments -- --ignored seeds`.
#[test]
#[ignore = "writes the seeds of the fuzz target"]
fn write_the_seeds() {
    std::fs::create_dir_all(directory()).unwrap();
    for (name, bytes) in seeds() {
        std::fs::write(directory().join(name), bytes).unwrap();
    }
}

#[test]
fn every_seed_is_what_is_written_today() {
    for (name, bytes) in seeds() {
        assert!(Segment::from_bytes(bytes.clone(), None).is_ok(), "{name}");
        let seed = std::fs::read(directory().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(seed == bytes, "{name} is of another version: run `cargo test --test segments -- --ignored seeds`");
    }
}
