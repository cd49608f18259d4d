//! Damaged segments: each is refused with a reason or answers as before, and nothing breaks.

use std::sync::Arc;

use hotlist::detect::{Budgets, Detector};
use hotlist::encoding::Tagging;
use hotlist::intel::indicator::{Feed, Indicator};
use hotlist::intel::keys::KeySpace;
use hotlist::intel::segment::{Digest, HashKey, Numbering, Segment, SegmentBuilder, SegmentError, TableId, withdrawn};
use hotlist::intel::snapshot::{MatchOptions, SnapshotBuilder};
use hotlist::matcher::Matcher;
use hotlist::observable::Kind;
use hotlist::schema::FieldTable;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sha2::Digest as _;

use crate::seeds::seeds;
use crate::{file, indicator, small};

/// Asks for everything that a segment can be asked for.
fn ask_everything(segment: &Segment) {
    let mut postings = Vec::new();
    for table in segment.tables() {
        let mut keys = Vec::new();
        segment.keys(table, |key, payload| {
            keys.push(key.to_vec());
            segment.postings(payload, |posting| postings.push(posting));
        });
        keys.iter().for_each(|key| segment.find(table.id(), key, |posting| postings.push(posting)));
    }
    for space in KeySpace::ALL {
        segment.find(TableId::Space(space), b"evil.example", |posting| postings.push(posting));
    }
    for number in postings.iter().map(|posting| posting.indicator).chain([0, segment.len(), u32::MAX]) {
        let stored = segment.indicator(number);
        let _ = (segment.feeds().get(stored.feed as usize), segment.fingerprint(number), segment.id(number));
    }
}

/// Gives the bytes the checksum that belongs to them, as somebody would who means harm.
fn seal(bytes: &mut [u8]) {
    let Some(end) = bytes.len().checked_sub(32) else { return };
    let checksum = sha2::Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum);
}

#[test]
fn every_single_bit_flip_of_a_small_segment_is_refused() {
    let mut bytes = small();
    let digest = Segment::from_bytes(bytes.clone(), None).unwrap().digest();
    for at in 0..bytes.len() * 8 {
        bytes[at / 8] ^= 1 << (at % 8);
        for expected in [None, Some(digest)] {
            let refused = Segment::from_bytes(bytes.clone(), expected);
            assert!(refused.is_err(), "bit {at} of {} was flipped", bytes.len() * 8);
        }
        bytes[at / 8] ^= 1 << (at % 8);
    }
    assert!(Segment::from_bytes(bytes, Some(digest)).is_ok());
}

