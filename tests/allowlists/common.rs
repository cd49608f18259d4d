//! Lists from literals, and what becomes of one finding under them.

use std::sync::Arc;

use hotlist::detect::{Budgets, Detector, Verdict};
use hotlist::encoding::Tagging;
use hotlist::intel::allowlist::{self, Action, Allowlist, Allowlists};
use hotlist::intel::indicator::{Context, Indicator, Target, Term, TermValue};
use hotlist::intel::snapshot::{Feed, MatchOptions, SnapshotBuilder};
use hotlist::intel::term;
use hotlist::matcher::Matcher;
use hotlist::observable::Kind;
use hotlist::policy::{Policy, Suppression};
use hotlist::schema::FieldTable;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A list that suppresses, all of whose entries are usable.
pub fn list(kind: &str, attributes: &[&str], entries: &[&str]) -> Allowlist {
    let text = json!({ "name": kind, "type": kind, "matching_attributes": attributes, "list": entries }).to_string();
    let import = allowlist::read(text.as_bytes(), "").unwrap();
    assert_eq!(import.unusable, [], "{text}");
    import.list.with_action(Action::Suppress)
}

pub fn indicator(kind: Kind, written: &str) -> Indicator {
    let value = term::value(kind, written).unwrap_or_else(|| panic!("`{written}` is no {kind}"));
    of_value(value)
}

fn of_value(value: TermValue) -> Indicator {
    Indicator {
        id: None,
        terms: vec![Term { value, target: Target::Kind }],
        program: None,
        context: Arc::new(Context::default()),
        valid_from: None,
        valid_until: None,
        revoked: false,
        port: None,
        line: 1,
    }
}

pub fn policy(lists: Vec<Allowlist>) -> Policy {
    Policy { allowlists: Arc::new(Allowlists::new(lists)), ..Policy::default() }
}

/// A detector of one feed, whose domains stand for what is below them and whose URLs for longer paths when asked.
pub fn detector(policy: Policy, wide: bool, indicators: Vec<Indicator>) -> Detector {
    let table = Arc::new(FieldTable::embedded(true).unwrap());
    // Longer than what an expression is tried on.
    let options = MatchOptions { max_url_bytes: 16 << 10, ..MatchOptions::default() };
    let mut builder = SnapshotBuilder::new(table, options, 7);
    builder.add_feed(Feed { subdomains: wide, url_prefix: wide, ..Feed::named("feed") }, indicators).unwrap();
    Detector {
        snapshot: Arc::new(builder.build("1")),
        policy: Some(policy),
        tagging: Tagging::default(),
        budgets: Budgets::default(),
    }
}

pub fn judge(detector: &Detector, document: &Value) -> Verdict {
    let mut matcher = Matcher::new(&detector.snapshot);
    let document = document.to_string();
    detector.document(document.as_bytes(), detector.snapshot.trie(), &mut matcher, Timestamp::UNIX_EPOCH).unwrap()
}

/// The field at which a value of this kind stands.
fn field(kind: Kind) -> &'static str {
    match kind {
        Kind::Ip => "source.ip",
        Kind::Domain => "dns.question.name",
        Kind::Url => "url.full",
        Kind::Email => "email.from.address",
        Kind::User => "user.name",
        Kind::Name => "file.name",
        _ => "related.hash",
    }
}

/// Whether the list suppresses what an indicator finds in a value. It must find it.
pub fn suppresses(list: Allowlist, wide: bool, (kind, written): (Kind, &str), value: &str) -> bool {
    let found = match kind {
        // Names of files are looked for at the fields that a pattern says.
        Kind::Name => {
            let pattern = format!("[file:name = '{written}']");
            let table = FieldTable::embedded(true).unwrap();
            let terms = hotlist::intel::pattern::compile(&pattern, &table).unwrap().terms;
            Indicator { terms, ..indicator(Kind::Name, written) }
        }
        _ => indicator(kind, written),
    };
    let verdict = judge(&detector(policy(vec![list]), wide, vec![found]), &json!({ field(kind): value }));
    match (&verdict.hits[..], &verdict.suppressed[..]) {
        ([_], []) => false,
        ([], [(_, Suppression::Allowlist)]) => true,
        other => panic!("{written} in {value}: {other:?}"),
    }
}
