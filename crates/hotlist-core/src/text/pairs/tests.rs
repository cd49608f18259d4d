//! Pairs against slow parsers, and by example.

use std::sync::LazyLock;

use proptest::prelude::*;
use regex::bytes::Regex;

use super::*;

/// The format, key and value of each pair.
type Found = Vec<(PairFormat, String, String)>;

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn found(line: &[u8]) -> Found {
    let (mut all, mut scratch) = (Vec::new(), Vec::new());
    let is_complete = pairs(line, &mut |pair| {
        assert!(pair.at.start < pair.at.end && pair.at.end <= line.len());
        let value = pair.value(line, usize::MAX, &mut scratch).unwrap();
        all.push((pair.format, text(pair.key), text(value)));
    });
    assert!(is_complete);
    all
}

/// Parsers of regular expressions and loops over characters.
mod slow {
    use super::*;

    fn regex(pattern: &str) -> Regex {
        const WORD: &str = r"[A-Za-z0-9_\x{80}-\x{dff}\x{1e00}-\x{1fff}&&[[A-Za-z0-9_]\p{Alphabetic}\p{N}]]";
        Regex::new(&pattern.replace("WORD", WORD)).unwrap()
    }

    static CEF: LazyLock<Regex> = LazyLock::new(|| regex(r"^CEF:[0-9]{1,4}\|(?:(?:(?-u:[^|\\])|(?s-u:\\.))*\|){6}"));
    static LEEF: LazyLock<Regex> = LazyLock::new(|| regex(r"^LEEF:([12])(?:\.[0-9.]{0,2})?\|(?:(?-u:[^|])*\|){4}"));
    static CEF_VERSION: LazyLock<Regex> =
        LazyLock::new(|| regex(r"^[^|]*\|(?:(?:(?-u:[^|\\])|(?s-u:\\.))*\|){2}((?:(?-u:[^|\\])|(?s-u:\\.))*)\|"));
    static LEEF_VERSION: LazyLock<Regex> = LazyLock::new(|| regex(r"^(?:(?-u:[^|])*\|){3}((?-u:[^|]*))\|"));
    static BEFORE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:WORD|-)$"));
    static KEY: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:^|[ \t])([A-Za-z0-9_.-]+)="));
    static DELIMITER: LazyLock<Regex> = LazyLock::new(|| regex(r"^(?:|0?x([0-9A-Fa-f]{1,4})|([^0-9A-Za-z=|]))\|"));
    static WORD_KEY: LazyLock<Regex> = LazyLock::new(|| regex(r"^([A-Za-z_@][A-Za-z0-9_.@-]*)=((?s-u:.*))$"));
    static QUOTED: LazyLock<Regex> = LazyLock::new(|| regex(r#"^"((?:(?-u:[^"\\])|(?s-u:\\.))*)"((?-u:[^ \t\r]*))"#));

    fn trim(bytes: &[u8]) -> Vec<u8> {
        bytes.trim_ascii().to_vec()
    }

    fn unescaped(value: &[u8], escapes: &[(&str, &str)]) -> Vec<u8> {
        let (mut rest, mut out) = (value, Vec::new());
        while let Some(first) = rest.first() {
            match escapes.iter().find(|(written, _)| rest.starts_with(written.as_bytes())) {
                Some((written, means)) => {
                    out.extend_from_slice(means.as_bytes());
                    rest = &rest[written.len()..];
                }
                None => {
                    out.push(*first);
                    rest = &rest[1..];
                }
            }
        }
        out
    }

    const OF_CEF: [(&str, &str); 5] = [(r"\\", r"\"), (r"\=", "="), (r"\|", "|"), (r"\n", "\n"), (r"\r", "\r")];
    const OF_QUOTED: [(&str, &str); 5] = [(r"\\", r"\"), (r#"\""#, "\""), (r"\n", "\n"), (r"\r", "\r"), (r"\t", "\t")];

    fn extension(part: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let keys: Vec<_> = KEY.captures_iter(part).collect();
        let starts = keys.iter().skip(1).map(|next| next.get(1).unwrap().start()).chain([part.len()]);
        let pairs = keys.iter().zip(starts);
        pairs.map(|(key, end)| (key[1].to_vec(), trim(&part[key.get(0).unwrap().end()..end]))).collect()
    }

    fn leef(is_second: bool, attributes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut rest, mut delimiter) = (attributes, "\t".to_owned());
        if is_second && let Some(named) = DELIMITER.captures(attributes) {
            let number = named.get(1).map(|digits| std::str::from_utf8(digits.as_bytes()).unwrap());
            let number = number.map(|digits| char::from_u32(u32::from_str_radix(digits, 16).unwrap()));
            let one = named.get(2).map(|one| std::str::from_utf8(one.as_bytes()).unwrap().to_owned());
            let is_valid = |one: &char| !one.is_ascii_alphanumeric() && *one != '=';
            let named_by_number = number.map(|number| number.filter(is_valid));
            if named_by_number != Some(None) {
                rest = &attributes[named[0].len()..];
                let by_number = named_by_number.flatten().map(String::from);
                delimiter = one.or(by_number).unwrap_or(delimiter);
            }
        }
        let has = |part: &str| rest.windows(part.len()).any(|window| window == part.as_bytes());
        if delimiter == "\t" && !has("\t") {
            if !has("#011") {
                return extension(rest);
            }
            delimiter = "#011".to_owned();
        }
        let delimiter = Regex::new(&format!("(?-u){}", bytes_pattern(delimiter.as_bytes()))).unwrap();
        let attributes = delimiter.split(rest).filter_map(|attribute| {
            let at = attribute.iter().position(|byte| *byte == b'=')?;
            let key = trim(&attribute[..at]);
            let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
            (!key.is_empty() && key.iter().all(is_key)).then(|| (key, trim(&attribute[at + 1..])))
        });
        attributes.collect()
    }

    fn bytes_pattern(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!(r"\x{byte:02x}")).collect()
    }

    /// The words of a line; a pair has a key.
    fn words(line: &[u8]) -> Vec<Option<(Vec<u8>, Vec<u8>)>> {
        let (mut all, mut rest) = (Vec::new(), line);
        let blank = |byte: &u8| b" \t\r".contains(byte);
        loop {
            rest = &rest[rest.iter().take_while(|byte| blank(byte)).count()..];
            if rest.is_empty() {
                return all;
            }
            let mut end = rest.iter().position(&blank).unwrap_or(rest.len());
            let key = rest.iter().position(|byte| *byte == b'=').filter(|at| *at < end);
            let pair = key.and_then(|_| WORD_KEY.captures(rest));
            let word = pair.and_then(|pair| {
                let (key, value, from) = (pair[1].to_vec(), pair.get(2).unwrap(), pair.get(2).unwrap().start());
                if !value.as_bytes().starts_with(b"\"") {
                    let mut value = &rest[from..end];
                    while let [before @ .., b',' | b';'] = value {
                        value = before;
                    }
                    return Some((key, value.to_vec()));
                }
                match QUOTED.captures(value.as_bytes()) {
                    Some(quoted) => {
                        end = from + quoted[0].len();
                        let is_end = quoted[2].iter().all(|byte| b",;".contains(byte));
                        is_end.then(|| (key, unescaped(&quoted[1], &OF_QUOTED)))
                    }
                    None => {
                        end = rest.len();
                        Some((key, unescaped(&rest[from + 1..], &OF_QUOTED)))
                    }
                }
            });
            all.push(word);
            rest = &rest[end..];
        }
    }

    fn line(line: &[u8]) -> Found {
        let show = |format: PairFormat, pairs: Vec<(Vec<u8>, Vec<u8>)>| -> Found {
            let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
            pairs.map(|(key, value)| (format, text(&key), text(&value))).collect()
        };
        for start in 0..line.len() {
            if BEFORE.is_match(&line[..start]) {
                continue;
            }
            let rest = &line[start..];
            if let Some(header) = CEF.find(rest) {
                let version = trim(&CEF_VERSION.captures(rest).unwrap()[1]);
                let mut all = show(PairFormat::Cef, vec![("deviceVersion".into(), version)]);
                let pairs = extension(&rest[header.end()..]).into_iter();
                all.extend(show(
                    PairFormat::Cef,
                    pairs.map(|(key, value)| (key, unescaped(&value, &OF_CEF))).collect(),
                ));
                return all;
            }
            if let Some(header) = LEEF.captures(rest) {
                let version = trim(&LEEF_VERSION.captures(rest).unwrap()[1]);
                let mut all = show(PairFormat::Leef, vec![("deviceVersion".into(), version)]);
                all.extend(show(PairFormat::Leef, leef(&header[1] == b"2", &rest[header[0].len()..])));
                return all;
            }
        }
        let words = words(line);
        let first = words.iter().position(Option::is_some).unwrap_or(words.len());
        let count = words.iter().flatten().count();
        match count >= 3 && count >= words.len() - first - count {
            true => show(PairFormat::KeyValue, words.into_iter().flatten().collect()),
            false => Vec::new(),
        }
    }

    pub(super) fn pairs(text: &[u8]) -> Found {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| line.contains(&b'='));
        lines.flat_map(line).collect()
    }
}

/// The parts of lines.
const PIECES: [&str; 56] = [
    "CEF:0|a|b|1.2.3.4|d|e|5|",
    "CEF:1|a\\|b|b|1|d|e|5|",
    "CEF:0|a|b|",
    "LEEF:1.0|a|b|1.0|id|",
    "LEEF:2.0|a|b|1.0|id|^|",
    "LEEF:2.0|a|b|1.0|id|x5E|",
    "LEEF:2.0|a|b|1.0|id|0x7c|",
    "LEEF:2.0|a|b|1.0|id|xa6|",
    "LEEF:2.0|a|b|1.0|id||",
    "LEEF:2.0|a|b|1.0|id|",
    "LEEF:2|a|b|||",
    "CEF:",
    "EF:",
    "|",
    "|",
    "0",
    "src=192.0.2.1",
    "dst=198.51.100.7",
    "request=http://evil.com/?a=b",
    "msg=a b c",
    "msg=a \\= b \\\\ c\\n",
    "user.name=alice",
    "@timestamp=2026-11-30T11:25:06Z",
    "level=info",
    "msg=\"a \\\"quoted\\\" b\\\\\"",
    "url=\"http://evil.com/x\",",
    "empty=",
    "empty=\"\"",
    "a=1,b=2;",
    "k",
    "=",
    "=",
    "\"",
    "\\",
    "\\\\",
    "\\=",
    "\\|",
    "\\n",
    ",",
    ";",
    " ",
    " ",
    " ",
    " ",
    " ",
    "\t",
    "\t",
    "^",
    "¦",
    "#011",
    "\n",
    "\r\n",
    "é",
    "-",
    ".",
    "x",
];

/// Lines as devices and programs write them.
const LINES: [&str; 8] = [
    r"<134>Nov 30 11:25:06 fw1 CEF:0|Example|Fire\|wall|10.2.3.4|100|Malware \\ blocked|8|src=192.0.2.10 dst=203.0.113.66 msg=Detected a threat. No action needed. request=http://evil.com/?a\=b&c=d cs1Label=Rule cs1=a b",
    "Nov 30 11:25:06 host LEEF:1.0|Example|Proxy|4.0 SP1|15345|src=192.0.2.10\tdst=203.0.113.66\tusrName=jane doe\turl=http://evil.com/?a=b",
    "LEEF:2.0|Example|Watch|1.0|41|^|src=192.0.2.10^dst=203.0.113.66^sev=5^srcPort=81",
    "LEEF:2.0|Example|Watch|1.0|41|src=192.0.2.10 dst=203.0.113.66 usrName=jane doe",
    r#"Nov 30 11:25:06 host app[1]: time="2026-11-30T11:25:06Z" level=info msg="went to \"evil.com\"" client.ip=203.0.113.66 ok"#,
    "postfix/smtp[9]: A1B2: to=<bob@evil.com>, relay=mx.evil.com[203.0.113.66]:25, delay=1, status=sent (250 2.0.0 ok)",
    "type=SYSCALL msg=audit(1:2): arch=c000003e syscall=59 comm=\"curl\" exe=\"/usr/bin/curl\" key=(null)",
    "kernel: IN=eth0 OUT= MAC=00:00 SRC=203.0.113.66 DST=192.0.2.10 LEN=60 PROTO=TCP",
];

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..18)
        .prop_map(|pieces| pieces.concat().into_bytes())
}

