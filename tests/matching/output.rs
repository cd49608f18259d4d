//! The output of Hotlist in events: ECS fields of the right types, or fields that `docs/output.md` declares; and every
//! example of that page is what really comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use hotlist::detect::{Budgets, Detector};
use hotlist::feed::{FeedOptions, import};
use hotlist::intel::allowlist::{self, Action, Allowlists};
use hotlist::intel::indicator::{Confidence, Context, Indicator, Tlp};
use hotlist::intel::pattern;
use hotlist::intel::snapshot::Feed;
use hotlist::matcher::Matcher;
use hotlist::observable::Kind;
use hotlist::policy::Policy;
use hotlist::schema::FieldTable;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::common::{EXACT, detector, indicator, instant, judge, of_terms, table};
use crate::shared::shared;

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/output.md")).unwrap()
}

/// The rows of the page's table of fields that are not ECS: name and type.
fn declared() -> BTreeMap<String, String> {
    let page = page();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter_map(|row| {
        let (name, rest) = row.split_once("` | ")?;
        let kind = rest.split_once(" | ")?.0;
        Some((name.to_owned(), kind.to_owned()))
    });
    let declared: BTreeMap<_, _> = rows.collect();
    assert!(declared.contains_key("hotlist.enrichments"), "the table of docs/output.md: {declared:?}");
    declared
}

/// The feed of the page, one importer file: everything that a feed can say stands in its columns.
fn examples() -> Detector {
    let page = page();
    let csv = page.split_once("```csv\n").unwrap().1.split_once("```").unwrap().0;
    let table = Arc::new(FieldTable::shipped().unwrap());
    let import = import(csv.as_bytes(), "acme-intel.csv", &FeedOptions::default(), &table).unwrap();
    assert!(import.unusable.is_empty(), "{:?}", import.unusable);
    let pattern = page.split_once("```stix\n").unwrap().1.split_once("\n```").unwrap().0;
    let stix = Indicator {
        id: Some("indicator--5c1b9c4a-2a3a-4f0e-9f3d-0d5a1e7c6b21".into()),
        ..of_terms(pattern::compile(pattern, &table).unwrap().terms)
    };
    let feeds = vec![(Feed::named("acme-intel"), import.indicators), (Feed::named("partner-stix"), vec![stix])];
    detector(&table, EXACT, None, feeds)
}

fn tag(detector: &Detector, document: &Value) -> Value {
    let mut matcher = Matcher::new(&detector.snapshot);
    let bytes = document.to_string();
    let verdict =
        detector.document(bytes.as_bytes(), detector.snapshot.trie(), &mut matcher, Timestamp::UNIX_EPOCH).unwrap();
    serde_json::from_slice(&detector.tag_document(bytes.as_bytes(), &verdict).unwrap()).unwrap()
}

/// Scenario: the tagged events that the page shows, their tags taken away, matched against the feeds that it shows.
/// Guarantee: the page shows exactly what comes out, and there is an example for each group of kinds.
#[test]
fn the_examples_of_the_page_are_what_comes_out() {
    let detector = examples();
    let page = page();
    let mut types = BTreeSet::new();
    for block in page.split("```json\n").skip(1) {
        let shown: Value = serde_json::from_str(block.split_once("```").unwrap().0).unwrap();
        let mut event = shown.clone();
        let members = event.as_object_mut().unwrap();
        members.shift_remove("tags");
        members.shift_remove("hotlist");
        if members.get("threat").is_some_and(Value::is_object) {
            members.shift_remove("threat");
        }
        if members.contains_key("class_uid") {
            members.shift_remove("enrichments");
            members.shift_remove("osint");
            event["metadata"]["profiles"].as_array_mut().unwrap().retain(|name| name != "osint");
        }
        let tagged = tag(&detector, &event);
        assert_eq!(tagged, shown, "{tagged:#}");
        let enrichments = [&shown["threat"]["enrichments"], &shown["hotlist"]["enrichments"]];
        let enrichments = enrichments.into_iter().filter_map(Value::as_array).flatten();
        types.extend(enrichments.map(|one| one["indicator"]["type"].as_str().unwrap().to_owned()));
    }
    let expected =
        ["domain-name", "email-addr", "file", "ipv4-addr", "network-traffic", "process", "url", "user-account"];
    assert_eq!(types.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

/// Every scalar below a value with its dotted path; arrays are what their elements are.
fn leaves(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            leaves(&path, value, found);
        }),
        Value::Array(elements) => elements.iter().for_each(|element| leaves(path, element, found)),
        scalar => found.push((path.to_owned(), scalar.clone())),
    }
}

