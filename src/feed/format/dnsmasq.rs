//! Configuration of dnsmasq that blocks domains: `address=/evil.example/#`. Each covers the names below it, too.

use crate::feed::FeedError;
use crate::feed::collect::Collector;
use crate::feed::names::Names;
use crate::feed::reading::lines::Lines;

/// Imports a configuration of dnsmasq.
pub(in crate::feed) fn import(mut lines: Lines<'_>, collector: &mut Collector) -> Result<(), FeedError> {
    let mut names = Names::default();
    lines.each(collector, |number, line, collector| {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        let setting = line.split_once(" #").map_or(line, |(setting, _)| setting).trim_end();
        if setting.is_empty() || line.starts_with('#') {
            return;
        }
        match blocked(setting) {
            Ok(blocked) => blocked.split('/').for_each(|name| names.block(name, true, number, collector)),
            Err(reason) => collector.unusable(number, reason, line),
        }
    })?;
    names.flush(collector);
    Ok(())
}

/// The names that a line blocks, with slashes between them.
fn blocked(setting: &str) -> Result<&str, &'static str> {
    const OTHER: &str = "a setting that blocks no domain";
    let (key, value) = setting.split_once('=').ok_or(OTHER)?;
    let key = key.trim();
    if !matches!(key, "address" | "server" | "local") {
        return Err(OTHER);
    }
    let (names, target) = value.trim().strip_prefix('/').and_then(|rest| rest.rsplit_once('/')).ok_or(OTHER)?;
    // With a server a name is only asked for elsewhere, and `#` are the usual servers.
    if key != "address" && !target.is_empty() {
        return Err("names that are asked for at another server, not blocked");
    }
    if names.is_empty() || names.split('/').any(|name| name == "#") {
        return Err("a rule for every name");
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use crate::feed::{FeedFormat, FeedOptions, import};
    use crate::intel::indicator::{NameScope, TermValue};
    use crate::schema::FieldTable;

    #[test]
    fn blocked_names_are_taken_with_the_names_below_and_other_settings_listed() {
        let text = concat!(
            "# head\n",
            "address=/evil.com/#\n",
            "address=/bad.org/worse.net/0.0.0.0 # why\n",
            "address=/bad.org/::\n",
            "server=/four.example.com/\n",
            "local=/.five.example.com/\n",
            "server=/good.com/203.0.113.1\n",
            "server=/good.com/#\n",
            "server=203.0.113.1\n",
            "address=/#/0.0.0.0\n",
            "no-resolv\n",
            "address=/not a name/#\n",
        );
        let table = FieldTable::embedded(true).unwrap();
        let options = FeedOptions { format: Some(FeedFormat::Dnsmasq), ..FeedOptions::default() };
        let import = import(text.as_bytes(), "x.conf", &options, &table).unwrap();
        let below = |value: &TermValue| matches!(value, TermValue::Domain { scope: NameScope::AndBelow, .. });
        assert!(import.indicators.iter().all(|indicator| below(&indicator.terms[0].value)));
        let values: Vec<_> = import.indicators.iter().map(|i| (i.line, i.terms[0].value.to_string())).collect();
        let expected = [
            (2, "evil.com"),
            (3, "bad.org"),
            (3, "worse.net"),
            (4, "bad.org"),
            (5, "four.example.com"),
            (6, "five.example.com"),
        ];
        assert_eq!(values, expected.map(|(line, value)| (line, value.to_owned())));
        assert_eq!(import.unusable.iter().map(|bad| bad.line).collect::<Vec<_>>(), [7, 8, 9, 10, 11, 12]);
    }
}
