//! Contexts in a segment: what feeds say of indicators, each once.

use std::sync::Arc;

use hashbrown::HashTable;

use super::bytes::{Cursor, put_text, put_time, put_varint};
use crate::intel::indicator::{Confidence, Context, Tlp};

const NAME: u8 = 1;
const DESCRIPTION: u8 = 2;
const REFERENCE: u8 = 4;
const FIRST_SEEN: u8 = 8;
const LAST_SEEN: u8 = 16;
const PHASES: u8 = 32;

const CONFIDENCES: [Confidence; 5] =
    [Confidence::NotSpecified, Confidence::None, Confidence::Low, Confidence::Medium, Confidence::High];
const TLPS: [Option<Tlp>; 7] = [
    None,
    Some(Tlp::White),
    Some(Tlp::Clear),
    Some(Tlp::Green),
    Some(Tlp::Amber),
    Some(Tlp::AmberStrict),
    Some(Tlp::Red),
];

/// Appends a context.
pub(super) fn encode(context: &Context, out: &mut Vec<u8>) {
    let texts = [(NAME, &context.name), (DESCRIPTION, &context.description), (REFERENCE, &context.reference)];
    let times = [(FIRST_SEEN, context.first_seen), (LAST_SEEN, context.last_seen)];
    let mut parts = if context.kill_chain_phases.is_empty() { 0 } else { PHASES };
    parts |= texts.iter().filter(|(_, text)| text.is_some()).fold(0, |parts, (part, _)| parts | part);
    parts |= times.iter().filter(|(_, time)| time.is_some()).fold(0, |parts, (part, _)| parts | part);
    let place = |of: usize| u8::try_from(of).unwrap_or(0);
    out.push(parts);
    out.push(place(CONFIDENCES.iter().position(|confidence| *confidence == context.confidence).unwrap_or(0)));
    out.push(place(TLPS.iter().position(|tlp| *tlp == context.tlp).unwrap_or(0)));
    texts.into_iter().filter_map(|(_, text)| text.as_deref()).for_each(|text| put_text(out, text));
    times.into_iter().filter_map(|(_, time)| time).for_each(|time| put_time(out, time));
    if !context.kill_chain_phases.is_empty() {
        put_varint(out, context.kill_chain_phases.len());
        context.kill_chain_phases.iter().for_each(|phase| put_text(out, phase));
    }
}

/// Reads a context that fills the bytes; `None` when they are none.
pub(super) fn decode(bytes: &[u8]) -> Option<Context> {
    let mut cursor = Cursor::new(bytes);
    let parts = cursor.u8()?;
    if parts >= PHASES << 1 {
        return None;
    }
    let has = |part: u8| parts & part != 0;
    let mut context = Context {
        confidence: *CONFIDENCES.get(usize::from(cursor.u8()?))?,
        tlp: *TLPS.get(usize::from(cursor.u8()?))?,
        ..Context::default()
    };
    for (part, into) in
        [(NAME, &mut context.name), (DESCRIPTION, &mut context.description), (REFERENCE, &mut context.reference)]
    {
        if has(part) {
            *into = Some(cursor.text()?.into());
        }
    }
    for (part, into) in [(FIRST_SEEN, &mut context.first_seen), (LAST_SEEN, &mut context.last_seen)] {
        if has(part) {
            *into = Some(cursor.time()?);
        }
    }
    if has(PHASES) {
        let count = cursor.varint().filter(|count| (1..=cursor.rest().len()).contains(count))?;
        for _ in 0..count {
            context.kill_chain_phases.push(cursor.text()?.into());
        }
    }
    cursor.rest().is_empty().then_some(context)
}

/// Contexts under construction, numbered in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct ContextsBuilder {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    known: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    /// The one that came last: the next is most often the same.
    last: Option<(Arc<Context>, u32)>,
}

impl ContextsBuilder {
    /// The number of a context. `None`: there are too many, or they are too long together.
    pub(super) fn number(&mut self, context: &Arc<Context>) -> Option<u32> {
        if let Some((last, number)) = &self.last
            && Arc::ptr_eq(last, context)
        {
            return Some(*number);
        }
        let start = self.bytes.len();
        encode(context, &mut self.bytes);
        let (before, new) = self.bytes.split_at(start);
        let hash = std::hash::BuildHasher::hash_one(&self.hasher, new);
        let is_same =
            |number: &u32| range(&self.ends, *number).and_then(|(from, to)| before.get(from..to)) == Some(new);
        if let Some(number) = self.known.find(hash, is_same).copied() {
            self.bytes.truncate(start);
            self.last = Some((Arc::clone(context), number));
            return Some(number);
        }
        let number = u32::try_from(self.ends.len()).ok()?;
        self.ends.push(u32::try_from(self.bytes.len()).ok()?);
        let hash_of = |number: &u32| {
            let bytes = range(&self.ends, *number).and_then(|(from, to)| self.bytes.get(from..to));
            std::hash::BuildHasher::hash_one(&self.hasher, bytes.unwrap_or_default())
        };
        self.known.insert_unique(hash, number, hash_of);
        self.last = Some((Arc::clone(context), number));
        Some(number)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.ends.len() * 4 + self.bytes.len());
        for number in [self.ends.len() as u32, 0].into_iter().chain(self.ends) {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.bytes);
        out
    }
}

fn range(ends: &[u32], number: u32) -> Option<(usize, usize)> {
    let at = number as usize;
    let from = at.checked_sub(1).map_or(Some(0), |before| ends.get(before).copied())?;
    Some((from as usize, *ends.get(at)? as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn context() -> impl Strategy<Value = Context> {
        let text = || proptest::option::of("\\PC{0,40}".prop_map(Box::<str>::from));
        let time = || {
            proptest::option::of(
                any::<i64>().prop_map(|nanoseconds| jiff::Timestamp::from_nanosecond(nanoseconds.into()).unwrap()),
            )
        };
        let phases = proptest::collection::vec("[a-z-]{0,9}".prop_map(Box::<str>::from), 0..4);
        let marks = (0..CONFIDENCES.len(), 0..TLPS.len());
        (text(), text(), text(), time(), time(), phases, marks).prop_map(
            |(name, description, reference, first_seen, last_seen, kill_chain_phases, (confidence, tlp))| Context {
                name,
                description,
                kill_chain_phases,
                confidence: CONFIDENCES[confidence],
                tlp: TLPS[tlp],
                reference,
                first_seen,
                last_seen,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_each_context_stands_once(contexts in proptest::collection::vec(context(), 1..6)) {
            let mut builder = ContextsBuilder::default();
            let numbers: Vec<u32> = contexts.iter().chain(&contexts).map(|context| builder.number(&Arc::new(context.clone())).unwrap()).collect();
            prop_assert_eq!(&numbers[..contexts.len()], &numbers[contexts.len()..]);
            for (context, number) in contexts.iter().zip(&numbers) {
                let (from, to) = range(&builder.ends, *number).unwrap();
                prop_assert_eq!(decode(&builder.bytes[from..to]), Some(context.clone()));
                for cut in from..to {
                    prop_assert_ne!(decode(&builder.bytes[from..cut]), Some(context.clone()));
                }
            }
        }

        #[test]
        fn other_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(context) = decode(&bytes) {
                let mut again = Vec::new();
                encode(&context, &mut again);
                prop_assert_eq!(decode(&again), Some(context));
            }
        }
    }
}
