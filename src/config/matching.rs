//! `match`: how events are compared with indicators.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::circumstances::PRIVATE_NETWORKS;
use crate::encoding::{Flat, Inbound, TagAs, TagInto};
use crate::observable::Kind;
use crate::policy::CommandAndControl;
use crate::schema::{Field, FieldKind, FieldTable};

use super::problem::Fault;
use super::reader::Item;
use super::schema::one_of_words;
use super::text::TextScan;
use super::units::{Size, Time};

/// How events are compared with indicators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Match {
    /// `true`: every domain indicator also matches the names below it.
    #[schemars(extend("default" = false))]
    pub subdomains: bool,
    /// `true`: the host of a URL in an event is also matched, as a domain or an address.
    #[schemars(extend("default" = false))]
    pub url_hosts: bool,
    /// `true`: the user of a user principal name (`user@domain`) in an event is also matched, as is always the case for `DOMAIN\user`.
    #[schemars(extend("default" = false))]
    pub user_principals: bool,
    /// `derive`: the registered domain of a name is matched, too, where an event may have it in a field of its own (`dns.question.registered_domain` next to `dns.question.name`), which few senders fill. It is found with the Public Suffix List, and the hit is marked `hotlist.derived: true`. `exact`: only what the event has.
    #[schemars(extend("default" = "exact"))]
    pub registered_domain: RegisteredDomain,
    /// The texts that are scanned for addresses, names, URLs, hashes and e-mail addresses: `off`, `all`, or a list of fields such as `[message, event.original]`. `all` scans every string of an event, and a line or body that is not a document.
    #[schemars(extend("default" = "off"))]
    pub text: TextScan,
    /// `true`: defanged forms in texts (`hxxp://evil[.]example`, `alice[at]evil(dot)example`) are read, too. An event seldom has them, but a report or a message of a user does.
    #[schemars(extend("default" = false))]
    pub text_refang: bool,
    /// The longest URL that is matched. Of a longer URL only the host is matched, and the URL is counted as malformed. RFC 9110, section 4.1, recommends that recipients support at least 8,000 octets.
    #[serde(with = "Size")]
    #[schemars(extend("default" = "8KiB"))]
    pub max_url_bytes: usize,
    /// The longest text, name or path that is matched; a longer value is counted as malformed. Linux limits one argument of a command to 128 KiB, Windows a command line to 32,767 characters.
    #[serde(with = "Size")]
    #[schemars(extend("default" = "128KiB"))]
    pub max_text_bytes: usize,
    /// How far outside an indicator's validity the time of an event may be and still match.
    #[serde(with = "Time")]
    #[schemars(extend("default" = "5d"))]
    pub grace: Duration,
    /// The maximum trusted difference between an event's time and its arrival. Beyond it, validity is checked at both times, and either may hit.
    #[serde(with = "Time")]
    #[schemars(extend("default" = "7d"))]
    pub max_clock_skew: Duration,
    /// `true`: events that are indicators themselves (`event.kind: enrichment`) never hit.
    #[schemars(extend("default" = true))]
    pub skip_enrichment_events: bool,
    /// The treatment of enrichments, and of the tag `threat-match`, that an event arrives with: `keep`, `mark` (they get `hotlist.verified: false`, the tag becomes `threat-match-unverified`) or `strip`.
    #[schemars(extend("default" = "mark"))]
    #[schemars(with = "InboundWord")]
    pub inbound_enrichments: Inbound,
    /// Where command-and-control addresses count.
    #[schemars(with = "Option<C2>")]
    pub c2: C2,
    /// Your networks, which distinguish inbound from outbound connections where an event does not (docs/severity.md). Private, shared, link-local and loopback addresses by default; a list of your own replaces them.
    #[serde(serialize_with = "write_networks")]
    #[schemars(with = "Vec<String>", extend("default" = PRIVATE_NETWORKS.iter().map(IpNet::to_string).collect::<Vec<_>>()))]
    pub internal_networks: Vec<IpNet>,
    /// Where hits are written: `auto`, `body` or `attributes`. `auto` is the body if it is a document.
    #[schemars(extend("default" = "auto"))]
    #[schemars(with = "TagIntoWord")]
    pub tag_into: TagInto,
    /// The schema in which hits are written: `auto`, `ecs` or `ocsf`. `auto` is OCSF for an event with a number `class_uid` at its root, else ECS.
    #[schemars(extend("default" = "auto"))]
    #[schemars(with = "TagAsWord")]
    pub tag_as: TagAs,
    /// Whether hits are also written as lists of strings, `hotlist.matched`, `hotlist.severity`, `hotlist.detection`, `hotlist.indicators` and `hotlist.alert_key`: `auto`, `on` or `off`. `auto` is on where hits become attributes of an OTLP record.
    #[schemars(extend("default" = "auto"))]
    #[schemars(with = "FlatWord")]
    pub flat: Flat,
    /// The schemas whose fields are matched, by the names that `hotlist fields` prints. All of them by default.
    #[schemars(with = "Vec<SchemaName>", extend("default" = crate::schema::names().collect::<Vec<_>>()))]
    pub schemas: Vec<&'static str>,
    /// Files with schemas of your own, in the form that docs/fields.md describes.
    #[schemars(extend("default" = []))]
    pub schema_files: Vec<PathBuf>,
    /// `true`: the extended fields are matched, too (docs/fields.md lists them).
    #[schemars(extend("default" = true))]
    pub extra_fields: bool,
    /// Your own fields, or other settings for known ones.
    #[serde(serialize_with = "write_fields")]
    #[schemars(with = "Vec<FieldSettings>", extend("default" = []))]
    pub fields: Vec<Field>,
}

