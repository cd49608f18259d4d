//! Labels whose values come from events: a sender must not be able to make any number of time series.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Different values of such a label that are shown.
const MOST_VALUES: usize = 500;

/// The value that stands for all others.
const OTHERS: &str = "(others)";

/// A label with at most 500 values, those that come first.
#[derive(Debug, Default)]
pub struct BoundedLabel(Mutex<BTreeSet<String>>);

impl BoundedLabel {
    /// Returns the value to show for `value`.
    pub fn value(&self, value: &str) -> String {
        // The set is consistent after a panic.
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !shown.contains(value) {
            if shown.len() == MOST_VALUES {
                return OTHERS.to_owned();
            }
            shown.insert(value.to_owned());
        }
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_so_many_values_and_keeps_the_first() {
        let label = BoundedLabel::default();
        for at in 0..MOST_VALUES {
            assert_eq!(label.value(&at.to_string()), at.to_string());
        }
        assert_eq!(label.value("one more"), OTHERS);
        assert_eq!(label.value("0"), "0");
    }
}
