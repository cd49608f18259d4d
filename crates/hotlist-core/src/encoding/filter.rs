//! Filter requests and their answers as bytes: what a request contains in addition to its events, and the answer with the events
//! that were tagged, without decoding any.
//!
//! Messages and field numbers: `proto/hotlist/filter/v1/filter.proto`. The events are field 2 of the request and of the
//! answer alike, so that what was not touched goes back as slices of what came.

use std::ops::Range;

use bytes::Bytes;

use super::Rope;
use super::wire::{Field, Fields, Malformed, Payload, put_bytes, put_header, put_varint, varint_len};

/// Field numbers of `hotlist.filter.v1`.
mod field {
    /// `FilterRequest.id` and `FilterResponse.id`.
    pub(super) const ID: u32 = 1;
    /// `FilterRequest.events` and `FilterResponse.events`.
    pub(super) const EVENTS: u32 = 2;
    /// `FilterRequest.answer`.
    pub(super) const ANSWER: u32 = 3;
    /// `FilterResponse.hits`.
    pub(super) const HITS: u32 = 3;
    /// `FilterResponse.snapshot`.
    pub(super) const SNAPSHOT: u32 = 7;
    /// `FilterResponse.malformed`.
    pub(super) const MALFORMED: u32 = 5;
    /// `FilterResponse.refusal`.
    pub(super) const REFUSAL: u32 = 6;
    /// `Hit.index`.
    pub(super) const INDEX: u32 = 1;
    /// `Hit.event`.
    pub(super) const EVENT: u32 = 2;
    /// `Refusal.code`.
    pub(super) const CODE: u32 = 1;
    /// `Refusal.message`.
    pub(super) const MESSAGE: u32 = 2;
}

/// The reason that a request cannot be walked. It can never succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A tag or length is wrong.
    #[error("the FilterRequest cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// A field is of another type.
    #[error("field {number} of the FilterRequest has another type than filter.proto says: is this a FilterRequest?")]
    Type {
        /// Its number.
        number: u32,
    },
    /// An answer that is not known here.
    #[error("answer {number} of the FilterRequest is not known here: use ANSWER_EVENTS (1) or ANSWER_HITS (2)")]
    Answer {
        /// Its number.
        number: u64,
    },
}

/// The content of the answer to a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// All events.
    #[default]
    Events,
    /// Only those that hit.
    Hits,
}

/// The content of a request in addition to its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The caller's number.
    pub id: u64,
    /// The answer that it wants.
    pub answer: Answer,
}

/// Where an event stands in its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventSpan {
    start: usize,
    content: usize,
    end: usize,
}

impl EventSpan {
    /// The event itself.
    #[inline]
    pub fn content(self) -> Range<usize> {
        self.content..self.end
    }

    /// The event with its tag and length.
    #[inline]
    pub fn framed(self) -> Range<usize> {
        self.start..self.end
    }
}

/// Calls `each` for every event of a request, in order, and says what else the request holds. Of an id or an answer
/// that is there twice the last one counts, as in any protobuf message; unknown fields are stepped over.
///
/// # Errors
/// The bytes are no `FilterRequest`; events before the fault were reported by then and must be discarded.
pub fn events(request: &[u8], mut each: impl FnMut(EventSpan)) -> Result<Head, RequestError> {
    let mut fields = Fields::new(request);
    let (mut id, mut answer) = (0, 0);
    while let Some(found) = fields.next_field()? {
        match (found.number, found.payload) {
            (field::EVENTS, Payload::Bytes(content)) => each(span(&found, content.len())),
            (field::ID, Payload::Varint(number)) => id = number,
            (field::ANSWER, Payload::Varint(number)) => answer = number,
            (number @ (field::ID | field::EVENTS | field::ANSWER), _) => return Err(RequestError::Type { number }),
            _ => {}
        }
    }
    let answer = match answer {
        0 | 1 => Answer::Events,
        2 => Answer::Hits,
        number => return Err(RequestError::Answer { number }),
    };
    Ok(Head { id, answer })
}

/// The id of a request of which only the start is there, when it stands there; it is what encoders write first.
pub fn leading_id(start: &[u8]) -> Option<u64> {
    match Fields::new(start).next_field() {
        Ok(Some(Field { number: field::ID, payload: Payload::Varint(id), .. })) => Some(id),
        _ => None,
    }
}

