//! File hashes: lower-case hex whose length decides the algorithm, and `ssdeep`.

use super::malformed::Malformed;
use super::{Kind, eight, text};

/// Longer input is never read as one hash: an `ssdeep` hash has at most 148 characters (`FUZZY_MAX_RESULT`).
pub const LONGEST_INPUT: usize = 256;
/// Longer input is never read as a list of hashes.
pub const LONGEST_LIST: usize = 2048;
/// The most hashes that are read from one value. Sysmon writes up to five.
const MOST_HASHES: usize = 16;

/// The hash and its kind, by the value's length whatever the field's name says: 32, 40, 64 or 128 hex digits, or the
/// three parts of an `ssdeep` hash. Upper case is lowered; `ssdeep` stays as it is, it is case-sensitive.
#[inline]
pub fn canonical<'a>(value: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<(Kind, &'a [u8])> {
    if value.len() > LONGEST_INPUT {
        return None;
    }
    let value = text::trimmed(value);
    let kind = match value.len() {
        32 => Kind::Md5,
        40 => Kind::Sha1,
        64 => Kind::Sha256,
        128 => Kind::Sha512,
        _ => return is_ssdeep(value).then_some((Kind::Ssdeep, value)),
    };
    // Most values of these lengths are hashes, and most hashes are in lower case.
    if is_lower_hex(value) {
        return Some((kind, value));
    }
    match value.iter().fold(0, |seen, byte| seen | CLASS[usize::from(*byte)]) {
        0 => Some((kind, value)),
        UPPER => {
            text::lower_ascii(value, scratch);
            Some((kind, scratch))
        }
        _ => is_ssdeep(value).then_some((Kind::Ssdeep, value)),
    }
}

/// Whether a value whose length is a multiple of eight is hex in lower case.
#[inline]
fn is_lower_hex(value: &[u8]) -> bool {
    let (chunks, _) = value.as_chunks::<8>();
    let (mut hex, mut wide) = (u64::MAX, 0);
    for chunk in chunks {
        let word = u64::from_le_bytes(*chunk);
        hex &= eight::between(word, b'0', b'9') | eight::between(word, b'a', b'f');
        wide |= eight::wide(word);
    }
    wide == 0 && eight::is_all(hex)
}

/// Names of algorithms before a digest, in lower case and without `-`. A digest under another name (`IMPHASH`) is not
/// that of a file.
const ALGORITHMS: [&str; 6] = ["md5", "sha1", "sha256", "sha512", "ssdeep", "hash"];

/// Hands over every hash that an *event* value carries: the value itself, or each of a list as Sysmon writes it
/// (`SHA1=…,MD5=…`), with `algorithm:` before it, too. Gives why not all of the value is read.
pub fn event_hashes(value: &[u8], scratch: &mut Vec<u8>, found: &mut dyn FnMut(Kind, &[u8])) -> Option<Malformed> {
    if let Some((kind, digest)) = canonical(value, scratch) {
        found(kind, digest);
        return None;
    }
    if value.len() > LONGEST_LIST {
        return Some(Malformed::TooLong);
    }
    let is_separator = |byte: &u8| matches!(byte, b',' | b';' | b'|' | b' ' | b'\t' | b'\n' | b'\r');
    let mut parts = value.split(is_separator).filter(|part| !part.is_empty());
    let mut is_found = false;
    for part in parts.by_ref().take(MOST_HASHES) {
        if let Some((kind, digest)) = unlabelled(part).and_then(|digest| canonical(digest, scratch)) {
            found(kind, digest);
            is_found = true;
        }
    }
    match parts.next() {
        Some(_) => Some(Malformed::TooMany),
        None => (!is_found).then_some(Malformed::NotHash),
    }
}

/// The text after `algorithm=` or `algorithm:`. `None` behind the name of another algorithm.
fn unlabelled(part: &[u8]) -> Option<&[u8]> {
    let Some(end) = part.iter().position(|byte| matches!(byte, b'=' | b':')) else { return Some(part) };
    let (label, digest) = (&part[..end], &part[end + 1..]);
    if label.iter().all(u8::is_ascii_digit) {
        // The block size of an `ssdeep` hash.
        return Some(part);
    }
    let is_label = |known: &&str| {
        let letters = label.iter().filter(|byte| **byte != b'-').map(u8::to_ascii_lowercase);
        letters.eq(known.bytes())
    };
    ALGORITHMS.iter().any(is_label).then_some(digest)
}

const UPPER: u8 = 1;
const OTHER: u8 = 2;

/// The class of each byte in a hash: 0 for a digit or a lower-case letter of hex.
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

    #[test]
    fn each_hash_of_a_list_is_read() {
        let read = |value: &str| {
            let mut all = Vec::new();
            let malformed = event_hashes(value.as_bytes(), &mut Vec::new(), &mut |kind, digest| {
                all.push((kind, String::from_utf8(digest.to_vec()).unwrap()));
            });
            (all, malformed)
        };
        let (md5, sha1, sha256) = ("ab".repeat(16), "cd".repeat(20), "ef".repeat(32));
        let sysmon = format!("SHA1={},MD5={},SHA256={sha256},IMPHASH={}", sha1.to_uppercase(), md5, "0".repeat(32));
        let expected = vec![(Kind::Sha1, sha1), (Kind::Md5, md5.clone()), (Kind::Sha256, sha256.clone())];
        assert_eq!(read(&sysmon), (expected, None));
        assert_eq!(read(&format!("sha-256:{sha256}")), (vec![(Kind::Sha256, sha256)], None));
        assert_eq!(read(&format!("ssdeep=3:abc:def; {md5}")).0.len(), 2);
        assert_eq!(read(&format!("IMPHASH={md5}")), (vec![], Some(Malformed::NotHash)));
        assert_eq!(read(&"x".repeat(LONGEST_LIST + 1)), (vec![], Some(Malformed::TooLong)));
        let (found, malformed) = read(&format!("{md5},").repeat(MOST_HASHES + 1));
        assert_eq!((found.len(), malformed), (MOST_HASHES, Some(Malformed::TooMany)));
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

        /// The look at eight bytes at a time finds what the table says of each.
        #[test]
        fn lower_hex_is_what_the_table_says(hex in "[0-9a-f]{32,40}", other in "[`g:/@A-Fü\\u{0}]?") {
            let text = hex + &other;
            let value = &text.as_bytes()[text.len() % 8..];
            prop_assert_eq!(is_lower_hex(value), value.iter().all(|byte| CLASS[usize::from(*byte)] == 0));
        }
    }
}
