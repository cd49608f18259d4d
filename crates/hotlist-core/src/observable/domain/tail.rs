//! The well-formed end of an event value that is not a DNS name.
//!
//! A DNS label may hold any octet (RFC 2181, section 11), and tunnels use that: what stands below a listed name must
//! not hide it. So the labels are read from the end until one is malformed.

use super::{CLASS, DOT, INVALID, LONGEST_INPUT, LONGEST_LABEL, LONGEST_NAME, PLAIN, UPPER, is_dot, map_label};
use crate::observable::text;

/// The canonical form of the longest run of well-formed labels at the end of an *event* value, each whole (the value's
/// start or a dot stands before it), together at most 253 octets. `None` when fewer than two labels are well formed, and
/// for an e-mail address: a mailbox does not stand below the names of its host.
///
/// Reads at most the last [`LONGEST_INPUT`] octets. All trailing dots count as one.
pub fn tail<'a>(value: &[u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let from = value.len().saturating_sub(LONGEST_INPUT);
    let mut rest = text::trimmed(&value[from..]);
    if is_mailbox(rest) {
        return None;
    }
    while let Some(shorter) = before_dot(rest) {
        rest = shorter;
    }
    // Labels are written back to front, each reversed, and turned around once.
    scratch.clear();
    let mut labels = 0;
    let mut mapped = Vec::new();
    loop {
        let (start, before) = last_label(rest);
        // A label at the cut may be longer than what is seen of it.
        let is_cut = before.is_none() && from > 0;
        mapped.clear();
        let is_whole = !is_cut && label(&rest[start..], &mut mapped);
        let dot = usize::from(labels > 0);
        if !is_whole || scratch.len() + dot + mapped.len() > LONGEST_NAME {
            break;
        }
        scratch.extend(&b"."[..dot]);
        scratch.extend(mapped.iter().rev());
        labels += 1;
        match before {
            Some(shorter) => rest = shorter,
            None => break,
        }
    }
    scratch.reverse();
    (labels > 1).then_some(scratch)
}

/// Whether a value is an e-mail address of the usual form, which logs have at fields of names.
fn is_mailbox(value: &[u8]) -> bool {
    let Some(at) = memchr::memchr(b'@', value) else { return false };
    let is_local = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    let is_host = |byte: &u8| CLASS[usize::from(*byte)] & (PLAIN | UPPER | DOT) != 0;
    at > 0 && value[..at].iter().all(is_local) && value[at + 1..].iter().all(is_host)
}

/// Where the last label starts, and what stands before the dot in front of it.
fn last_label(value: &[u8]) -> (usize, Option<&[u8]>) {
    let mut at = value.len();
    while at > 0 {
        if let Some(before) = before_dot(&value[..at]) {
            return (at, Some(before));
        }
        at -= 1;
    }
    (0, None)
}

/// The value without the dot at its end, if it has one.
fn before_dot(value: &[u8]) -> Option<&[u8]> {
    match value {
        [rest @ .., b'.'] => Some(rest),
        // The other full stops have three bytes each.
        [rest @ .., _, _, 0x82 | 0x8e | 0xa1] => {
            let dot = std::str::from_utf8(&value[rest.len()..]).ok()?;
            dot.starts_with(is_dot).then_some(rest)
        }
        _ => None,
    }
}

/// Writes the canonical form of a label; `false` when it is malformed.
fn label(written: &[u8], out: &mut Vec<u8>) -> bool {
    let is_well_formed = |label: &[u8]| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.iter().all(|byte| matches!(CLASS[usize::from(*byte)], PLAIN | UPPER))
    };
    if written.iter().any(|byte| matches!(CLASS[usize::from(*byte)], INVALID | DOT)) {
        return false;
    }
    let Ok(written) = std::str::from_utf8(written) else { return false };
    map_label(written, out).is_some() && is_well_formed(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observable::domain::canonical;
    use proptest::prelude::*;

    fn end(value: &[u8]) -> Option<String> {
        tail(value, &mut Vec::new()).map(|name| String::from_utf8(name.to_vec()).unwrap())
    }

    #[test]
    fn labels_are_read_from_the_end_until_one_is_malformed() {
        for (value, name) in [
            ("a b.Evil.example.org", "evil.example.org"),
            ("a/b.evil.example.org.", "evil.example.org"),
            (r"a\.evil.example.org", "evil.example.org"),
            ("x..evil.example.org", "evil.example.org"),
            (".evil.example.org..", "evil.example.org"),
            ("=+.bücher。example。org。", "xn--bcher-kva.example.org"),
            ("*.b.example", "b.example"),
            ("a!evil.example.org", "example.org"),
        ] {
            assert_eq!(end(value.as_bytes()).as_deref(), Some(name), "{value}");
        }
        assert_eq!(end(b"\xff.evil.example").as_deref(), Some("evil.example"));
        for value in ["", ".", "org", "a b.org", "evil.example.org:443", "evil.example.o rg", "。"] {
            assert_eq!(end(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn a_label_that_is_cut_off_is_left_out() {
        let long = format!("{}.evil.example", "a".repeat(LONGEST_INPUT));
        assert_eq!(end(long.as_bytes()).as_deref(), Some("evil.example"));
        let dotted = format!("{}evil.example", "a.".repeat(LONGEST_INPUT));
        let found = end(dotted.as_bytes()).unwrap();
        assert!(found.len() <= LONGEST_NAME && found.ends_with(".a.evil.example"));
        assert_eq!(end("é".repeat(200).as_bytes()), None);
    }

    proptest! {
        /// Whatever stands below a name, the name is a suffix of the tail at a label's boundary; and the tail of a
        /// canonical name is the name.
        #[test]
        fn nothing_below_a_name_hides_it(below in proptest::collection::vec(any::<u8>(), 0..300)) {
            let value = [&below, &b".evil.example.org"[..]].concat();
            let found = end(&value).unwrap();
            prop_assert!(found == "evil.example.org" || found.ends_with(".evil.example.org"), "{}", found);
            let mut scratch = Vec::new();
            if let Some(name) = canonical(&value, &mut scratch) {
                prop_assert_eq!(found.as_bytes(), name);
            }
        }

        /// Bytes before the part that is read change nothing.
        #[test]
        fn only_the_end_is_read(before in proptest::collection::vec(any::<u8>(), 1..50), text in "[a-cé. ]{0,40}") {
            let filler = vec![b'x'; LONGEST_INPUT];
            let value = [filler.as_slice(), text.as_bytes()].concat();
            prop_assert_eq!(end(&[before.as_slice(), &value].concat()), end(&[&b"y"[..], &value].concat()));
        }
    }
}
