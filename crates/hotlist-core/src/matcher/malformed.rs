//! Counts malformed values by field and reason.

use crate::observable::Malformed;
use crate::schema::FieldId;

/// Counts for one batch. Takes no memory before the first malformed value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MalformedValues {
    /// By the field's number, then in the order of [`Malformed::ALL`].
    counts: Vec<[u32; Malformed::ALL.len()]>,
}

impl MalformedValues {
    /// Counts one value.
    #[cold]
    pub fn add(&mut self, field: FieldId, reason: Malformed) {
        let field = usize::from(field.0);
        if self.counts.len() <= field {
            self.counts.resize(field + 1, [0; Malformed::ALL.len()]);
        }
        let count = &mut self.counts[field][reason as usize];
        *count = count.saturating_add(1);
    }

    /// Every count above zero.
    pub fn iter(&self) -> impl Iterator<Item = (FieldId, Malformed, u64)> + '_ {
        (0u16..).zip(&self.counts).flat_map(|(field, counts)| {
            let counted = Malformed::ALL.into_iter().zip(counts).filter(|(_, count)| **count > 0);
            counted.map(move |(reason, count)| (FieldId(field), reason, u64::from(*count)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_by_field_and_reason() {
        let mut values = MalformedValues::default();
        assert_eq!(values.iter().count(), 0);
        for (field, reason) in [(7, Malformed::NotIp), (2, Malformed::TooLong), (7, Malformed::NotIp)] {
            values.add(FieldId(field), reason);
        }
        let all: Vec<_> = values.iter().collect();
        assert_eq!(all, [(FieldId(2), Malformed::TooLong, 1), (FieldId(7), Malformed::NotIp, 2)]);
    }
}
