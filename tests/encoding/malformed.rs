//! Texts that begin like a document and are not one: what can be read of them, and nothing else, is seen.

use hotlist::encoding::json::{Malformation, read, repair, walk};
use proptest::prelude::*;
use serde_json::json;

use crate::common::*;

fn seen(text: &[u8]) -> (Option<Malformation>, Seen) {
    let mut seen = Collect::default();
    let read =
        read(text, trie(), &mut seen).unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(text)));
    (read.malformed, seen.0)
}

/// The members of a document, as text.
fn members(document: &Json) -> Vec<String> {
    document.as_object().unwrap().iter().map(|(key, value)| format!("{}:{value}", json!(key))).collect()
}

/// Scenario: one malformed document of each kind with a wanted value after the fault, where reading continues.
/// Guarantee: the value is seen, and the kind is named.
#[test]
fn what_stands_behind_a_fault_is_seen_where_reading_can_go_on() {
    let rest = r#""destination":{"ip":"203.0.113.7"}}"#;
    let good = format!("{{{rest}");
    let cases = [
        (format!("\u{feff}{good}"), Malformation::ByteOrderMark),
        (format!("[{good}]"), Malformation::List),
        (format!("[{{}},{good}]"), Malformation::List),
        (format!("{good}{good}"), Malformation::Several),
        (format!("{{}}\n{good}\n"), Malformation::Several),
        (format!("{good}x"), Malformation::Trailing),
        (format!("{good}\0"), Malformation::Trailing),
        (format!("{{/*x*/{rest}"), Malformation::Comment),
        (format!("{{\"a\":1, // x\n{rest}"), Malformation::Comment),
        (format!("{{\"a\":1,,{rest}"), Malformation::Comma),
        (format!("{{,{rest}"), Malformation::Comma),
        (format!("{},}}", &good[..good.len() - 1]), Malformation::Comma),
        (format!("{{\"source\":{{\"ip\":null,}},{rest}"), Malformation::Comma),
        (format!("{{a:1,{rest}"), Malformation::Key),
        (format!("{{'a':1,{rest}"), Malformation::Key),
        (format!("{{\"a\",{rest}"), Malformation::Key),
        (format!("{{\"a\":,{rest}"), Malformation::Key),
        (good.replace('"', "'"), Malformation::Key),
        (format!("{{\"a\":NaN,{rest}"), Malformation::Scalar),
        (format!("{{\"a\":-Infinity,{rest}"), Malformation::Scalar),
        (format!("{{\"a\":True,{rest}"), Malformation::Scalar),
        (format!("{{\"a\":None,{rest}"), Malformation::Scalar),
        (format!("{{\"a\":01,{rest}"), Malformation::Scalar),
        (format!("{{\"a\":+1,{rest}"), Malformation::Scalar),
        (format!("{{\"a\":0x1,{rest}"), Malformation::Scalar),
        (format!("{{\"a\":'it\\'s \"quoted\"',{rest}"), Malformation::Scalar),
        (good[..good.len() - 1].to_owned(), Malformation::CutShort),
        (format!("{},\"a\":\"cut", &good[..good.len() - 1]), Malformation::CutShort),
        (format!("{} \"a\":1}}", &good[..good.len() - 1]), Malformation::Other),
    ];
    for (text, expected) in cases {
        let (malformed, mut seen) = seen(text.as_bytes());
        seen.dedup();
        assert_eq!(malformed, Some(expected), "{text}");
        assert_eq!(seen.len(), 1, "{text}: {seen:?}");
        assert_eq!(seen[0].1, format!("{:?}", hotlist::encoding::Value::Text(b"203.0.113.7")), "{text}");
    }
}

