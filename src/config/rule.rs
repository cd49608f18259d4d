//! `rules`: which indicators can hit, under which names.

use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::intel::indicator::{Confidence, Origin};
use crate::observable::Kind;
use crate::rules::{self, FeedNames, IndicatorKind, Rules};
use crate::severity::Severity;

use super::problem::{Fault, nearest};
use super::reader::{Item, Table};
use super::schema::one_of_words;
use super::{Intel, IntelFiles, show, usable_id};

/// The name that means all feeds, or all collections.
const ALL: &str = "*";

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Rule {
    #[serde(skip)]
    pub id: String,
    /// A name for people. `hotlist explain` prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the rule is for. `hotlist explain` prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether the rule selects anything.
    #[schemars(extend("default" = true))]
    pub enabled: bool,
    /// The feeds whose indicators it selects: names of entries of `intel.files` with `rule: cti`, or of feeds of a control plane. `"*"` means all.
    #[schemars(extend("default" = []))]
    pub feeds: Vec<String>,
    /// The collections whose indicators it selects: names of entries of `intel.files` with `rule: collection`, or of collections of a control plane. `"*"` means all.
    #[schemars(extend("default" = []))]
    pub collections: Vec<String>,
    /// The kinds of indicators that it selects: `ip`, `domain`, `url`, `hash` (every hash), `md5`, `sha1`, `sha256`, `sha512`, `ssdeep`, `email`, `user`, `text`, `name`, `dns-type`, `path`, `number`, `time`, or `pattern` for patterns that need several values together. Empty: all.
    #[schemars(with = "Vec<KindWord>", extend("default" = []))]
    pub kinds: Vec<&'static str>,
    /// The least confidence of indicators that it selects: `low`, `medium` or `high`. Absent: any, also indicators of which the feed gives no confidence.
    #[serde(serialize_with = "write_confidence", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ConfidenceWord>")]
    pub min_confidence: Option<Confidence>,
    /// Kill chain phases, of which an indicator needs one to be selected. `Command and Control`, `command-and-control` and `c2` are the same. Empty: it needs none.
    #[schemars(extend("default" = []))]
    pub kill_chain_phases: Vec<String>,
    /// The most severe that a hit can be of which this is the first rule: `informational`, `low`, `medium`, `high` or `critical` (docs/severity.md).
    #[serde(serialize_with = "write_severity")]
    #[schemars(with = "SeverityWord", extend("default" = "critical"))]
    pub severity: Severity,
}

const CONFIDENCES: [(&str, Confidence); 3] =
    [("low", Confidence::Low), ("medium", Confidence::Medium), ("high", Confidence::High)];

fn write_confidence<S: Serializer>(confidence: &Option<Confidence>, serializer: S) -> Result<S::Ok, S::Error> {
    CONFIDENCES.iter().find(|(_, known)| Some(*known) == *confidence).map(|(word, _)| word).serialize(serializer)
}

fn write_severity<S: Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(severity.as_str())
}

/// The words of [`CONFIDENCES`].
struct ConfidenceWord;

impl JsonSchema for ConfidenceWord {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MinConfidence".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words = [("low", "Low, Medium or High."), ("medium", "Medium or High."), ("high", "High.")];
        one_of_words(&words, "The least confidence of an indicator.")
    }
}

/// The words for [`Severity`].
struct SeverityWord;

impl JsonSchema for SeverityWord {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Severity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Severity::ALL.map(Severity::as_str) })
    }
}

/// The words for [`IndicatorKind`].
struct KindWord;

/// Every word of [`IndicatorKind::of_word`].
fn kind_words() -> Vec<(&'static str, &'static str)> {
    let kinds = Kind::ALL.map(Kind::as_str);
    kinds.into_iter().chain(["hash", "pattern"]).map(|word| (word, word)).collect()
}

impl JsonSchema for KindWord {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RuleKindWord".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = kind_words().into_iter().map(|(word, _)| word).collect();
        json_schema!({ "type": "string", "enum": words })
    }
}

/// Writes `rules` as the table that it was read from.
pub(super) fn write_all<S: Serializer>(rules: &Option<Vec<Rule>>, serializer: S) -> Result<S::Ok, S::Error> {
    show::as_table(rules.as_deref().unwrap_or_default(), |rule| (&rule.id, rule), serializer)
}

