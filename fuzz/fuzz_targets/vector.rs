//! Vector's batches: walk, tag, splice, split, render, and conversion to OTLP and back. What is not touched stays byte
//! for byte, and no record is lost on the way to another format.
#![no_main]

use bytes::Bytes;
use hotlist::encoding::protocol::Vector;
use hotlist::encoding::{Format, RecordSpan, Signal, transcode};
use hotlist_fuzz::batch::{parted, record, spliced};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    record::<Vector>(Format::Vector, bytes);
    let batch = Bytes::copy_from_slice(bytes);
    let envelope = Format::Vector.envelope();
    let mut spans = Vec::new();
    if envelope.records(&batch, |span| spans.push(span)).is_err() {
        assert_eq!(envelope.split(&batch, 1).count(), 1, "parts of what cannot be walked");
        assert!(transcode(&batch, Format::Vector, Format::Otlp, |_| true).is_err());
        return;
    }
    let contents: Vec<&[u8]> = spans.iter().map(|span| &batch[span.record.payload()]).collect();
    let edits: Vec<(RecordSpan, Bytes)> = spans
        .iter()
        .filter_map(|span| Some((*span, record::<Vector>(Format::Vector, &batch[span.record.payload()])?.into())))
        .collect();
    spliced(envelope, &batch, &contents, &edits);
    parted(envelope, &batch, &contents);
    converted(&batch, &contents);
});

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
