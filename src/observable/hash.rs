//! File hashes: lower-case hex whose length tells the algorithm, and `ssdeep`.

use super::{Kind, text};

/// The hash and its kind, by the value's length whatever the field's name says: 32, 40, 64 or 128 hex digits, or the
/// three parts of an `ssdeep` hash. Upper case is lowered; `ssdeep` stays as it is, it is case-sensitive.
#[inline]
pub fn canonical<'a>(value: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<(Kind, &'a [u8])> {
    let value = text::trimmed(value);
    let kind = match value.len() {
        32 => Kind::Md5,
        40 => Kind::Sha1,
        64 => Kind::Sha256,
        128 => Kind::Sha512,
        _ => return is_ssdeep(value).then_some((Kind::Ssdeep, value)),
    };
    // Every byte is looked at, without a branch for each: most values of these lengths are hashes.
    match value.iter().fold(0, |seen, byte| seen | CLASS[usize::from(*byte)]) {
        0 => Some((kind, value)),
        UPPER => {
            text::lower_ascii(value, scratch);
            Some((kind, scratch))
        }
        _ => is_ssdeep(value).then_some((Kind::Ssdeep, value)),
    }
}

const UPPER: u8 = 1;
const OTHER: u8 = 2;

/// What each byte is in a hash: 0 for a digit or a lower-case letter of hex.
const CLASS: [u8; 256] = {
    let mut class = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        match byte as u8 {
            b'0'..=b'9' | b'a'..=b'f' => class[byte] = 0,
            b'A'..=b'F' => class[byte] = UPPER,
            _ => {}
        }
        byte += 1;
    }
    class
};

/// `block size:hash:hash of double blocks`, the hashes in base64 letters.
fn is_ssdeep(value: &[u8]) -> bool {
    let mut parts = value.split(|&byte| byte == b':');
    let base64 = |part: &[u8]| {
        part.len() >= 3 && part.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+'))
    };
    let size = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    parts.next().is_some_and(size)
        && parts.next().is_some_and(base64)
        && parts.next().is_some_and(base64)
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_length_tells_the_kind_and_case_does_not_matter() {
        let mut scratch = Vec::new();
        for (length, kind) in [(32, Kind::Md5), (40, Kind::Sha1), (64, Kind::Sha256), (128, Kind::Sha512)] {
            let upper = format!(" {}\n", "AB".repeat(length / 2));
            let lower = "ab".repeat(length / 2);
            assert_eq!(canonical(upper.as_bytes(), &mut scratch), Some((kind, lower.as_bytes())));
        }
    }

    #[test]
    fn ssdeep_is_kept_as_it_is() {
        let mut scratch = Vec::new();
        let hash = b"3:AXGBicFlgVNhBGcL6wCrFQEv:AXGHsNhxLsr2C";
        assert_eq!(canonical(hash, &mut scratch), Some((Kind::Ssdeep, &hash[..])));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for value in
            ["", "abc", &"g".repeat(32), &"a".repeat(33), "3:ab:abc", "x:abc:abc", "3:abc:abc:abc", "3:abc:a=c"]
        {
            assert_eq!(canonical(value.as_bytes(), &mut Vec::new()), None, "{value}");
        }
    }

    proptest! {
        /// A canonical hash is its own canonical form, and arbitrary bytes do no harm.
        #[test]
        fn canonical_twice_is_canonical(hex in "[0-9a-fA-F]{32}([0-9A-F]{8})?", noise in proptest::collection::vec(any::<u8>(), 0..130)) {
            for value in [hex.as_bytes(), &noise] {
                let (mut one, mut two) = (Vec::new(), Vec::new());
                if let Some((kind, once)) = canonical(value, &mut one) {
                    prop_assert_eq!(canonical(once, &mut two), Some((kind, once)));
                }
            }
        }
    }
}