/// Whether registered domains are derived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegisteredDomain {
    /// Only the values that the event has.
    #[default]
    Exact,
    /// From the name next to it.
    Derive,
}

/// Where command-and-control addresses count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct C2 {
    /// Where a command-and-control address counts when an event arrives: `destination_ip` (there, and at what means it in another schema), `responder` (at every field but those of the side that began the connection) or `any`. `true` is read as `destination_ip`, `false` as `any`.
    #[serde(serialize_with = "write_c2")]
    #[schemars(with = "C2Word", extend("default" = "responder"))]
    pub live: CommandAndControl,
}

fn write_c2<S: Serializer>(live: &CommandAndControl, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(live.as_str())
}

/// The words for [`CommandAndControl`].
struct C2Word;

impl JsonSchema for C2Word {
    fn schema_name() -> Cow<'static, str> {
        "C2Live".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words = CommandAndControl::WORDS.map(|(word, _)| serde_json::Value::from(word));
        let all: Vec<_> = words.into_iter().chain([true.into(), false.into()]).collect();
        json_schema!({ "type": "string", "enum": all, "description": "Where command-and-control addresses count." })
    }
}

/// The words for [`TagInto`].
struct TagIntoWord;

impl JsonSchema for TagIntoWord {
    fn schema_name() -> Cow<'static, str> {
        "TagInto".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let auto = ("auto", "The body where it is a document, else the attributes.");
        let places = [auto, ("body", "The body."), ("attributes", "The record's attributes.")];
        one_of_words(&places, "Where the enrichment goes in a log record.")
    }
}

/// The words for [`TagAs`].
struct TagAsWord;

impl JsonSchema for TagAsWord {
    fn schema_name() -> Cow<'static, str> {
        "TagAs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let auto = ("auto", "OCSF for an event with a number `class_uid` at its root, else ECS.");
        one_of_words(&[auto, ("ecs", "ECS."), ("ocsf", "OCSF.")], "The schema in which hits are written.")
    }
}

/// The words for [`Flat`].
struct FlatWord;

