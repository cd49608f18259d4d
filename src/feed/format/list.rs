//! Lists: one value a line, with comments before, behind and between.

use crate::feed::classify::{self, Found};
use crate::feed::collect::{Collector, Facts};
use crate::feed::declared::Declared;
use crate::feed::reading::lines::Lines;
use crate::feed::{FeedError, FeedOptions, range};
use crate::observable::Kind;

/// Imports a list. A line's first word counts, unless the feed holds user names, which may have blanks, or the line is a
/// range or several addresses.
pub(in crate::feed) fn import(
    mut lines: Lines<'_>,
    options: &FeedOptions,
    collector: &mut Collector,
) -> Result<(), FeedError> {
    lines.each(collector, |number, line, collector| {
        let line = line.trim_matches(['\r', '\u{feff}', ' ', '\t']);
        if line.is_empty() || line.starts_with(['#', ';', '!']) || line.starts_with("//") {
            return;
        }
        let value = without_comment(line).trim_end_matches([',', ';']).trim_end();
        let facts = || Facts { line: number, ..Facts::default() };
        if options.default_kind == Some(Kind::User) {
            return match classify::typed(value, Declared::Of(Kind::User)) {
                Ok(found) => collector.found(found, facts()),
                Err(reason) => collector.unusable(number, reason, line),
            };
        }
        let kind = options.default_kind.map(Declared::Of);
        let found = match value.contains(is_blank) {
            false => word(value, kind).map(|found| (vec![found], None)),
            true => words(value, kind),
        };
        match found {
            Ok((found, rest)) => {
                found.into_iter().for_each(|found| collector.found(found, facts()));
                if let Some(reason) = rest {
                    collector.unusable(number, reason, line);
                }
            }
            Err(Parts(found)) if !found.is_empty() => {
                found.into_iter().for_each(|found| collector.found(found, facts()));
            }
            Err(_) => {
                let reason = classify::hint(value).map_or_else(|| nothing(value, kind), |hint| reason(hint, kind));
                collector.unusable(number, reason, line);
            }
        }
    })
}

fn nothing(value: &str, kind: Option<Declared>) -> String {
    if let Some(kind) = kind {
        return format!("declared as `{}`, which it is not", kind.as_str());
    }
    match value.contains(is_blank) {
        true => "it does not begin with a value".to_owned(),
        // Only one word can be a user.
        false => {
            "no address, network, domain, URL, hash or e-mail address; user names need `kind: user` in the feed's \
                  configuration"
                .to_owned()
        }
    }
}

fn reason(hint: &str, kind: Option<Declared>) -> String {
    match kind {
        Some(kind) => format!("declared as `{}`, which it is not: {hint}", kind.as_str()),
        None => format!("no value: {hint}"),
    }
}

/// White space of a line. NEL and the separators of Unicode end no line and no word.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\u{a0}')
}

/// Values joined by punctuation.
struct Parts(Vec<Found>);

fn one(text: &str, kind: Option<Declared>) -> Option<Found> {
    match kind {
        Some(kind) => classify::typed(text, kind).ok(),
        None => classify::untyped(text),
    }
}

/// A value without blanks: as a whole, as values with commas between, or as the key of `key:value`.
fn word(text: &str, kind: Option<Declared>) -> Result<Found, Parts> {
    if let Some(found) = one(text, kind) {
        return Ok(found);
    }
    if text.contains([',', ';', '|']) {
        let parts = text.split([',', ';', '|']).filter(|part| !part.is_empty()).map(|part| one(part, kind));
        return Err(Parts(parts.collect::<Option<Vec<_>>>().unwrap_or_default()));
    }
    keyed(text).and_then(|key| one(key, kind)).ok_or(Parts(Vec::new()))
}

/// The key of a line of a CDB list: `198.51.100.7:malware`, `evil.example:`, `"2001:db8::1":x`.
fn keyed(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('"') {
        return rest.split_once("\":").map(|(key, _)| key);
    }
    let (key, value) = text.split_once(':')?;
    let is_word = value.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    let is_port = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    (is_word && !is_port).then_some(key)
}

