//! From bytes to text: byte order marks, UTF-16, and old files in Latin-1.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

/// Decodes a file; never fails.
///
/// A byte order mark decides. Without one the text is UTF-8, and a line that is not valid UTF-8 is read as Latin-1,
/// that line alone, so that one invalid byte does not spoil the international names of all others.
pub(in crate::feed) fn text(bytes: Vec<u8>) -> String {
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

/// The UTF-16 that a file is in: a byte order mark says so, or that nearly every other byte is 0.
pub(in crate::feed) fn utf16(head: &[u8]) -> Option<&'static Encoding> {
    if head.starts_with(b"\xff\xfe") {
        return Some(UTF_16LE);
    }
    if head.starts_with(b"\xfe\xff") {
        return Some(UTF_16BE);
    }
    let head = head.get(..1024).unwrap_or(head);
    let zeros = |from: usize| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (first, second, half) = (zeros(0), zeros(1), head.len() / 2);
    if half < 4 {
        return None;
    }
    match (first * 4 >= half * 3, second * 4 >= half * 3) {
        (true, false) if second * 20 <= half => Some(UTF_16BE),
        (false, true) if first * 20 <= half => Some(UTF_16LE),
        _ => None,
    }
}

/// Decodes a file in UTF-16, with its byte order mark or without.
pub(in crate::feed) fn utf16_text(encoding: &'static Encoding, bytes: &[u8]) -> String {
    encoding.decode_with_bom_removal(bytes).0.into_owned()
}

pub(in crate::feed) fn line(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => encoding_rs::mem::decode_latin1(bytes),
    }
}

/// The likely type of a file that is not text, by its beginning; `None` for text.
pub(super) fn binary(bytes: &[u8]) -> Option<&'static str> {
    const MAGIC: [(&[u8], &str); 7] = [
        (b"\x1f\x8b", "gzip inside a compressed file"),
        (b"\x28\xb5\x2f\xfd", "zstd inside a compressed file"),
        (b"PK\x03\x04", "zip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"%PDF-", "PDF"),
    ];
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(what);
    }
    // One stray control character spoils its line only; many mean that nothing here is a line.
    let head = bytes.get(..8192).unwrap_or(bytes);
    let controls = head.iter().filter(|&&byte| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | b'\x0c')).count();
    (controls * 50 > head.len()).then_some("many control characters")
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
    fn utf_16_is_told_with_and_without_its_mark() {
        let text = "198.51.100.1\r\nb\u{fc}cher.example\r\n";
        for (encoding, to_bytes) in [(UTF_16LE, u16::to_le_bytes as fn(u16) -> [u8; 2]), (UTF_16BE, u16::to_be_bytes)] {
            for mark in ["", "\u{feff}"] {
                let bytes: Vec<u8> = format!("{mark}{text}").encode_utf16().flat_map(to_bytes).collect();
                assert_eq!(utf16(&bytes), Some(encoding));
                assert_eq!(utf16_text(encoding, &bytes), text);
            }
        }
        for bytes in [b"evil.example\n".as_slice(), &[0; 64], b"a\0b\nc.example\nd.example\n"] {
            assert_eq!(utf16(bytes), None);
        }
    }

    #[test]
    fn a_latin_1_line_leaves_the_other_lines_as_utf_8() {
        assert_eq!(text(b"b\xc3\xbccher.de\nb\xfccher.de\n".to_vec()), "bücher.de\nbücher.de\n");
    }

    #[test]
    fn what_is_no_text_is_named_and_one_nul_is_forgiven() {
        assert_eq!(binary(b"PK\x03\x04"), Some("zip"));
        assert_eq!(binary(&[0; 100]), Some("many control characters"));
        let garbage: Vec<u8> = (0..10_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert_eq!(binary(&garbage), Some("many control characters"));
        let mut text = b"evil.com\n".repeat(50);
        text.push(0);
        assert_eq!(binary(&text), None);
        assert_eq!(binary(b""), None);
    }
}
