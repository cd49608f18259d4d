//! Lists: one value a line, with comments before, behind and between.

use super::classify;
use super::collect::{Collector, Facts};
use super::declared::Declared;
use super::lines::Lines;
use super::{FeedError, FeedOptions};
use crate::observable::Kind;

/// Imports a list. A line's first word counts, unless the feed holds user names, which may have blanks.
pub(super) fn import(mut lines: Lines<'_>, options: &FeedOptions, collector: &mut Collector) -> Result<(), FeedError> {
    lines.each(collector, |number, line, collector| {
        let line = line.trim_matches(['\r', '\u{feff}', ' ', '\t']);
        if line.is_empty() || line.starts_with(['#', ';', '!']) || line.starts_with("//") {
            return;
        }
        let value = without_comment(line).trim_end_matches(',');
        let word = match options.default_kind {
            Some(Kind::User) => value,
            _ => value.split_whitespace().next().unwrap_or(value),
        };
        let found = match options.default_kind {
            Some(kind) => classify::typed(word, Declared::Of(kind)),
            None => classify::untyped(word).ok_or_else(|| {
                "no address, network, domain, URL, hash or e-mail address; user names need `kind: user` in the feed's configuration".to_owned()
            }),
        };
        match found {
            Ok(found) => collector.found(found, Facts { line: number, ..Facts::default() }),
            Err(reason) => collector.unusable(number, reason, line),
        }
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
    use crate::feed::{Format, Import};
    use crate::fields::FieldTable;

    fn list(text: &str, default_kind: Option<Kind>) -> Import {
        let options = FeedOptions { format: Some(Format::List), default_kind, ..FeedOptions::default() };
        crate::feed::import(text.as_bytes(), "list.txt", &options, &FieldTable::embedded(true).unwrap()).unwrap()
    }

    fn values(import: &Import) -> Vec<(u32, String)> {
        import.indicators.iter().map(|i| (i.line, i.terms[0].value.to_string())).collect()
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
}