/// The values of a line with blanks: a range as a whole, or the first word and the addresses behind it. The rest is a
/// remark, unless it looks like a part of what was meant; then the second is why it is listed.
fn words(line: &str, kind: Option<Declared>) -> Result<(Vec<Found>, Option<String>), Parts> {
    let mut words = line.split(is_blank).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.collect();
    if let Some(found) = range_of(line, first, &rest) {
        return Ok((vec![found], None));
    }
    let found = word(first.trim_end_matches([',', ';']), kind)?;
    if classify::has_scheme(first) && is_path(&rest, kind) {
        return Err(Parts(Vec::new()));
    }
    let value = |word: &&str| {
        let word = word.trim_matches([',', ';', '(', ')']);
        let starts =
            word.starts_with(|c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '[')) || classify::has_scheme(word);
        let found = if starts { classify::untyped(word) } else { None };
        // A name behind a value may be a word of a remark, or a file.
        found.filter(|found| !matches!(found.value.kind(), Kind::Domain | Kind::Email))
    };
    let mut all = vec![found];
    let mut left = None;
    for (at, word) in rest.iter().enumerate() {
        match value(word) {
            Some(found) if all.len() == at + 1 => all.push(found),
            Some(found) if found.value.kind() == Kind::Ip => {
                left = Some(format!("`{word}` is part of a remark, and is not an indicator"));
            }
            _ => {}
        }
    }
    Ok((all, left))
}

/// `a - b`, `a to b`, `net / 24`, `net mask`, with anything behind.
fn range_of(line: &str, first: &str, rest: &[&str]) -> Option<Found> {
    let starts = first.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':');
    if !starts || range::address(first).is_none() && range::address(first.trim_end_matches(['-', '/'])).is_none() {
        return None;
    }
    let text = match rest {
        [mask, ..] if range::is_mask(mask) => return Found::networks(range::masked(first, mask)),
        ["-" | "\u{2013}" | "\u{2014}" | "/" | "to", other, ..] => match rest[0] {
            "to" => format!("{first} to {other}"),
            sign => format!("{first}{sign}{other}"),
        },
        [joined, ..] if joined.starts_with(['-', '/']) || first.ends_with(['-', '/']) => format!("{first}{joined}"),
        _ => return None,
    };
    range::networks(&text).or_else(|| range::networks(line)).and_then(Found::networks)
}