#[test]
fn every_cut_and_every_swap_of_neighbours_is_refused() {
    let bytes = small();
    for length in 0..bytes.len() {
        assert!(Segment::from_bytes(bytes[..length].to_vec(), None).is_err(), "cut to {length}");
    }
    for at in 1..bytes.len() {
        let mut swapped = bytes.clone();
        swapped.swap(at - 1, at);
        assert!(swapped == bytes || Segment::from_bytes(swapped, None).is_err(), "swapped at {at}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(Segment::from_bytes(longer, None).is_err());
}

/// With a checksum that holds, too, nothing but an answer can come of it.
#[test]
fn every_bit_flip_under_a_right_checksum_does_no_harm() {
    let mut bytes = small();
    let (mut refused, mut taken) = (0, 0);
    for at in 0..(bytes.len() - 32) * 8 {
        bytes[at / 8] ^= 1 << (at % 8);
        let mut sealed = bytes.clone();
        seal(&mut sealed);
        match Segment::from_bytes(sealed, None) {
            Ok(segment) => {
                ask_everything(&segment);
                taken += 1;
            }
            Err(SegmentError::Checksum) => panic!("bit {at}: the checksum is right"),
            Err(_) => refused += 1,
        }
        bytes[at / 8] ^= 1 << (at % 8);
    }
    assert!(refused > taken / 4, "{refused} were refused, {taken} taken");
}

/// Whatever opens can be taken over, twice, by a segment that opens, and can be matched against.
#[test]
fn what_opens_with_a_bit_flipped_can_be_taken_over_and_matched() {
    let table = Arc::new(FieldTable::embedded(true).unwrap());
    let event = br#"{"dns.question.name":"x.evil.example","url.full":"http://evil.example/a/b","file.size":7,"source.ip":"192.0.2.1"}"#;
    for (name, mut bytes) in seeds() {
        let mut opened = 0;
        // Every third, which reaches each byte, and each bit of a byte in some.
        for at in (0..(bytes.len() - 32) * 8).step_by(3) {
            bytes[at / 8] ^= 1 << (at % 8);
            let mut sealed = bytes.clone();
            seal(&mut sealed);
            bytes[at / 8] ^= 1 << (at % 8);
            let Ok(segment) = Segment::from_bytes(sealed, None) else { continue };
            opened += 1;
            let mut builder = SegmentBuilder::with_fingerprints();
            let dead = withdrawn(&[&segment, &segment]).remove(0);
            builder
                .take_over(&[(&segment, &|number| !dead.contains(number)), (&segment, &|_| true)], Numbering::Joined)
                .unwrap();
            let taken = Segment::from_bytes(builder.finish(HashKey::Content).unwrap(), None);
            let taken = taken.unwrap_or_else(|error| panic!("{name}, bit {at}: {error}"));
            ask_everything(&taken);
            // A snapshot takes longer: every sixteenth is enough.
            if opened % 16 == 0 {
                let mut builder = SnapshotBuilder::new(Arc::clone(&table), MatchOptions::default(), 1);
                for segment in [&segment, &taken, &segment] {
                    builder.add_segment(Arc::clone(segment), |feed| Feed::named(&feed.name)).unwrap();
                }
                let snapshot = Arc::new(builder.build("1"));
                let detector = Detector {
                    snapshot: Arc::clone(&snapshot),
                    policy: None,
                    tagging: Tagging::default(),
                    budgets: Budgets::default(),
                };
                let mut matcher = Matcher::new(&snapshot);
                let verdict =
                    detector.document(event, snapshot.trie(), &mut matcher, jiff::Timestamp::UNIX_EPOCH).unwrap();
                detector.tag_document(event, &verdict).unwrap();
            }
        }
    }
}

fn large() -> Vec<u8> {
    let domains: Vec<Indicator> =
        (0..4000).map(|number| indicator(Kind::Domain, &format!("host{number}.evil{}.example", number % 97))).collect();
    let addresses = (0..2000u32).map(|number| {
        let mut found = indicator(Kind::Ip, &format!("198.51.{}.{}", number / 256, number % 256));
        found.id = Some(format!("id-{number}").into());
        found.port = Some(number as u16);
        found
    });
    file(&[(Feed::named("domains"), domains), (Feed::named("addresses"), addresses.collect())])
}

/// 10,000 random changes of a large segment: bits, bytes, runs copied elsewhere, cuts. As they are they are refused;
/// under a checksum that holds they do no harm.
#[test]
fn random_mutations_of_a_large_segment_are_refused_or_do_no_harm() {
    let whole = large();
    let mut random = SmallRng::seed_from_u64(0x5e6);
    for round in 0..10_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..4) {
                0 => bytes[at] ^= 1 << random.random_range(0..8),
                1 => bytes[at] = random.random(),
                2 => {
                    let (from, length) = (random.random_range(0..bytes.len()), random.random_range(1..64));
                    let run = bytes[from..(from + length).min(bytes.len())].to_vec();
                    run.iter().zip(&mut bytes[at..]).for_each(|(new, byte)| *byte = *new);
                }
                _ => bytes.truncate(at.max(1)),
            }
        }
        if bytes == whole {
            continue;
        }
        assert!(Segment::from_bytes(bytes.clone(), None).is_err(), "round {round}");
        // Asking for everything takes longer than refusing: every tenth is enough.
        if round % 10 == 0 {
            seal(&mut bytes);
            if let Ok(segment) = Segment::from_bytes(bytes, None) {
                ask_everything(&segment);
            }
        }
    }
}

#[test]
fn a_refusal_says_what_is_wrong_and_what_to_do() {
    let bytes = small();
    let refused = |bytes: &[u8], expected: Option<Digest>, parts: &[&str]| {
        let error = Segment::from_bytes(bytes.to_vec(), expected).unwrap_err();
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?}: {text}");
        error
    };
    let other = Digest([7; 32]);
    let found = Segment::from_bytes(bytes.clone(), None).unwrap().digest();
    let error = refused(b"", None, &["version 1", "empty", "compile it again"]);
    assert!(matches!(error, SegmentError::Format { .. }), "{error}");
    refused(b"#separator", None, &["version 1", "other bytes", "compile it again"]);
    let mut newer = bytes.clone();
    newer[8] = 2;
    refused(&newer, None, &["version 1", "version 2", "compile it again"]);
    let mut older = bytes.clone();
    older[10..12].fill(0);
    seal(&mut older);
    let error = refused(&older, None, &["version 0", "version 2", "`hotlist compile`"]);
    assert!(matches!(error, SegmentError::Forms { found: 0 }), "{error}");
    let error = refused(&bytes, Some(other), &[&found.to_string(), &other.to_string(), "fetch it again"]);
    assert!(
        matches!(error, SegmentError::Digest { expected, found: is } if (expected, is) == (other, found)),
        "{error}"
    );
    let mut flipped = bytes.clone();
    flipped[100] ^= 1;
    let error = refused(&flipped, None, &["checksum", "fetch it again", "compile it again"]);
    assert!(matches!(error, SegmentError::Checksum), "{error}");
    // An indicator more than the columns have.
    let mut more = bytes;
    more[40] += 1;
    seal(&mut more);
    let error = refused(&more, None, &["length", "compile it again"]);
    assert!(matches!(&error, SegmentError::Malformed { place, .. } if place == "ContextOf 0"), "{error}");
    let nowhere = std::path::Path::new("/nowhere/at-all.seg");
    assert!(Segment::open(nowhere, None).unwrap_err().to_string().starts_with("/nowhere/at-all.seg: "));
}

proptest! {
    #[test]
    fn noise_is_no_segment(noise in proptest::collection::vec(any::<u8>(), 0..400), head in 0usize..120) {
        let mut bytes = [&small()[..head], &noise].concat();
        prop_assert!(Segment::from_bytes(bytes.clone(), None).is_err());
        seal(&mut bytes);
        if let Ok(segment) = Segment::from_bytes(bytes, None) {
            ask_everything(&segment);
        }
    }
}