impl JsonSchema for FlatWord {
    fn schema_name() -> Cow<'static, str> {
        "Flat".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let auto = ("auto", "Where hits become attributes of an OTLP record.");
        let words = [auto, ("on", "In every event that hits."), ("off", "Never.")];
        one_of_words(&words, "Whether hits are also written as lists of strings.")
    }
}

/// The words for [`Inbound`].
struct InboundWord;

impl JsonSchema for InboundWord {
    fn schema_name() -> Cow<'static, str> {
        "InboundEnrichments".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mark = ("mark", "They are marked as not verified.");
        let treatments = [("keep", "They stay as they are."), mark, ("strip", "They are removed.")];
        one_of_words(&treatments, "The treatment of enrichments that an event arrives with.")
    }
}

/// One entry of `match.fields` as it is written.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FieldSettings<'a> {
    /// Dotted ECS path, case-sensitive, e.g. `my.ip`. Nested and dotted documents match the same.
    field: &'a str,
    /// The kind of its values: `ip`, `domain`, `url`, `hash`, `md5`, `sha1`, `sha256`, `sha512`, `ssdeep`, `email`, `user`, `auto`, `text`, `name`, `dns-type`, `path`, `number` or `time`. `hash` is decided by length, `auto` by value.
    #[schemars(with = "KindWord")]
    kind: &'static str,
    /// Whether indicators of collections are looked for at this field.
    #[schemars(extend("default" = true))]
    collection: bool,
    /// Whether indicators of CTI rules are looked for at this field.
    #[schemars(extend("default" = true))]
    cti: bool,
    /// STIX object paths that mean this field, e.g. `ipv4-addr:value`.
    #[schemars(extend("default" = []))]
    stix_paths: &'a [String],
}

struct SchemaName;

impl JsonSchema for SchemaName {
    fn schema_name() -> Cow<'static, str> {
        "SchemaName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": crate::schema::names().collect::<Vec<_>>() })
    }
}

pub(super) struct KindWord;

impl JsonSchema for KindWord {
    fn schema_name() -> Cow<'static, str> {
        "Kind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": KIND_WORDS.map(|(word, _)| word) })
    }
}

pub(super) fn write_kind<S: Serializer>(kind: &Option<FieldKind>, serializer: S) -> Result<S::Ok, S::Error> {
    kind.map(FieldKind::as_str).serialize(serializer)
}

fn write_networks<S: Serializer>(networks: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(networks.iter().map(IpNet::to_string))
}

fn write_fields<S: Serializer>(fields: &[Field], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(fields.iter().map(|field| FieldSettings {
        field: &field.name,
        kind: field.kind.as_str(),
        collection: field.collection,
        cti: field.cti,
        stix_paths: &field.stix_paths,
    }))
}

/// The words for kinds, as in the field table.
pub(super) const KIND_WORDS: [(&str, FieldKind); 18] = [
    ("ip", FieldKind::Of(Kind::Ip)),
    ("domain", FieldKind::Of(Kind::Domain)),
    ("url", FieldKind::Of(Kind::Url)),
    ("hash", FieldKind::Hash),
    ("md5", FieldKind::Of(Kind::Md5)),
    ("sha1", FieldKind::Of(Kind::Sha1)),
    ("sha256", FieldKind::Of(Kind::Sha256)),
    ("sha512", FieldKind::Of(Kind::Sha512)),
    ("ssdeep", FieldKind::Of(Kind::Ssdeep)),
    ("email", FieldKind::Of(Kind::Email)),
    ("user", FieldKind::Of(Kind::User)),
    ("auto", FieldKind::Auto),
    ("text", FieldKind::Of(Kind::Text)),
    ("name", FieldKind::Of(Kind::Name)),
    ("dns-type", FieldKind::Of(Kind::DnsType)),
    ("path", FieldKind::Of(Kind::Path)),
    ("number", FieldKind::Of(Kind::Number)),
    ("time", FieldKind::Of(Kind::Time)),
];