/// Whether a scalar fits an ECS type, as Elasticsearch would index it without coercion.
fn fits(kind: &str, value: &Value) -> bool {
    match kind {
        "keyword" | "wildcard" | "match_only_text" => value.is_string(),
        "ip" => value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        "date" => value.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok()),
        "long" => value.is_i64(),
        "boolean" => value.is_boolean(),
        _ => false,
    }
}

/// A feed that says all that a feed can say, with an indicator of every kind.
fn talkative() -> (Detector, Value) {
    let context = Arc::new(Context {
        name: Some("Evil Corp".into()),
        description: Some("seen in a phish".into()),
        kill_chain_phases: vec!["delivery".into()],
        confidence: Confidence::High,
        tlp: Some(Tlp::AmberStrict),
        reference: Some("https://intel.example/1".into()),
        first_seen: Some(instant("2024-01-01T00:00:00Z")),
        last_seen: Some(instant("2024-02-01T00:00:00Z")),
    });
    let hashes = ["0a".repeat(16), "1b".repeat(20), "2c".repeat(32), "3d".repeat(64)];
    let fuzzy = "3:AXGBicFlgVNhBGcL6wCrFQEv:AXGHsNhxLsr2C";
    let plain = [
        (Kind::Ip, "203.0.113.7"),
        (Kind::Ip, "203.0.113.0/24"),
        (Kind::Ip, "2001:db8::7"),
        (Kind::Ip, "2001:db8::/32"),
        (Kind::Domain, "evil.example"),
        (Kind::Url, "https://evil.example/a"),
        (Kind::Url, "http://[2001:db8::7]/"),
        (Kind::Url, "evil.com/a"),
        (Kind::Email, "mallory@evil.example"),
        (Kind::User, "mallory"),
        (Kind::Ssdeep, fuzzy),
    ];
    let plain = plain.into_iter().chain(hashes.iter().map(|digest| (Kind::Md5, digest.as_str())));
    let wider = [
        "[network-traffic:dst_port > 1024]",
        "[process:created_time >= t'2024-01-01T00:00:00Z']",
        "[process:command_line = 'evil --now']",
        "[process:cwd = '/opt/evil']",
        "[file:name = 'evil.exe']",
        "[domain-name:x_query_type = 'TXT']",
        "[autonomous-system:number = 64496]",
    ];
    let wider = wider.into_iter().map(|pattern| of_terms(pattern::compile(pattern, &table()).unwrap().terms));
    let indicators = plain.map(|(kind, written)| indicator(kind, written)).chain(wider);
    let indicators: Vec<Indicator> =
        indicators.map(|indicator| Indicator { context: context.clone(), ..indicator }).collect();
    let event = json!({
        "@timestamp": "2024-06-01T12:00:00.5Z",
        "source": { "ip": ["203.0.113.7", "2001:db8::7"], "as": { "number": 64496 } },
        "destination": { "ip": "[2001:DB8::7]:443", "port": 4444 },
        "dns": { "question": { "name": "EVIL.example.", "type": "txt" } },
        "url": { "full": ["HTTPS://evil.example:443/a", "http://[2001:db8::7]", "evil.com/a"] },
        "email": { "from": { "address": "Mallory <mallory@evil.example>" } },
        "user": { "name": r"CORP\Mallory" },
        "related": { "hash": [hashes, fuzzy] },
        "file": { "name": "EVIL.exe" },
        "process": {
            "start": "2024-05-01T00:00:00Z", "command_line": "evil --now", "working_directory": "/opt/evil"
        },
    });
    let list = br#"{ "name": "shared", "type": "cidr", "list": ["203.0.113.7"] }"#;
    let list = allowlist::read(list, "").unwrap().list.with_action(Action::Annotate);
    let allowlists = Arc::new(Allowlists::new(vec![list]));
    let policy = Policy { allowlists, only_allowlists: true, ..Policy::default() };
    (detector(&table(), EXACT, Some(policy), vec![(Feed::named("talkative"), indicators)]), event)
}