/// Whether what follows a URL behind a blank may be the rest of it, and not a remark.
fn is_path(rest: &[&str], kind: Option<Declared>) -> bool {
    rest.iter().any(|word| {
        let is_value = one(word, kind).is_some() || classify::has_scheme(word);
        let is_file = word.rsplit_once('.').is_some_and(|(name, ending)| {
            let is_name = name.chars().any(|c| c.is_alphabetic());
            is_name && (2..=5).contains(&ending.len()) && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        (!is_value && word.contains(['/', '?', '=', '&', '%'])) || is_file
    })
}

/// Cuts off a comment: `#`, `//` or `;` behind white space. In a URL they have none before them.
fn without_comment(line: &str) -> &str {
    let mut after_space = false;
    for (at, c) in line.char_indices() {
        let (value, rest) = line.split_at_checked(at).unwrap_or((line, ""));
        if after_space && (matches!(c, '#' | ';') || rest.starts_with("//")) {
            return value.trim_end();
        }
        after_space = c.is_whitespace();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{FeedFormat, Import};
    use crate::schema::FieldTable;

    fn list(text: &str, default_kind: Option<Kind>) -> Import {
        let options = FeedOptions { format: Some(FeedFormat::List), default_kind, ..FeedOptions::default() };
        crate::feed::import(text.as_bytes(), "list.txt", &options, &FieldTable::embedded(true).unwrap()).unwrap()
    }

    fn values(import: &Import) -> Vec<(u32, String)> {
        let values = |i: &crate::intel::indicator::Indicator| {
            let all: Vec<String> = i.terms.iter().map(|term| term.value.to_string()).collect();
            (i.line, all.join("+"))
        };
        import.indicators.iter().map(values).collect()
    }

    #[test]
    fn comments_blanks_and_commas_are_dropped_and_lines_keep_their_number() {
        let import = list(
            "# head\r\n\r\n198.51.100.0/24 ; SBL1\r\n; x\r\n! y\r\n// z\r\nevil[.]com # why\r\nhttp://a.com/#;//x\r\nbad.org,\r\n203.0.113.9\t17\r\n",
            None,
        );
        let expected =
            [(3, "198.51.100.0/24"), (7, "evil.com"), (8, "http://a.com/"), (9, "bad.org"), (10, "203.0.113.9")];
        assert_eq!(values(&import), expected.map(|(line, value)| (line, value.to_owned())));
        assert!(import.unusable.is_empty(), "{:?}", import.unusable);
    }

    #[test]
    fn a_bad_line_is_listed_and_drops_nothing_else() {
        let import = list("evil.com\nSHA256\nbad.org\n", None);
        assert_eq!(values(&import).len(), 2);
        assert_eq!((import.unusable[0].line, import.unusable[0].excerpt.as_str()), (2, "SHA256"));
    }

    #[test]
    fn a_list_of_users_keeps_blanks_and_a_list_of_domains_takes_no_address() {
        assert_eq!(values(&list("John Doe\n", Some(Kind::User))), [(1, "john doe".to_owned())]);
        let import = list("evil.com\n203.0.113.9\n", Some(Kind::Domain));
        assert_eq!((values(&import).len(), import.unusable[0].line), (1, 2));
    }

    #[test]
    fn ranges_masks_and_several_addresses_of_a_line_are_all_meant() {
        for (line, expected) in [
            ("198.51.100.0 - 198.51.100.63", vec!["198.51.100.0/26"]),
            ("198.51.100.0 -198.51.100.63 a remark", vec!["198.51.100.0/26"]),
            ("198.51.100.0 - 198.51.100.63 , 100 , a name", vec!["198.51.100.0/26"]),
            ("198.51.100.0 to 198.51.100.63", vec!["198.51.100.0/26"]),
            ("198.51.100.0 255.255.255.128", vec!["198.51.100.0/25"]),
            ("198.51.100.0 / 25 # x", vec!["198.51.100.0/25"]),
            ("198.51.100.1 198.51.100.2, 198.51.100.3", vec!["198.51.100.1", "198.51.100.2", "198.51.100.3"]),
            ("198.51.100.1,198.51.100.2;198.51.100.3", vec!["198.51.100.1", "198.51.100.2", "198.51.100.3"]),
            ("198.51.100.1 scanner, seen 3 times", vec!["198.51.100.1"]),
            ("198.51.100.7:malicious", vec!["198.51.100.7"]),
            ("evil.com:", vec!["evil.com"]),
            ("evil.com Emotet", vec!["evil.com"]),
            ("http://evil.com/x malware", vec!["http://evil.com/x"]),
            ("http://a.com/x http://b.com/y", vec!["http://a.com/x", "http://b.com/y"]),
        ] {
            let import = list(&format!("{line}\n"), None);
            let values: Vec<String> = values(&import).into_iter().map(|(_, value)| value).collect();
            assert_eq!(values, expected, "{line}: {:?}", import.unusable);
            assert!(import.unusable.is_empty(), "{line}");
        }
    }

    #[test]
    fn what_would_be_narrowed_is_listed() {
        for line in [
            "http://evil.com/My Documents/a.exe",
            "http://evil.com/My File.exe",
            "evil.com\u{2028}bad.com",
            "evil.com\u{85}bad.com",
            "http://evil.com/*",
            "10.*.1",
        ] {
            let import = list(&format!("{line}\n"), None);
            assert!(import.indicators.is_empty() && import.unusable.len() == 1, "{line}: {import:?}");
        }
        let import = list("198.51.100.7 seen with 198.51.100.8\n", None);
        assert_eq!((import.indicators.len(), import.unusable.len()), (1, 1));
    }
}
