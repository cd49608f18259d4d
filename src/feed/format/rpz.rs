//! DNS response policy zones: the owner names of a zone file are the triggers, the records behind them the actions.
//!
//! Triggers and actions are those of the Internet-Draft draft-vixie-dnsop-dns-rpz-00, the file's syntax is that of RFC
//! 1035, section 5.1.

use crate::feed::FeedError;
use crate::feed::collect::{Collector, Facts};
use crate::feed::names::Names;
use crate::feed::reading::lines::Lines;
use crate::intel::term;
use crate::observable::Kind;

/// The types of records that are written over several lines, in parentheses.
const SPANNING: [&str; 6] = ["SOA", "DNSKEY", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM"];

/// The most lines of such a record behind its first.
const MAX_LINES: usize = 64;

/// The longest name with its origin, in bytes: RFC 1035 section 2.3.4 allows 255, and an escaped one is four characters.
/// Without a bound each `$ORIGIN` that is relative to the last would make all names behind it longer.
const MAX_NAME: usize = 1024;

/// Imports a zone.
pub(in crate::feed) fn import(mut lines: Lines<'_>, collector: &mut Collector) -> Result<(), FeedError> {
    let mut zone = Zone::default();
    let mut names = Names::default();
    lines.each(collector, |number, line, collector| {
        let line = line.trim_start_matches('\u{feff}');
        let record = without_comment(line);
        if record.trim().is_empty() {
            return;
        }
        if zone.inside(record) {
            return;
        }
        if zone.lines_inside > MAX_LINES {
            collector.unusable(number, "behind parentheses that nobody closed", line);
            zone.lines_inside = 0;
        }
        let done = match zone.record(record) {
            Ok(None) => Ok(()),
            Ok(Some(Trigger::Name(name))) => {
                names.block(&name, false, number, collector);
                Ok(())
            }
            Ok(Some(Trigger::Address(labels))) => match address(&labels) {
                Some(text) => match term::value(Kind::Ip, &text) {
                    Some(value) => {
                        collector.found(value.into(), Facts { line: number, ..Facts::default() });
                        Ok(())
                    }
                    None => Err("no address below `rpz-ip`".to_owned()),
                },
                None => Err("no address below `rpz-ip`".to_owned()),
            },
            Err(reason) => Err(reason),
        };
        if let Err(reason) = done {
            collector.unusable(number, reason, line);
        }
    })?;
    names.flush(collector);
    Ok(())
}

/// The subject of a policy.
enum Trigger {
    /// A name that is asked for, `*.` for those below it.
    Name(String),
    /// An address in an answer, as the labels before `rpz-ip`.
    Address(String),
}

/// Where in the zone the reader is. Names are lower case and without their last dot.
#[derive(Default)]
struct Zone {
    /// The name of the zone, when the file says it.
    apex: Option<String>,
    /// The origin of relative names, if the file states it.
    origin: Option<String>,
    /// Whether the last `$ORIGIN` was refused: nobody knows then what relative names are relative to.
    lost: bool,
    /// The last owner, absolute or relative as [`Zone::absolute`] made it.
    owner: Option<Owner>,
    /// How many parentheses are open, and for how many lines they have been.
    parentheses: usize,
    lines_inside: usize,
}

#[derive(Clone)]
struct Owner {
    name: String,
    /// Whether the file says nowhere what the name is relative to.
    relative: bool,
}

impl Zone {
    /// Whether a line belongs to a record in parentheses that began before it. Only records of the zone itself are
    /// written so, and not over many lines: an open one must not swallow the rest of the file.
    fn inside(&mut self, record: &str) -> bool {
        let inside = self.parentheses > 0;
        let spans = |word: &str| SPANNING.iter().any(|kind| word.eq_ignore_ascii_case(kind));
        if inside || record.split_ascii_whitespace().any(spans) {
            let open = self.parentheses + record.matches('(').count();
            self.parentheses = open.saturating_sub(record.matches(')').count());
        }
        self.lines_inside = if inside { self.lines_inside + 1 } else { 0 };
        if self.lines_inside > MAX_LINES {
            self.parentheses = 0;
            return false;
        }
        inside
    }

    /// Reads a record or a directive. `None` for what belongs to the zone itself.
    fn record(&mut self, record: &str) -> Result<Option<Trigger>, String> {
        let mut words = record.split_ascii_whitespace().peekable();
        if record.starts_with('$') {
            return self.directive(words.next().unwrap_or_default(), words.next()).map(|()| None);
        }
        if !record.starts_with([' ', '\t'])
            && let Some(owner) = words.next()
        {
            // If this owner is malformed, later lines without an owner must not get the previous owner.
            self.owner = None;
            self.owner = Some(self.absolute(owner)?);
        }
        let owner = self.owner.clone().ok_or("a record without an owner")?;
        while words.next_if(|word| is_time_to_live(word) || is_class(word)).is_some() {}
        let kind = words.next().ok_or("no resource record")?.to_ascii_uppercase();
        let target = words.next().unwrap_or_default().to_ascii_lowercase();
        match kind.as_str() {
            "SOA" => {
                if !owner.relative {
                    self.apex = Some(owner.name);
                }
                return Ok(None);
            }
            "NS" | "DNAME" | "MX" | "SRV" | "PTR" | "DNSKEY" | "RRSIG" | "NSEC" | "NSEC3" | "NSEC3PARAM" => {
                return Ok(None);
            }
            "CNAME" | "A" | "AAAA" | "TXT" => {}
            _ => return Err(format!("a record of type `{kind}`, which is not a policy")),
        }
        let Some(trigger) = self.trigger(&owner)? else { return Ok(None) };
        if kind == "CNAME" {
            let target = target.trim_end_matches('.');
            let asked = trigger.trim_start_matches("*.");
            match target {
                "rpz-passthru" | "rpz-tcp-only" => return Err(format!("`{target}`: an exception, no indicator")),
                // The first version of the draft let a name pass by an alias to itself.
                _ if !target.is_empty() && target == asked => return Err("lets the name pass, no indicator".to_owned()),
                _ => {}
            }
        }
        if let Some(labels) = trigger.strip_suffix(".rpz-ip") {
            return Ok(Some(Trigger::Address(labels.to_owned())));
        }
        match ["rpz-nsdname", "rpz-nsip", "rpz-client-ip"]
            .into_iter()
            .find(|last| trigger.ends_with(&format!(".{last}")))
        {
            Some(last) => Err(format!("triggers of `{last}` cannot be looked for in events")),
            None => Ok(Some(Trigger::Name(trigger))),
        }
    }

    fn directive(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        match (name.to_ascii_uppercase().as_str(), value) {
            ("$TTL", _) => Ok(()),
            ("$ORIGIN", Some(value)) => {
                let origin = self.absolute(value);
                self.lost = origin.is_err();
                let origin = origin?;
                // A zone that is written by a server begins at the root, and names itself at its first record.
                if !origin.relative && !origin.name.is_empty() && self.apex.is_none() {
                    self.apex = Some(origin.name.clone());
                }
                self.origin = Some(origin.name);
                Ok(())
            }
            _ => Err(format!("the directive `{name}` is not followed")),
        }
    }

    fn absolute(&self, name: &str) -> Result<Owner, String> {
        let is_absolute = name.ends_with('.');
        let origin_len = self.origin.as_ref().filter(|_| !is_absolute).map_or(0, String::len);
        if name.len() + origin_len > MAX_NAME || (self.lost && !is_absolute) {
            return Err(format!("a name that has more than {MAX_NAME} bytes with its origin"));
        }
        let name = name.to_ascii_lowercase();
        if let Some(name) = name.strip_suffix('.') {
            return Ok(Owner { name: name.to_owned(), relative: false });
        }
        Ok(match (&self.origin, name.as_str()) {
            (None, _) => Owner { name, relative: true },
            (Some(origin), "@") => Owner { name: origin.clone(), relative: false },
            (Some(origin), _) if origin.is_empty() => Owner { name, relative: false },
            (Some(origin), _) => Owner { name: format!("{name}.{origin}"), relative: false },
        })
    }

    /// The owner's name within the zone; `None` for the zone itself.
    fn trigger(&self, owner: &Owner) -> Result<Option<String>, String> {
        if owner.relative {
            return Ok((owner.name != "@").then(|| owner.name.clone()));
        }
        let Some(apex) = &self.apex else { return Ok((!owner.name.is_empty()).then(|| owner.name.clone())) };
        if owner.name == *apex {
            return Ok(None);
        }
        let trigger = owner.name.strip_suffix(apex.as_str()).and_then(|name| name.strip_suffix('.'));
        trigger.map(|name| Some(name.to_owned())).ok_or_else(|| format!("a name outside the zone `{apex}`"))
    }
}

/// `24.0.113.0.203` is `203.0.113.0/24`, `48.zz.2.2001` is `2001:2::/48`: the length, then the address backwards.
fn address(labels: &str) -> Option<String> {
    let mut labels = labels.split('.');
    let length = labels.next()?;
    let parts: Vec<&str> = labels.rev().collect();
    if parts.len() == 4 && !parts.contains(&"zz") {
        return Some(format!("{}/{length}", parts.join(".")));
    }
    let groups = match parts.iter().position(|part| *part == "zz") {
        Some(at) => {
            let (before, behind) = parts.split_at_checked(at)?;
            format!("{}::{}", before.join(":"), behind.get(1..)?.join(":"))
        }
        None => parts.join(":"),
    };
    Some(format!("{groups}/{length}"))
}

/// A number of seconds, or of other units (`300`, `1h30m`).
fn is_time_to_live(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.bytes().all(|byte| byte.is_ascii_digit() || b"smhdwSMHDW".contains(&byte))
}

fn is_class(word: &str) -> bool {
    ["IN", "CH", "HS"].iter().any(|class| word.eq_ignore_ascii_case(class))
}

/// Cuts off a comment, which a `;` outside quotation marks begins.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' if !quoted => return line.get(..at).unwrap_or(line),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{MAX_LINES, MAX_NAME};
    use crate::feed::{FeedFormat, FeedOptions, Import, import};
    use crate::intel::indicator::{NameScope, TermValue};
    use crate::schema::FieldTable;

    fn rpz(text: &str) -> Import {
        let options = FeedOptions { format: Some(FeedFormat::Rpz), ..FeedOptions::default() };
        import(text.as_bytes(), "x.zone", &options, &FieldTable::embedded(true).unwrap()).unwrap()
    }

    fn shown(import: &Import) -> Vec<String> {
        let show = |value: &TermValue| match value {
            TermValue::Domain { name, scope: NameScope::Below } => format!("*.{name}"),
            TermValue::Domain { name, scope: NameScope::AndBelow } => format!(".{name}"),
            value => value.to_string(),
        };
        import.indicators.iter().map(|i| format!("{} {}", i.line, show(&i.terms[0].value))).collect()
    }

    #[test]
    fn names_and_addresses_are_taken_and_what_belongs_to_the_zone_is_not() {
        let import = rpz(concat!(
            "; a zone\n$TTL 300\n@ IN SOA localhost. root.localhost. (\n 1 2 ; serial\n 3 4 5 )\n@ IN NS localhost.\n\n",
            "evil.com CNAME .\n*.evil.com CNAME .\n",
            "Bad.ORG 300 IN CNAME *.\n",
            "*.worse.net IN 1h CNAME garden.example.com.\n",
            "sink.example.com A 0.0.0.0\n            AAAA ::\n",
            "32.9.113.0.203.rpz-ip CNAME .\n24.0.113.0.203.rpz-ip CNAME rpz-drop.\n48.zz.2.2001.rpz-ip CNAME .\n",
            "128.1.zz.1.db8.2001.rpz-ip CNAME .\n",
        ));
        // A name waits for the line behind it, which may be about the names below.
        let mut found = shown(&import);
        found.sort();
        assert_eq!(
            found,
            [
                "10 bad.org",
                "11 *.worse.net",
                "12 sink.example.com",
                "14 203.0.113.9",
                "15 203.0.113.0/24",
                "16 2001:2::/48",
                "17 2001:db8:1::1",
                "8 .evil.com",
            ]
        );
        assert!(import.unusable.is_empty(), "{:?}", import.unusable);
    }

    #[test]
    fn exceptions_and_other_triggers_are_listed() {
        let import = rpz(concat!(
            "good.com CNAME rpz-passthru.\n",
            "good.org CNAME good.org.\n",
            "slow.org CNAME rpz-tcp-only.\n",
            "ns.evil.com.rpz-nsdname CNAME .\n",
            "32.9.113.0.203.rpz-nsip CNAME .\n",
            "32.9.113.0.203.rpz-client-ip CNAME .\n",
            "32.9.113.rpz-ip CNAME .\n",
            "$INCLUDE other.zone\n",
            "evil.com\n",
            "evil.com LOC here\n",
            "not/a/name CNAME .\n",
        ));
        assert!(import.indicators.is_empty(), "{:?}", import.indicators);
        assert_eq!(import.unusable.iter().map(|bad| bad.line).collect::<Vec<_>>(), (1..12).collect::<Vec<u32>>());
    }

    #[test]
    fn open_parentheses_cost_a_few_lines_and_are_listed() {
        let names: String = (0..100).map(|number| format!("a{number}.com CNAME .\n")).collect();
        let import = rpz(&format!("@ SOA a. b. ( 1 2 3\n{names}"));
        assert_eq!(import.indicators.len(), 100 - MAX_LINES);
        assert_eq!(import.unusable.iter().map(|bad| bad.line).collect::<Vec<_>>(), [MAX_LINES as u32 + 2]);
        assert_eq!(rpz("evil.com CNAME (\nbad.org CNAME .\n").indicators.len(), 2);
    }

    /// Scenario: half a million directives, each of which puts a label before the origin.
    /// Guarantee: the origin grows no longer than a name may be, so the file is read in a moment; and nothing is read
    /// relative to another origin than the one that was refused.
    #[test]
    fn an_origin_does_not_grow_without_bound() {
        let grow = "$ORIGIN a\n".repeat(500_000);
        let import = rpz(&format!("$ORIGIN b.\n{grow}evil.com CNAME .\n$ORIGIN b.\nbad.org CNAME .\n"));
        assert_eq!(import.unusable_lines(), 500_000 - MAX_NAME / 2 + 1, "{:?}", import.unusable.first());
        assert!(import.unusable.iter().all(|bad| bad.reason.contains("1024 bytes")));
        assert_eq!(shown(&import), ["500004 bad.org"]);
    }

    #[test]
    fn names_are_read_relative_to_the_origin_and_without_the_zone() {
        let zone = "rpz.example.";
        for text in [
            format!("$ORIGIN {zone}\n@ SOA a. b. 1 2 3 4 5\nevil.com CNAME .\n"),
            format!("{zone} SOA a. b. 1 2 3 4 5\nevil.com.{zone} CNAME .\n"),
            format!("$ORIGIN .\nrpz.example SOA a. b. 1 2 3 4 5\n$ORIGIN com.{zone}\nevil CNAME .\n"),
            format!("$ORIGIN {zone}\n$ORIGIN com\nevil CNAME .\n"),
            "evil.com. CNAME .\n".to_owned(),
        ] {
            let import = rpz(&text);
            let values: Vec<_> = import.indicators.iter().map(|i| i.terms[0].value.to_string()).collect();
            assert_eq!(values, ["evil.com"], "{text}: {:?}", import.unusable);
        }
        let import = rpz(&format!("$ORIGIN {zone}\nevil.com. CNAME .\n"));
        assert!(import.unusable[0].reason.contains("outside"), "{:?}", import.unusable);
    }
}
