//! A segment finds exactly the indicators that were put into it; through a file, and taken over by another segment,
//! too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hotlist::intel::indicator::{Feed, Stored};
use hotlist::intel::keys::KeySpace;
use hotlist::intel::segment::{self, Digest, HashKey, Numbering, Segment, SegmentBuilder, TableId};
use hotlist::observable::Kind;

use crate::{every_kind, file, indicator, small};

/// Writes a segment to its file, as a store does.
fn write(directory: &Path, bytes: &[u8]) -> (Digest, PathBuf) {
    let digest = Segment::from_bytes(bytes.to_vec(), None).unwrap().digest();
    let path = directory.join(segment::file_name(&digest));
    std::fs::write(&path, bytes).unwrap();
    (digest, path)
}

fn stored(segment: &Segment, space: KeySpace, key: &[u8]) -> Vec<Stored> {
    let mut found = Vec::new();
    segment.find(TableId::Space(space), key, |posting| found.push(segment.indicator(posting.indicator)));
    found
}

#[test]
fn everything_that_an_indicator_has_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = file(&[(Feed::named("f"), every_kind())]);
    let (digest, path) = write(directory.path(), &bytes);
    assert_eq!(segment::file_name(&digest), format!("{digest}.seg"));
    assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
    let opened = Segment::open(&path, Some(digest)).unwrap();
    assert_eq!(opened.resident_bytes(), bytes.len(), "a small file is copied");
    for segment in [opened, Segment::from_bytes(bytes, None).unwrap()] {
        assert_eq!((segment.len() as usize, segment.digest()), (every_kind().len(), digest));
        let [full] = &stored(&segment, KeySpace::Url, b"evil.example/a?b")[..] else { panic!("one") };
        let expected = every_kind().into_iter().find(|indicator| indicator.id.is_some()).unwrap();
        assert_eq!(full.id, expected.id);
        assert_eq!(full.context, expected.context);
        assert_eq!((full.valid_from, full.valid_until), (expected.valid_from, expected.valid_until));
        assert_eq!((full.revoked, full.port, full.feed), (true, Some(443), 0));
        let [plain] = &stored(&segment, KeySpace::Sha256, "2c".repeat(32).as_bytes())[..] else { panic!("one") };
        assert_eq!(*plain, Stored { context: plain.context.clone(), ..Stored::default() });
        assert_eq!(*plain.context, hotlist::intel::indicator::Context::default());
        assert!(stored(&segment, KeySpace::Sha256, "2d".repeat(32).as_bytes()).is_empty());
        assert!(stored(&segment, KeySpace::Sha256, b"2c2c").is_empty(), "no digest");
        assert_eq!(stored(&segment, KeySpace::DomainSuffix, b"worse.example").len(), 1);
        assert!(stored(&segment, KeySpace::DomainSuffix, b"evil.example").is_empty());
        let mut network = 0;
        segment.find(TableId::Networks4(25), &[198, 51, 100, 0], |_| network += 1);
        assert_eq!(network, 1);
        assert_eq!(segment.ranges().len(), 1);
    }
}

/// Scenario: the file of an open segment is truncated, rewritten in place and removed. Guarantee: the segment answers as
/// before, and the damaged file is refused when it is opened again.
#[test]
fn a_small_segment_answers_whatever_happens_to_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = file(&[(Feed::named("f"), every_kind())]);
    let (digest, path) = write(directory.path(), &bytes);
    let opened = Segment::open(&path, Some(digest)).unwrap();
    let rewrite = |content: &[u8]| {
        // In place: the same file, not another under its name.
        use std::io::Write;
        let mut file = std::fs::File::options().write(true).truncate(true).open(&path).unwrap();
        file.write_all(content).unwrap();
    };
    for content in [&b""[..], &bytes[..bytes.len() / 2], &vec![0xff; bytes.len()]] {
        rewrite(content);
        assert!(opened.as_bytes() == bytes);
        assert_eq!(stored(&opened, KeySpace::DomainSuffix, b"worse.example").len(), 1);
        assert!(Segment::open(&path, Some(digest)).is_err(), "{} bytes", content.len());
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(stored(&opened, KeySpace::Url, b"evil.example/a?b").len(), 1);
}

/// Guarantee: a file on either side of the bound is copied or mapped, and answers alike.
#[test]
fn a_large_segment_is_mapped() {
    let directory = tempfile::tempdir().unwrap();
    let open = |bytes: &[u8]| {
        let (digest, path) = write(directory.path(), bytes);
        Segment::open(&path, Some(digest)).unwrap()
    };
    let named = |name: &str| vec![indicator(Kind::Domain, "evil.example"), indicator(Kind::Domain, name)];
    let mut large = named("b.example");
    large[0].context = std::sync::Arc::new(hotlist::intel::indicator::Context {
        description: Some("x".repeat(segment::COPIED_BYTES as usize).into()),
        ..Default::default()
    });
    let (small, large) = (file(&[(Feed::named("f"), named("a.example"))]), file(&[(Feed::named("f"), large)]));
    assert!(large.len() as u64 > segment::COPIED_BYTES);
    for (bytes, resident) in [(&small, small.len()), (&large, 0)] {
        let opened = open(bytes);
        assert_eq!(opened.resident_bytes(), resident);
        assert_eq!(stored(&opened, KeySpace::Domain, b"evil.example").len(), 1);
    }
}

