//! Detects a file's format from its content, with its name as a hint.

mod json;

use super::format::csv;
use super::{ColumnMapping, FeedFormat};
use crate::observable::ip;

/// How many lines are looked at.
const SAMPLE: usize = 200;

/// The format of a text, recognised by its beginning.
pub(super) fn detect(head: &str, file_name: &str, columns: &ColumnMapping) -> FeedFormat {
    let text = head.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if json::is_json(text) {
        return json::detect(text, columns);
    }
    let all: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(SAMPLE).collect();
    if all.iter().any(|line| line.starts_with("#fields\t") && line.contains("\tindicator_type")) {
        return FeedFormat::Zeek;
    }
    let lines: Vec<&str> =
        all.iter().copied().filter(|line| !line.starts_with(['#', '!']) && !line.starts_with("//")).collect();
    // A line of these begins like no indicator.
    for (format, starts) in [
        (FeedFormat::Adblock, ["||", "@@"].as_slice()),
        (FeedFormat::Dnsmasq, &["address=/", "server=/", "local=/"]),
        (FeedFormat::Unbound, &["local-zone:", "local-data:"]),
    ] {
        if most(lines.iter().map(|line| starts.iter().any(|start| line.starts_with(start)))) {
            return format;
        }
    }
    if all.first().is_some_and(|line| line.starts_with("[Adblock")) {
        return FeedFormat::Adblock;
    }
    if is_zone(&lines) {
        return FeedFormat::Rpz;
    }
    if most(lines.iter().map(|line| is_hosts_line(line))) {
        return FeedFormat::Hosts;
    }
    let extension = without_packing(file_name).rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    if matches!(extension.as_deref(), Some("csv" | "tsv")) || csv::is_table(&lines) || is_commented_table(&all) {
        return FeedFormat::Csv;
    }
    FeedFormat::List
}

/// A file's name without the ending that says how it is packed.
pub(super) fn without_packing(file_name: &str) -> &str {
    [".gz", ".zst", ".zstd"].iter().find_map(|ending| file_name.strip_suffix(ending)).unwrap_or(file_name)
}

/// Whether these are records of a zone: a directive or the authority record, or a `CNAME` in nearly all of them.
fn is_zone(lines: &[&str]) -> bool {
    let has =
        |line: &str, wanted: &str| line.split_ascii_whitespace().skip(1).any(|word| word.eq_ignore_ascii_case(wanted));
    let lines = || lines.iter().filter(|line| !line.starts_with(';'));
    lines().any(|line| line.starts_with("$ORIGIN") || line.starts_with("$TTL"))
        || lines().take(10).any(|line| has(line, "SOA"))
        || most(lines().map(|line| has(line, "CNAME")))
}

/// An address that leads nowhere, then names. Other addresses before a name may be indicators themselves.
fn is_hosts_line(line: &str) -> bool {
    let mut words = line.split('#').next().unwrap_or("").split_ascii_whitespace();
    let address = words.next().and_then(|word| ip::canonical(word.as_bytes()));
    address.is_some_and(|address| address.is_loopback() || address.is_unspecified())
        && words.next().is_some_and(|name| name.contains(|c: char| c.is_ascii_alphabetic()))
}

/// Whether the first lines are a header of CSV in a comment, or name their separator.
fn is_commented_table(all: &[&str]) -> bool {
    all.first().is_some_and(|line| csv::separator(line.trim_matches('"')).is_some())
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
            ("#fields\tindicator\tindicator_type\tmeta.source\nevil.com\tIntel::DOMAIN\tx\n", FeedFormat::Zeek),
            ("[Adblock Plus]\n! x\nevil.com\n", FeedFormat::Adblock),
            ("! x\n||evil.com^\n@@||good.com^\n||bad.org^\n", FeedFormat::Adblock),
            ("# x\naddress=/evil.com/#\nlocal=/bad.org/\n", FeedFormat::Dnsmasq),
            ("# x\nlocal-zone: \"evil.com\" always_null\n", FeedFormat::Unbound),
            ("; x\n$TTL 300\n@ IN SOA a. b. (1 2 3 4 5)\nevil.com CNAME .\n", FeedFormat::Rpz),
            ("evil.com CNAME .\n*.evil.com CNAME .\n", FeedFormat::Rpz),
            ("[2001:db8::1]:443\n[2001:db8::2]:443\n", FeedFormat::List),
            ("# names\n0.0.0.0 evil.com\n127.0.0.1 bad.org # why\n", FeedFormat::Hosts),
            ("203.0.113.5 evil.com\n", FeedFormat::List),
            ("evil.com,2024-01-01\nbad.org,2024-01-02\n", FeedFormat::Csv),
            ("203.0.113.0/24 ; SBL1\n198.51.100.0/24 ; SBL2\n", FeedFormat::Csv),
            ("evil.com,\nbad.org,\n", FeedFormat::List),
            ("http://a.com/x,y\nhttp://b.com/\nhttp://c.com/\n", FeedFormat::List),
            ("", FeedFormat::List),
        ];
        for (text, format) in cases {
            assert_eq!(detect(text, "feed.txt", &ColumnMapping::default()), format, "{text:?}");
        }
        for name in ["feed.CSV", "feed.csv.gz"] {
            assert_eq!(detect("evil.com\n", name, &ColumnMapping::default()), FeedFormat::Csv);
        }
    }
}
