//! Tagging of log events: the rules of [`crate::encoding::tag`] over the fields of a log.

use serde_json::Value;

use super::{Log, LogValue, MESSAGE, field};
use crate::encoding::dialect::{Any, OddRecord, any, edit_members, members, replace_text, with_field};
use crate::encoding::tag::{Codec, Edits, Entry, Shape, Spelling, TagOutcome, plan};
use crate::encoding::{TagInto, json};

/// Adds `enrichments` (objects of `threat.enrichments`) and `tag_word` to a log event; see [`crate::encoding::tag`] for
/// where they go. With no enrichments, or when the event holds them all, it comes back as it is.
///
/// # Errors
/// When the record cannot be read; pass it as it is.
pub fn tag_record(
    record: &[u8],
    into: TagInto,
    enrichments: &[Value],
    tag_word: &str,
) -> Result<(Vec<u8>, TagOutcome), OddRecord> {
    let log = if enrichments.is_empty() { None } else { Log::read(record)? };
    let Some(log) = log else { return Ok((record.to_vec(), TagOutcome::default())) };
    let (message, outcome) = match &log.value {
        Some((place, value)) => {
            let (value, outcome) = tag_value(value, enrichments, tag_word)?;
            (with_field(log.message, place, field::VALUE, &value), outcome)
        }
        None => tag_fields(log.message, into, enrichments, tag_word)?,
    };
    if !outcome.changed {
        return Ok((record.to_vec(), outcome));
    }
    Ok((with_field(record, &log.place, field::LOG, &message), outcome))
}

/// An event that is no object of fields: a map, or a text that holds a document.
fn tag_value(value: &[u8], enrichments: &[Value], tag_word: &str) -> Result<(Vec<u8>, TagOutcome), OddRecord> {
    match any::<LogValue>(value)? {
        Any::Map(_) => {
            let Shape::Object(entries) = LogValue::shape(value)? else { return Err(OddRecord::WrongType("value")) };
            let (edits, outcome) = plan::<LogValue>(&entries, enrichments, &[tag_word], Spelling::Nested)?;
            let edited = edits.map(|edits| LogValue::edit(value, &edits)).transpose()?;
            Ok((edited.unwrap_or_else(|| value.to_vec()), outcome))
        }
        Any::Text(text) => {
            let (text, outcome) = json::tag(text, enrichments, tag_word)?;
            Ok((replace_text::<LogValue>(value, &text)?, outcome))
        }
        _ => Err(OddRecord::WrongType("value")),
    }
}

fn tag_fields(
    log: &[u8],
    into: TagInto,
    enrichments: &[Value],
    tag_word: &str,
) -> Result<(Vec<u8>, TagOutcome), OddRecord> {
    let members = members(log, field::FIELDS)?;
    if into == TagInto::Body
        && let Some((at, member)) = members.iter().enumerate().rfind(|(_, member)| *member.entry.key == *MESSAGE)
        && let Any::Text(text) = any::<LogValue>(member.entry.value)?
        // What only looks like a document is tagged beside it.
        && let Ok((text, outcome)) = json::tag(text, enrichments, tag_word)
    {
        let value = replace_text::<LogValue>(member.entry.value, &text)?;
        return Ok((edit_members(log, field::FIELDS, &members, &Edits::replace(at, value))?, outcome));
    }
    let entries: Vec<Entry<'_>> = members.iter().map(|member| member.entry.clone()).collect();
    let (edits, outcome) = plan::<LogValue>(&entries, enrichments, &[tag_word], Spelling::Nested)?;
    let edited = edits.map(|edits| edit_members(log, field::FIELDS, &members, &edits)).transpose()?;
    Ok((edited.unwrap_or_else(|| log.to_vec()), outcome))
}
