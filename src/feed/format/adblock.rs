//! Filter rules of ad blockers, as far as they name whole domains: `||evil.example^`.
//!
//! A rule that applies to some requests only, or to parts of pages, says nothing about the domain as such, and is
//! listed.

use crate::feed::FeedError;
use crate::feed::classify;
use crate::feed::collect::{Collector, Facts};
use crate::feed::names::Names;
use crate::feed::reading::lines::Lines;
use crate::observable::ip;

/// Options that do not narrow what a rule blocks.
const HARMLESS: [&str; 4] = ["important", "all", "document", "doc"];

/// Marks of rules that change what pages look like or do.
const COSMETIC: [&str; 6] = ["##", "#@#", "#?#", "#$#", "#%#", "$$"];

/// Imports filter rules.
pub(in crate::feed) fn import(mut lines: Lines<'_>, collector: &mut Collector) -> Result<(), FeedError> {
    let mut names = Names::default();
    lines.each(collector, |number, line, collector| {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        let is_cosmetic = COSMETIC.iter().any(|mark| line.contains(mark));
        let is_comment = line.starts_with('!') || (line.starts_with('#') && !is_cosmetic);
        if line.is_empty() || is_comment || line.starts_with("[Adblock") {
            return;
        }
        if is_cosmetic {
            return collector.unusable(number, "a rule about parts of pages", line);
        }
        match rule(line) {
            Ok(Rule::Name(name)) => names.block(name, true, number, collector),
            Ok(Rule::Value(value)) => match classify::untyped(value) {
                Some(found) => collector.found(found, Facts { line: number, ..Facts::default() }),
                None => collector.unusable(number, "no domain and no address", line),
            },
            Err(reason) => collector.unusable(number, reason, line),
        }
    })?;
    names.flush(collector);
    Ok(())
}

enum Rule<'a> {
    /// A name and all names below it.
    Name(&'a str),
    /// A lone value.
    Value(&'a str),
}

fn rule(line: &str) -> Result<Rule<'_>, String> {
    if line.starts_with("@@") {
        return Err("an exception, no indicator".to_owned());
    }
    if line.starts_with('/') && line.len() > 1 && line.trim_end_matches(|c| c != '/').len() > 1 {
        return Err("a regular expression".to_owned());
    }
    let (pattern, options) = line.split_once('$').unwrap_or((line, ""));
    let narrowing = options.split(',').filter(|option| !option.is_empty()).find(|option| !HARMLESS.contains(option));
    if let Some(option) = narrowing {
        return Err(format!("applies to some requests only (`${option}`)"));
    }
    let Some(anchored) = pattern.strip_prefix("||") else {
        let is_plain = !pattern.contains(['|', '^', '*', '/']);
        return match is_plain {
            true => Ok(Rule::Value(pattern)),
            false => Err("a pattern of URLs, no whole domain".to_owned()),
        };
    };
    let name = match anchored.split_once('^') {
        Some((name, "" | "|")) => name,
        Some(_) => return Err("a pattern of URLs, no whole domain".to_owned()),
        None => return Err("without `^` at its end it means other names, too".to_owned()),
    };
    if name.contains('/') || name.trim_start_matches("*.").contains('*') {
        return Err("a pattern of URLs, no whole domain".to_owned());
    }
    match ip::canonical(name.as_bytes()) {
        Some(_) => Ok(Rule::Value(name)),
        None => Ok(Rule::Name(name)),
    }
}

#[cfg(test)]
mod tests {
    use crate::feed::{FeedFormat, FeedOptions, import};
    use crate::intel::indicator::{NameScope, TermValue};
    use crate::schema::FieldTable;

    #[test]
    fn whole_domains_are_taken_with_the_names_below_and_everything_narrower_is_listed() {
        let taken = ["||evil.com^", "||Bad.ORG^$important", "||*.worse.net^|", "||203.0.113.9^", "plain.example.com"];
        let listed = [
            "@@||good.com^",
            "||evil.com^$third-party",
            "||evil.com^$script,domain=a.com",
            "||evil.com/path^",
            "||evil.com",
            "||ev*l.com^",
            "/banner[0-9]+/",
            "|https://evil.com/",
            "-ads-",
            "evil.com##.banner",
            "##.banner",
            "||not a name^",
        ];
        let text = format!("[Adblock Plus 2.0]\n! a\n# b\n\n{}\n{}\n", taken.join("\n"), listed.join("\n"));
        let table = FieldTable::embedded(true).unwrap();
        let import = import(text.as_bytes(), "x.txt", &FeedOptions::default(), &table).unwrap();
        assert_eq!(import.format, FeedFormat::Adblock);
        let mut values: Vec<_> = import
            .indicators
            .iter()
            .map(|indicator| {
                let below = matches!(indicator.terms[0].value, TermValue::Domain { scope: NameScope::AndBelow, .. });
                (indicator.line, indicator.terms[0].value.to_string(), below)
            })
            .collect();
        values.sort();
        let expected = [
            (5, "evil.com", true),
            (6, "bad.org", true),
            (7, "worse.net", true),
            (8, "203.0.113.9", false),
            (9, "plain.example.com", false),
        ];
        assert_eq!(values, expected.map(|(line, value, below)| (line, value.to_owned(), below)));
        let lines: Vec<u32> = import.unusable.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, (10..22).collect::<Vec<u32>>(), "{:?}", import.unusable);
    }
}
