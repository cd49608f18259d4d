//! Texts and scalars as JSON.

/// Writes a text as a JSON string; invalid UTF-8 in it is replaced.
#[inline]
pub(crate) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    } else {
        write_value(out, &*String::from_utf8_lossy(text));
    }
}

/// Whether a text stands in JSON as it is, and is ASCII: nearly all are.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let needs_care = |byte: &u8| {
        u8::from(*byte < b' ') | u8::from(*byte > 0x7f) | u8::from(*byte == b'"') | u8::from(*byte == b'\\')
    };
    text.iter().fold(0, |all, byte| all | needs_care(byte)) == 0
}

/// Scalars always serialise; `Display` of a JSON value spells a double that JSON cannot say as null.
pub(crate) fn write_value(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::write_text;

    proptest! {
        /// The short way writes what the serialiser does.
        #[test]
        fn a_text_is_written_as_serialised(text in prop_oneof![
            "[a-z0-9.:\u{7f}]{0,40}".prop_map(String::into_bytes),
            "[ a~\\\\\"\u{0}\u{1f}\u{7f}é]{0,40}".prop_map(String::into_bytes),
            any::<Vec<u8>>(),
        ]) {
            let mut out = b"before".to_vec();
            write_text(&mut out, &text);
            let plain = serde_json::to_string(&*String::from_utf8_lossy(&text)).unwrap();
            prop_assert_eq!(out, [b"before", plain.as_bytes()].concat());
        }
    }
}
