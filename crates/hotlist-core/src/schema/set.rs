//! A set of fields of one table.

use super::{FieldId, FieldTable};

/// A set of fields, one bit each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldSet(Box<[u64; FieldTable::MAX_FIELDS / 64]>);

impl Default for FieldSet {
    fn default() -> FieldSet {
        FieldSet(Box::new([0; FieldTable::MAX_FIELDS / 64]))
    }
}

impl FieldSet {
    /// The set of these fields.
    pub fn from_fields(fields: &[FieldId]) -> FieldSet {
        let mut set = FieldSet::default();
        fields.iter().for_each(|field| set.insert(*field));
        set
    }

    /// Adds a field.
    #[inline]
    pub fn insert(&mut self, field: FieldId) {
        if let Some(bits) = self.0.get_mut(usize::from(field.0) / 64) {
            *bits |= 1 << (field.0 % 64);
        }
    }

    /// Adds every field of another set. Says whether there was a new one among them.
    pub fn extend(&mut self, other: &FieldSet) -> bool {
        let mut grew = false;
        for (bits, more) in self.0.iter_mut().zip(other.0.iter()) {
            grew |= more & !*bits != 0;
            *bits |= more;
        }
        grew
    }

    /// Whether there is no field in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|bits| *bits == 0)
    }

    /// Whether a field is in the set.
    #[inline]
    pub fn contains(&self, field: FieldId) -> bool {
        self.0.get(usize::from(field.0) / 64).is_some_and(|bits| bits & (1 << (field.0 % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The set holds what was added, and reports whether it grew.
        #[test]
        fn holds_what_was_added(one in proptest::collection::btree_set(0u16..8192, 0..40), other in proptest::collection::btree_set(0u16..8192, 0..40)) {
            let of = |numbers: &std::collections::BTreeSet<u16>| {
                FieldSet::from_fields(&numbers.iter().map(|number| FieldId(*number)).collect::<Vec<_>>())
            };
            let mut set = of(&one);
            prop_assert_eq!(set.extend(&of(&other)), !other.is_subset(&one));
            for number in 0..8192 {
                prop_assert_eq!(set.contains(FieldId(number)), one.contains(&number) || other.contains(&number));
            }
            prop_assert!(!set.extend(&of(&one)));
        }
    }
}
