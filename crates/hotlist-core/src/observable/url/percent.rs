//! Percent-encoding in its normal form (RFC 3986, section 6.2.2): unreserved characters are not encoded, hex digits are
//! upper case, and characters outside ASCII are encoded.

use std::borrow::Cow;

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The normal form of a path with its query. One that has it already is borrowed.
pub(super) fn normal(path: &str) -> Cow<'_, str> {
    if path.is_ascii() && memchr::memchr(b'%', path.as_bytes()).is_none() {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len() + 16);
    // Where the last `%` that encodes nothing stands in `out`: what is decoded behind it must not complete it.
    let mut stray = None;
    let mut bytes = path.as_bytes();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        match (*first, encoded(rest)) {
            (b'%', Some(byte)) => {
                bytes = rest.get(2..).unwrap_or_default();
                let completes = stray.is_some_and(|at| out.len() - at <= 2);
                match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' if !completes => {
                        out.push(char::from(byte));
                    }
                    _ => encode(byte, &mut out),
                }
            }
            (b'%', None) => {
                stray = Some(out.len());
                out.push('%');
            }
            (byte, _) if byte.is_ascii() => out.push(char::from(byte)),
            (byte, _) => encode(byte, &mut out),
        }
    }
    Cow::Owned(out)
}

/// The octet of the two hex digits at the start.
fn encoded(rest: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*rest.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn encode(byte: u8, out: &mut String) {
    out.push('%');
    for digit in [byte >> 4, byte & 15] {
        out.push(char::from(DIGITS[usize::from(digit)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unreserved_characters_are_plain_and_all_others_keep_their_encoding() {
        for (path, form) in [
            ("/%7euser/%41", "/~user/A"),
            ("/a%2fb%2Fc", "/a%2Fb%2Fc"),
            ("/\u{fc}?x=%c3%bc", "/%C3%BC?x=%C3%BC"),
            ("/%", "/%"),
            ("/%zz%2", "/%zz%2"),
            ("/%%34%31", "/%%341"),
            ("/%a%42", "/%a%42"),
            ("/%2541", "/%2541"),
        ] {
            assert_eq!(normal(path), form, "{path}");
        }
        assert!(matches!(normal("/plain?x"), Cow::Borrowed(_)));
    }

    proptest! {
        /// Law: a normal form is its own normal form.
        #[test]
        fn normal_twice_is_normal(path in "(%|[0-9a-fA-F]|[~/?ü]){0,16}") {
            let once = normal(&path).into_owned();
            prop_assert_eq!(normal(&once), once.as_str());
        }
    }
}
