//! Tests of the STIX importer.

use crate::feed::{FeedError, FeedFormat, FeedOptions, Import, import};
use crate::intel::indicator::{Confidence, Tlp};
use crate::schema::FieldTable;

fn stix(text: &str) -> Result<Import, FeedError> {
    let options = FeedOptions { format: Some(FeedFormat::Stix), ..FeedOptions::default() };
    import(text.as_bytes(), "feed.json", &options, &FieldTable::embedded(true).unwrap())
}

fn bundle(objects: &str) -> Import {
    stix(&format!(r#"{{"type":"bundle","id":"bundle--1","objects":[{objects}]}}"#)).unwrap()
}

#[test]
fn an_indicator_keeps_its_context() {
    let import = bundle(
        r#"{"type":"indicator","id":"indicator--1","name":"panel","description":"a panel","confidence":80,
            "pattern":"[domain-name:value = 'Evil.com']","valid_from":"2024-01-01T00:00:00Z","valid_until":"2024-02-01T00:00:00Z",
            "kill_chain_phases":[{"kill_chain_name":"mitre-attack","phase_name":"command-and-control"}],
            "object_marking_refs":["marking-definition--mine","marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487"],
            "external_references":[{"source_name":"x"},{"source_name":"y","url":"https://example.org/r"}]},
           {"type":"marking-definition","id":"marking-definition--mine","definition_type":"tlp","definition":{"tlp":"amber"}}"#,
    );
    assert!(import.unusable.is_empty(), "{:?}", import.unusable);
    let [indicator] = import.indicators.as_slice() else { panic!("{:?}", import.indicators) };
    assert_eq!(indicator.id.as_deref(), Some("indicator--1"));
    assert_eq!(indicator.terms[0].value.to_string(), "evil.com");
    assert_eq!(indicator.valid_from.unwrap().to_string(), "2024-01-01T00:00:00Z");
    assert_eq!(indicator.valid_until.unwrap().to_string(), "2024-02-01T00:00:00Z");
    let context = &indicator.context;
    assert_eq!(context.name.as_deref(), Some("panel"));
    assert_eq!(context.confidence, Confidence::High);
    assert_eq!(context.tlp, Some(Tlp::Amber), "the stricter of two markings, defined behind its use");
    assert_eq!(context.reference.as_deref(), Some("https://example.org/r"));
    assert!(context.is_command_and_control());
}

#[test]
fn what_cannot_be_looked_for_is_listed_and_the_rest_stays() {
    let import = bundle(
        r#"{"type":"indicator","id":"indicator--1","pattern":"alert tcp any","pattern_type":"snort"},
           {"type":"indicator","id":"indicator--2","pattern":"[a b"},
           {"type":"indicator","id":"indicator--3"},
           {"type":"indicator","id":"indicator--4","pattern":"[ipv4-addr:value = '203.0.113.4']","valid_until":"soon"},
           {"type":"indicator","id":"indicator--5","pattern":"[ipv4-addr:value = '203.0.113.5']","indicator_types":["benign"]},
           {"type":"indicator","id":"indicator--6","pattern":"[ipv4-addr:value = '203.0.113.6']","revoked":true},
           {"type":"malware","id":"malware--7"}"#,
    );
    let reasons: Vec<_> = import.unusable.iter().map(|unusable| unusable.reason.as_str()).collect();
    assert_eq!(reasons.len(), 5, "{reasons:?}");
    assert!(reasons[0].contains("`snort`") && reasons[3].contains("`valid_until`"), "{reasons:?}");
    let [indicator] = import.indicators.as_slice() else { panic!("{:?}", import.indicators) };
    assert!(indicator.revoked);
}

/// An `AND` within one observation is taken as a whole; what joins observations is listed and counted.
#[test]
fn a_composite_pattern_is_taken_with_its_program_and_a_sequence_is_not_supported() {
    let import = bundle(
        r#"{"type":"indicator","id":"indicator--1",
            "pattern":"[domain-name:value = 'evil.com' AND network-traffic:dst_port = 443]"},
           {"type":"indicator","id":"indicator--2","pattern":"[file:name = 'a'] FOLLOWEDBY [file:name = 'b']"},
           {"type":"indicator","id":"indicator--3","pattern":"[domain-name:value = 'bad.com']"}"#,
    );
    assert_eq!((import.indicators.len(), import.unsupported_patterns), (2, 1));
    let composite = &import.indicators[0];
    assert_eq!((composite.terms.len(), composite.keys().count()), (2, 1));
    assert!(import.unusable[0].reason.contains("FOLLOWEDBY"), "{:?}", import.unusable[0]);
}

