//! Lists of named values as programs write them: each exporter's shape of a Windows event, and what hits say of it.

use std::sync::Arc;

use hotlist::detect::Survey;
use hotlist::intel::snapshot::Feed;
use hotlist::observable::Kind;
use hotlist::policy::{Policy, Suppression};
use hotlist::schema::{Field, FieldKind, FieldTable};
use serde_json::{Value, json};

use crate::common::{EXACT, detector, field_of, indicator, judge, send_each_way};
use crate::schemas::c2;

fn shipped() -> Arc<FieldTable> {
    Arc::new(FieldTable::shipped().unwrap())
}

/// An element of `EventData` as each program writes `<Data Name="NAME">VALUE</Data>`.
fn written(name: &str, value: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("xmltodict, Json.NET", json!({ "@Name": name, "#text": value })),
        ("fast-xml-parser", json!({ "#text": value, "@_Name": name })),
        ("xml2js", json!({ "_": value, "$": { "Name": name } })),
        ("xml-js", json!({ "_attributes": { "Name": name }, "_text": value })),
        ("x2js", json!({ "_Name": name, "__text": value })),
        ("mxj", json!({ "-Name": name, "#text": value })),
        ("evtx_dump", json!({ "#attributes": { "Name": name }, "#text": value })),
        ("BadgerFish", json!({ "@Name": name, "$": value })),
        ("xml2json", json!({ "Name": name, "$t": value })),
        ("Vector", json!({ "@Name": name, "text": value })),
        ("Logstash", json!({ "Name": name, "content": value })),
        ("name and value", json!({ "Name": name, "Value": value })),
    ]
}

/// Guarantee: a value is found at the row of its name, in the shape of every program, in a list and alone, in every
/// encoding; kinds, columns and sides are those of the row.
#[test]
fn every_exporters_event_is_found_at_the_row_of_its_name() {
    let feeds = || {
        let all = [(Kind::Ip, "203.0.113.9"), (Kind::User, "mallory"), (Kind::Path, r"C:\evil\run.exe")];
        vec![(Feed::named("feed"), all.map(|(kind, value)| indicator(kind, value)).to_vec())]
    };
    let detector = detector(&shipped(), EXACT, Some(Policy::default()), feeds());
    let rows = [("DestinationIp", "203.0.113.9"), ("User", r"CORP\mallory"), ("Image", r"C:\Evil\run.exe")];
    for (name, value) in rows {
        let [_, others @ ..] = &written("RuleName", "-")[..] else { unreachable!() };
        for ((program, element), (_, other)) in written(name, value).into_iter().zip(others.iter().cycle()) {
            for (place, data) in
                [("list", json!([other, element])), ("alone", element.clone()), ("deep", json!([[element]]))]
            {
                for (root, document) in [
                    ("Event.EventData.Data", json!({ "Event": { "EventData": { "Data": data } } })),
                    ("Event.EventData.Data", json!({ "Event": { "EventData": [{ "Data": data }] } })),
                    ("EventData.Data", json!({ "EventData": { "Data": data } })),
                    ("EventData.Data", json!({ "EventData.Data": data })),
                ] {
                    let verdict = judge(&detector, &document);
                    let found: Vec<_> = verdict.hits.iter().map(|hit| field_of(&detector, hit).to_owned()).collect();
                    assert_eq!(found, [format!("{root}.{name}")], "{program}, {place}: {document}");
                    for (way, sent) in send_each_way(&detector, &document) {
                        assert_eq!(sent.hits.len(), 1, "{program}, {place}, {way}: {document}");
                    }
                }
            }
        }
    }
}

/// Guarantee: the side of an address is that of its row, so that command and control counts at the responder alone, and the
/// direction of the connection is read from the list as well.
#[test]
fn sides_and_direction_are_those_of_the_rows() {
    let detector =
        detector(&shipped(), EXACT, Some(Policy::default()), vec![(Feed::named("feed"), vec![c2(Kind::Ip)])]);
    let event = |names: &[(&str, &str)]| {
        let data: Vec<_> = names.iter().map(|(name, value)| json!({ "#text": value, "@Name": name })).collect();
        json!({ "Event": { "EventData": { "Data": data } } })
    };
    let inside = ("Initiated", "false");
    let verdict = judge(&detector, &event(&[("DestinationIp", "203.0.113.7"), inside]));
    assert_eq!(verdict.hits.len(), 1);
    assert_eq!(
        verdict.facts,
        judge(&detector, &json!({ "EventData": { "DestinationIp": "203.0.113.7", "Initiated": "false" } })).facts
    );
    let verdict = judge(&detector, &event(&[("SourceIp", "203.0.113.7")]));
    let reasons: Vec<_> = verdict.suppressed.iter().map(|(_, reason)| *reason).collect();
    assert_eq!((verdict.hits.len(), reasons), (0, vec![Suppression::CommandAndControlField]));
}

/// Guarantee: what a value is read as does not depend on which indicators there are: a row that none is looked for at is
/// still the row of its name.
#[test]
fn a_row_that_is_not_looked_up_keeps_its_value() {
    let of = |kind: Kind, value: &str| {
        detector(&shipped(), EXACT, Some(Policy::default()), vec![(Feed::named("feed"), vec![indicator(kind, value)])])
    };
    let document = |name: &str| json!({ "EventData": { "Data": [{ "Name": name, "Value": "203.0.113.9" }] } });
    let addresses = of(Kind::Ip, "203.0.113.9");
    for (name, hits) in [("DestinationIp", 1), ("NotInAnyTable", 1), ("Product Version", 0), ("CommandLine", 0)] {
        assert_eq!(judge(&addresses, &document(name)).hits.len(), hits, "{name}");
    }
    assert_eq!(judge(&of(Kind::Text, "203.0.113.9"), &document("CommandLine")).hits.len(), 1);
}

/// Guarantee: a schema of the user's own may have lists; the survey names the path to add for a name that has no row.
#[test]
fn a_table_of_the_users_own_may_have_lists() {
    let mut table = FieldTable::embedded(true).unwrap();
    let rows = "path,kind,ecs,role,collection,cti,stix_paths\nargs,- name@k value@v,,,no,no,\nargs.peer,ip,destination.ip,,,,\n";
    table.add_schema("mine.csv", rows).unwrap();
    let table = Arc::new(table);
    let feeds = vec![(Feed::named("feed"), vec![indicator(Kind::Ip, "203.0.113.9")])];
    let detector = detector(&table, EXACT, Some(Policy::default()), feeds);
    let document = json!({ "args": [{ "v": "203.0.113.9", "k": "peer" }, { "k": "host", "v": "203.0.113.9" }] });
    let verdict = judge(&detector, &document);
    let found: Vec<_> = verdict.hits.iter().map(|hit| field_of(&detector, hit).to_owned()).collect();
    assert_eq!(found, ["args.peer"]);
    let mut survey = Survey::new(&table);
    survey.add(document.to_string().as_bytes());
    assert_eq!(survey.most_frequent(5), [("args.host", Kind::Ip)]);
    for (kind, reason) in [("- name@k", "name@"), ("- value@v", "name@"), ("- name@a..b value@v", "not a path")] {
        let rows = format!("path,kind,ecs,role,collection,cti,stix_paths\nx,{kind},,,no,no,\n");
        let error = FieldTable::default().add_schema("mine.csv", &rows).unwrap_err().to_string();
        assert!(error.contains(reason), "{kind}: {error}");
    }
    assert!(Field::own("x", FieldKind::Auto).named.is_empty());
}
