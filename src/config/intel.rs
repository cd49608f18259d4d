//! `intel`: where indicators come from.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use crate::intel::indicator::Origin;
use crate::schema::FieldKind;

use super::allowlist::AllowlistFiles;
use super::control::Control;
use super::feed_format::{FORMER_LIST, FeedFormat};
use super::matching::{self, KIND_WORDS, KindWord};
use super::problem::Fault;
use super::reader::{Item, Table, pattern};
use super::schema::{PathOr, one_of_words};
use super::units::Size;

/// Where indicators come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Intel {
    /// Files of indicators, each a glob or a table. They are watched, and a change is active within seconds.
    #[schemars(with = "Vec<PathOr<IntelFiles>>", extend("default" = []))]
    pub files: Vec<IntelFiles>,
    /// The treatment of a file that has less than half of its previous indicators: `confirm` keeps the previous ones until the change is confirmed, `accept` uses the new ones.
    #[schemars(extend("default" = "confirm"))]
    pub on_shrink: OnShrink,
    /// Allowlists, each a glob or a table: values that are known to be harmless or shared. They are read at start and when one of them changes.
    #[schemars(with = "Vec<PathOr<AllowlistFiles>>", extend("default" = []))]
    pub allowlists: Vec<AllowlistFiles>,
    /// The control plane that sends versions of indicators. Absent: no control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
    /// The memory that indicators may take: segments, mapped or not, data merged from them, and the prefilter. A version that needs more is refused, and the active version stays. Absent: no limit.
    #[serde(serialize_with = "write_max_bytes", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Size>")]
    pub max_bytes: Option<usize>,
    /// A harmless domain that some feed has, such as `canary.hotlist.example`. It is looked up every minute through the whole match path; metrics, log and `/readyz?verbose` report if it is no longer found. Absent: no such check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
}

fn write_max_bytes<S: Serializer>(bytes: &Option<usize>, serializer: S) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => Size::serialize(bytes, serializer),
        None => serializer.serialize_none(),
    }
}

/// A domain in canonical form.
fn canary(text: &str) -> Result<String, String> {
    let mut scratch = Vec::new();
    let name = crate::observable::domain::canonical(text.as_bytes(), &mut scratch);
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    name.map(str::to_owned).ok_or_else(|| "it is not a domain".to_owned())
}

/// The treatment of a file that shrinks by more than half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnShrink {
    /// The old indicators stay until someone confirms.
    #[default]
    Confirm,
    /// The new ones are taken.
    Accept,
}

/// Files of one feed. A bare string is a table with only `path`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct IntelFiles {
    /// A path or a glob (`indicators/*.csv`). Relative paths start at the working directory.
    pub path: String,
    /// The feed's name in hits, metrics and rules. Absent: each file's name without its extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed: Option<String>,
    /// `list`, `csv`, `hosts`, `stix`, `misp`, `zeek`, `rpz`, `adblock`, `dnsmasq`, `unbound` or `json`. Absent: detected from each file's name and content. `text` is read as `list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<FeedFormat>,
    /// The kind of rule that enables the feed's indicators: `cti` (a CTI rule, all fields) or `collection` (only the fields for collections).
    #[schemars(extend("default" = "cti"))]
    #[serde(serialize_with = "write_rule")]
    #[schemars(with = "RuleWord")]
    pub rule: Origin,
    /// Whether the feed is used.
    #[schemars(extend("default" = true))]
    pub enabled: bool,
    /// `true`: domains of this feed also match the names below them.
    #[schemars(extend("default" = false))]
    pub subdomains: bool,
    /// `true`: URLs of this feed also match longer paths at the same host.
    #[schemars(extend("default" = false))]
    pub url_prefix: bool,
    /// `true`: indicators that are too generic for the import guard are used nevertheless.
    #[schemars(extend("default" = false))]
    pub allow_generic: bool,
    /// The kind of values without a type that cannot be detected, such as `user`. Absent: detected from each value.
    #[serde(serialize_with = "matching::write_kind", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<KindWord>")]
    pub kind: Option<FieldKind>,
    /// The CSV columns, or paths in JSON objects, of each attribute. Absent: detected from the header line; required for `json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
}

/// The words for what enables a feed's indicators.
const RULES: [(&str, Origin); 2] = [("cti", Origin::Feed), ("collection", Origin::Collection)];

/// The word of [`RULES`].
struct RuleWord;

impl JsonSchema for RuleWord {
    fn schema_name() -> Cow<'static, str> {
        "RuleKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_of_words(
            &[("cti", "A CTI rule."), ("collection", "A collection.")],
            "The kind of rule that enables a feed's indicators.",
        )
    }
}

fn write_rule<S: Serializer>(origin: &Origin, serializer: S) -> Result<S::Ok, S::Error> {
    RULES.iter().find(|(_, rule)| rule == origin).map(|(word, _)| word).serialize(serializer)
}

