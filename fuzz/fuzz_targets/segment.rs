//! Segments: any bytes under a checksum that holds are refused, or answer whatever they are asked, alone, in a snapshot and
//! taken over by another segment, which opens again.
#![no_main]

use std::sync::{Arc, LazyLock};

use hotlist::detect::{Budgets, Detector};
use hotlist::encoding::Tagging;
use hotlist::intel::keys::KeySpace;
use hotlist::intel::segment::{Digest, HashKey, Numbering, Segment, SegmentBuilder, SegmentError, TableId, withdrawn};
use hotlist::intel::snapshot::{Feed, MatchOptions, SnapshotBuilder};
use hotlist::matcher::Matcher;
use hotlist::schema::FieldTable;
use hotlist_fuzz::TABLE;

static SHARED: LazyLock<Arc<FieldTable>> = LazyLock::new(|| Arc::new(TABLE.clone()));

/// What the seeds look for is in it.
const EVENT: &str = r#"{"source.ip":["192.0.2.1","198.51.100.7","2001:db8::1"],"dns.question.name":"x.worse.example",
    "url.full":"https://evil.example/a?b","destination.port":31337,"process.command_line":"rm -rf /",
    "user.name":"mallory","email.from":"mallory@evil.example","related.hosts":"evil.example","file.size":7,
    "file.name":"a.exe","related.hash":"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a","process.start":"2024-01-31"}"#;

/// Bytes of the checksum at the end.
const CHECKSUM: usize = 32;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut sealed = bytes.to_vec();
    let is_too_short = bytes.len() < CHECKSUM;
    seal(&mut sealed);
    let segment = match Segment::from_bytes(sealed, None) {
        Ok(segment) => segment,
        Err(error) => {
            // What is shorter than a checksum has none.
            assert!(is_too_short || !matches!(error, SegmentError::Checksum), "the checksum is right");
            // The message is made for a person; making it must not fail either.
            return drop(error.to_string());
        }
    };
    ask_everything(&segment);
    matched(&segment);
    let dead = withdrawn(&[&segment, &segment]).remove(0);
    let mut builder = SegmentBuilder::with_fingerprints();
    let taken =
        builder.take_over(&[(&segment, &|number| !dead.contains(number)), (&segment, &|_| true)], Numbering::Joined);
    if taken.is_ok()
        && let Ok(bytes) = builder.finish(HashKey::Content)
    {
        ask_everything(&Segment::from_bytes(bytes, None).expect("what was taken over opens"));
    }
});

/// Gives the bytes the length and the checksum that belong to them, so that what is behind these is reached.
fn seal(bytes: &mut [u8]) {
    let length = (bytes.len() as u64).to_le_bytes();
    if let Some(place) = bytes.get_mut(32..40) {
        place.copy_from_slice(&length);
    }
    if let Some((content, trailer)) = bytes.split_last_chunk_mut::<CHECKSUM>() {
        *trailer = Digest::sha256(content).0;
    }
}

fn ask_everything(segment: &Segment) {
    let mut postings = Vec::new();
    for table in segment.tables() {
        let mut keys = Vec::new();
        segment.keys(table, |key, payload| {
            keys.push(key.to_vec());
            segment.postings(payload, |posting| postings.push(posting));
        });
        for key in keys {
            let mut is_found = false;
            segment.find(table.id(), &key, |_| is_found = true);
            assert!(is_found, "a key that is there is found");
        }
    }
    for space in KeySpace::ALL {
        segment.find(TableId::Space(space), b"evil.example", |posting| postings.push(posting));
    }
    for number in postings.iter().map(|posting| posting.indicator).chain([0, segment.len(), u32::MAX]) {
        let stored = segment.indicator(number);
        drop((segment.feeds().get(stored.feed as usize), segment.fingerprint(number), stored));
        assert!(number >= segment.len() || segment.is_composite(number) == segment.composite(number).is_some());
    }
}

/// In a snapshot, twice, so that its tombstones act on itself.
fn matched(segment: &Arc<Segment>) {
    let options = MatchOptions { url_hosts: true, ..MatchOptions::EXACT };
    let mut builder = SnapshotBuilder::new(Arc::clone(&SHARED), options, 1);
    for _ in 0..2 {
        if builder.add_segment(Arc::clone(segment), |feed| Feed::named(&feed.name)).is_err() {
            return;
        }
    }
    let snapshot = Arc::new(builder.build("1"));
    let detector = Detector {
        snapshot: Arc::clone(&snapshot),
        policy: None,
        tagging: Tagging::default(),
        budgets: Budgets::default(),
    };
    let mut matcher = Matcher::new(&snapshot);
    let verdict = detector
        .document(EVENT.as_bytes(), snapshot.trie(), &mut matcher, "1970-01-01T00:00:00Z".parse().expect("a time"))
        .expect("the event is an object");
    detector.tag_document(EVENT.as_bytes(), &verdict).expect("it was walked");
}