/// The fields that tagging adds to an event that hits an indicator of every kind, with their values.
fn added() -> Vec<(String, Value)> {
    let (detector, event) = talkative();
    let tagged = tag(&detector, &event);
    let verdict = judge(&detector, &event);
    let kinds: BTreeSet<Kind> = verdict.hits.iter().map(|hit| hit.kind).collect();
    assert_eq!(kinds, Kind::ALL.into_iter().collect(), "the event hits every kind");
    let mut added = Vec::new();
    for (key, value) in tagged.as_object().unwrap() {
        match event.get(key) {
            Some(before) => assert_eq!(before, value, "what was there stays"),
            None => leaves(key, value, &mut added),
        }
    }
    // With more findings than the budget.
    let few = Detector { budgets: Budgets { record_findings: 1, ..Budgets::default() }, ..detector.clone() };
    leaves("threat", &tag(&few, &event)["threat"], &mut added);
    // The same without a place in `threat`.
    let blocked = tag(&detector, &json!({ "threat": "high", "source": { "ip": "203.0.113.7" } }));
    assert_eq!(blocked["threat"], "high");
    assert!(blocked["hotlist"]["enrichments"].is_array(), "{blocked:#}");
    added
}

/// A field as the page names it: below an enrichment, without the path of that.
fn inner(path: &str) -> &str {
    path.strip_prefix("threat.enrichments.").unwrap_or(path)
}

/// Scenario: an event that hits an indicator of every kind, from a feed that says all that it can.
/// Guarantee: every field that the page declares occurs, with the type that it has there.
#[test]
fn everything_declared_is_added() {
    // Those of a place that cannot be read, and of an enrichment that arrived (`malformed.rs`, `inbound.rs`), of a text (`text.rs`),
    // of a field of another schema, of a registered domain (`schemas.rs`), and of rules (`rules.rs`).
    let elsewhere = [
        "hotlist.offset.start",
        "hotlist.offset.end",
        "hotlist.derived",
        "hotlist.ecs_field",
        "hotlist.enrichments",
        "hotlist.rules",
        "hotlist.tags",
        "hotlist.verified",
    ];
    let mut used = BTreeSet::from(elsewhere.map(str::to_owned));
    let declared = declared();
    for (path, value) in added() {
        if let Some(kind) = declared.get(inner(&path)) {
            assert!(fits(kind, &value), "{path} is of type {kind}, not {value}");
            used.insert(inner(&path).to_owned());
        }
    }
    assert_eq!(used, declared.into_keys().collect(), "what the page declares and what occurs");
}

/// Guarantee: what is added there and not declared is an ECS field, of its ECS type; and no declared field is one.
#[test]
#[ignore = "needs ../shared"]
fn everything_added_is_ecs_or_declared() {
    let mut reader = csv::Reader::from_path(shared("data/ecs_fields.csv")).unwrap();
    let ecs: BTreeMap<String, String> =
        reader.records().map(|row| row.unwrap()).map(|row| (row[1].to_owned(), row[2].to_owned())).collect();
    assert_eq!(ecs["threat.enrichments"], "nested");
    let declared = declared();
    assert!(declared.keys().all(|name| !ecs.contains_key(name)), "a declared field has become ECS: drop it");
    for (path, value) in added() {
        let kind = ecs.get(&path).or_else(|| declared.get(inner(&path)));
        let kind = kind.unwrap_or_else(|| panic!("`{path}` is neither ECS nor declared in docs/output.md"));
        assert!(fits(kind, &value), "{path} is of type {kind}, not {value}");
    }
}