/// The schema of `rules`.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<Rule>() })
}

impl Rule {
    pub(super) const KEYS: &[&'static str] = &[
        "name",
        "description",
        "enabled",
        "feeds",
        "collections",
        "kinds",
        "min_confidence",
        "kill_chain_phases",
        "severity",
    ];

    /// Reads `rules`. The names of feeds are checked against the entries of `intel.files`.
    pub(super) fn read_all(root: &Table<'_>, intel: &Intel) -> Option<Vec<Rule>> {
        let table = root.get("rules")?.any_table()?;
        let known = Known::new(root, intel);
        let usable = table.iter().filter(|(id, item)| usable_id(id, item));
        Some(usable.filter_map(|(id, item)| Rule::read(id, &item, &known)).collect())
    }

    fn read(id: &str, item: &Item<'_>, known: &Known<'_>) -> Option<Rule> {
        let table = item.table(Rule::KEYS)?;
        let names = |key, origin| {
            let list = |item: &Item<'_>| {
                let items = item.list("a list of names, e.g. `[urlhaus]`, or `[\"*\"]` for all")?;
                Some(items.iter().filter_map(|item| known.name(item, origin)).collect())
            };
            table.or(key, Vec::new(), list)
        };
        let (feeds, collections) = (names("feeds", Origin::Feed), names("collections", Origin::Collection));
        // A list whose names are all unknown is reported name by name.
        let is_written = |key| table.get(key).is_some_and(|item| !item.is_empty_list());
        if !is_written("feeds") && !is_written("collections") {
            let reason = "selects nothing; give `feeds` or `collections`, e.g. `feeds: [\"*\"]`".to_owned();
            item.report(Fault::BadValue { value: id.to_owned(), reason });
        }
        let (words, severities) = (kind_words(), Severity::ALL.map(|severity| (severity.as_str(), severity)));
        let list = |key, expected, read: &dyn Fn(&Item<'_>) -> Option<&'static str>| {
            table.or(key, Vec::new(), |item| Some(item.list(expected)?.iter().filter_map(read).collect()))
        };
        Some(Rule {
            id: id.to_owned(),
            name: table.get("name").and_then(|item| item.text()),
            description: table.get("description").and_then(|item| item.text()),
            enabled: table.or("enabled", true, Item::boolean),
            feeds,
            collections,
            kinds: list("kinds", "a list of kinds, e.g. `[ip, domain]`", &|item| item.word(&words)),
            min_confidence: table.get("min_confidence").and_then(|item| item.word(&CONFIDENCES)),
            kill_chain_phases: table.or("kill_chain_phases", Vec::new(), |item| {
                Some(
                    item.list("a list of phases, e.g. `[command-and-control]`")?
                        .iter()
                        .filter_map(Item::text)
                        .collect(),
                )
            }),
            severity: table.or("severity", Severity::Critical, |item| item.word(&severities)),
        })
    }

    fn names(&self, origin: Origin) -> &[String] {
        match origin {
            Origin::Feed => &self.feeds,
            Origin::Collection => &self.collections,
        }
    }

    /// Whether it can select indicators of an entry of `intel.files`.
    fn can_name(&self, entry: &IntelFiles) -> bool {
        self.names(entry.rule).iter().any(|name| name == ALL || entry.can_be_called(name))
    }

    fn compile(&self) -> rules::Rule {
        let names = |names: &[String]| match names.iter().any(|name| name == ALL) {
            true => FeedNames::All,
            false => FeedNames::Of(names.iter().cloned().collect()),
        };
        rules::Rule {
            id: self.id.as_str().into(),
            name: self.name.clone(),
            description: self.description.clone(),
            feeds: names(&self.feeds),
            collections: names(&self.collections),
            kinds: self.kinds.iter().filter_map(|word| IndicatorKind::of_word(word)).flatten().collect(),
            min_confidence: self.min_confidence.unwrap_or_default(),
            kill_chain_phases: self.kill_chain_phases.clone(),
            max_severity: self.severity,
        }
    }
}

/// The names that rules can give.
struct Known<'i> {
    intel: &'i Intel,
    /// Whether there may be feeds that the configuration does not name.
    has_others: bool,
}

