//! Tagging of log events: the rules of [`crate::encoding::tag`] over the fields of a log.

use std::ops::Range;

use super::log::kind;
use super::{LogValue, MESSAGE, field};
use crate::encoding::dialect::{Any, Entries, MalformedRecord, any, encode_key_value, tag_map, tag_text, with_field};
use crate::encoding::tag::{Spelling, TagOutcome, Tags, plan};
use crate::encoding::wire::{Fields, Payload, put_bytes};
use crate::encoding::{Signal, TagInto};

/// Brings `tags` into a log event; see [`crate::encoding::tag`] for where they go. When the event holds all of it, it comes
/// back as it is.
///
/// # Errors
/// It is unknown which event the record holds: nothing can be added to it.
pub fn tag_record(record: &[u8], tags: &Tags<'_>) -> Result<(Vec<u8>, TagOutcome), MalformedRecord> {
    if tags.is_nothing() {
        return Ok((record.to_vec(), TagOutcome::default()));
    }
    let (signal, place, log) = kind(record)?;
    if signal != Signal::Logs {
        return Ok((record.to_vec(), TagOutcome::default()));
    }
    let (message, outcome) = match value_of(log) {
        Some((place, value)) => tag_value(log, &place, value, tags)?,
        None => tag_fields(log, tags)?,
    };
    let tagged = message.map(|message| with_field(record, &place, field::LOG, &message));
    Ok((tagged.unwrap_or_else(|| record.to_vec()), outcome))
}

/// The event that is not an object of fields, the last one as readers take it, with the place of its field.
fn value_of(log: &[u8]) -> Option<(Range<usize>, &[u8])> {
    let mut fields = Fields::new(log);
    let mut value = None;
    while let Ok(Some(found)) = fields.next_field() {
        if let (field::VALUE, Payload::Bytes(content)) = (found.number, found.payload) {
            value = Some((found.start..found.end, content));
        }
    }
    value
}

/// An event that is not an object of fields: a map, or a text that holds a document. Any other value cannot take tags:
/// where there are some it becomes the `message` of an object, which is how it is rendered, too. Fields next to it, which
/// readers ignore, become the object's: they were matched, and a hit in one stays in the event.
fn tag_value(
    log: &[u8],
    place: &Range<usize>,
    value: &[u8],
    tags: &Tags<'_>,
) -> Result<(Option<Vec<u8>>, TagOutcome), MalformedRecord> {
    let tagged = match any::<LogValue>(value) {
        Ok(Any::Map(_)) => tag_map::<LogValue>(value, tags).ok(),
        _ => tag_text::<LogValue>(value, tags),
    };
    if let Some((value, outcome)) = tagged {
        return Ok((value.map(|value| with_field(log, place, field::VALUE, &value)), outcome));
    }
    if tags.enrichments.is_empty() {
        return Ok((None, TagOutcome::default()));
    }
    let mut object = Vec::with_capacity(log.len() + MESSAGE.len() + 16);
    let mut fields = Fields::new(log);
    let mut end = 0;
    while let Ok(Some(found)) = fields.next_field() {
        if found.number != field::VALUE {
            object.extend_from_slice(log.get(found.start..found.end).unwrap_or_default());
        }
        end = found.end;
    }
    put_bytes(&mut object, field::FIELDS, &encode_key_value(MESSAGE, value));
    object.extend_from_slice(log.get(end..).unwrap_or_default());
    let (tagged, outcome) = tag_fields(&object, tags)?;
    Ok((Some(tagged.unwrap_or(object)), TagOutcome { own_place: true, changed: true, ..outcome }))
}

fn tag_fields(log: &[u8], tags: &Tags<'_>) -> Result<(Option<Vec<u8>>, TagOutcome), MalformedRecord> {
    let entries = Entries::readable(log, field::FIELDS);
    let message = entries.list.iter().enumerate().rfind(|(_, entry)| *entry.key == *MESSAGE);
    let (mut in_message, mut rest) = (None, *tags);
    if let Some((at, entry)) = message {
        let is_place = tags.into == TagInto::Body;
        let tags = if is_place { *tags } else { tags.without_enrichments() };
        if let Some((value, outcome)) = tag_text::<LogValue>(entry.value, &tags) {
            if is_place {
                rest = tags.without_enrichments();
            }
            in_message = Some((at, value, outcome));
        }
    }
    let (edits, mut outcome) = plan::<LogValue>(&entries.list, &rest, Spelling::Nested);
    let mut edits = edits.unwrap_or_default();
    if let Some((at, value, of_message)) = in_message {
        outcome = outcome.and(of_message);
        if let Some(value) = value {
            edits.replaced.push((at, Some(value)));
            edits.replaced.sort_by_key(|(at, _)| *at);
        }
    }
    if edits.is_empty() {
        return Ok((None, outcome));
    }
    entries.edit(&edits).map(|log| (Some(log), outcome))
}
