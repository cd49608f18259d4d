//! OTLP batches: walk, tag, splice, split and render. What is not touched stays byte for byte.
#![no_main]

use bytes::Bytes;
use hotlist::encoding::envelope::{Layout, OTLP};
use hotlist::encoding::{RecordSpan, TagInto};
use hotlist::encoding::otlp::{render_record, tag_record, walk_record};
use hotlist_fuzz::{Seen, TRIE, enrichment};
use serde::de::IgnoredAny;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The same bytes as one record: a fault inside a record needs no envelope around it.
    record(bytes);
    let batch = Bytes::copy_from_slice(bytes);
    let mut spans = Vec::new();
    if OTLP.records(&batch, |span| spans.push(span)).is_err() {
        assert!(Layout::new(OTLP, batch.clone()).is_err(), "a layout of what cannot be walked");
        assert_eq!(OTLP.split(&batch, 1).len(), 1, "parts of what cannot be walked");
        return;
    }
    let contents: Vec<&[u8]> = spans.iter().map(|span| &batch[span.record.payload()]).collect();
    let edits: Vec<(RecordSpan, Bytes)> =
        spans.iter().filter_map(|span| Some((*span, record(&batch[span.record.payload()])?.into()))).collect();
    spliced(&batch, &contents, &edits);
    // Every other record becomes longer than its old length bytes can say, or nothing at all.
    for content in [vec![b'\x32'; 200], Vec::new()] {
        let edits: Vec<_> = spans.iter().step_by(2).map(|span| (*span, Bytes::from(content.clone()))).collect();
        spliced(&batch, &contents, &edits);
    }
    parted(&batch, &contents);
});

/// What holds of one record. Gives it tagged, if it can be.
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

/// A splice holds the edited records, and all others as they were.
fn spliced(batch: &Bytes, contents: &[&[u8]], edits: &[(RecordSpan, Bytes)]) {
    let rope = OTLP.splice(batch, edits);
    let spliced = rope.to_bytes();
    assert_eq!(rope.len(), spliced.len());
    if edits.is_empty() {
        assert_eq!(spliced, batch);
        return;
    }
    let mut edited = edits.iter().peekable();
    let mut before = Vec::new();
    OTLP.records(batch, |span| before.push(span)).expect("it was walked before");
    let mut at = 0;
    OTLP.records(&spliced, |span| {
        let new = edited.next_if(|(edit, _)| *edit == before[at]).map(|(_, new)| &new[..]);
        assert_eq!(&spliced[span.record.payload()], new.unwrap_or(contents[at]), "record {at}");
        at += 1;
    })
    .expect("a splice can be walked");
    assert_eq!(at, contents.len(), "records were lost");
}

/// The parts of a batch hold every record once and in order, and are no larger than they may be.
fn parted(batch: &Bytes, contents: &[&[u8]]) {
    for most in [1, 64, batch.len().saturating_sub(1)] {
        let mut found = Vec::new();
        for part in OTLP.split(batch, most) {
            let bytes = part.to_bytes();
            assert_eq!(bytes.len(), part.len());
            let before = found.len();
            OTLP.records(&bytes, |span| found.push(bytes.slice(span.record.payload()))).expect("a part can be walked");
            assert!(
                bytes.len() <= most || found.len() - before <= 1,
                "a part of {} bytes, {most} allowed",
                bytes.len()
            );
        }
        assert_eq!(found, contents, "split at {most}");
    }
    let layout = Layout::new(OTLP, batch.clone()).expect("it was walked before");
    assert_eq!(layout.len(), contents.len());
    for (at, content) in contents.iter().enumerate() {
        let one = layout.request(at..at + 1).to_bytes();
        let mut found = Vec::new();
        OTLP.records(&one, |span| found.push(one.slice(span.record.payload()))).expect("a request can be walked");
        assert_eq!(found, [content], "record {at} alone");
    }
}