/// Longest id with its tag, in bytes.
pub const LEADING_ID_LEN: usize = 11;

fn span(found: &Field<'_>, length: usize) -> EventSpan {
    EventSpan { start: found.start, content: found.end - length, end: found.end }
}

/// The content of an answer in addition to its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// The version that matched the batch; 0 if none did.
    pub snapshot: &'a str,
    /// Places of events of which something could not be read.
    pub malformed: &'a [usize],
    /// Events that did not hit and were changed, by their place and in order.
    pub marked: &'a [(usize, &'a Bytes)],
}

/// The answer to a request that was taken, and the request's id: `tagged` are the events that hit, by their place and
/// in order.
///
/// # Errors
/// The bytes are no `FilterRequest`.
pub fn answer<'t>(
    request: &Bytes,
    tagged: impl IntoIterator<Item = (usize, &'t Bytes)>,
    verdict: &Verdict<'_>,
) -> Result<(u64, Rope), RequestError> {
    let mut answer = Rope::default();
    let mut events_only = Rope::default();
    let mut tagged = tagged.into_iter().peekable();
    let mut marked = verdict.marked.iter().peekable();
    // Neighbours that stay are one slice.
    let (mut place, mut run) = (0, 0..0);
    let mut hits = Rope::default();
    let head = events(request, |span| {
        let hit = tagged.next_if(|(at, _)| *at == place).map(|(_, event)| event);
        let changed = hit.or_else(|| marked.next_if(|(at, _)| *at == place).map(|(_, event)| *event));
        if let Some(event) = changed {
            events_only.push(request.slice(run.clone()));
            push_framed(&mut events_only, event);
            if hit.is_some() {
                push_hit(&mut hits, place as u64, event);
            }
            run = span.end..span.end;
        } else if run.end == span.start {
            run.end = span.end;
        } else {
            events_only.push(request.slice(run.clone()));
            run = span.framed();
        }
        place += 1;
    })?;
    events_only.push(request.slice(run));
    answer.push(varint_field(field::ID, head.id).into());
    let body = match head.answer {
        Answer::Events => events_only,
        Answer::Hits => hits,
    };
    body.parts().iter().for_each(|part| answer.push(part.clone()));
    let mut rest = Vec::new();
    if !verdict.snapshot.is_empty() {
        put_bytes(&mut rest, field::SNAPSHOT, verdict.snapshot.as_bytes());
    }
    if !verdict.malformed.is_empty() {
        let mut packed = Vec::with_capacity(verdict.malformed.len() * 2);
        verdict.malformed.iter().for_each(|place| put_varint(&mut packed, *place as u64));
        put_bytes(&mut rest, field::MALFORMED, &packed);
    }
    answer.push(rest.into());
    Ok((head.id, answer))
}

/// The answer to a batch that was not taken.
pub fn refusal(id: u64, code: u8, message: &str) -> Bytes {
    let mut refusal = varint_field(field::CODE, u64::from(code));
    put_bytes(&mut refusal, field::MESSAGE, message.as_bytes());
    let mut answer = varint_field(field::ID, id);
    put_bytes(&mut answer, field::REFUSAL, &refusal);
    answer.into()
}

fn push_framed(rope: &mut Rope, event: &Bytes) {
    let mut header = Vec::with_capacity(1 + varint_len(event.len() as u64));
    put_header(&mut header, field::EVENTS, event.len());
    rope.push(header.into());
    rope.push(event.clone());
}

fn push_hit(rope: &mut Rope, index: u64, event: &Bytes) {
    let mut start = varint_field(field::INDEX, index);
    put_header(&mut start, field::EVENT, event.len());
    let mut header = Vec::with_capacity(start.len() + 6);
    put_header(&mut header, field::HITS, start.len() + event.len());
    header.extend_from_slice(&start);
    rope.push(header.into());
    rope.push(event.clone());
}

/// A number as a field; nothing for 0, which is what an absent one means.
fn varint_field(number: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    if value != 0 {
        put_varint(&mut out, u64::from(number) << 3);
        put_varint(&mut out, value);
    }
    out
}
