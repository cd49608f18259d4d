//! OTLP batches: walk, tag, splice, split, render, and conversion to Vector and back. What is not touched stays byte for
//! byte, and no record is lost.
#![no_main]

use bytes::Bytes;
use hotlist::encoding::envelope::{Layout, OTLP};
use hotlist::encoding::protocol::Otlp;
use hotlist::encoding::{Format, RecordSpan, transcode};
use hotlist_fuzz::batch::{parted, record, spliced};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The same bytes as one record: a fault inside a record needs no envelope around it.
    record::<Otlp>(Format::Otlp, bytes);
    let batch = Bytes::copy_from_slice(bytes);
    let mut spans = Vec::new();
    if OTLP.records(&batch, |span| spans.push(span)).is_err() {
        assert!(Layout::new(OTLP, batch.clone()).is_err(), "a layout of what cannot be walked");
        assert_eq!(OTLP.split(&batch, 1).count(), 1, "parts of what cannot be walked");
        return;
    }
    let contents: Vec<&[u8]> = spans.iter().map(|span| &batch[span.record.payload()]).collect();
    let edits: Vec<(RecordSpan, Bytes)> = spans
        .iter()
        .filter_map(|span| Some((*span, record::<Otlp>(Format::Otlp, &batch[span.record.payload()])?.into())))
        .collect();
    spliced(OTLP, &batch, &contents, &edits);
    // Every other record becomes longer than its old length bytes can say, or nothing at all.
    for content in [vec![b'\x32'; 200], Vec::new()] {
        let edits: Vec<_> = spans.iter().step_by(2).map(|span| (*span, Bytes::from(content.clone()))).collect();
        spliced(OTLP, &batch, &contents, &edits);
    }
    parted(OTLP, &batch, &contents);
    let there = transcode(&batch, Format::Otlp, Format::Vector, |_| true).expect("it was walked");
    assert_eq!(Format::Vector.records(&there).expect("our own").len(), contents.len());
    let back = transcode(&there, Format::Vector, Format::Otlp, |_| true).expect("our own");
    assert_eq!(Format::Otlp.records(&back).expect("our own").len(), contents.len());
});