#[test]
fn of_two_versions_the_later_counts_wherever_it_stands() {
    let version = |modified: &str, value: &str| {
        format!(
            r#"{{"type":"indicator","id":"indicator--1","modified":"{modified}","pattern":"[ipv4-addr:value = '{value}']"}}"#
        )
    };
    let import = bundle(
        &[version("2024-02-01T00:00:00Z", "203.0.113.2"), version("2024-01-01T00:00:00Z", "203.0.113.1")].join(","),
    );
    assert_eq!(import.indicators.len(), 1);
    assert_eq!(import.indicators[0].terms[0].value.to_string(), "203.0.113.2");
}

#[test]
fn arrays_envelopes_and_one_object_a_line_are_read() {
    let one = r#"{"type":"indicator","id":"indicator--1","pattern":"[ipv4-addr:value = '203.0.113.1']"}"#;
    for text in [
        one.to_owned(),
        format!("[{one}]"),
        format!(r#"{{"more":false,"objects":[{one}]}}"#),
        format!(r#"[{{"type":"bundle","objects":[{one}]}}]"#),
    ] {
        assert_eq!(stix(&text).unwrap().indicators.len(), 1, "{text}");
    }
    let import = stix(&format!("{one}\nbroken\n\n{one}\n")).unwrap();
    assert_eq!(import.indicators.iter().map(|indicator| indicator.line).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(import.unusable[0].line, 2);
}

#[test]
fn other_json_is_an_error_that_says_what_is_read() {
    assert!(matches!(stix("{\"Event\":{}}"), Err(FeedError::NotStix { .. })));
    assert!(matches!(stix("{\"a\":\n tru}"), Err(FeedError::Json { line: 2, .. })));
    assert!(stix("").unwrap().indicators.is_empty());
}

#[test]
fn brackets_without_end_are_refused_and_not_followed() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(stix(&deep).is_err());
    let deeper_than_followed = format!("{}{}", "[".repeat(20), "]".repeat(20));
    assert!(stix(&deeper_than_followed).is_err());
}

/// STIX 2.0 has its version in the bundle, no `pattern_type`, and its types of indicators in `labels`.
#[test]
fn stix_2_0_is_read_as_a_bundle_and_one_object_a_line() {
    let object = |value: &str, labels: &str| {
        format!(
            "{{\"type\":\"indicator\",\"id\":\"indicator--{value}\",\"labels\":[\"{labels}\"],\"pattern\":\"[domain-name:value = '{value}']\",\"valid_from\":\"2024-01-01T00:00:00Z\",\"kill_chain_phases\":[{{\"kill_chain_name\":\"x\",\"phase_name\":\"command-and-control\"}}]}}"
        )
    };
    let objects = [object("evil.com", "malicious-activity"), object("good.com", "benign")];
    let observed =
        r#"{"type":"observed-data","id":"observed-data--1","objects":{"0":{"type":"domain-name","value":"seen.com"}}}"#;
    let bundle = format!(
        "{{\"type\":\"bundle\",\"id\":\"bundle--1\",\"spec_version\":\"2.0\",\"objects\":[{},{observed}]}}",
        objects.join(",")
    );
    for text in [bundle.clone(), format!("{}\n{observed}\n", objects.join("\n")), format!("{bundle}\n{{}}\n")] {
        let import = stix(&text).unwrap();
        let [indicator] = import.indicators.as_slice() else { panic!("{:?}", import.indicators) };
        assert_eq!(indicator.terms[0].value.to_string(), "evil.com");
        assert!(indicator.context.is_command_and_control() && indicator.valid_from.is_some());
        let [unusable] = import.unusable.as_slice() else { panic!("{:?}", import.unusable) };
        assert!(unusable.reason.contains("benign"), "{unusable:?}");
    }
}

/// One object a line: what is known later is completed, in whichever order the lines are.
#[test]
fn later_versions_and_late_markings_are_heeded_over_lines() {
    let version = |modified: &str, pattern: &str| {
        format!(
            "{{\"type\":\"indicator\",\"id\":\"indicator--1\",\"modified\":\"{modified}\",\"pattern\":\"{pattern}\",\"object_marking_refs\":[\"marking-definition--m\"]}}"
        )
    };
    let old = version("2024-01-01T00:00:00Z", "[domain-name:value = 'old.com']");
    let new = version("2024-02-01T00:00:00Z", "[domain-name:value = 'new.com']");
    let withdrawn = version("2024-03-01T00:00:00Z", "no pattern");
    let marking = r#"{"type":"marking-definition","id":"marking-definition--m","definition":{"tlp":"red"}}"#;
    for lines in [[&old, &new, marking], [&new, &old, marking], [marking, &old, &new]] {
        let import = stix(&lines.join("\n")).unwrap();
        let [indicator] = import.indicators.as_slice() else { panic!("{:?}", import.indicators) };
        assert_eq!((indicator.terms[0].value.to_string().as_str(), indicator.context.tlp), ("new.com", Some(Tlp::Red)));
        assert_eq!(import.unusable.len(), 1, "{:?}", import.unusable);
    }
    assert!(stix(&[old, new, withdrawn].join("\n")).unwrap().indicators.is_empty());
}
