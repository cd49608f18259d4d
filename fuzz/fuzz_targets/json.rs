//! JSON documents: walk and tag. What is tagged stays valid, keeps everything else, and is tagged once only.
#![no_main]

use hotlist::encoding::json::{read, repair, tag, walk};
use hotlist::encoding::otlp::{encode_json, walk_record};
use hotlist::encoding::tag::Brought;
use hotlist::encoding::wire;
use hotlist::encoding::{Flat, Tags};
use hotlist_fuzz::{Seen, TRIE, enrichment, hit};
use serde_json::{Map, Value};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let mut seen = Seen::default();
    let walked = walk(text, &TRIE, &mut seen);
    let parsed = serde_json::from_slice::<Map<String, Value>>(text).ok();
    assert!(walked.is_ok() || parsed.is_none(), "an object that is refused: {walked:?}");
    if let Some(document) = &parsed {
        same_in_otlp(document);
    }

    if let Some(repaired) = repair(text) {
        let documents = repaired.documents.split_inclusive(|byte| *byte == b'\n');
        assert!(repaired.documents.len() <= 6 * text.len() + 8 && documents.count() > 0, "{repaired:?}");
    }
    let mut read_seen = Seen::default();
    if let Ok(read) = read(text, &TRIE, &mut read_seen) {
        assert_eq!(read.malformed.is_none(), walked.is_ok());
        assert!(read.malformed.is_some() || seen == read_seen);
        assert_eq!(read_seen.0[..seen.0.len()], seen.0[..], "what stands before a fault is visited");
    } else {
        assert!(walked.is_err() && read_seen.0.is_empty());
    }

    let (enrichments, hits) = ([enrichment()], [hit()]);
    let ocsf = Tags { enrichments: Brought::Hits(&hits), is_ocsf: true, flat: Flat::On, ..Tags::NONE };
    for tags in [Tags::from_enrichments(&enrichments), ocsf] {
        tagged_once(text, &tags, walked.is_ok(), &seen, parsed.clone());
    }
});

/// Tagging changes nothing else, and nothing the second time.
fn tagged_once(text: &[u8], tags: &Tags<'_>, is_walked: bool, seen: &Seen, parsed: Option<Map<String, Value>>) {
    // What can only be read up to a fault takes tags before it; what it becomes is as malformed.
    let Ok((tagged, outcome)) = tag(text, tags) else {
        assert!(parsed.is_none(), "an object that cannot be tagged");
        return;
    };
    assert_eq!(outcome.changed, tagged != text);
    if !is_walked {
        return;
    }
    let (again, outcome) = tag(&tagged, tags).expect("what was tagged stays a document");
    assert!(!outcome.changed && outcome.added == 0 && again == tagged, "tagged twice");
    if let Some(before) = parsed {
        let after = serde_json::from_slice(&tagged).expect("what was JSON stays JSON");
        assert_eq!(others(before), others(after), "tagging changed something else");
        let mut seen_after = Seen::default();
        walk(&tagged, &TRIE, &mut seen_after).expect("what was walked is walked again");
        assert_eq!(*seen, seen_after);
    }
}

/// The members that tagging leaves alone.
fn others(mut document: Map<String, Value>) -> Map<String, Value> {
    for touched in ["threat", "threat.enrichments", "tags", "enrichments", "osint", "metadata", "metadata.profiles"] {
        document.remove(touched);
    }
    document.retain(|key, _| key != "hotlist" && !key.starts_with("hotlist."));
    document
}

/// The walk sees the same in the document's JSON as in its OTLP encoding. The JSON is serialised from the parsed document,
/// because of duplicate keys the parsed document keeps only one.
fn same_in_otlp(document: &Map<String, Value>) {
    let document = Value::Object(document.clone());
    let (mut in_json, mut in_otlp) = (Seen::default(), Seen::default());
    walk(document.to_string().as_bytes(), &TRIE, &mut in_json).expect("it is an object");
    let mut record = Vec::new();
    wire::put_bytes(&mut record, 5, &encode_json(&document));
    assert_eq!(walk_record(&record, &TRIE, &mut in_otlp).fault, None, "it is a record");
    assert_eq!(in_json, in_otlp);
}