/// Scenario: text that does not begin like a document, and tokens that could be read in two ways before a wanted value.
/// Guarantee: nothing of the first is read, and nothing behind the second is seen.
#[test]
fn nothing_is_guessed() {
    for text in ["", "x", "[1]", "[", "[INFO] {\"source.ip\":\"192.0.2.1\"}", "\"{}\"", "app: {}"] {
        assert!(repair(text.as_bytes()).is_none(), "{text}");
    }
    for text in [
        r#"{"msg":"he said "source.ip":"192.0.2.1"}"#,
        r#"{"a" {"source.ip":"192.0.2.1"}}"#,
        r#"{"a":[1},"source.ip":"192.0.2.1"}"#,
        r#"{[1],"source.ip":"192.0.2.1"}"#,
        r#"{"a":"cut,"source.ip":"192.0.2.1"}"#,
    ] {
        assert_eq!(seen(text.as_bytes()).1, [], "{text}");
    }
}

proptest! {
    /// One malformed member anywhere among the others hides none of them.
    #[test]
    fn a_malformed_member_hides_no_other(document in document(), at: prop::sample::Index, fault in prop::sample::select(vec![
        r#""zz":NaN"#, r#""zz":01"#, "zz:1", r#"/*c*/"zz":1"#, r#""zz":True"#, "'zz':'x'", r#""zz""#, "", r#""zz":"#, r#""source":{"ip":null,}"#,
    ])) {
        let mut members = members(&document);
        let at = at.index(members.len() + 1);
        members.insert(at, fault.to_owned());
        let text = format!("{{{}}}", members.join(","));
        let (malformed, seen) = seen(text.as_bytes());
        let expected = reference(&document);
        prop_assert!(malformed.is_some() || (fault.is_empty() && members.len() == 1), "{}", text);
        prop_assert!(expected.iter().all(|value| seen.contains(value)), "{}: {:?}", text, seen);
        prop_assert!(seen.iter().all(|value| expected.contains(value)), "{}: {:?}", text, seen);
    }

    /// Of a document that is cut short each member before the cut is seen, and nothing that the document does not hold.
    #[test]
    fn a_cut_document_gives_what_stands_before_the_cut(document in document(), at: prop::sample::Index) {
        let members = members(&document);
        let text = format!("{{{}}}", members.join(","));
        let cut = at.index(text.len());
        let Some(cut_text) = text.get(..cut).filter(|text| !text.is_empty()) else { return Ok(()) };
        let (malformed, seen) = seen(cut_text.as_bytes());
        prop_assert!(malformed.is_some());
        let all = reference(&document);
        prop_assert!(seen.iter().all(|value| all.contains(value)), "{}: {:?}", cut_text, seen);
        let mut end = 0;
        let whole: serde_json::Map<String, Json> = document.as_object().unwrap().iter().zip(&members)
            .take_while(|(_, member)| { end += 1 + member.len(); end < cut })
            .map(|((key, value), _)| (key.clone(), value.clone())).collect();
        prop_assert!(reference(&Json::Object(whole)).iter().all(|value| seen.contains(value)), "{}: {:?}", cut_text, seen);
    }

    /// Whatever the bytes, what a repair writes is documents, and no longer than a few bytes a byte.
    #[test]
    fn a_repair_writes_documents(bytes: Vec<u8>, document in document(), edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"{}[]:,\"'\\/*#\0aN1- \n".to_vec()), any::<bool>()), 0..6)) {
        let mut changed = document.to_string().into_bytes();
        for (at, byte, inserts) in edits {
            let at = at.index(changed.len());
            if inserts { changed.insert(at, byte) } else { changed[at] = byte }
        }
        for text in [[&b"{"[..], &bytes].concat(), bytes, changed] {
            let Some(repaired) = repair(&text) else { continue };
            prop_assert!(repaired.documents.len() <= 6 * text.len() + 8);
            let mut seen = Collect::default();
            for document in documents(&repaired.documents) {
                prop_assert!(walk(document, trie(), &mut seen).is_ok(), "{}", String::from_utf8_lossy(document));
            }
        }
    }
}

/// The documents of a repair. A line feed inside a string is part of it, so each is as long as it has to be to be one.
fn documents(mut text: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !text.is_empty() {
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        let end = ends.chain([text.len()]).find(|end| walk(&text[..*end], trie(), &mut Collect::default()).is_ok());
        let (document, rest) = text.split_at(end.unwrap_or(text.len()));
        found.push(document);
        text = rest;
    }
    found
}
