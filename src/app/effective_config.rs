//! Determines which part of a new configuration a running process can activate: that part becomes active, the other keys
//! keep their value until the next start, and both are shown with the configuration.

use serde_json::Value;

use crate::config::{Config, Limits, Source};

/// The active configuration, and the keys whose values in the file differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EffectiveConfig {
    /// What is active.
    pub(super) active: Config,
    /// The keys of the file whose values take effect at the next start only.
    pub(super) waiting: Vec<String>,
}

impl EffectiveConfig {
    /// Creates a configuration that is completely active, as at the start.
    pub(super) fn all_active(active: Config) -> EffectiveConfig {
        EffectiveConfig { active, waiting: Vec::new() }
    }

    /// Combines `wanted` with the configuration of the running process.
    pub(super) fn merge(active: &Config, wanted: &Config) -> EffectiveConfig {
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
        let waiting = differences(&settled, wanted);
        EffectiveConfig { active: settled, waiting }
    }

    /// Returns the first source that keeps its type, and whose events no sink would accept.
    pub(super) fn without_sink(&self, wanted: &Config) -> Option<&str> {
        let retyped = |source: &&Source| wanted.sources.iter().any(|wanted| is_retyped(source, wanted));
        let is_read = |source: &&Source| self.active.sinks.iter().any(|sink| sink.inputs.contains(&source.id));
        self.active.sources.iter().filter(retyped).find(|source| !is_read(source)).map(|source| source.id.as_str())
    }

    /// Returns the active configuration as YAML, with a comment that names the keys that are not active.
    pub(super) fn to_yaml(&self) -> String {
        let comment = match self.waiting.is_empty() {
            true => String::new(),
            false => {
                format!("# Changed in the file, takes effect at the next start only: {}\n", self.waiting.join(", "))
            }
        };
        // A secret masks itself when it is written.
        comment + &self.active.to_yaml().unwrap_or_else(|error| format!("# {error}\n"))
    }
}

/// Returns whether two sources differ only in their type.
fn is_retyped(before: &Source, after: &Source) -> bool {
    let is_same = before.id == after.id && before.address() == after.address();
    is_same && std::mem::discriminant(&before.kind) != std::mem::discriminant(&after.kind)
}

/// Returns the keys at which two configurations differ, in the order of the configuration. Secrets compare as equal.
pub(super) fn differences(left: &Config, right: &Config) -> Vec<String> {
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

    /// Guarantee: whatever changes in the file, each key has its new value or is named as one that waits; a second
    /// reload names it again, and taking the change back names nothing.
    #[test]
    fn every_change_is_active_or_named() {
        let active = parse(ACTIVE);
        let changes = [
            ("limits: { max_connections: 7, record_findings: 3 }", vec!["limits.max_connections"]),
            ("limits: { in_flight_bytes: 300MiB, workers: 2 }", vec!["limits.in_flight_bytes", "limits.workers"]),
            ("log: { level: debug }", vec!["log.level"]),
            ("match: { subdomains: true }\nshutdown: { grace: 3s }\nfailure_mode: closed", vec![]),
        ];
        for (more, waiting) in changes {
            let wanted = parse(&format!("{ACTIVE}{more}\n"));
            let settled = EffectiveConfig::merge(&active, &wanted);
            assert_eq!(settled.waiting, waiting, "{more}");
            assert_eq!(EffectiveConfig::merge(&settled.active, &wanted), settled, "{more}");
            assert_eq!(
                EffectiveConfig::merge(&settled.active, &active),
                EffectiveConfig::all_active(active.clone()),
                "{more}"
            );
            let differ = differences(&settled.active, &wanted);
            assert_eq!(differ, waiting, "{more}");
        }
        let text = ACTIVE.replace("a.csv'] }", "b.csv'], max_bytes: 1GiB, canary: c.example }").replace(":3'", ":4'");
        let settled = EffectiveConfig::merge(&active, &parse(&text));
        assert_eq!(settled.waiting, ["intel.max_bytes", "intel.canary", "admin.address"]);
        assert_eq!(settled.active.intel.files, parse(&text).intel.files);
        let shown = settled.to_yaml();
        let comment = "# Changed in the file, takes effect at the next start only: intel.max_bytes, intel.canary, admin.address\n";
        assert!(shown.starts_with(comment), "{shown}");
        assert_eq!(parse(&shown), settled.active, "what is shown loads as what is active");
    }

    /// Guarantee: a source keeps its type under its address, and a configuration in which nobody would take its events
    /// is known.
    #[test]
    fn a_source_keeps_its_type() {
        let active = parse(ACTIVE);
        let wanted = parse(&ACTIVE.replace("type: otlp", "type: vector"));
        let settled = EffectiveConfig::merge(&active, &wanted);
        assert_eq!(
            (settled.waiting.as_slice(), settled.active == active),
            (["sources.a.type".to_owned()].as_slice(), true)
        );
        assert_eq!(settled.without_sink(&wanted), None);
        let wanted = parse(&ACTIVE.replace("type: otlp", "type: filter").replace("[a, b]", "[b]"));
        assert_eq!(EffectiveConfig::merge(&active, &wanted).without_sink(&wanted), Some("a"));
        // Under another name or at another address it is another source.
        let renamed = parse(&ACTIVE.replace("a: { type: otlp", "c: { type: vector").replace("[a, b]", "[c, b]"));
        assert_eq!(EffectiveConfig::merge(&active, &renamed), EffectiveConfig::all_active(renamed.clone()));
    }
}
