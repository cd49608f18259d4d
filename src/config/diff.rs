//! A reload as a value: what changes between the active configuration and another one, and what a running process can
//! take of it.

use serde_json::Value;

use super::{Address, Config, Limits, Sink, Source};

/// The differences between the active configuration and one that is to replace it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigDiff {
    /// The part of the new configuration that a running process can activate. The other keys have their active values.
    pub active: Config,
    /// The keys whose new values become active, in the order of the configuration.
    pub changed: Vec<String>,
    /// The keys whose new values take effect at the next start only.
    pub waiting: Vec<String>,
    /// Each source of `active`, in its order.
    pub sources: Vec<SourceChange>,
    /// The ids of the active sources that stop, because they were removed or changed.
    pub stopped: Vec<String>,
    /// The ids of the sinks that stay open. Their inputs may differ.
    pub kept_sinks: Vec<String>,
    /// Whether the field table or the way values are matched changes.
    pub matching: bool,
    /// A source that cannot change its type while it serves, and whose events no sink would accept any more.
    pub retyped: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceChange {
    /// It serves on with unchanged settings. Its sinks may differ.
    Kept,
    /// It takes over the socket of the active source with this id.
    TakesOver(String),
    /// It binds a socket of its own.
    Binds,
}

impl ConfigDiff {
    /// Compares the configuration of a running process with another one. `bound` has the address of each active source,
    /// with the port that the system chose for port 0.
    pub fn between(active: &Config, wanted: &Config, bound: &[Address]) -> ConfigDiff {
        let settled = settle(active, wanted);
        let mut changed = differences(active, &settled);
        // The first rule of a hit is that of the order, which a difference of keys does not show.
        if active.rules != settled.rules && !changed.iter().any(|key| key.starts_with("rules")) {
            changed.push("rules".to_owned());
        }
        let waiting = differences(&settled, wanted);
        let change = |source: &Source| match active.sources.contains(source) {
            true => SourceChange::Kept,
            false => predecessor(active, bound, source)
                .map_or(SourceChange::Binds, |before| SourceChange::TakesOver(before.id.clone())),
        };
        let sources = settled.sources.iter().map(change).collect();
        let stopped = active.sources.iter().filter(|source| !settled.sources.contains(source));
        let stopped = stopped.map(|source| source.id.clone()).collect();
        let is_kept = |sink: &&Sink| active.sinks.iter().any(|before| is_reused(before, sink));
        let kept_sinks = settled.sinks.iter().filter(is_kept).map(|sink| sink.id.clone()).collect();
        let matching = active.r#match != settled.r#match;
        let retyped = without_sink(&settled, wanted).map(str::to_owned);
        ConfigDiff { active: settled, changed, waiting, sources, stopped, kept_sinks, matching, retyped }
    }
}

/// Returns `wanted` with the active values of everything that is set up only at the start.
fn settle(active: &Config, wanted: &Config) -> Config {
    let mut settled = wanted.clone();
    settled.limits = Limits {
        record_findings: wanted.limits.record_findings,
        record_tag_bytes: wanted.limits.record_tag_bytes,
        ..active.limits
    };
    settled.admin.clone_from(&active.admin);
    settled.probes.clone_from(&active.probes);
    settled.log = active.log;
    settled.intel.control.clone_from(&active.intel.control);
    settled.intel.max_bytes = active.intel.max_bytes;
    settled.intel.canary.clone_from(&active.intel.canary);
    for source in &mut settled.sources {
        // Its clients use the old protocol.
        let before = active.sources.iter().find(|before| is_retyped(before, source));
        source.kind = before.map_or_else(|| source.kind.clone(), |before| before.kind.clone());
    }
    settled
}

/// Returns the active source whose socket a source takes over: that of its address.
fn predecessor<'a>(active: &'a Config, bound: &[Address], source: &Source) -> Option<&'a Source> {
    let is_before = |(at, before): &(usize, &Source)| {
        // Two sources with port 0 have different ports.
        let has_port = before.id == source.id || !source.address().is_any_port();
        bound.get(*at) == Some(source.address()) || before.address() == source.address() && has_port
    };
    active.sources.iter().enumerate().find(is_before).map(|(_, before)| before)
}

/// Returns whether a sink can stay open: its inputs may differ.
fn is_reused(before: &Sink, sink: &Sink) -> bool {
    let Sink { id, inputs: _, only, required, kind } = before;
    (id, only, required, kind) == (&sink.id, &sink.only, &sink.required, &sink.kind)
}

/// Returns the first source that keeps its type, and whose events no sink would accept.
fn without_sink<'a>(settled: &'a Config, wanted: &Config) -> Option<&'a str> {
    let retyped = |source: &&Source| wanted.sources.iter().any(|wanted| is_retyped(source, wanted));
    let is_read = |source: &&Source| settled.sinks.iter().any(|sink| sink.inputs.contains(&source.id));
    settled.sources.iter().filter(retyped).find(|source| !is_read(source)).map(|source| source.id.as_str())
}

