//! Tests of the MISP importer.

use crate::feed::{FeedError, FeedFormat, FeedOptions, Import, import};
use crate::intel::indicator::{Confidence, Tlp};
use crate::schema::FieldTable;

fn misp(text: &str) -> Result<Import, FeedError> {
    import(text.as_bytes(), "event.json", &FeedOptions::default(), &FieldTable::embedded(true).unwrap())
}

/// An event with these attributes, one a line from line 2.
fn event(attributes: &[&str]) -> Import {
    misp(&format!("{{\"Event\":{{\"info\":\"a campaign\",\"Attribute\":[\n{}\n]}}}}", attributes.join(",\n"))).unwrap()
}

/// `line value+value`, and a port behind a colon.
fn shown(import: &Import) -> Vec<String> {
    let values = |indicator: &crate::intel::indicator::Indicator| {
        let terms: Vec<_> = indicator.terms.iter().map(|term| term.value.to_string()).collect();
        let port = indicator.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{} {}{port}", indicator.line, terms.join("+"))
    };
    import.indicators.iter().map(values).collect()
}

fn attribute(kind: &str, value: &str) -> String {
    format!(r#"{{"type":"{kind}","value":"{value}","to_ids":true}}"#)
}

const MD5: &str = "0cc175b9c0f1b6a831c399e269772661";

#[test]
fn every_type_that_can_be_looked_for_gives_its_values() {
    let typed = [
        ("ip-src", "203.0.113.1", "203.0.113.1"),
        ("ip-dst", "203.0.113.0/24", "203.0.113.0/24"),
        ("ip-dst|port", "203.0.113.2|443", "203.0.113.2:443"),
        ("ip-src|port", "2001:db8::1|443", "2001:db8::1:443"),
        ("hostname|port", "evil.com|8080", "evil.com:8080"),
        ("domain", "evil.com", "evil.com"),
        ("hostname", "a.evil.com", "a.evil.com"),
        ("domain|ip", "evil.com|203.0.113.3", "evil.com+203.0.113.3"),
        ("url", "hxxp://evil[.]com/a", "http://evil.com/a"),
        ("uri", "https://evil.com/", "https://evil.com/"),
        ("md5", MD5, MD5),
        ("filename|md5", &format!("a|b.exe|{MD5}"), MD5),
        ("malware-sample", &format!("a.exe|{MD5}"), MD5),
        ("email-src", "Bad@evil.com", "bad@evil.com"),
        ("email-dst", "bad@evil.com", "bad@evil.com"),
        ("target-user", "Mallory", "mallory"),
        ("stix2-pattern", "[domain-name:value = 'evil.com']", "evil.com"),
    ];
    let attributes: Vec<String> = typed.iter().map(|(kind, value, _)| attribute(kind, value)).collect();
    let import = event(&attributes.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(import.unusable.is_empty(), "{:?}", import.unusable);
    let expected: Vec<String> = (2..).zip(&typed).map(|(line, (_, _, shown))| format!("{line} {shown}")).collect();
    assert_eq!(shown(&import), expected);
    assert_eq!(import.format, FeedFormat::Misp);
}

#[test]
fn what_is_not_meant_for_detection_or_cannot_be_looked_for_is_listed_with_its_reason() {
    let import = event(&[
        r#"{"type":"domain","value":"a.com","to_ids":false}"#,
        r#"{"type":"domain","value":"b.com"}"#,
        r#"{"type":"domain","value":"c.com","to_ids":true,"deleted":true}"#,
        r#"{"type":"domain","value":"d.com","to_ids":"1","warnings":[{"match":"d.com","warninglist_name":"Top 1000"}]}"#,
        r#"{"type":"domain","value":"e.com","to_ids":1,"warnings":{"7":{"name":"Banks"}}}"#,
        r#"{"type":"regkey","value":"HKLM","to_ids":true}"#,
        r#"{"type":"sha224","value":"00","to_ids":true}"#,
        r#"{"type":"filename|imphash","value":"a|00","to_ids":true}"#,
        r#"{"type":"ip-dst|port","value":"203.0.113.2|none","to_ids":true}"#,
        r#"{"type":"domain","value":"http://f.com/","to_ids":true}"#,
        r#"{"type":"domain","to_ids":true}"#,
        r#""text""#,
        r#"{"type":"domain","value":"g.com","to_ids":"true","warnings":[]}"#,
    ]);
    assert_eq!(shown(&import), ["14 g.com"]);
    let reasons: Vec<_> = import.unusable.iter().map(|bad| (bad.line, bad.reason.as_str())).collect();
    let expected = [
        (2, "to_ids"),
        (3, "to_ids"),
        (5, "Top 1000"),
        (6, "Banks"),
        (7, "`regkey`"),
        (8, "`sha224`"),
        (9, "`filename|imphash`"),
        (10, "not a port"),
        (11, "`domain`"),
        (12, "`value`"),
        (13, "no MISP attribute"),
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for ((line, reason), (expected_line, part)) in reasons.iter().zip(expected) {
        assert!(*line == expected_line && reason.contains(part), "{line} {reason} {part}");
    }
    assert_eq!(import.unusable[0].excerpt, "domain: a.com");
}

#[test]
fn event_and_attribute_say_context_together() {
    let import = misp(
        r#"{"Event":{"info":"a campaign","Tag":[{"name":"tlp:amber"},{"name":"misp:confidence-level=\"fairly-confident\""},
            {"name":"kill-chain:Delivery"}],
            "Attribute":[{"uuid":"u-1","type":"domain","value":"evil.com","to_ids":true,"comment":"a panel",
              "first_seen":"2024-01-01T00:00:00.000000+00:00","last_seen":"2024-02-01T00:00:00.000000+00:00",
              "Tag":[{"name":"tlp:green"},{"name":"misp:confidence-level=\"usually-confident\""},
                     {"name":"misp-galaxy:kill-chain=\"command-and-control\""}]}],
            "Object":[{"comment":"dropped","Attribute":[{"type":"text","object_relation":"username","value":"Bob","to_ids":true},
                       {"type":"md5","value":"0cc175b9c0f1b6a831c399e269772661","to_ids":true,"comment":"own"}]},
                      {"deleted":true,"Attribute":[{"type":"domain","value":"gone.com","to_ids":true}]}]}}"#,
    )
    .unwrap();
    assert!(import.unusable.is_empty(), "{:?}", import.unusable);
    let [first, second, third] = import.indicators.as_slice() else { panic!("{:?}", import.indicators) };
    assert_eq!(first.id.as_deref(), Some("u-1"));
    let context = &first.context;
    assert_eq!((context.name.as_deref(), context.description.as_deref()), (Some("a campaign"), Some("a panel")));
    assert_eq!((context.tlp, context.confidence), (Some(Tlp::Amber), Confidence::High));
    assert_eq!(context.kill_chain_phases, ["Delivery".into(), "command-and-control".into()]);
    assert!(context.is_command_and_control());
    assert_eq!(context.first_seen.unwrap().to_string(), "2024-01-01T00:00:00Z");
    assert_eq!(context.last_seen.unwrap().to_string(), "2024-02-01T00:00:00Z");
    assert_eq!((second.terms[0].value.to_string().as_str(), second.context.confidence), ("bob", Confidence::Medium));
    assert_eq!(second.context.description.as_deref(), Some("dropped"));
    assert_eq!(third.context.description.as_deref(), Some("own"));
}

