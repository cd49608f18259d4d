//! Tests of the JSON importer.

use crate::feed::{ColumnMapping, FeedError, FeedFormat, FeedOptions, Import, import};
use crate::intel::indicator::{Confidence, Tlp};
use crate::schema::FieldTable;

fn json(text: &str, columns: ColumnMapping) -> Result<Import, FeedError> {
    let options = FeedOptions { columns, ..FeedOptions::default() };
    import(text.as_bytes(), "feed.json", &options, &FieldTable::embedded(true).unwrap())
}

fn mapping() -> ColumnMapping {
    let path = |path: &str| Some(path.to_owned());
    ColumnMapping {
        value: path("ioc.value"),
        kind: path("ioc.type"),
        confidence: path("score"),
        tlp: path("tags"),
        valid_until: path("until"),
        ..ColumnMapping::default()
    }
}

fn values(import: &Import) -> Vec<(u32, String)> {
    import.indicators.iter().map(|i| (i.line, i.terms[0].value.to_string())).collect()
}

const ONE: &str = r#"{"ioc":{"value":"evil[.]com","type":"domain"},"score":90,"tags":["tlp:red"]}"#;

#[test]
fn lines_arrays_and_a_single_object_are_read_by_their_paths() {
    let dotted = r#"{"ioc.value":"203.0.113.9","ioc":{"type":"ip"}}"#;
    for (text, lines) in [
        (format!("{ONE}\n{dotted}\n"), [1, 2]),
        (format!("[\n{ONE},\n{dotted}]"), [2, 3]),
        (format!("[[{ONE}],[{dotted}]]"), [1, 1]),
    ] {
        let import = json(&text, mapping()).unwrap();
        assert_eq!(import.format, FeedFormat::Json);
        let [first, second] = lines;
        assert_eq!(values(&import), [(first, "evil.com".to_owned()), (second, "203.0.113.9".to_owned())]);
        let context = &import.indicators[0].context;
        assert_eq!((context.confidence, context.tlp), (Confidence::High, Some(Tlp::Red)));
    }
    assert_eq!(values(&json(ONE, mapping()).unwrap()).len(), 1);
}

#[test]
fn every_element_of_a_list_of_values_counts() {
    let import = json(r#"{"ioc":[{"value":["a.com","b.com"]},{"value":"c.com"}]}"#, mapping()).unwrap();
    assert_eq!(values(&import).len(), 3);
}

#[test]
fn a_bad_object_is_listed_with_its_line_and_costs_only_itself() {
    let deep = format!("{{\"ioc\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let bad = [
        "17",
        "{\"ioc\":{}}",
        "{\"ioc\":{\"value\":\"x y\"}}",
        "{\"ioc\":{\"value\":\"bad.org\"},\"until\":\"soon\"}",
        "{",
        &deep,
    ];
    let import = json(&format!("{ONE}\n{}\n{ONE}", bad.join("\n")), mapping()).unwrap();
    assert_eq!(values(&import).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 8]);
    assert_eq!(import.unusable.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
    assert!(import.unusable[1].reason.contains("`ioc.value`"), "{:?}", import.unusable[1]);
}

#[test]
fn without_a_mapping_the_file_is_refused_by_what_is_missing() {
    let options = FeedOptions { format: Some(FeedFormat::Json), ..FeedOptions::default() };
    let error = import(b"{}", "f.json", &options, &FieldTable::embedded(true).unwrap()).unwrap_err();
    assert!(error.to_string().contains("`columns.value`"), "{error}");
}

/// Each element of an array inside an object is read with the members next to it, and has its own line.
#[test]
fn values_in_arrays_have_their_own_type_and_validity() {
    let text = "{\"name\":\"p\",\"list\":[\n{\"v\":\"evil.com\",\"t\":\"domain\"},\n{\"v\":\"203.0.113.9\",\"t\":\"ip\",\"u\":\"2024-01-01\"},\n{\"v\":\"x\",\"t\":\"mutex\"}]}";
    let path = |path: &str| Some(path.to_owned());
    for prefix in ["list.", "$.list[*]."] {
        let mapping = ColumnMapping {
            value: path(&format!("{prefix}v")),
            kind: path(&format!("{prefix}t")),
            valid_until: path(&format!("{prefix}u")),
            name: path("name"),
            ..ColumnMapping::default()
        };
        let import = json(text, mapping).unwrap();
        assert_eq!(values(&import), [(2, "evil.com".to_owned()), (3, "203.0.113.9".to_owned())]);
        let until: Vec<bool> = import.indicators.iter().map(|one| one.valid_until.is_some()).collect();
        assert_eq!(until, [false, true]);
        assert!(import.indicators.iter().all(|one| one.context.name.as_deref() == Some("p")));
        assert_eq!(import.unusable.iter().map(|bad| bad.line).collect::<Vec<_>>(), [4]);
    }
}

#[test]
fn objects_by_id_and_pages_are_opened_by_the_keys_of_what_they_hold() {
    let text = r#"{"17":[{"v":"evil.com"}],"18":[{"v":"bad.org"}]}"#;
    for value in ["v", "*.v", "$.*[*].v"] {
        let import = json(text, ColumnMapping { value: Some(value.to_owned()), ..ColumnMapping::default() }).unwrap();
        assert_eq!(values(&import).len(), 2, "{value}");
    }
}

/// Guarantee: an object that is an indicator is not a list of those that describe it, which is shown; under a key that says
/// so, objects in it are indicators of their own.
#[test]
fn objects_inside_an_indicator_are_context() {
    let text = concat!(
        r#"{"hostname":"evil.com","type":"hostname","resolved_ip":[{"ip_addr":"203.0.113.9","timestamp":"2024-01-01"}],"#,
        r#""as":{"ip":"203.0.113.1"},"indicators":[{"ioc":"bad.org"}]}"#,
    );
    let import = json(text, ColumnMapping::default()).unwrap();
    let found: Vec<String> = values(&import).into_iter().map(|(_, value)| value).collect();
    assert_eq!(found, ["evil.com", "bad.org"]);
    let context: Vec<&str> = import
        .understood
        .columns
        .iter()
        .filter(|column| column.meaning.starts_with("context"))
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(context, ["resolved_ip", "as"]);
}

#[test]
fn without_a_mapping_the_keys_are_read_as_header_words() {
    let text = concat!(
        r#"{"status":"ok","tlp":"amber","data":[{"ioc":"evil.com","ioc_type":"domain","expires":"2024-01-01","reporter":"a@b.com"},"#,
        r#"{"ioc":"x","ioc_type":"imphash"}],"ips":["203.0.113.9","203.0.113.10"]}"#,
    );
    let import = json(text, ColumnMapping::default()).unwrap();
    let mut found: Vec<String> = values(&import).into_iter().map(|(_, value)| value).collect();
    found.sort();
    assert_eq!(found, ["203.0.113.10", "203.0.113.9", "evil.com"]);
    let domain = import.indicators.iter().find(|one| one.valid_until.is_some()).unwrap();
    assert_eq!(domain.context.tlp, Some(Tlp::Amber));
    assert_eq!(import.unusable.len(), 1);
}
