//! OTLP batches: walk, tag, splice, split and render. What is not touched stays byte for byte.
#![no_main]

use bytes::Bytes;
use hotlist::encoding::envelope::{Layout, OTLP};
use hotlist::encoding::otlp::{render_record, tag_record, walk_record};
use hotlist::encoding::{RecordSpan, TagInto};
use hotlist_fuzz::batch::{parted, spliced};
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
    spliced(OTLP, &batch, &contents, &edits);
    // Every other record becomes longer than its old length bytes can say, or nothing at all.
    for content in [vec![b'\x32'; 200], Vec::new()] {
        let edits: Vec<_> = spans.iter().step_by(2).map(|span| (*span, Bytes::from(content.clone()))).collect();
        spliced(OTLP, &batch, &contents, &edits);
    }
    parted(OTLP, &batch, &contents);
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