/// Pieces behind a header, with blanks between them: mostly pairs.
fn joined() -> impl Strategy<Value = Vec<u8>> {
    let header = prop_oneof![Just(""), proptest::sample::select(&PIECES[..11])];
    let separator = proptest::sample::select(&[" ", "\t", "^", ", ", "|", "¦"][..]);
    let pieces = proptest::collection::vec(proptest::sample::select(&PIECES[16..]), 0..10);
    (header, separator, pieces)
        .prop_map(|(header, separator, pieces)| format!("{header}{}", pieces.join(separator)).into_bytes())
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), proptest::sample::select(&PIECES[..]), 0..4usize);
    let edits = proptest::collection::vec(edit, 0..4);
    (proptest::sample::select(&LINES[..]), edits, any::<prop::sample::Index>()).prop_map(|(line, edits, cut)| {
        let mut line = line.as_bytes().to_vec();
        for (at, piece, removed) in edits {
            let at = at.index(line.len());
            let end = (at + removed).min(line.len());
            line.splice(at..end, piece.bytes());
        }
        // Half of them are cut short.
        line.truncate(line.len().min(2 * cut.index(line.len())));
        line
    })
}

proptest! {
    /// The pairs are those of the slow parsers, in texts of awkward pieces, in lines with mistakes or cut short, and in bytes
    /// that are not text.
    #[test]
    fn pairs_are_those_of_slow_parsers(line in prop_oneof![pieces(), joined(), mutated()], noise in proptest::collection::vec(any::<u8>(), 0..3), at in any::<prop::sample::Index>()) {
        let mut line = line;
        let at = at.index(line.len() + 1);
        line.splice(at..at, noise);
        prop_assert_eq!(found(&line), slow::pairs(&line), "{}", line.escape_ascii());
    }

    /// Pairs that are written as each format asks are read again, whatever their values hold.
    #[test]
    fn what_is_written_is_read(values in proptest::collection::vec("[ -~é]{0,12}", 3..6)) {
        let keys = ["src", "dst", "msg", "user.name", "cs1", "fname"];
        let expected = |format: PairFormat, trims: bool| -> Found {
            let value = |value: &String| if trims { value.trim_ascii().to_owned() } else { value.clone() };
            let pairs = keys.iter().zip(&values).map(|(key, text)| (*key, value(text)));
            let pairs = pairs.filter(|(_, value)| !value.is_empty());
            pairs.map(|(key, value)| (format, key.to_owned(), text(value.as_bytes()))).collect()
        };
        let written = |write: &dyn Fn(&str) -> String, separator: &str| {
            keys.iter().zip(&values).map(|(key, value)| format!("{key}={}", write(value))).collect::<Vec<_>>().join(separator)
        };
        let cef = written(&|value| value.replace('\\', r"\\").replace('=', r"\="), " ");
        prop_assert_eq!(found(format!("CEF:0|a|b||c|d|1|{cef}").as_bytes()), expected(PairFormat::Cef, true));
        let leef = written(&str::to_owned, "\t");
        prop_assert_eq!(found(format!("LEEF:1.0|a|b||c|{leef}").as_bytes()), expected(PairFormat::Leef, true));
        let quoted = written(&|value| format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"")), " ");
        prop_assert_eq!(found(quoted.as_bytes()), expected(PairFormat::KeyValue, false));
    }
}