#[test]
fn every_wrapping_of_events_is_read() {
    let attributes = format!("\"Attribute\":[{}]", attribute("domain", "evil.com"));
    for text in [
        format!("{{\"Event\":{{{attributes}}}}}"),
        format!("{{\"info\":\"x\",{attributes}}}"),
        format!("{{\"response\":[{{\"Event\":{{{attributes}}}}}]}}"),
        format!("{{\"response\":{{{attributes}}}}}"),
        format!("[{{\"Event\":{{{attributes}}}}}]"),
        format!("{{\"Event\":{{{attributes}}}}}\n{{\"Event\":{{}}}}\n"),
    ] {
        assert_eq!(misp(&text).unwrap().indicators.len(), 1, "{text}");
    }
}

#[test]
fn other_json_and_half_an_event_are_refused_as_a_whole_and_an_empty_list_is_none() {
    let options = FeedOptions { format: Some(FeedFormat::Misp), ..FeedOptions::default() };
    let table = FieldTable::embedded(true).unwrap();
    let misp = |text: &str| import(text.as_bytes(), "x.json", &options, &table);
    assert!(matches!(misp("{\"a\":1}"), Err(FeedError::NotMisp { .. })));
    assert!(matches!(misp("{\"Event\":{\"Attribute\":[{\"type\":"), Err(FeedError::Json { .. })));
    for empty in ["", "{}", "[]", "{\"Event\":{}}", "{\"response\":[]}"] {
        let import = misp(empty).unwrap();
        assert!(import.indicators.is_empty() && import.unusable.is_empty(), "{empty}");
    }
}

#[test]
fn ten_thousand_levels_of_nesting_cost_one_attribute() {
    let deep = format!(
        r#"{{"type":"domain","value":"a.com","to_ids":true,"x":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let import = event(&[&deep, &attribute("domain", "evil.com")]);
    assert_eq!(shown(&import), ["3 evil.com"]);
    assert_eq!(import.unusable.len(), 1);
}

/// The context of an event is that of each attribute: a text of a megabyte must not be held, or copied, thousands of
/// times.
#[test]
fn long_texts_and_countless_tags_of_an_event_are_cut_before_they_are_copied() {
    let attributes: Vec<String> = (0..5000)
        .map(|number| format!(r#"{{"type":"domain","value":"a{number}.com","to_ids":true,"comment":"{number}"}}"#))
        .collect();
    let tags: Vec<String> = (0..50_000).map(|number| format!("{{\"name\":\"kill-chain:{number}\"}}")).collect();
    let long = "x".repeat(1 << 20);
    let text = format!("{{\"info\":\"{long}\",\"Tag\":[{}],\"Attribute\":[{}]}}", tags.join(","), attributes.join(","));
    let import = misp(&text).unwrap();
    assert_eq!(import.indicators.len(), 5000);
    let context = &import.indicators[0].context;
    assert_eq!(context.name.as_deref().map(str::len), Some(512));
    assert_eq!(context.kill_chain_phases.len(), 32);
}
