//! Eight bytes of ASCII at once, as one number: which of them lie in a range. What is found is the upper bit of each byte.
//!
//! A byte outside ASCII makes the answers for the whole number meaningless, so ask for [`wide`] ones, too.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES << 7;

/// The bytes from `first` to `last`, both ASCII.
#[inline(always)]
pub(super) const fn between(word: u64, first: u8, last: u8) -> u64 {
    // A byte reaches the upper bit when what is missing to it is added, and carries nothing into the next.
    let from = word.wrapping_add(ONES * (0x80 - first) as u64);
    let beyond = word.wrapping_add(ONES * (0x7f - last) as u64);
    from & !beyond & HIGH
}

/// The bytes outside ASCII.
#[inline(always)]
pub(super) const fn wide(word: u64) -> u64 {
    word & HIGH
}

/// Whether every byte is marked.
#[inline(always)]
pub(super) const fn is_all(marks: u64) -> bool {
    marks & HIGH == HIGH
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Each byte is marked when it lies in the range, whatever stands next to it.
        #[test]
        fn the_bytes_of_a_range_are_marked(bytes: [u8; 8], ascii: bool, one in 0u8..0x80, other in 0u8..0x80) {
            let bytes = bytes.map(|byte| if ascii { byte & 0x7f } else { byte });
            let (word, range) = (u64::from_le_bytes(bytes), one.min(other)..=one.max(other));
            prop_assert_eq!(wide(word) == 0, bytes.is_ascii());
            if bytes.is_ascii() {
                let marks = between(word, *range.start(), *range.end());
                let expected = bytes.map(|byte| if range.contains(&byte) { 0x80 } else { 0 });
                prop_assert_eq!(marks, u64::from_le_bytes(expected));
                prop_assert_eq!(is_all(marks), bytes.iter().all(|byte| range.contains(byte)));
            }
        }
    }
}
