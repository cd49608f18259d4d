//! Compares enrichments: the new ones are prepared once, and compared with those that a record already has.

use std::cell::OnceCell;
use std::collections::HashMap;

use super::enrichment::HitElement;
use super::path::text_at;
use super::{Brought, Codec, Shape};

/// The identity of an enrichment: `matched.id`, `matched.field` and `feed.name`; and two objects of `osint`.
pub(super) type Identity = [Vec<u8>; 3];

/// The elements to bring into a list.
pub(super) struct Ours<'a> {
    brought: Brought<'a>,
    part: HitElement,
    /// Made only for a record that has others.
    known: OnceCell<Known>,
    /// Whether the same of another origin gives way; else only what is marked as not verified does.
    pub(super) replaces: bool,
}

/// Our own elements, prepared for comparison with those of the record.
pub(super) struct Known {
    pub(super) encoded: Vec<Vec<u8>>,
    pub(super) by_identity: HashMap<Identity, usize>,
}

impl<'a> Ours<'a> {
    pub(super) fn new(brought: Brought<'a>, part: HitElement, replaces: bool) -> Ours<'a> {
        Ours { brought, part, known: OnceCell::new(), replaces }
    }

    pub(super) fn len(&self) -> usize {
        self.brought.count(self.part)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn known<C: Codec>(&self) -> &Known {
        self.known.get_or_init(|| {
            let encoded = self.brought.encoded::<C>(self.part);
            let identified = encoded.iter().enumerate();
            let by_identity =
                identified.filter_map(|(index, own)| Some((self.part.identity::<C>(own)?, index))).collect();
            Known { encoded, by_identity }
        })
    }

    /// Appends them as a list.
    pub(super) fn put_list<C: Codec>(&self, out: &mut Vec<u8>) {
        C::put_array(out, |out| self.brought.put_each::<C>(self.part, out, |out, put| C::put_element(out, put)));
    }
}

impl HitElement {
    pub(super) fn identity<C: Codec>(self, element: &[u8]) -> Option<Identity> {
        match self {
            HitElement::Enrichment => identity::<C>(element),
            HitElement::Osint => osint_identity::<C>(element),
        }
    }
}

/// The identity of an enrichment, `None` when it lacks a part or cannot be read (then it is like no other).
pub(super) fn identity<C: Codec>(enrichment: &[u8]) -> Option<Identity> {
    let Ok(Shape::Object(members)) = C::shape(enrichment) else { return None };
    let part = |path| text_at::<C>(&members, path);
    let parts = |id, field, feed| Some([part(id)?, part(field)?, part(feed)?]);
    parts("matched.id", "matched.field", "feed.name")
        .or_else(|| parts("data.matched.id", "data.matched.field", "data.feed.name"))
}

/// The identity of an object of `osint`: the id of the indicator, the attribute and the feed.
fn osint_identity<C: Codec>(element: &[u8]) -> Option<Identity> {
    let Ok(Shape::Object(members)) = C::shape(element) else { return None };
    let part = |path| text_at::<C>(&members, path);
    Some([part("uid")?, part("name")?, part("vendor_name")?])
}