impl<'i> Known<'i> {
    fn new(root: &Table<'_>, intel: &'i Intel) -> Known<'i> {
        let written = root.get("intel").filter(Item::is_table).and_then(|item| item.any_table());
        let files = written.as_ref().and_then(|table| table.get("files")).filter(Item::is_list);
        let files = files.and_then(|item| item.list("")).map_or(0, |items| items.len());
        let has_control = written.is_some_and(|table| table.get("control").is_some());
        // An entry that cannot be read may have any name.
        Known { intel, has_others: has_control || files != intel.files.len() }
    }

    /// Reads the name of a feed or of a collection.
    fn name(&self, item: &Item<'_>, origin: Origin) -> Option<String> {
        let name = item.text()?;
        let is_known = |origin| self.intel.files.iter().any(|entry| entry.rule == origin && entry.can_be_called(&name));
        if name == ALL || self.has_others || is_known(origin) {
            return Some(name);
        }
        let (what, other, key) = match origin {
            Origin::Feed => ("feed", Origin::Collection, "collections"),
            Origin::Collection => ("collection", Origin::Feed, "feeds"),
        };
        let entries = self.intel.files.iter().filter(|entry| entry.rule == origin);
        let names: Vec<&str> = entries.filter_map(IntelFiles::likely_name).collect();
        let hint = match is_known(other) {
            true => format!("its entry has another `rule`; name it in `{key}`"),
            false => nearest(&name, &names, "known are"),
        };
        item.report(Fault::UnknownFeed { what, name, hint });
        None
    }
}

impl IntelFiles {
    /// Whether a feed of this entry can have a name. The names of files that a glob finds are not known before.
    pub fn can_be_called(&self, name: &str) -> bool {
        if let Some(feed) = &self.feed {
            return feed == name;
        }
        let is_likely = |part: &str| match part.find(WILDCARDS) {
            // The part of it that is certain to be in the name: what follows a dot may be an extension.
            Some(at) => {
                let certain = part.get(..at).unwrap_or_default();
                name.starts_with(certain.split('.').next().unwrap_or_default())
            }
            None => part == name || part.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')),
        };
        // A directory with a manifest gives its name to its feed.
        let mut parts = self.path.trim_end_matches('/').rsplit('/');
        let (file, directory) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        is_likely(file) || ((file == "manifest.json" || file.contains(WILDCARDS)) && is_likely(directory))
    }

    /// The name of its feed, if the configuration alone shows it.
    pub(super) fn likely_name(&self) -> Option<&str> {
        let file = self.path.trim_end_matches('/').rsplit('/').next().filter(|file| !file.contains(WILDCARDS));
        self.feed.as_deref().or(file.and_then(|file| file.split('.').next())).filter(|name| !name.is_empty())
    }
}

/// The characters of a glob that stand for others.
const WILDCARDS: [char; 3] = ['*', '?', '['];

/// A fault of rules that does not prevent the start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleWarning {
    #[error("rules: no rule is enabled: NOTHING IS MATCHED, every event passes untagged")]
    NoneEnabled,
    #[error("intel.files[{place}]: no enabled rule selects {entry}: it is not matched; name it in a rule")]
    NotSelected { place: usize, entry: String },
}

impl super::Config {
    /// The enabled rules; `None` if each entry of `intel.files` has a rule of its own.
    pub fn enabled_rules(&self) -> Option<Arc<Rules>> {
        let rules = self.rules.as_ref()?.iter().filter(|rule| rule.enabled);
        Some(Arc::new(Rules::new(rules.map(Rule::compile))))
    }

    /// What rules leave out, as far as the configuration alone shows it.
    pub fn rule_warnings(&self) -> Vec<RuleWarning> {
        let Some(rules) = &self.rules else { return Vec::new() };
        if !rules.iter().any(|rule| rule.enabled) {
            return vec![RuleWarning::NoneEnabled];
        }
        let is_selected = |entry: &IntelFiles| rules.iter().any(|rule| rule.enabled && rule.can_name(entry));
        let entries = self.intel.files.iter().enumerate().filter(|(_, entry)| entry.enabled && !is_selected(entry));
        let warning = |(place, entry): (usize, &IntelFiles)| {
            let entry = entry.feed.as_ref().unwrap_or(&entry.path).clone();
            RuleWarning::NotSelected { place, entry }
        };
        entries.map(warning).collect()
    }
}

#[cfg(test)]
mod tests;
