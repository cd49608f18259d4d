//! Finds the place of a list in a document: among its entries, or inside one of them.

use super::{Codec, Entry, Shape, Spelling, TagOutcome};

/// A place for a list: `parent.member`.
pub(super) struct Names {
    pub(super) parent: &'static str,
    pub(super) member: &'static str,
    pub(super) dotted: &'static str,
}

pub(super) const ENRICHMENTS: &str = "enrichments";
const THREAT: Names = Names { parent: "threat", member: ENRICHMENTS, dotted: "threat.enrichments" };
pub(super) const HOTLIST: Names = Names { parent: "hotlist", member: ENRICHMENTS, dotted: "hotlist.enrichments" };
/// Where OCSF has enrichments: at the root.
const ROOT: Names = Names { parent: "", member: ENRICHMENTS, dotted: ENRICHMENTS };
pub(super) const PROFILES: Names = Names { parent: "metadata", member: "profiles", dotted: "metadata.profiles" };

/// Where a list of the document's root goes: to the last entry of its name or, if that cannot take it, of a name of our
/// own.
pub(super) struct Spot {
    pub(super) at: Option<usize>,
    names: [&'static str; 2],
    is_taken: bool,
}

impl Spot {
    pub(super) fn find<C: Codec>(
        entries: &[Entry<'_>],
        name: &'static str,
        own: &'static str,
        takes: impl Fn(&Shape<'_>) -> bool,
    ) -> Spot {
        let last = |name: &str| entries.iter().rposition(|entry| *entry.key == *name.as_bytes());
        let proper = last(name);
        let takes = |at: usize| entries.get(at).is_some_and(|entry| C::shape(entry.value).is_ok_and(|it| takes(&it)));
        let at = if proper.is_some_and(|at| !takes(at)) { last(own) } else { proper };
        Spot { at, names: [name, own], is_taken: proper.is_some() }
    }

    /// The key of a new entry.
    pub(super) fn key(&self, outcome: &mut TagOutcome) -> &'static str {
        outcome.own_place |= self.is_taken;
        self.names[usize::from(self.is_taken)]
    }
}

/// Whether a value can take elements next to it: anything but a text, a number or a boolean.
pub(super) fn is_list(shape: &Shape<'_>) -> bool {
    !matches!(shape, Shape::Text(_) | Shape::Scalar)
}

#[derive(Clone, Copy)]
pub(super) enum Place {
    /// At an entry of the document, dotted.
    Dotted(usize),
    /// Inside the object at an entry, at a member of that.
    Inside(usize, usize),
    /// Not there, but the object that should hold it is.
    Parent(usize),
    /// Not there at all; a spelling of its own when the usual one is taken.
    Absent(&'static Names, Spelling),
    /// The parent is not an object.
    Blocked,
}

impl Place {
    pub(super) fn here(self, index: usize) -> Here {
        match self {
            Place::Dotted(at) | Place::Parent(at) if at == index => Here::Itself,
            Place::Inside(at, member) if at == index => Here::Member(member),
            _ => Here::No,
        }
    }
}

/// Whether what we bring belongs to an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    No,
    /// To the list that it is, or as a new member of the object that it is.
    Itself,
    /// To a member of the object that it is.
    Member(usize),
}

/// Where our enrichments go.
pub(super) fn target<C: Codec>(entries: &[Entry<'_>], is_ocsf: bool, outcome: &mut TagOutcome) -> Place {
    if is_ocsf {
        match entries.iter().enumerate().rev().find(|(_, entry)| *entry.key == *ENRICHMENTS.as_bytes()) {
            None => return Place::Absent(&ROOT, Spelling::Dotted),
            Some((at, entry)) if C::shape(entry.value).is_ok_and(|shape| is_list(&shape)) => return Place::Dotted(at),
            Some(_) => outcome.own_place = true,
        }
    } else {
        match locate::<C>(entries, &THREAT) {
            Ok(Place::Blocked) => outcome.threat_not_object = true,
            Ok(place) => return place,
            Err(_) => outcome.own_place = true,
        }
    }
    match locate::<C>(entries, &HOTLIST) {
        // Both names are taken by something else: the dotted key is added next to them and is found again.
        Ok(Place::Blocked) | Err(_) => Place::Absent(&HOTLIST, Spelling::Dotted),
        Ok(place) => place,
    }
}

/// Where a list is: at the last dotted key, or in the last parent, whichever stands later.
pub(super) fn locate<C: Codec>(entries: &[Entry<'_>], names: &'static Names) -> Result<Place, C::Error> {
    let last = |key: &str| entries.iter().enumerate().rev().find(|(_, entry)| *entry.key == *key.as_bytes());
    let dotted = last(names.dotted);
    let at_dotted = |(index, entry): (usize, &Entry<'_>)| C::shape(entry.value).map(|_| Place::Dotted(index));
    let Some((parent, entry)) = last(names.parent) else {
        return dotted.map_or(Ok(Place::Absent(names, Spelling::Nested)), at_dotted);
    };
    if let Some(dotted) = dotted.filter(|(index, _)| *index > parent) {
        return at_dotted(dotted);
    }
    let Shape::Object(members) = C::shape(entry.value)? else {
        return dotted.map_or(Ok(Place::Blocked), at_dotted);
    };
    match (members.iter().enumerate().rev().find(|(_, member)| *member.key == *names.member.as_bytes()), dotted) {
        (Some((index, member)), _) => C::shape(member.value).map(|_| Place::Inside(parent, index)),
        (None, Some(dotted)) => at_dotted(dotted),
        (None, None) => Ok(Place::Parent(parent)),
    }
}
