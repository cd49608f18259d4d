//! Tells a file's format from its content, with its name as a hint.

use super::Format;
use crate::observable::ip;

/// How many lines are looked at.
const SAMPLE: usize = 200;

/// The separators that a CSV file may use.
pub(super) const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// What a file that is not text looks like, or `None` for text.
pub(super) fn binary(bytes: &[u8]) -> Option<&'static str> {
    const MAGIC: [(&[u8], &str); 6] = [
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"PK\x03\x04", "zip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"%PDF-", "PDF"),
    ];
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(what);
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return None;
    }
    // One stray NUL spoils its line only; many mean that nothing here is a line.
    let head = bytes.get(..8192).unwrap_or(bytes);
    let nuls = head.iter().filter(|&&byte| byte == 0).count();
    (nuls * 50 > head.len()).then_some("many NUL bytes")
}

/// The format of a text.
pub(super) fn detect(text: &str, file_name: &str) -> Format {
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if looks_like_json(text) {
        return Format::Stix;
    }
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '!']) && !line.starts_with("//"))
        .take(SAMPLE)
        .collect();
    if most(lines.iter().map(|line| is_hosts_line(line))) {
        return Format::Hosts;
    }
    let extension = file_name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    if matches!(extension.as_deref(), Some("csv" | "tsv")) || is_table(&lines) {
        return Format::Csv;
    }
    Format::List
}

/// An object, or an array of objects. A bracket alone may begin an IPv6 address or a STIX pattern.
fn looks_like_json(text: &str) -> bool {
    match text.strip_prefix('[') {
        Some(rest) => rest.trim_start().starts_with(['{', ']']),
        None => text.starts_with('{'),
    }
}

/// An address that leads nowhere, then names. Other addresses before a name may be indicators themselves.
fn is_hosts_line(line: &str) -> bool {
    let mut words = line.split('#').next().unwrap_or("").split_ascii_whitespace();
    let address = words.next().and_then(|word| ip::canonical(word.as_bytes()));
    address.is_some_and(|address| address.is_loopback() || address.is_unspecified())
        && words.next().is_some_and(|name| name.contains(|c: char| c.is_ascii_alphabetic()))
}

/// Whether some delimiter cuts most lines into the same number of cells.
fn is_table(lines: &[&str]) -> bool {
    DELIMITERS.into_iter().any(|delimiter| {
        let counts: Vec<usize> = lines.iter().map(|line| line.matches(delimiter).count()).collect();
        let frequency = |count: usize| counts.iter().filter(|&&other| other == count).count();
        let usual = counts.iter().copied().max_by_key(|&count| (frequency(count), std::cmp::Reverse(count)));
        usual.is_some_and(|usual| {
            // A comma at the end of each line is a list, too.
            let cut = lines.iter().zip(&counts).map(|(line, &count)| count >= usual && !line.ends_with(delimiter));
            usual > 0 && most(cut)
        })
    })
}

/// Whether four of five, and at least one, are so.
fn most(are_so: impl Iterator<Item = bool>) -> bool {
    let (so, all) = are_so.fold((0, 0), |(so, all), is_so| (so + usize::from(is_so), all + 1));
    so > 0 && so * 5 >= all * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tells_the_format_whatever_the_name() {
        let cases = [
            ("{\"type\":\"bundle\"}", Format::Stix),
            ("\n [ {\"type\":\"indicator\"}]", Format::Stix),
            ("[2001:db8::1]:443\n[2001:db8::2]:443\n", Format::List),
            ("# names\n0.0.0.0 evil.com\n127.0.0.1 bad.org # why\n", Format::Hosts),
            ("203.0.113.5 evil.com\n", Format::List),
            ("evil.com,2024-01-01\nbad.org,2024-01-02\n", Format::Csv),
            ("203.0.113.0/24 ; SBL1\n198.51.100.0/24 ; SBL2\n", Format::Csv),
            ("evil.com,\nbad.org,\n", Format::List),
            ("http://a.com/x,y\nhttp://b.com/\nhttp://c.com/\n", Format::List),
            ("", Format::List),
        ];
        for (text, format) in cases {
            assert_eq!(detect(text, "feed.txt"), format, "{text:?}");
        }
        assert_eq!(detect("evil.com\n", "feed.CSV"), Format::Csv);
    }

    #[test]
    fn what_is_no_text_is_named_and_one_nul_is_forgiven() {
        assert_eq!(binary(b"\x1f\x8b\x08\0"), Some("gzip"));
        assert_eq!(binary(&[0; 100]), Some("many NUL bytes"));
        let mut text = b"evil.com\n".repeat(50);
        text.push(0);
        assert_eq!(binary(&text), None);
        assert_eq!(binary(b"\xff\xfea\0"), None);
        assert_eq!(binary(b""), None);
    }
}
