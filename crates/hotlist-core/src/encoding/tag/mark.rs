//! Marks enrichments that arrive with an event as not verified.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::{Value, json};

use super::rewrite::LEVELS;
use super::words::holds_word;
use super::{Codec, Edits, Entry, Shape, UNVERIFIED_WORD, WORD};
use crate::schema::OwnPlace;

/// Whether what stands at a place where Hotlist writes may pass as its own.
pub(crate) fn is_inbound<C: Codec>(place: OwnPlace, value: &[u8]) -> bool {
    match place {
        OwnPlace::Words => holds_word::<C>(value),
        OwnPlace::Shared => holds_claim::<C>(value),
        OwnPlace::Context => false,
        OwnPlace::Whole => true,
    }
}

/// Whether an enrichment of OCSF says that Hotlist wrote it: by its type, or by what only Hotlist has in `data`. Others
/// write there, too, and theirs are left alone.
pub(super) fn claims<C: Codec>(element: &[u8], depth: usize) -> bool {
    match C::shape(element) {
        Ok(Shape::Object(members)) => members.iter().any(|member| match &*member.key {
            b"type" => matches!(C::shape(member.value), Ok(Shape::Text(text)) if *text == *WORD.as_bytes()),
            b"data" => match C::shape(member.value) {
                Ok(Shape::Object(inner)) => inner.iter().any(|inner| is_own_key(&inner.key)),
                _ => false,
            },
            key => key.strip_prefix(b"data.").is_some_and(is_own_key),
        }),
        Ok(Shape::Array(elements)) if depth < LEVELS => elements.iter().any(|element| claims::<C>(element, depth + 1)),
        _ => false,
    }
}

fn is_own_key(key: &[u8]) -> bool {
    key == b"hotlist" || key.starts_with(b"hotlist.")
}

/// Whether a list of enrichments of OCSF holds one that says that Hotlist wrote it. The bytes are searched first, since
/// most such lists hold what others wrote. Only JSON can write a text otherwise than it is, with a backslash.
fn holds_claim<C: Codec>(value: &[u8]) -> bool {
    static WORDS: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| [Finder::new(WORD), Finder::new("hotlist")]);
    (WORDS.iter().any(|word| word.find(value).is_some()) || memchr::memchr(b'\\', value).is_some())
        && claims::<C>(value, 0)
}

/// An enrichment, or a list of some, that says that it is not verified; `None` when it does, or is not an enrichment.
/// Where others write, too, only what claims to be ours is changed, and inside its `data`.
pub(super) fn marked<C: Codec>(element: &[u8], is_shared: bool, depth: usize) -> Option<Vec<u8>> {
    match C::shape(element).ok()? {
        Shape::Object(members) if !members.is_empty() => {
            let mut edits = if is_shared { Edits::default() } else { marks::<C>(&members).unwrap_or_default() };
            if claims::<C>(element, LEVELS) {
                let Edits { replaced, appended } = data_marks::<C>(&members);
                edits.replaced.extend(replaced);
                edits.replaced.sort_by_key(|(at, _)| *at);
                edits.appended.extend(appended);
            }
            if edits.is_empty() { None } else { C::edit(element, &edits).ok() }
        }
        Shape::Array(elements) if depth < LEVELS => {
            let elements = elements.iter().enumerate();
            let replaced: Vec<_> = elements
                .filter_map(|(at, element)| Some((at, Some(marked::<C>(element, is_shared, depth + 1)?))))
                .collect();
            if replaced.is_empty() {
                return None;
            }
            C::edit_array(element, &Edits { replaced, appended: Vec::new() }).ok()
        }
        _ => None,
    }
}

/// The edits that mark an enrichment of OCSF: its type is another, and its data says it as an enrichment of ECS does.
fn data_marks<C: Codec>(members: &[Entry<'_>]) -> Edits {
    let no = C::encode(&Value::Bool(false));
    let (mut edits, mut says, mut is_dotted) = (Edits::default(), false, false);
    for (index, member) in members.iter().enumerate() {
        let new = match (&*member.key, C::shape(member.value)) {
            (b"type", Ok(Shape::Text(text))) if *text == *WORD.as_bytes() => {
                Some(C::encode(&Value::from(UNVERIFIED_WORD)))
            }
            (b"data", Ok(Shape::Object(inner))) => {
                says = true;
                marks::<C>(&inner).and_then(|marks| C::edit(member.value, &marks).ok())
            }
            (b"data.hotlist.verified", _) => {
                says = true;
                (member.value != no).then(|| no.clone())
            }
            (key, _) => {
                is_dotted |= key.strip_prefix(b"data.").is_some_and(is_own_key);
                None
            }
        };
        edits.replaced.extend(new.map(|value| (index, Some(value))));
    }
    if is_dotted && !says {
        edits.append("data.hotlist.verified", no);
    }
    edits
}

/// The edits that mark an enrichment: wherever it says whether it is verified, it says no.
fn marks<C: Codec>(members: &[Entry<'_>]) -> Option<Edits> {
    let no = C::encode(&Value::Bool(false));
    let (mut edits, mut says, mut has_parent) = (Edits::default(), false, false);
    for (index, member) in members.iter().enumerate() {
        match &*member.key {
            b"hotlist.verified" => {
                says = true;
                if member.value != no {
                    edits.replaced.push((index, Some(no.clone())));
                }
            }
            b"hotlist" => {
                has_parent = true;
                let Ok(Shape::Object(inner)) = C::shape(member.value) else { continue };
                let verified = inner.iter().enumerate().filter(|(_, inner)| *inner.key == *b"verified");
                let mut inside = Edits::default();
                let mut is_there = false;
                for (at, verified) in verified {
                    is_there = true;
                    if verified.value != no {
                        inside.replaced.push((at, Some(no.clone())));
                    }
                }
                if !is_there {
                    inside.append("verified", no.clone());
                }
                if inside.is_empty() {
                    says = true;
                } else if let Ok(value) = C::edit(member.value, &inside) {
                    says = true;
                    edits.replaced.push((index, Some(value)));
                }
            }
            _ => {}
        }
    }
    match (says, has_parent) {
        (true, _) => {}
        (false, true) => edits.append("hotlist.verified", no),
        (false, false) => edits.append("hotlist", C::encode(&json!({ "verified": false }))),
    }
    (!edits.is_empty()).then_some(edits)
}

/// Whether an enrichment carries the mark, and nothing that says otherwise.
pub(super) fn is_unverified<C: Codec>(element: &[u8], is_shared: bool) -> bool {
    let Ok(Shape::Object(members)) = C::shape(element) else { return false };
    match is_shared {
        true => members.iter().any(|member| *member.key == *b"data") && data_marks::<C>(&members).is_empty(),
        false => marks::<C>(&members).is_none(),
    }
}
