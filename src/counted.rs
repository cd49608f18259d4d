//! Numbers with their nouns in texts for people.

/// Formats a number with its noun: `1 line`, `2 lines`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