#[test]
fn lines_of_each_format_are_read_and_sentences_are_not() {
    let shown = |line: &str| -> Vec<String> {
        found(line.as_bytes()).into_iter().map(|(_, key, value)| format!("{key}={value}")).collect()
    };
    for (line, expected) in [
        (
            LINES[0],
            &[
                "deviceVersion=10.2.3.4",
                "src=192.0.2.10",
                "dst=203.0.113.66",
                "msg=Detected a threat. No action needed.",
                "request=http://evil.com/?a=b&c=d",
                "cs1Label=Rule",
                "cs1=a b",
            ][..],
        ),
        (LINES[2], &["deviceVersion=1.0", "src=192.0.2.10", "dst=203.0.113.66", "sev=5", "srcPort=81"]),
        (LINES[3], &["deviceVersion=1.0", "src=192.0.2.10", "dst=203.0.113.66", "usrName=jane doe"]),
        (LINES[5], &["to=<bob@evil.com>", "relay=mx.evil.com[203.0.113.66]:25", "delay=1", "status=sent"]),
        ("connect to a=1 b=2 and then c=3 was not possible", &[]),
        ("a=1 b=2", &[]),
        ("see CEF:0|a|b|c|d|e", &[]),
        ("xCEF:0|a|b|c|d|e|1|src=192.0.2.1 dst=192.0.2.2", &[]),
        ("http://evil.com/?a=1&b=2&c=3", &[]),
    ] {
        assert_eq!(shown(line), expected, "{line}");
    }
}

