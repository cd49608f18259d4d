//! Vector's batches: walk, tag, splice, split, render, and conversion to OTLP and back. What is not touched stays byte
//! for byte, and no record is lost on the way to another format.
#![no_main]

use bytes::Bytes;
use hotlist::encoding::vector::{render_record, tag_record, walk_record};
use hotlist::encoding::{Format, RecordSpan, Signal, TagInto, transcode};
use hotlist_fuzz::batch::{parted, spliced};
use hotlist_fuzz::{Seen, TRIE, enrichment};
use serde::de::IgnoredAny;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    record(bytes);
    let batch = Bytes::copy_from_slice(bytes);
    let envelope = Format::Vector.envelope();
    let mut spans = Vec::new();
    if envelope.records(&batch, |span| spans.push(span)).is_err() {
        assert_eq!(envelope.split(&batch, 1).len(), 1, "parts of what cannot be walked");
        assert!(transcode(&batch, Format::Vector, Format::Otlp, |_| true).is_err());
        return;
    }
    let contents: Vec<&[u8]> = spans.iter().map(|span| &batch[span.record.payload()]).collect();
    let edits: Vec<(RecordSpan, Bytes)> =
        spans.iter().filter_map(|span| Some((*span, record(&batch[span.record.payload()])?.into()))).collect();
    spliced(envelope, &batch, &contents, &edits);
    parted(envelope, &batch, &contents);
    converted(&batch, &contents);
});

/// What holds of one event. Gives it tagged, if it can be.
fn record(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut seen = Seen::default();
    let walked = walk_record(bytes, &TRIE, &mut seen);
    is_json(bytes);
    let mut result = None;
    for into in [TagInto::Body, TagInto::Attributes, TagInto::Auto] {
        let enrichments = [enrichment()];
        let Ok((tagged, outcome)) = tag_record(bytes, into, &enrichments, "threat-match") else { continue };
        assert_eq!(outcome.changed, tagged != bytes);
        if let Ok(info) = walked {
            let mut again = Seen::default();
            assert_eq!(walk_record(&tagged, &TRIE, &mut again), Ok(info), "tagged {into:?}");
            assert_eq!(seen, again, "tagged {into:?}");
        }
        let (twice, outcome) = tag_record(&tagged, into, &enrichments, "threat-match").expect("it was tagged before");
        assert!(!outcome.changed && twice == tagged, "tagged twice {into:?}");
        is_json(&tagged);
        result = Some(tagged);
    }
    result
}

fn is_json(record: &[u8]) {
    let rendered = render_record(record);
    let parsed = serde_json::from_slice::<IgnoredAny>(&rendered);
    assert!(parsed.is_ok() && !rendered.contains(&b'\n'), "{}", String::from_utf8_lossy(&rendered));
}

/// Each log event is a record of OTLP, and each record of OTLP an event; from there on nothing changes any more.
fn converted(batch: &Bytes, contents: &[&[u8]]) {
    let logs = contents.iter().filter(|record| Format::Vector.signal(record) == Signal::Logs).count();
    let there = transcode(batch, Format::Vector, Format::Otlp, |_| true).expect("it was walked");
    assert_eq!(Format::Otlp.records(&there).expect("our own").len(), logs);
    let back = transcode(&there, Format::Otlp, Format::Vector, |_| true).expect("our own");
    assert_eq!(Format::Vector.records(&back).expect("our own").len(), logs);
    let again = transcode(&back, Format::Vector, Format::Otlp, |_| true).expect("our own");
    assert_eq!(Format::Otlp.records(&again).expect("our own").len(), logs);
}
