//! Files in the syntax of `/etc/hosts`: the names are the indicators, the address is only where a resolver would
//! send them.

use crate::feed::FeedError;
use crate::feed::classify::{self, Found};
use crate::feed::collect::{Collector, Facts};
use crate::feed::declared::Declared;
use crate::feed::reading::lines::Lines;
use crate::observable::{Kind, ip};

/// Imports a hosts file. A line of one word is read as a line of a list.
pub(in crate::feed) fn import(mut lines: Lines<'_>, collector: &mut Collector) -> Result<(), FeedError> {
    lines.each(collector, |number, line, collector| {
        let facts = || Facts { line: number, ..Facts::default() };
        let mut words =
            line.trim_start_matches('\u{feff}').split('#').next().unwrap_or("").split_whitespace().peekable();
        let Some(first) = words.next() else { return };
        if words.peek().is_none() {
            match classify::untyped(first) {
                Some(found) => collector.found(found, facts()),
                None => collector.unusable(number, "neither an address with names nor a value", line),
            }
            return;
        }
        if ip::canonical(first.as_bytes()).is_none() {
            collector.unusable(number, "several words that do not begin with an address", line);
            return;
        }
        for name in words {
            match host_name(name) {
                Ok(found) => collector.found(found, facts()),
                Err(reason) => collector.unusable(number, reason, name),
            }
        }
    })
}

fn host_name(name: &str) -> Result<Found, String> {
    if !name.trim_end_matches('.').contains('.') {
        return Err("a name of a single label means a different host on every network".to_owned());
    }
    classify::typed(name, Declared::Of(Kind::Domain))
}

#[cfg(test)]
mod tests {
    use crate::feed::{FeedFormat, FeedOptions, import};
    use crate::schema::FieldTable;

    #[test]
    fn names_are_taken_addresses_and_single_labels_are_not() {
        let table = FieldTable::embedded(true).unwrap();
        let text =
            "# a list\n127.0.0.1 localhost\n0.0.0.0 Evil.COM bad.org # both\n::1 ip6-localhost\n\nlone.com\nx y\n";
        let import = import(
            text.as_bytes(),
            "h",
            &FeedOptions { format: Some(FeedFormat::Hosts), ..Default::default() },
            &table,
        )
        .unwrap();
        let values: Vec<_> = import.indicators.iter().map(|i| (i.line, i.terms[0].value.to_string())).collect();
        assert_eq!(values, [(3, "evil.com".to_owned()), (3, "bad.org".to_owned()), (6, "lone.com".to_owned())]);
        let lines: Vec<_> = import.unusable.iter().map(|u| (u.line, u.excerpt.as_str())).collect();
        assert_eq!(lines, [(2, "localhost"), (4, "ip6-localhost"), (7, "x y")]);
    }
}
