//! Configuration of unbound that blocks domains: `local-zone: "evil.example" always_nxdomain`, and `local-data`.

use crate::feed::FeedError;
use crate::feed::collect::Collector;
use crate::feed::names::Names;
use crate::feed::reading::lines::Lines;

/// The types of a local zone that answer in place of its owner (unbound.conf, `local-zone`).
const BLOCKING: [&str; 11] = [
    "deny",
    "refuse",
    "static",
    "redirect",
    "inform_deny",
    "inform_redirect",
    "always_refuse",
    "always_nxdomain",
    "always_nodata",
    "always_deny",
    "always_null",
];

/// Imports a configuration of unbound.
pub(in crate::feed) fn import(mut lines: Lines<'_>, collector: &mut Collector) -> Result<(), FeedError> {
    let mut names = Names::default();
    lines.each(collector, |number, line, collector| {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        // A clause (`server:`) opens a section and says nothing itself.
        let is_clause = line.strip_suffix(':').is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphabetic()));
        if line.is_empty() || line.starts_with('#') || is_clause {
            return;
        }
        match blocked(line) {
            Ok((name, below)) => names.block(name, below, number, collector),
            Err(reason) => collector.unusable(number, reason, line),
        }
    })?;
    names.flush(collector);
    Ok(())
}

/// The name that a line blocks, and whether the names below it are, too.
fn blocked(line: &str) -> Result<(&str, bool), String> {
    let (key, value) = line.split_once(':').unwrap_or((line, ""));
    match key.trim() {
        "local-zone" => {
            let (name, rest) = word(value);
            let (kind, _) = word(rest);
            match BLOCKING.contains(&kind) {
                true => Ok((name, true)),
                false => Err(format!("a zone of type `{kind}` blocks nothing")),
            }
        }
        // The record of one name; a zone that covers more is on a line of its own.
        "local-data" => match word(word(value).0).0 {
            "" => Err("no record".to_owned()),
            name => Ok((name, false)),
        },
        _ => Err("neither `local-zone` nor `local-data`".to_owned()),
    }
}

/// The first word, which quotation marks may hold together, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let quoted = ['"', '\''].into_iter().find_map(|mark| text.strip_prefix(mark)?.split_once(mark));
    quoted.unwrap_or_else(|| text.split_once(char::is_whitespace).unwrap_or((text, "")))
}

#[cfg(test)]
mod tests {
    use crate::feed::{FeedFormat, FeedOptions, import};
    use crate::intel::indicator::{NameScope, TermValue};
    use crate::schema::FieldTable;

    #[test]
    fn blocking_zones_and_records_are_taken_and_other_settings_listed() {
        let text = concat!(
            "# head\nserver:\n",
            "local-zone: \"evil.com.\" always_nxdomain\n",
            "  local-zone: bad.org redirect # why\n",
            "local-data: \"bad.org A 0.0.0.0\"\n",
            "local-data: 'one.example.com. 60 IN TXT \"x\"'\n",
            "local-zone: \"good.com\" transparent\n",
            "local-zone: \"good.com\"\n",
            "local-data-ptr: \"203.0.113.1 good.com\"\n",
            "verbosity: 1\n",
            "local-data: \"\"\n",
        );
        let table = FieldTable::embedded(true).unwrap();
        let options = FeedOptions { format: Some(FeedFormat::Unbound), ..FeedOptions::default() };
        let import = import(text.as_bytes(), "x.conf", &options, &table).unwrap();
        let values: Vec<_> = import
            .indicators
            .iter()
            .map(|indicator| {
                let below = matches!(indicator.terms[0].value, TermValue::Domain { scope: NameScope::AndBelow, .. });
                (indicator.line, indicator.terms[0].value.to_string(), below)
            })
            .collect();
        let expected = [(3, "evil.com", true), (4, "bad.org", true), (6, "one.example.com", false)];
        assert_eq!(values, expected.map(|(line, value, below)| (line, value.to_owned(), below)));
        assert_eq!(import.unusable.iter().map(|bad| bad.line).collect::<Vec<_>>(), [7, 8, 9, 10, 11]);
    }
}