impl Default for Match {
    fn default() -> Match {
        Match {
            subdomains: false,
            url_hosts: false,
            user_principals: false,
            registered_domain: RegisteredDomain::Exact,
            text: TextScan::Off,
            text_refang: false,
            max_url_bytes: 8 << 10,
            max_text_bytes: 128 << 10,
            grace: Duration::from_secs(5 * 86_400),
            max_clock_skew: Duration::from_secs(7 * 86_400),
            skip_enrichment_events: true,
            inbound_enrichments: Inbound::Mark,
            c2: C2 { live: CommandAndControl::default() },
            internal_networks: PRIVATE_NETWORKS.clone(),
            tag_into: TagInto::Auto,
            tag_as: TagAs::Auto,
            flat: Flat::Auto,
            schemas: crate::schema::names().collect(),
            schema_files: Vec::new(),
            extra_fields: true,
            fields: Vec::new(),
        }
    }
}

impl Match {
    pub(super) const KEYS: &[&'static str] = &[
        "subdomains",
        "url_hosts",
        "user_principals",
        "registered_domain",
        "text",
        "text_refang",
        "max_url_bytes",
        "max_text_bytes",
        "grace",
        "max_clock_skew",
        "skip_enrichment_events",
        "inbound_enrichments",
        "c2",
        "internal_networks",
        "tag_into",
        "tag_as",
        "flat",
        "schemas",
        "schema_files",
        "extra_fields",
        "fields",
    ];
    pub(super) const FIELD_KEYS: &[&'static str] = &["field", "kind", "collection", "cti", "stix_paths"];

    pub(super) fn read(item: &Item<'_>) -> Option<Match> {
        let table = item.table(Match::KEYS)?;
        let default = Match::default();
        Some(Match {
            subdomains: table.or("subdomains", default.subdomains, Item::boolean),
            url_hosts: table.or("url_hosts", default.url_hosts, Item::boolean),
            user_principals: table.or("user_principals", default.user_principals, Item::boolean),
            registered_domain: table.or("registered_domain", default.registered_domain, |item| {
                item.word(&[("exact", RegisteredDomain::Exact), ("derive", RegisteredDomain::Derive)])
            }),
            text: table.or("text", default.text, TextScan::read),
            text_refang: table.or("text_refang", default.text_refang, Item::boolean),
            max_url_bytes: table.or("max_url_bytes", default.max_url_bytes, Item::size),
            max_text_bytes: table.or("max_text_bytes", default.max_text_bytes, Item::size),
            grace: table.or("grace", default.grace, Item::duration),
            max_clock_skew: table.or("max_clock_skew", default.max_clock_skew, Item::duration),
            skip_enrichment_events: table.or("skip_enrichment_events", default.skip_enrichment_events, Item::boolean),
            inbound_enrichments: table.or("inbound_enrichments", default.inbound_enrichments, |item| {
                item.word(&[("keep", Inbound::Keep), ("mark", Inbound::Mark), ("strip", Inbound::Strip)])
            }),
            c2: table.or("c2", default.c2, C2::read),
            internal_networks: table.or("internal_networks", default.internal_networks, internal_networks),
            tag_into: table.or("tag_into", default.tag_into, |item| {
                item.word(&[("auto", TagInto::Auto), ("body", TagInto::Body), ("attributes", TagInto::Attributes)])
            }),
            tag_as: table.or("tag_as", default.tag_as, |item| {
                item.word(&[("auto", TagAs::Auto), ("ecs", TagAs::Ecs), ("ocsf", TagAs::Ocsf)])
            }),
            flat: table.or("flat", default.flat, |item| {
                item.word(&[("auto", Flat::Auto), ("on", Flat::On), ("off", Flat::Off)])
            }),
            schemas: table.or("schemas", default.schemas, schemas),
            schema_files: table.or("schema_files", default.schema_files, schema_files),
            extra_fields: table.or("extra_fields", default.extra_fields, Item::boolean),
            fields: table.or("fields", default.fields, fields),
        })
    }
}

impl C2 {
    pub(super) const KEYS: &[&'static str] = &["live"];

    fn read(item: &Item<'_>) -> Option<C2> {
        let table = item.table(C2::KEYS)?;
        let live = |item: &Item<'_>| match item.is_boolean() {
            true => item.boolean().map(|only| match only {
                true => CommandAndControl::DestinationIp,
                false => CommandAndControl::Any,
            }),
            false => item.word(&CommandAndControl::WORDS),
        };
        Some(C2 { live: table.or("live", CommandAndControl::default(), live) })
    }
}

fn internal_networks(list: &Item<'_>) -> Option<Vec<IpNet>> {
    let items = list.list("a list of networks, e.g. `[10.0.0.0/8, 2001:db8::/32]`")?;
    let network = |text: &str| match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(network), _) => Ok(network.trunc()),
        (_, Ok(address)) => Ok(IpNet::from(address)),
        _ => Err("is not a network; give an address with a prefix length, e.g. `10.0.0.0/8`".to_owned()),
    };
    Some(items.iter().filter_map(|item| item.parsed("a network", network)).collect())
}

