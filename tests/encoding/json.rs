//! JSON: walk and tag against a DOM.

use hotlist::encoding::TagInto;
use hotlist::encoding::json::{JsonError, tag, walk};
use proptest::prelude::*;
use serde_json::json;

use crate::common::*;

fn walked(text: &[u8]) -> Result<Seen, JsonError> {
    let mut seen = Collect::default();
    walk(text, trie(), &mut seen)?;
    Ok(seen.0)
}

/// JSON text with every character of every string and key escaped.
fn escaped(value: &Json) -> String {
    let string =
        |text: &str| format!("\"{}\"", text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>());
    match value {
        Json::String(text) => string(text),
        Json::Array(elements) => format!("[ {} ]", elements.iter().map(escaped).collect::<Vec<_>>().join(" , ")),
        Json::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(key, value)| format!("{} : {}", string(key), escaped(value))).collect();
            format!("\n{{\t{} }}\r", members.join(","))
        }
        scalar => scalar.to_string(),
    }
}

proptest! {
    /// The walk of a text sees what the reference sees in its DOM, in the same order, however the text is spelled.
    #[test]
    fn walk_is_parse_then_walk(document in document()) {
        let expected = reference(&document);
        prop_assert_eq!(&walked(document.to_string().as_bytes()).unwrap(), &expected);
        prop_assert_eq!(&walked(serde_json::to_string_pretty(&document).unwrap().as_bytes()).unwrap(), &expected);
        prop_assert_eq!(&walked(escaped(&document).as_bytes()).unwrap(), &expected);
    }

    /// Tagging a text and parsing it is parsing it and adding; a second pass changes nothing.
    #[test]
    fn tag_is_parse_then_add(document in taggable(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
        let enrichments = [enrichment(1), enrichment(2)];
        let (tagged, outcome) = tag(text.as_bytes(), &tags(TagInto::Auto, &enrichments)).unwrap();
        let mut expected = document.clone();
        add(&mut expected);
        prop_assert_eq!(&serde_json::from_slice::<Json>(&tagged).unwrap(), &expected);
        prop_assert!(outcome.changed || expected == document);
        prop_assert_eq!(outcome.changed, tagged != text.as_bytes());
        let (again, outcome) = tag(&tagged, &tags(TagInto::Auto, &enrichments)).unwrap();
        prop_assert!(!outcome.changed && outcome.added == 0);
        prop_assert_eq!(again, tagged);
    }

    /// Bytes that are not JSON, and JSON cut short or changed at one place, are refused or walked; nothing panics.
    #[test]
    fn nothing_panics(bytes: Vec<u8>, document in taggable(), at: prop::sample::Index, byte: u8) {
        let text = document.to_string().into_bytes();
        let at = at.index(text.len());
        let mut changed = text.clone();
        changed[at] = byte;
        for text in [&bytes[..], &text[..at], &changed] {
            let _ = walked(text);
            if let Ok((tagged, _)) = tag(text, &tags(TagInto::Auto, &[enrichment(1)])) {
                // Whatever is accepted stays accepted.
                prop_assert!(tag(&tagged, &tags(TagInto::Auto, &[enrichment(1)])).is_ok());
            }
        }
        prop_assert!(walked(&text[..at]).is_err(), "a document that was cut is no document");
    }
}

#[test]
fn duplicate_keys_are_each_visited_and_invalid_utf8_is_kept() {
    let seen = walked(b"{\"source.ip\":\"a\",\"source\":{\"ip\":\"b\",\"ip\":[\"\xff\",[[\"c\"]]]}}").unwrap();
    let expected = ["Text([97])", "Text([98])", "Text([255])", "Text([99])"];
    assert_eq!(seen.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_not_one_object_is_refused_with_its_place() {
    let cases: [(&str, JsonError); 8] = [
        ("", JsonError::NotAnObject { at: 0 }),
        ("  [1]", JsonError::NotAnObject { at: 2 }),
        ("{} x", JsonError::Trailing { at: 3 }),
        ("{\"a\":1", JsonError::CutShort { at: 6, inside: "a comma or a closing bracket" }),
        ("{\"a\":[}", JsonError::Unexpected { at: 6, expected: "the other closing bracket" }),
        ("{\"a\":[{}", JsonError::CutShort { at: 8, inside: "an array or object" }),
        ("{\"a\" 1}", JsonError::Unexpected { at: 5, expected: "a colon after a key" }),
        ("{\"a\":1,}", JsonError::Unexpected { at: 7, expected: "a key in quotes" }),
    ];
    for (text, expected) in cases {
        assert_eq!(walked(text.as_bytes()), Err(expected), "{text}");
    }
}

#[test]
fn deep_nesting_is_stepped_over_without_recursion_and_reported_where_it_was_wanted() {
    let deep = |key: &str, levels: usize| format!("{{\"{key}\":{}\"x\"{}}}", "[".repeat(levels), "]".repeat(levels));
    let walk = |text: String| {
        let mut seen = Collect::default();
        walk(text.as_bytes(), trie(), &mut seen).map(|walked| (walked.too_deep, seen.0.len())).unwrap()
    };
    assert_eq!(walk(deep("source.ip", 127)), (false, 1));
    assert_eq!(walk(deep("source.ip", 128)), (true, 0));
    assert_eq!(walk(deep("source.ip", 1_000_000)), (true, 0));
    assert_eq!(walk(deep("other", 1_000_000)), (false, 0));
}

#[test]
fn tags_leave_every_other_byte_and_take_the_last_of_duplicates() {
    let text = r#" { "threat" : {"enrichments":[1]}, "a":1 , "a" : 1.0e0, "threat":{ "x":[ ] , "enrichments" :[ 2 ] }, "tags": "b" } "#;
    let word = json!({"matched": {"id": "i", "field": "f"}, "feed": {"name": "n"}});
    let (tagged, _) = tag(text.as_bytes(), &tags(TagInto::Auto, std::slice::from_ref(&word))).unwrap();
    let expected =
        text.replace("[ 2 ]", &format!("[ 2,{word} ]")).replace(r#""tags": "b""#, r#""tags": ["b","threat-match"]"#);
    assert_eq!(String::from_utf8(tagged).unwrap(), expected);
}

#[test]
fn a_threat_that_is_no_object_is_left_alone_and_counted() {
    let (tagged, outcome) = tag(br#"{"threat":"high"}"#, &tags(TagInto::Auto, &[json!({})])).unwrap();
    assert!(outcome.threat_not_object);
    let expected = json!({"threat": "high", "hotlist": {"enrichments": [{}]}, "tags": ["threat-match"]});
    assert_eq!(serde_json::from_slice::<Json>(&tagged).unwrap(), expected);
}

#[test]
fn no_enrichments_change_nothing() {
    let (tagged, outcome) = tag(b"{ }", &tags(TagInto::Auto, &[])).unwrap();
    assert_eq!((tagged.as_slice(), outcome.changed), (&b"{ }"[..], false));
}
