//! From bytes to text: byte order marks, UTF-16, and old files in Latin-1.

use std::borrow::Cow;

use encoding_rs::Encoding;

/// Decodes a file; never fails.
///
/// A byte order mark decides. Without one the text is UTF-8, and a line that is not valid UTF-8 is read as Latin-1,
/// that line alone, so that one odd byte does not spoil the international names of all others.
pub(super) fn text(bytes: Vec<u8>) -> String {
    if let Some((encoding, mark)) = Encoding::for_bom(&bytes)
        && encoding != encoding_rs::UTF_8
    {
        return encoding.decode_without_bom_handling(bytes.get(mark..).unwrap_or_default()).0.into_owned();
    }
    let bytes = match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with('\u{feff}') {
                text.remove(0);
            }
            return text;
        }
        Err(error) => error.into_bytes(),
    };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut text = String::with_capacity(bytes.len() + 64);
    bytes.split_inclusive(|&byte| byte == b'\n').for_each(|bytes| text.push_str(&line(bytes)));
    text
}

/// Decodes one line.
pub(super) fn line(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => encoding_rs::mem::decode_latin1(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_are_honoured_and_dropped() {
        let text = |bytes: &[u8]| text(bytes.to_vec());
        assert_eq!(text(b"\xef\xbb\xbfevil.com\n"), "evil.com\n");
        assert_eq!(text(b"\xff\xfea\0.\0b\0"), "a.b");
        assert_eq!(text(b"\xfe\xff\0a\0.\0b"), "a.b");
        assert_eq!(text(b"\xff\xfe\0"), "\u{fffd}");
    }

    #[test]
    fn a_latin_1_line_leaves_the_other_lines_as_utf_8() {
        assert_eq!(text(b"b\xc3\xbccher.de\nb\xfccher.de\n".to_vec()), "bücher.de\nbücher.de\n");
    }
}