fn schemas(list: &Item<'_>) -> Option<Vec<&'static str>> {
    let words: Vec<(&'static str, &'static str)> = crate::schema::names().map(|name| (name, name)).collect();
    let items = list.list("a list of schemas, e.g. `[ecs, zeek]`")?;
    Some(items.iter().filter_map(|item| item.word(&words)).collect())
}

fn schema_files(list: &Item<'_>) -> Option<Vec<PathBuf>> {
    let items = list.list("a list of files, e.g. `[/etc/hotlist/mine.csv]`")?;
    Some(
        items
            .iter()
            .filter_map(|item| item.parsed("the path of a file", |text| Ok::<_, Infallible>(PathBuf::from(text))))
            .collect(),
    )
}

fn fields(list: &Item<'_>) -> Option<Vec<Field>> {
    let mut fields: Vec<Field> = Vec::new();
    for item in list.list("a list of fields, e.g. `[{ field: my.ip, kind: ip }]`")? {
        let Some(field) = field(&item) else { continue };
        if fields.iter().any(|known| known.name == field.name) {
            item.report(Fault::BadValue {
                value: field.name,
                reason: "is duplicated in the list; remove one".to_owned(),
            });
        } else if fields.len() == FieldTable::MAX_FIELDS {
            let reason = format!("is one field more than the {} allowed; remove some", FieldTable::MAX_FIELDS);
            item.report(Fault::BadValue { value: field.name, reason });
            return None;
        } else {
            fields.push(field);
        }
    }
    Some(fields)
}

fn field(item: &Item<'_>) -> Option<Field> {
    let table = item.table(Match::FIELD_KEYS)?;
    let collection = table.or("collection", true, Item::boolean);
    let cti = table.or("cti", true, Item::boolean);
    let stix_paths = table.or("stix_paths", Vec::new(), |item| {
        let items = item.list("a list of STIX object paths, e.g. `[\"ipv4-addr:value\"]`")?;
        Some(items.iter().filter_map(|item| item.parsed("a STIX object path", stix_path)).collect())
    });
    let name = table.required("field", "its dotted ECS path, e.g. `my.ip`");
    let kind = table.required("kind", "the kind of its values, e.g. `ip`");
    let name = name?.dotted_path()?;
    Some(Field { collection, cti, stix_paths, ..Field::own(name, kind?.word(&KIND_WORDS)?) })
}

/// STIX 2.1, section 9.7: an object type, a colon and a path of properties.
fn stix_path(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((object, path)) if !object.is_empty() && !path.is_empty() => Ok(text.to_owned()),
        _ => Err("is not a STIX object path; give `type:property`, e.g. `ipv4-addr:value`".to_owned()),
    }
}