fn enrichments(tagged: &Value) -> &Vec<Value> {
    tagged["threat"]["enrichments"].as_array().unwrap_or_else(|| panic!("{tagged:#}"))
}

/// Scenario: the event that hits everything.
/// Guarantee: `indicator.ip` is there for addresses only, never for a network; `matched.atomic` is the value as the
/// event has it; confidence and marking are the words of ECS; the type is that of the address' family.
#[test]
fn the_words_and_values_are_those_that_a_siem_expects() {
    let (detector, event) = talkative();
    let tagged = tag(&detector, &event);
    let mut originals = Vec::new();
    leaves("", &event, &mut originals);
    let (mut addresses, mut networks) = (0, 0);
    for one in enrichments(&tagged) {
        let (shown, matched) = (&one["indicator"], &one["matched"]);
        let name = shown["name"].as_str().unwrap();
        let kind = shown["type"].as_str().unwrap();
        if kind.ends_with("-addr") && kind.starts_with("ip") {
            assert_eq!(kind, if name.contains(':') { "ipv6-addr" } else { "ipv4-addr" });
            if name.contains('/') {
                networks += 1;
                assert!(shown.get("ip").is_none(), "{one}");
            } else {
                addresses += 1;
                assert_eq!(shown["ip"], name);
            }
        } else {
            assert!(shown.get("ip").is_none(), "{one}");
        }
        let as_in_the_event = originals.iter().any(|(path, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            matched["field"] == path.as_str() && matched["atomic"] == text
        });
        assert!(as_in_the_event, "{matched}");
        assert_eq!((&shown["confidence"], &shown["marking"]["tlp"]), (&json!("High"), &json!("AMBER+STRICT")));
        assert_eq!(shown["description"], "Evil Corp: seen in a phish");
        assert_eq!((&shown["provider"], &one["feed"]["name"]), (&json!("talkative"), &json!("talkative")));
        assert_eq!(matched["type"], "indicator_match_rule");
        assert_eq!(matched["occurred"], "2024-06-01T12:00:00.5Z");
        let (asset, alert_key) = (&one["hotlist"]["asset"], &one["hotlist"]["alert_key"]);
        assert!(asset["name"].is_string() && asset["type"].is_string(), "{one}");
        assert_eq!(alert_key.as_str().map(str::len), Some(32), "{one}");
        let mut own = json!({ "rule": "feed:talkative", "detection": "CTI", "severity": "medium", "alert_key": alert_key,
            "asset": asset, "snapshot": "acme@42" });
        if matched["atomic"] == "203.0.113.7" {
            own["allowlists"] = json!(["shared"]);
        }
        assert_eq!(one["hotlist"], own);
    }
    assert!(addresses >= 3 && networks >= 3, "{addresses} addresses, {networks} networks");
}

