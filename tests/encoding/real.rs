//! Requests of real collectors and events of real products.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use hotlist::encoding::TagInto;
use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::json;
use hotlist::encoding::otlp::{encode_json, render_record, request_of, tag_record, walk_record};

use crate::common::*;
use crate::shared::shared;

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    assert!(!files.is_empty(), "no *.{extension} in {}", folder.display());
    files
}

#[test]
#[ignore = "needs ../shared"]
fn every_request_captured_from_a_collector_is_walked_tagged_spliced_and_rendered() {
    let captures = shared("captures");
    let mut deepest_walked = false;
    let trie = trie();
    for path in [files(&captures.join("fluent-bit"), "bin"), files(&captures.join("otel-collector"), "pb")].concat() {
        let batch = Bytes::from(std::fs::read(&path).unwrap());
        let mut edits = Vec::new();
        let mut untagged = Vec::new();
        OTLP.records(&batch, |span| {
            let record = &batch[span.record.payload()];
            let info = walk_record(record, trie, &mut Collect::default());
            assert!(!info.too_deep && info.fault.is_none(), "{}", path.display());
            let (tagged, outcome) = tag_record(record, &tags(TagInto::Auto, &[enrichment(1)]));
            assert!(outcome.changed);
            edits.push((span, Bytes::from(tagged)));
            untagged.push(render_record(record));
        })
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!edits.is_empty(), "{}", path.display());
        deepest_walked |= path.ends_with("21-deep-64.00.bin");
        let spliced = OTLP.splice(&batch, &edits).to_bytes();
        let mut count = 0;
        OTLP.records(&spliced, |span| {
            let record = &spliced[span.record.payload()];
            assert_eq!(record, &edits[count].1);
            let rendered: Json = serde_json::from_slice(&render_record(record)).unwrap();
            let text = rendered.to_string();
            assert!(text.contains("indicator--1") && text.contains("threat-match"), "{text}");
            assert!(serde_json::from_slice::<Json>(&untagged[count]).is_ok());
            count += 1;
        })
        .unwrap();
        assert_eq!(count, edits.len());
    }
    assert!(deepest_walked, "the capture of 63 levels is among them");
}

#[test]
#[ignore = "needs ../shared"]
fn tags_change_nothing_else_in_any_real_event_whether_json_or_otlp() {
    let trie = trie();
    let (mut events, mut with_threat, mut with_tags) = (0, 0, 0);
    for path in files(&shared("data/events"), "ndjson") {
        for line in std::fs::read_to_string(&path).unwrap().lines().filter(|line| !line.is_empty()) {
            let document: Json = serde_json::from_str(line).unwrap();
            events += 1;
            with_threat += usize::from(document.get("threat").is_some());
            with_tags += usize::from(document.get("tags").is_some());

            // Some of the events have a key twice: then the walk sees more than a DOM keeps, never less.
            let expected = reference(&document);
            let mut seen = Collect::default();
            json::walk(line.as_bytes(), trie, &mut seen).unwrap();
            assert!(expected.iter().all(|value| seen.0.contains(value)), "{line}");
            let mut once = Collect::default();
            json::walk(document.to_string().as_bytes(), trie, &mut once).unwrap();
            assert_eq!(once.0, expected, "{line}");

            let enrichments = [enrichment(1), enrichment(2)];
            let mut expected = document.clone();
            add(&mut expected);
            let (tagged, outcome) = json::tag(line.as_bytes(), &tags(TagInto::Auto, &enrichments)).unwrap();
            assert_eq!(outcome.added, 2);
            assert_eq!(serde_json::from_slice::<Json>(&tagged).unwrap(), expected, "{line}");
            assert_eq!(json::tag(&tagged, &tags(TagInto::Auto, &enrichments)).unwrap().0, tagged);

            let request = request_of([(0, &document)]);
            OTLP.records(&request, |span| {
                let record = &request[span.record.payload()];
                let mut otlp = Collect::default();
                assert_eq!(walk_record(record, trie, &mut otlp).fault, None);
                assert_eq!(otlp.0, once.0, "{line}");
                let (tagged, _) = tag_record(record, &tags(TagInto::Auto, &enrichments));
                let rendered = render_record(&tagged);
                // Integers beyond 64 bits become doubles in OTLP; the rendering is compared as OTLP sees it.
                let rendered: Json = serde_json::from_slice(&rendered).unwrap();
                assert_eq!(encode_json(&rendered), encode_json(&expected), "{line}");
            })
            .unwrap();
        }
    }
    println!("{events} events, {with_threat} with threat, {with_tags} with tags");
    assert_eq!((with_threat, with_tags), (114, 212));
}