#[test]
fn the_same_content_is_the_same_file_and_other_content_another() {
    assert_eq!(small(), small());
    let of = |names: &[&str]| {
        let indicators = names.iter().map(|name| indicator(Kind::Domain, name)).collect();
        Segment::from_bytes(file(&[(Feed::named("f"), indicators)]), None).unwrap().digest()
    };
    let digests: BTreeSet<_> =
        [of(&["a.example"]), of(&["b.example"]), of(&["a.example", "b.example"]), of(&[])].into_iter().collect();
    assert_eq!(digests.len(), 4);
}

/// One indicator for many keys, and many for one.
#[test]
fn a_key_leads_to_all_of_its_indicators_and_to_each_once() {
    let mut twice = indicator(Kind::Domain, "evil.example");
    twice.terms.push(twice.terms[0].clone());
    let same = (0..50).map(|_| indicator(Kind::Domain, "evil.example"));
    let others = (0..500).map(|number| indicator(Kind::Domain, &format!("h{number}.example")));
    let segment = Segment::from_bytes(
        file(&[
            (Feed::named("one"), [twice].into_iter().chain(same).collect()),
            (Feed::named("two"), others.collect()),
        ]),
        None,
    )
    .unwrap();
    let found = stored(&segment, KeySpace::Domain, b"evil.example");
    assert_eq!(found.len(), 51);
    assert!(found.iter().all(|stored| stored.feed == 0));
    for number in 0..500 {
        let found = stored(&segment, KeySpace::Domain, format!("h{number}.example").as_bytes());
        assert_eq!(found.iter().map(|stored| stored.feed).collect::<Vec<_>>(), [1]);
    }
    assert!(stored(&segment, KeySpace::Domain, b"h500.example").is_empty());
}

/// Taking everything over, feeds apart or joined, gives a segment that answers alike; what is not kept is not there.
#[test]
fn what_is_taken_over_is_found_and_what_is_not_kept_is_not() {
    let first = Segment::from_bytes(small(), None).unwrap();
    let more = vec![indicator(Kind::Domain, "evil.example"), indicator(Kind::Domain, "more.example")];
    let second = file(&[(Feed::named("g"), every_kind()), (Feed::named("f"), more)]);
    let second = Segment::from_bytes(second, None).unwrap();
    let take = |numbering, keep: &dyn Fn(u32) -> bool| {
        let mut builder = SegmentBuilder::with_fingerprints();
        builder.take_over(&[(&first, keep), (&second, &|_| true)], numbering).unwrap();
        Segment::from_bytes(builder.finish(HashKey::Content).unwrap(), None).unwrap()
    };
    let apart = take(Numbering::Apart, &|_| true);
    let names =
        |segment: &Segment| segment.feeds().iter().map(|feed| (feed.name.clone(), feed.len)).collect::<Vec<_>>();
    let all = every_kind().len() as u32;
    assert_eq!(names(&apart), [("f".to_owned(), all), ("g".to_owned(), all), ("f".to_owned(), 2)]);
    let joined = take(Numbering::Joined, &|_| true);
    assert_eq!(names(&joined), [("f".to_owned(), all + 2), ("g".to_owned(), all)]);
    assert_eq!(joined.feeds()[0].values.iter().sum::<u32>(), first.feeds()[0].values.iter().sum::<u32>() + 2);
    for segment in [&apart, &joined] {
        assert_eq!(segment.tombstones(), []);
        let found = stored(segment, KeySpace::Domain, b"evil.example");
        assert_eq!(found.len(), 3);
        for old in [&first, &second] {
            for table in old.tables() {
                old.keys(table, |key, payload| {
                    old.postings(payload, |posting| {
                        let expected = old.indicator(posting.indicator);
                        let mut is_there = false;
                        segment.find(table.id(), key, |new| {
                            let found = segment.indicator(new.indicator);
                            let name = |of: &Segment, feed: u32| of.feeds()[feed as usize].name.clone();
                            let feeds = (name(segment, found.feed), name(old, expected.feed));
                            let target = |of: &Segment, number: u16| {
                                (number > 0).then(|| of.paths()[usize::from(number) - 1].clone())
                            };
                            let scheme = |of: &Segment, number: u16| {
                                (number > 0).then(|| of.schemes()[usize::from(number) - 1].clone())
                            };
                            is_there |= feeds.0 == feeds.1
                                && Stored { feed: expected.feed, ..found } == expected
                                && target(segment, new.target) == target(old, posting.target)
                                && scheme(segment, new.scheme) == scheme(old, posting.scheme)
                                && segment.fingerprint(new.indicator) == old.fingerprint(posting.indicator);
                        });
                        assert!(is_there, "{:?} {key:?}", table.id());
                    });
                });
            }
        }
    }
    let gone = first.indicator(4);
    assert_eq!(gone.feed, 0);
    let fewer = take(Numbering::Joined, &|number| number != 4);
    assert_eq!(names(&fewer)[0], ("f".to_owned(), all + 1));
    assert_eq!(stored(&fewer, KeySpace::Domain, b"evil.example").len(), 2);
    assert_eq!(fewer.feeds()[0].values[Kind::Domain as usize], joined.feeds()[0].values[Kind::Domain as usize] - 1);
}