/// Scenario: every confidence and every marking that there is, and a feed that says nothing.
/// Guarantee: the words that ECS lists, markings in upper case, and nothing invented.
#[test]
fn confidence_and_marking_use_the_words_of_ecs() {
    let confidences =
        [Confidence::NotSpecified, Confidence::None, Confidence::Low, Confidence::Medium, Confidence::High];
    let words = ["Not Specified", "None", "Low", "Medium", "High"];
    let markings = [Tlp::White, Tlp::Clear, Tlp::Green, Tlp::Amber, Tlp::AmberStrict, Tlp::Red].map(Some);
    let marks = ["WHITE", "CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"].map(|word| json!({ "tlp": word }));
    let contexts = confidences.into_iter().map(|confidence| Context { confidence, ..Context::default() });
    let contexts = contexts.chain(markings.into_iter().map(|tlp| Context { tlp, ..Context::default() }));
    let mut shown = Vec::new();
    for context in contexts {
        let found = Indicator { context: Arc::new(context), ..indicator(Kind::Domain, "evil.example") };
        let detector = detector(&table(), EXACT, None, vec![(Feed::named("feed"), vec![found])]);
        let tagged = tag(&detector, &json!({ "url.domain": "evil.example" }));
        shown.push(enrichments(&tagged)[0]["indicator"].clone());
    }
    let (confidences, markings) = shown.split_at(5);
    assert!(confidences.iter().zip(words).all(|(shown, word)| shown["confidence"] == word), "{confidences:?}");
    assert!(markings.iter().zip(marks).all(|(shown, mark)| shown["marking"] == mark), "{markings:?}");
    let keys: Vec<_> = shown[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["type", "name", "provider", "confidence", "url"]);
}

/// Scenario: one indicator at a field twice and at a second field, the same value in two feeds, and one indicator of
/// several values of which two hit.
/// Guarantee: one enrichment for each indicator and field; two feeds give two.
#[test]
fn there_is_one_enrichment_for_each_indicator_and_field() {
    let same = || vec![indicator(Kind::Domain, "evil.example")];
    let event = json!({
        "related": { "hosts": ["evil.example", "EVIL.example", "evil.example:443"] },
        "url": { "domain": "evil.example" },
    });
    let of = |tagged: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        enrichments(tagged).iter().map(|one| (text(&one["matched"]["field"]), text(&one["feed"]["name"]))).collect()
    };
    let pair = |field: &str, feed: &str| (field.to_owned(), feed.to_owned());
    let one = detector(&table(), EXACT, None, vec![(Feed::named("a"), same())]);
    assert_eq!(of(&tag(&one, &event)), [pair("related.hosts", "a"), pair("url.domain", "a")]);

    let two = detector(&table(), EXACT, None, vec![(Feed::named("a"), same()), (Feed::named("b"), same())]);
    let mut found = of(&tag(&two, &event));
    found.sort();
    let expected = ["related.hosts", "url.domain"].map(|field| [pair(field, "a"), pair(field, "b")]).concat();
    assert_eq!(found, expected);

    let several = "[domain-name:value = 'evil.example' OR domain-name:value = 'evil.example.org']";
    let several = of_terms(pattern::compile(several, &table()).unwrap().terms);
    let both = detector(&table(), EXACT, None, vec![(Feed::named("a"), vec![several])]);
    let tagged = tag(&both, &json!({ "related.hosts": ["evil.example", "evil.example.org"] }));
    assert_eq!(of(&tagged), [pair("related.hosts", "a")]);
}

/// Scenario: an event that passes twice, as when two sidecars are in a row or a collector sends again, with its
/// `threat` as an object, dotted, or taken by something else. Guarantee: the second pass adds nothing, byte for byte;
/// another feed's hit is added after the first.
#[test]
fn a_second_pass_adds_nothing() {
    let (detector, event) = talkative();
    let other = vec![(Feed::named("other"), vec![indicator(Kind::Ip, "203.0.113.7")])];
    let other = self::detector(&table(), EXACT, None, other);
    let hit = || json!({ "ip": "203.0.113.7" });
    for event in [
        event,
        json!({ "source": hit(), "tags": "web" }),
        json!({ "source": hit(), "threat.enrichments": [] }),
        json!({ "source": hit(), "threat": "high" }),
        json!({ "source": hit(), "threat": "high", "hotlist": 1 }),
        json!({ "source": hit(), "threat": { "enrichments": { "indicator": { "name": "theirs" } } } }),
    ] {
        let once = tag(&detector, &event);
        assert_ne!(once, event);
        let twice = tag(&detector, &once);
        assert_eq!(once.to_string(), twice.to_string());
        let third = tag(&other, &once).to_string();
        assert!(third.len() > once.to_string().len() && third.contains("feed:other"), "{third}");
    }
}
