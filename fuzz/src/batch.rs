//! Guarantees for every batch whose envelope can be walked, whatever its protocol.

use bytes::Bytes;
use hotlist::encoding::envelope::{Layout, MAX_REPETITION};
use hotlist::encoding::tag::Brought;
use hotlist::encoding::wire::{Field, Fields, Payload};
use hotlist::encoding::{Envelope, Flat, Format, Protocol, RecordInfo, RecordSpan, TagInto, Tags};
use serde::de::IgnoredAny;

use crate::{Seen, TRIE, enrichment, hit};

/// A splice holds the edited records, and all others as they were.
pub fn spliced(envelope: Envelope, batch: &Bytes, contents: &[&[u8]], edits: &[(RecordSpan, Bytes)]) {
    let rope = envelope.splice(batch, edits);
    let spliced = rope.to_bytes();
    assert_eq!(rope.len(), spliced.len());
    if edits.is_empty() {
        assert_eq!(spliced, batch);
        return;
    }
    let mut edited = edits.iter().peekable();
    let mut before = Vec::new();
    envelope.records(batch, |span| before.push(span)).expect("it was walked before");
    let mut at = 0;
    envelope
        .records(&spliced, |span| {
            let new = edited.next_if(|(edit, _)| *edit == before[at]).map(|(_, new)| &new[..]);
            assert_eq!(&spliced[span.record.payload()], new.unwrap_or(contents[at]), "record {at}");
            at += 1;
        })
        .expect("a splice can be walked");
    assert_eq!(at, contents.len(), "records were lost");
}

/// The parts of a batch hold every record once and in order, and are no larger than they may be.
pub fn parted(envelope: Envelope, batch: &Bytes, contents: &[&[u8]]) {
    for most in [1, 64, batch.len().saturating_sub(1)] {
        let (mut found, mut all) = (Vec::new(), 0);
        for part in envelope.split(batch, most) {
            let bytes = part.to_bytes();
            assert_eq!(bytes.len(), part.len());
            let before = found.len();
            envelope
                .records(&bytes, |span| found.push(bytes.slice(span.record.payload())))
                .expect("a part can be walked");
            // A part may be larger where it would otherwise be mostly repetition of what is around its records.
            let own: usize =
                found[before..].split_last().map_or(0, |(_, but_last)| but_last.iter().map(Bytes::len).sum());
            assert!(
                bytes.len() <= most || found.len() - before <= 1 || bytes.len() > own * MAX_REPETITION,
                "a part of {} bytes, {most} allowed",
                bytes.len()
            );
            all += bytes.len();
        }
        assert_eq!(found, contents, "split at {most}");
        assert!(all <= batch.len() * MAX_REPETITION, "{all} bytes of {}", batch.len());
    }
    let layout = Layout::new(envelope, batch.clone()).expect("it was walked before");
    assert_eq!(layout.len(), contents.len());
    for (at, content) in contents.iter().enumerate() {
        let one = layout.request(at..at + 1).to_bytes();
        let mut found = Vec::new();
        envelope.records(&one, |span| found.push(one.slice(span.record.payload()))).expect("a request can be walked");
        assert_eq!(found, [content], "record {at} alone");
    }
}

/// What holds of one record: a tag adds its enrichment once and changes nothing else that a walk sees, and rendering
/// gives one line of JSON. Gives it tagged, if it can be.
pub fn record<P: Protocol>(format: Format, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut seen = Seen::default();
    let walked = P::walk(bytes, &TRIE, &mut seen);
    is_json(format, bytes);
    let mut result = None;
    let (enrichments, hits) = ([enrichment()], [hit()]);
    let ecs = Tags::from_enrichments(&enrichments);
    let ocsf = Tags { enrichments: Brought::Hits(&hits), is_ocsf: true, flat: Flat::On, ..Tags::NONE };
    let places = [TagInto::Body, TagInto::Attributes, TagInto::Auto];
    for tags in places.into_iter().flat_map(|into| [Tags { into, ..ocsf }, Tags { into, ..ecs }]) {
        let into = tags.into;
        let Ok((tagged, outcome)) = P::tag(bytes, &tags) else {
            continue;
        };
        assert_eq!(outcome.changed, tagged != bytes);
        if let Ok(info) = walked {
            let mut again = Seen::default();
            let after = P::walk(&tagged, &TRIE, &mut again).expect("it was walked before");
            // Where a fault stands changes; that there is one does not, unless an event of Vector that is a value becomes an
            // object: of several values readers take the last one. Tags are what a record may arrive with.
            let is_kept = after.fault.is_some() == info.fault.is_some();
            assert!(is_kept || (outcome.own_place && after.fault.is_none()), "tagged {into:?}");
            if outcome.own_place && format == Format::Vector && has_several_values(bytes) {
                continue;
            }
            assert_eq!(RecordInfo { fault: info.fault, inbound: info.inbound, ..after }, info, "tagged {into:?}");
            // An event of Vector that is one value becomes an object, and the value its last member.
            (seen.0.sort(), again.0.sort());
            assert_eq!(seen, again, "tagged {into:?}");
        }
        let (twice, outcome) = P::tag(&tagged, &tags).expect("it was tagged before");
        assert!(!outcome.changed && twice == tagged, "tagged twice {into:?}");
        is_json(format, &tagged);
        result = Some(tagged);
    }
    result
}

/// Whether a record of Vector is a log event (`EventWrapper.log`) of several values (`Log.value`).
fn has_several_values(record: &[u8]) -> bool {
    let fields = |message| {
        let mut fields = Fields::new(message);
        std::iter::from_fn(move || fields.next_field().ok().flatten())
    };
    let logs = fields(record).filter(|field| field.number == 1);
    let is_value = |field: &Field<'_>| field.number == 2;
    logs.filter_map(|log| if let Payload::Bytes(log) = log.payload { Some(log) } else { None })
        .any(|log| fields(log).filter(is_value).count() > 1)
}

fn is_json(format: Format, record: &[u8]) {
    let rendered = format.render_record(record);
    let parsed = serde_json::from_slice::<IgnoredAny>(&rendered);
    assert!(parsed.is_ok() && !rendered.contains(&b'\n'), "{}", String::from_utf8_lossy(&rendered));
}
