//! Rules in a configuration: what is read, refused and warned of.

use crate::config::{Config, ConfigErrors, Format, RuleWarning};
use crate::intel::indicator::{Confidence, Context, Feed, Origin};
use crate::observable::Kind;
use crate::rules::IndicatorKind;
use crate::severity::Severity;

const REST: &str = "
sources: { a: { type: otlp, address: '127.0.0.1:1' } }
sinks: { s: { type: blackhole, inputs: [a] } }
";

fn load(intel: &str, rules: &str) -> Result<Config, ConfigErrors> {
    Config::parse(&format!("{REST}intel: {intel}\nrules: {rules}\n"), Format::Yaml, &|_| None)
}

const FILES: &str = "{ files: [{ path: a.csv, feed: acme }, 'x/urlhaus.csv.gz', 'logs/vendor-*.txt', { path: m.txt, rule: collection }] }";

/// Guarantee: every key of a rule arrives, and the shown configuration loads as the same one.
#[test]
fn every_key_is_read_and_shown() {
    let text = "{ second-to-none: { name: N, description: D, feeds: [acme, urlhaus], kinds: [hash, ip, pattern], \
                min_confidence: medium, kill_chain_phases: [C2], severity: low }, \
                a: { enabled: false, collections: [m] } }";
    let config = load(FILES, text).unwrap();
    let shown = config.to_yaml().unwrap();
    assert_eq!(Config::parse(&shown, Format::Yaml, &|_| None).unwrap(), config, "{shown}");
    let rules = config.enabled_rules().unwrap();
    let [rule] = rules.iter().collect::<Vec<_>>()[..] else { panic!("{rules:?}") };
    assert_eq!(
        (&*rule.id, rule.name.as_deref(), rule.description.as_deref()),
        ("second-to-none", Some("N"), Some("D"))
    );
    assert_eq!((rule.kinds.len(), rule.min_confidence, rule.max_severity), (7, Confidence::Medium, Severity::Low));
    let context = Context {
        confidence: Confidence::High,
        kill_chain_phases: vec!["command_and_control".into()],
        ..Context::default()
    };
    for (feed, kind, is_selected) in [
        (Feed::named("acme"), IndicatorKind::Of(Kind::Sha256), true),
        (Feed::named("urlhaus"), IndicatorKind::Pattern, true),
        (Feed::named("urlhaus"), IndicatorKind::Of(Kind::Url), false),
        (Feed { origin: Origin::Collection, ..Feed::named("acme") }, IndicatorKind::Of(Kind::Ip), false),
    ] {
        assert_eq!(rules.select(&feed, kind, &context).is_ok(), is_selected, "{feed:?} {kind:?}");
    }
    assert_eq!(Config::parse(REST, Format::Yaml, &|_| None).unwrap().enabled_rules(), None);
}

/// Guarantee: each fault is reported at its place with what would be right.
#[test]
fn faults_have_a_place_and_a_remedy() {
    for (rules, parts) in [
        ("{ r: { feeds: [acne] } }", &["5:23", "rules.r.feeds[0]", "`acne`", "did you mean `acme`?"][..]),
        ("{ r: { feeds: [zebra] } }", &["`zebra`", "`acme` and `urlhaus`"]),
        ("{ r: { feeds: [m] } }", &["rules.r.feeds[0]", "`collections`"]),
        ("{ r: { collections: [acme] } }", &["rules.r.collections[0]", "no collection", "`feeds`"]),
        ("{ r: { collections: [n] } }", &["rules.r.collections[0]", "`n`", "`m`"]),
        ("{ r: {} }", &["rules.r", "selects nothing", "feeds: [\"*\"]"]),
        ("{ r: { feeds: [], collections: [] } }", &["rules.r", "selects nothing"]),
        ("{ r: { feeds: ['*'], kinds: [domian] } }", &["rules.r.kinds[0]", "`domain`?"]),
        ("{ r: { feeds: ['*'], kinds: [auto] } }", &["rules.r.kinds[0]", "`auto`"]),
        ("{ r: { feeds: ['*'], min_confidence: hihg } }", &["rules.r.min_confidence", "`high`?"]),
        ("{ r: { feeds: ['*'], severity: urgent } }", &["rules.r.severity", "`critical`"]),
        ("{ r: { feeds: ['*'], kill_chain_phase: [x] } }", &["rules.r.kill_chain_phase", "`kill_chain_phases`?"]),
        ("{ 'r 1': { feeds: ['*'] } }", &["r 1", "usable name"]),
    ] {
        let error = load(FILES, rules).expect_err(rules).to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{rules}: {parts:?} in {error}");
    }
    // An entry that cannot be read may be the one that is meant.
    let error = load("{ files: [{ path: a.csv, feed: 7 }, { paht: b }] }", "{ r: { feeds: [acme] } }").unwrap_err();
    assert!(!error.to_string().contains("rules"), "{error}");
}

/// Guarantee: whatever a glob finds, and whatever a control plane sends, can be named.
#[test]
fn names_that_only_files_or_a_control_plane_show_can_be_given() {
    for name in ["'*'", "urlhaus", "urlhaus.csv", "vendor-x", "vendor-"] {
        load(FILES, &format!("{{ r: {{ feeds: [{name}] }} }}")).unwrap_or_else(|error| panic!("{error}"));
    }
    for (path, name, is_right) in [
        ("feeds/*", "any", true),
        ("feeds/*.csv", "any", true),
        ("feeds/a[bc].csv", "ab", true),
        ("feeds/b.c*", "b", true),
        ("feeds/b.c*", "c", false),
        ("misp/manifest.json", "misp", true),
        ("misp-*/manifest.json", "misp-7", true),
        ("misp", "misp", true),
        ("misp/", "misp", true),
        ("feeds/a.csv", "feeds", false),
        ("feeds/a.csv", "a.c", false),
    ] {
        let loaded = load(&format!("{{ files: ['{path}'] }}"), &format!("{{ r: {{ feeds: ['{name}'] }} }}"));
        assert_eq!(loaded.is_ok(), is_right, "{path} {name}");
    }
    let control = "{ control: { endpoint: 'http://127.0.0.1:14400', audience: acme, cache: cache } }";
    load(control, "{ r: { feeds: [anything], collections: [other] } }").unwrap();
}

/// Guarantee: an entry that no enabled rule selects is named, and so is a configuration in which no rule is enabled.
#[test]
fn what_rules_leave_out_is_named() {
    let warnings = |rules: &str| load(FILES, rules).unwrap().rule_warnings();
    assert_eq!(warnings("{ r: { feeds: ['*'], collections: ['*'] } }"), []);
    assert_eq!(warnings("{}"), [RuleWarning::NoneEnabled]);
    assert_eq!(warnings("{ r: { enabled: false, feeds: ['*'] } }"), [RuleWarning::NoneEnabled]);
    let left = warnings("{ r: { feeds: [acme] }, off: { enabled: false, collections: [m] } }");
    let left: Vec<String> = left.iter().map(RuleWarning::to_string).collect();
    let parts = ["intel.files[1]", "x/urlhaus.csv.gz", "intel.files[2]", "vendor-*", "intel.files[3]", "m.txt"];
    assert_eq!(left.len(), 3);
    assert!(parts.iter().all(|part| left.join("\n").contains(part)), "{left:?}");
    assert_eq!(
        load("{ files: [{ path: b.csv, enabled: false }, c.csv] }", "{ r: { feeds: [c] } }").unwrap().rule_warnings(),
        []
    );
    assert_eq!(Config::parse(REST, Format::Yaml, &|_| None).unwrap().rule_warnings(), []);
}