/// Returns whether two sources differ only in their type.
fn is_retyped(before: &Source, after: &Source) -> bool {
    let is_same = before.id == after.id && before.address() == after.address();
    is_same && std::mem::discriminant(&before.kind) != std::mem::discriminant(&after.kind)
}

/// Returns the keys at which two configurations differ, in the order of the configuration. Secrets compare as equal.
fn differences(left: &Config, right: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    // invariant: every loaded configuration can be serialised.
    let value = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    compare("", &value(left), &value(right), &mut keys);
    keys
}

fn compare(path: &str, left: &Value, right: &Value, keys: &mut Vec<String>) {
    if left == right {
        return;
    }
    let (Value::Object(left), Value::Object(right)) = (left, right) else {
        keys.push(path.to_owned());
        return;
    };
    let added = right.keys().filter(|key| !left.contains_key(*key));
    for key in left.keys().chain(added) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        compare(&path, left.get(key).unwrap_or(&Value::Null), right.get(key).unwrap_or(&Value::Null), keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Format;

    const ACTIVE: &str = "
sources: { a: { type: otlp, address: '127.0.0.1:1' }, b: { type: vector, address: '127.0.0.1:2' } }
intel: { files: ['a.csv'] }
sinks: { s: { type: blackhole, inputs: [a, b] } }
admin: { address: '127.0.0.1:3' }
";

    fn parse(text: &str) -> Config {
        Config::parse(text, Format::Yaml, &|_| None).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    }

    fn diff(active: &Config, wanted: &Config) -> ConfigDiff {
        let bound: Vec<Address> = active.sources.iter().map(|source| source.address().clone()).collect();
        ConfigDiff::between(active, wanted, &bound)
    }

    /// Describes what becomes of each source, as `a kept`, `c on b`, `d binds`, and of the stopped ones, as `-b`.
    fn sources(diff: &ConfigDiff) -> Vec<String> {
        let each = diff.active.sources.iter().zip(&diff.sources).map(|(source, change)| match change {
            SourceChange::Kept => format!("{} kept", source.id),
            SourceChange::TakesOver(before) => format!("{} on {before}", source.id),
            SourceChange::Binds => format!("{} binds", source.id),
        });
        each.chain(diff.stopped.iter().map(|id| format!("-{id}"))).collect()
    }

    struct Case {
        /// The replaced and the new text; an empty one appends.
        edit: (&'static str, &'static str),
        sources: &'static [&'static str],
        kept_sinks: &'static [&'static str],
        changed: &'static [&'static str],
        waiting: &'static [&'static str],
        matching: bool,
    }

    /// The case of a configuration without a difference.
    const NONE: Case = Case {
        edit: ("", ""),
        sources: &["a kept", "b kept"],
        kept_sinks: &["s"],
        changed: &[],
        waiting: &[],
        matching: false,
    };

    /// Guarantee: each kind of change is what the table says, and each key has its new value or is named as one that
    /// waits; a second reload names it again, and taking the change back names nothing.
    #[test]
    fn every_change_is_described() {
        let a = "a: { type: otlp, address: '127.0.0.1:1' }";
        let cases = [
            NONE,
            Case { edit: ("", "shutdown: { grace: 20s }"), changed: &["shutdown.grace"], ..NONE },
            Case { edit: ("", "failure_mode: closed"), changed: &["failure_mode"], ..NONE },
            Case { edit: ("a.csv", "b.csv"), changed: &["intel.files"], ..NONE },
            Case { edit: ("", "match: { subdomains: true }"), changed: &["match.subdomains"], matching: true, ..NONE },
            Case { edit: ("", "rules: { r: { feeds: [a] }, q: { feeds: ['*'] } }"), changed: &["rules"], ..NONE },
            // Limits: those of a record change at once, those of the process at the next start.
            Case {
                edit: ("", "limits: { max_connections: 7, record_findings: 3 }"),
                changed: &["limits.record_findings"],
                waiting: &["limits.max_connections"],
                ..NONE
            },
            Case {
                edit: ("", "limits: { in_flight_bytes: 300MiB, workers: 2 }"),
                waiting: &["limits.in_flight_bytes", "limits.workers"],
                ..NONE
            },
            Case { edit: ("", "log: { level: debug }"), waiting: &["log.level"], ..NONE },
            Case { edit: ("127.0.0.1:3", "127.0.0.1:4"), waiting: &["admin.address"], ..NONE },
            Case {
                edit: ("['a.csv']", "['a.csv'], max_bytes: 1GiB, canary: c.example"),
                waiting: &["intel.max_bytes", "intel.canary"],
                ..NONE
            },
            // Sources: added, removed, moved, renamed, and with another type under another name.
            Case {
                edit: (
                    "2' } }\nintel: { files: ['a.csv'] }\nsinks: { s: { type: blackhole, inputs: [a, b] } }",
                    "2' }, c: { type: otlp, address: '127.0.0.1:4' } }\nintel: { files: ['a.csv'] }\n\
                     sinks: { s: { type: blackhole, inputs: [a, b, c] } }",
                ),
                sources: &["a kept", "b kept", "c binds"],
                changed: &["sources.c", "sinks.s.inputs"],
                ..NONE
            },
            Case {
                edit: ("127.0.0.1:1", "127.0.0.1:4"),
                sources: &["a binds", "b kept", "-a"],
                changed: &["sources.a.address"],
                ..NONE
            },
            Case {
                edit: (a, "a: { type: otlp, address: '127.0.0.1:1', max_request_bytes: 1MiB }"),
                sources: &["a on a", "b kept", "-a"],
                changed: &["sources.a.max_request_bytes"],
                ..NONE
            },
            // A source cannot change its type under its name and address.
            Case { edit: ("type: otlp", "type: vector"), waiting: &["sources.a.type"], ..NONE },
            // Sinks: opened again when their settings change, not when their inputs do.
            Case { edit: ("[a, b]", "[b, a]"), changed: &["sinks.s.inputs"], ..NONE },
            Case {
                edit: ("inputs: [a, b] }", "inputs: [a, b], required: false }"),
                kept_sinks: &[],
                changed: &["sinks.s.required"],
                ..NONE
            },
            Case { edit: ("{ s: {", "{ t: { type: blackhole, inputs: [a] }, s: {"), changed: &["sinks.t"], ..NONE },
        ];
        let active = parse(ACTIVE);
        for Case { edit: (old, new), sources: expected, kept_sinks, changed, waiting, matching } in cases {
            let text = if old.is_empty() { format!("{ACTIVE}{new}\n") } else { ACTIVE.replace(old, new) };
            let wanted = parse(&text);
            let found = diff(&active, &wanted);
            assert_eq!(sources(&found), expected, "{new}");
            assert_eq!(found.kept_sinks, kept_sinks, "{new}");
            assert_eq!(
                (&*found.changed, &*found.waiting),
                (to_strings(changed).as_slice(), &*to_strings(waiting)),
                "{new}"
            );
            assert_eq!((found.matching, found.retyped.clone()), (matching, None), "{new}");
            let again = diff(&found.active, &wanted);
            assert_eq!(
                (&again.active, again.changed.len(), &again.waiting),
                (&found.active, 0, &found.waiting),
                "{new}"
            );
            let back = diff(&found.active, &active);
            assert_eq!((&back.active, &*back.waiting), (&active, &[][..]), "{new}");
        }
    }

    fn to_strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// Guarantee: each change of a rule is named, and so is another order of rules.
    #[test]
    fn a_change_of_rules_is_named() {
        let with = |rules: &str| parse(&format!("{ACTIVE}rules: {rules}\n"));
        let active = with("{ r: { feeds: [a] }, q: { feeds: ['*'] } }");
        for (wanted, changed) in [
            ("{ r: { feeds: [a], severity: low }, q: { feeds: ['*'] } }", &["rules.r.severity"][..]),
            ("{ r: { feeds: [a], enabled: false } }", &["rules.r.enabled", "rules.q"]),
            ("{ q: { feeds: ['*'] }, r: { feeds: [a] } }", &["rules"]),
            ("{}", &["rules.r", "rules.q"]),
        ] {
            let found = diff(&active, &with(wanted));
            assert_eq!(found.changed, to_strings(changed), "{wanted}");
            assert_eq!((found.active, found.waiting.len()), (with(wanted), 0));
        }
    }

    /// Guarantee: a source takes over the socket of its address under whatever name and type, and a configuration that
    /// leaves the events of a source without a sink is known.
    #[test]
    fn a_source_takes_over_the_socket_of_its_address() {
        let active = parse(ACTIVE);
        let renamed = parse(&ACTIVE.replace("a: { type: otlp", "c: { type: vector").replace("[a, b]", "[c, b]"));
        let found = diff(&active, &renamed);
        assert_eq!(sources(&found), ["c on a", "b kept", "-a"]);
        assert_eq!((found.active, found.waiting.len()), (renamed, 0));
        let removed =
            parse(&ACTIVE.replace(", b: { type: vector, address: '127.0.0.1:2' }", "").replace("[a, b]", "[a]"));
        assert_eq!(sources(&diff(&active, &removed)), ["a kept", "-b"]);
        let unread = parse(&ACTIVE.replace("type: otlp", "type: filter").replace("[a, b]", "[b]"));
        assert_eq!(diff(&active, &unread).retyped.as_deref(), Some("a"));

        let any_port = parse(&ACTIVE.replace("127.0.0.1:1", "127.0.0.1:0").replace("127.0.0.1:2", "127.0.0.1:0"));
        let bound = ["127.0.0.1:5", "127.0.0.1:6"].map(|address| Address::parse(address).unwrap());
        let named = parse(&ACTIVE.replace("127.0.0.1:1", "127.0.0.1:5").replace("127.0.0.1:2", "127.0.0.1:0"));
        let found = ConfigDiff::between(&any_port, &named, &bound);
        assert_eq!(sources(&found), ["a on a", "b kept", "-a"], "the port that the system chose is that of its source");
    }
}