/// The headers of the CSV columns that hold the parts of an indicator, or the paths in JSON objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Columns {
    /// Header of the column with the indicator's value.
    pub value: String,
    /// Header of the column with the value's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// Header of the column with the feed's own id of the indicator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Header of the column with a name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Header of the column with free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Header of the column with the kill chain phases, separated by commas, semicolons or bars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill_chain_phases: Option<String>,
    /// Header of the column with the confidence, 0 to 100 or a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<String>,
    /// Header of the column with the Traffic Light Protocol marking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tlp: Option<String>,
    /// Header of the column with a URL with more information.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Header of the column with the start of validity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<String>,
    /// Header of the column with the end of validity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// Header of the column with the time of the first sighting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<String>,
    /// Header of the column with the time of the last sighting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
}

impl Intel {
    pub(super) const KEYS: &[&'static str] = &["files", "on_shrink", "allowlists", "control", "max_bytes", "canary"];

    pub(super) fn read(item: &Item<'_>) -> Option<Intel> {
        let table = item.table(Intel::KEYS)?;
        let files = table.or("files", Vec::new(), |list| {
            let items = list.list("a list of paths, e.g. `[\"indicators/*.csv\"]`")?;
            Some(items.iter().filter_map(IntelFiles::read).collect())
        });
        let words = [("confirm", OnShrink::Confirm), ("accept", OnShrink::Accept)];
        let on_shrink = table.or("on_shrink", OnShrink::Confirm, |item| item.word(&words));
        let allowlists = table.or("allowlists", Vec::new(), |list| {
            let items = list.list("a list of paths, e.g. `[\"allowlists/*.json\"]`")?;
            Some(items.iter().filter_map(AllowlistFiles::read).collect())
        });
        let control = table.get("control").and_then(|item| Control::read(&item));
        let max_bytes = table.get("max_bytes").and_then(|item| item.size());
        let canary =
            table.get("canary").and_then(|item| item.parsed("a domain, such as `canary.hotlist.example`", canary));
        Some(Intel { files, on_shrink, allowlists, control, max_bytes, canary })
    }
}

impl IntelFiles {
    pub(super) const KEYS: &[&'static str] =
        &["path", "feed", "format", "rule", "enabled", "subdomains", "url_prefix", "allow_generic", "kind", "columns"];

    /// The files of a bare path or glob, everything else at its default.
    pub fn new(path: String) -> IntelFiles {
        IntelFiles {
            path,
            feed: None,
            format: None,
            rule: Origin::Feed,
            enabled: true,
            subdomains: false,
            url_prefix: false,
            allow_generic: false,
            kind: None,
            columns: None,
        }
    }

    fn read(item: &Item<'_>) -> Option<IntelFiles> {
        if !item.is_table() {
            return item.parsed("a path, or a table with a `path`", pattern).map(IntelFiles::new);
        }
        let table = item.table(IntelFiles::KEYS)?;
        let format = table.or("format", None, |item| {
            if item.is(FORMER_LIST) {
                return Some(Some(FeedFormat::List));
            }
            item.word(&FeedFormat::ALL.map(|format| (format.as_str(), format))).map(Some)
        });
        let columns = table.get("columns").and_then(|item| {
            if format.is_some_and(|format| !matches!(format, FeedFormat::Csv | FeedFormat::Json)) {
                item.report(Fault::BadValue {
                    value: "columns".to_owned(),
                    reason: "are known in CSV and JSON only; remove them, or give `format: csv` or `format: json`"
                        .to_owned(),
                });
            }
            Columns::read(&item)
        });
        if format == Some(FeedFormat::Json) && columns.is_none() {
            item.report(Fault::BadValue {
                value: "json".to_owned(),
                reason: "needs to know where the values are; give e.g. `columns: { value: ioc.value }`".to_owned(),
            });
        }
        let rule = table.or("rule", Origin::Feed, |item| item.word(&RULES));
        let flag = |key: &str, default| table.or(key, default, Item::boolean);
        let rest = IntelFiles {
            path: String::new(),
            feed: table.get("feed").and_then(|item| item.text()),
            format,
            rule,
            enabled: flag("enabled", true),
            subdomains: flag("subdomains", false),
            url_prefix: flag("url_prefix", false),
            allow_generic: flag("allow_generic", false),
            kind: table.get("kind").and_then(|item| item.word(&KIND_WORDS)),
            columns,
        };
        let path = table.required("path", "a path or a glob, e.g. `indicators/*.csv`")?.parsed("a path", pattern)?;
        Some(IntelFiles { path, ..rest })
    }
}

impl Columns {
    pub(super) const KEYS: &[&'static str] = &[
        "value",
        "type",
        "id",
        "name",
        "description",
        "kill_chain_phases",
        "confidence",
        "tlp",
        "reference",
        "valid_from",
        "valid_until",
        "first_seen",
        "last_seen",
    ];

    fn read(item: &Item<'_>) -> Option<Columns> {
        let table: Table<'_> = item.table(Columns::KEYS)?;
        let column = |key: &str| table.get(key).and_then(|item| item.text());
        let rest = Columns {
            value: String::new(),
            r#type: column("type"),
            id: column("id"),
            name: column("name"),
            description: column("description"),
            kill_chain_phases: column("kill_chain_phases"),
            confidence: column("confidence"),
            tlp: column("tlp"),
            reference: column("reference"),
            valid_from: column("valid_from"),
            valid_until: column("valid_until"),
            first_seen: column("first_seen"),
            last_seen: column("last_seen"),
        };
        let value = table.required("value", "the header of the column with the values")?.text()?;
        Some(Columns { value, ..rest })
    }
}
