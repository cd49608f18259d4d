//! From bytes to text: byte order marks, UTF-16, and old files in Latin-1.

use std::borrow::Cow;

use encoding_rs::Encoding;

/// Decodes a feed's file; never fails.
///
/// A byte order mark decides. Without one the text is UTF-8, and a line that is not valid UTF-8 is read as Latin-1,
/// that line alone, so that one odd byte does not spoil the international names of all others.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes)
        && encoding != encoding_rs::UTF_8
    {
        return encoding.decode_without_bom_handling(bytes.get(mark..).unwrap_or_default()).0;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 64);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_) => text.push_str(&encoding_rs::mem::decode_latin1(line)),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_are_honoured_and_dropped() {
        assert_eq!(decode(b"\xef\xbb\xbfevil.com\n"), "evil.com\n");
        assert_eq!(decode(b"\xff\xfea\0.\0b\0"), "a.b");
        assert_eq!(decode(b"\xfe\xff\0a\0.\0b"), "a.b");
        assert_eq!(decode(b"\xff\xfe\0"), "\u{fffd}");
    }

    #[test]
    fn a_latin_1_line_leaves_the_other_lines_as_utf_8() {
        assert_eq!(decode(b"b\xc3\xbccher.de\nb\xfccher.de\n"), "bücher.de\nbücher.de\n");
    }
}