/// Scenario: values with escapes around the length that is unescaped. Guarantee: a longer one is reported, and one without
/// escapes has no bound of its own.
#[test]
fn only_so_long_values_are_unescaped() {
    let value = |value: &str, longest| {
        let line = format!("CEF:0|a|b||c|d|1|msg={value}");
        let mut result = None;
        pairs(line.as_bytes(), &mut |pair| {
            let mut scratch = Vec::new();
            result = Some(pair.value(line.as_bytes(), longest, &mut scratch).map(<[u8]>::len));
        });
        result.unwrap()
    };
    assert_eq!(value(r"abc\\", 5), Ok(4));
    assert_eq!(value(r"abcd\\", 5), Err(TooLong));
    assert_eq!(value("abcdefgh", 5), Ok(8));
}

/// Scenario: lines of as many pairs as are kept from the first reading, of one more, and of many.
/// Guarantee: each pair is handed over once, in order.
#[test]
fn a_line_of_many_pairs_has_all_of_them() {
    for count in [3, 31, 32, 33, 200] {
        let expected: Found =
            (0..count).map(|at| (PairFormat::KeyValue, format!("k{at}"), format!("v {at}"))).collect();
        let line = expected.iter().map(|(_, key, value)| format!("{key}=\"{value}\" ")).collect::<String>();
        assert_eq!(found(line.as_bytes()), expected);
        // As many other words do not matter, one more does.
        assert_eq!(found(format!("{line}{}", "x ".repeat(count)).as_bytes()), expected);
        assert_eq!(found(format!("{line}{}", "x ".repeat(count + 1)).as_bytes()), Found::new());
    }
}

/// Scenario: more pairs than are read. Guarantee: the first are, and the rest is reported as left out.
#[test]
fn only_so_many_pairs_are_read() {
    let read = |count: usize| {
        let mut read = 0;
        (pairs("a=b ".repeat(count).as_bytes(), &mut |_| read += 1), read)
    };
    assert_eq!(read(MOST_PAIRS), (true, MOST_PAIRS));
    assert_eq!(read(MOST_PAIRS + 1), (false, MOST_PAIRS));
}
