//! The cache on a real directory: what it keeps, what it deletes, and what damage it sees.

use super::*;
use crate::intel::manifest::{SegmentRef, Signature};

const LIMIT: u64 = 100;

fn manifest(version: u64, segments: &[&[u8]]) -> Manifest {
    let segment = |bytes: &&[u8]| SegmentRef { digest: Digest::sha256(bytes), bytes: bytes.len() as u64 };
    Manifest {
        audience: "a".to_owned(),
        version,
        mode: Mode::Serve,
        issued: "2026-01-01T00:00:00Z".parse().unwrap(),
        expires: None,
        segments: segments.iter().map(segment).collect(),
        revocations: Vec::new(),
        rules: Vec::new(),
    }
}

fn signed(manifest: &Manifest) -> Signed {
    let signature = Signature { key_id: "k".to_owned(), signature: vec![7; 64] };
    Signed { manifest: manifest.to_bytes().unwrap(), signatures: vec![signature] }
}

fn seen(version: u64) -> HighestVersion {
    HighestVersion { version, manifest: Digest::sha256(&version.to_be_bytes()) }
}

fn put(cache: &Cache, bytes: &[u8]) {
    let mut part = cache.part(Digest::sha256(bytes), bytes.len() as u64).unwrap();
    let missing = &bytes[part.written() as usize..];
    part.append(missing).unwrap();
    cache.finish(part).unwrap();
}

fn has(cache: &Cache, bytes: &[u8]) -> bool {
    cache.has(Digest::sha256(bytes), bytes.len() as u64).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn one_process_at_a_time_uses_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = Cache::open(directory.path(), LIMIT).unwrap();
    assert!(matches!(Cache::open(directory.path(), LIMIT), Err(CacheError::InUse(_))));
    drop(first);
    Cache::open(directory.path(), LIMIT).unwrap();
}

#[test]
fn the_highest_version_never_goes_back_not_even_by_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path(), LIMIT).unwrap();
    assert_eq!(cache.highest(Mode::Serve).unwrap(), None);
    for version in [3, 2, 1] {
        cache.raise(Mode::Serve, seen(version)).unwrap();
    }
    cache.raise(Mode::Shadow, seen(9)).unwrap();
    drop(cache);
    let cache = Cache::open(directory.path(), LIMIT).unwrap();
    assert_eq!(cache.highest(Mode::Serve).unwrap(), Some(seen(3)));
    assert_eq!(cache.highest(Mode::Shadow).unwrap(), Some(seen(9)));
}

/// Guarantee: a damaged file of versions stops new versions until somebody removes it, whatever byte it is.
#[test]
fn any_damage_of_the_highest_version_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    Cache::open(directory.path(), LIMIT).unwrap().raise(Mode::Serve, seen(120)).unwrap();
    let path = directory.path().join("highest.json");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let cache = Cache::open(directory.path(), LIMIT).unwrap();
        assert!(matches!(cache.highest(Mode::Serve), Err(CacheError::HighestVersion { .. })), "byte {at}");
        assert!(matches!(cache.raise(Mode::Serve, seen(200)), Err(CacheError::HighestVersion { .. })), "byte {at}");
    }
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert!(Cache::open(directory.path(), LIMIT).unwrap().highest(Mode::Shadow).is_err());
    fs::remove_file(&path).unwrap();
    assert_eq!(Cache::open(directory.path(), LIMIT).unwrap().highest(Mode::Serve).unwrap(), None);
}

/// Guarantee: a last good manifest is the one that was committed, byte for byte, and any damage is seen although nobody
/// looks at its signature here.
#[test]
fn any_damage_of_a_last_good_manifest_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path(), LIMIT).unwrap();
    let (first, second) = (manifest(1, &[]), manifest(2, &[]));
    assert_eq!(cache.last_good(Mode::Serve).unwrap(), None);
    cache.stage(Mode::Serve, &signed(&first)).unwrap();
    assert_eq!(cache.last_good(Mode::Serve).unwrap(), None);
    cache.commit(Mode::Serve, &first).unwrap();
    cache.stage(Mode::Serve, &signed(&second)).unwrap();
    assert_eq!(cache.last_good(Mode::Serve).unwrap(), Some(signed(&first)));
    assert_eq!(cache.last_good(Mode::Shadow).unwrap(), None);
    let path = directory.path().join("serve.json");
    let good = fs::read(&path).unwrap();
    for (at, bit) in (0..good.len()).flat_map(|at| [(at, 0x01), (at, 0x20)]) {
        let mut bad = good.clone();
        bad[at] ^= bit;
        fs::write(&path, &bad).unwrap();
        assert!(matches!(cache.last_good(Mode::Serve), Err(RecordError::Damaged { .. })), "byte {at}");
    }
    cache.forget(Mode::Serve).unwrap();
    assert_eq!(cache.last_good(Mode::Serve).unwrap(), None);
    cache.forget(Mode::Serve).unwrap();
}

/// Guarantee: a partial file is continued where it ended, after a restart too, and becomes a segment only when its
/// digest is right.
#[test]
fn a_part_is_continued_and_checked_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path(), LIMIT).unwrap();
    let digest = Digest::sha256(b"0123456789");
    cache.part(digest, 10).unwrap().append(b"0123").unwrap();
    drop(cache);
    let cache = Cache::open(directory.path(), LIMIT).unwrap();
    let mut part = cache.part(digest, 10).unwrap();
    assert_eq!((part.written(), part.missing()), (4, 6));
    part.append(b"45678").unwrap();
    assert!(matches!(cache.finish(part), Err(CacheError::Segment { .. })), "it is too short");
    assert_eq!(cache.part(digest, 10).unwrap().written(), 0, "what was wrong is gone");
    let mut part = cache.part(digest, 10).unwrap();
    part.append(b"0123456780").unwrap();
    assert!(matches!(cache.finish(part), Err(CacheError::Segment { .. })), "a byte is wrong");
    assert!(!has(&cache, b"0123456789"));
    put(&cache, b"0123456789");
    assert!(has(&cache, b"0123456789"));
    assert_eq!(names(&directory.path().join("segments")), [format!("{digest}.seg")]);
    // A part that is longer than the segment is none of its.
    fs::write(directory.path().join(format!("segments/{digest}.part")), [0; 11]).unwrap();
    assert_eq!(cache.part(digest, 10).unwrap().written(), 0);
}

/// Guarantee: a file that does not match its name is never used as a segment, and is fetched again.
#[test]
fn a_damaged_segment_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path(), LIMIT).unwrap();
    let wanted = manifest(1, &[b"0123456789"]);
    assert!(matches!(cache.check(&wanted), Err(CacheError::Io { .. })));
    for bad in [&b"0123456780"[..], b"012345678", b"01234567890", b""] {
        fs::write(cache.path(wanted.segments[0].digest), bad).unwrap();
        assert!(matches!(cache.check(&wanted), Err(CacheError::Segment { .. })));
        assert!(!has(&cache, b"0123456789"));
        assert_eq!(names(&directory.path().join("segments")), [""; 0]);
    }
    put(&cache, b"0123456789");
    assert_eq!(cache.check(&wanted).unwrap(), [cache.path(wanted.segments[0].digest)]);
}

/// Guarantee: what no kept manifest names goes, what one names stays, and the limit holds for all of it together.
#[test]
fn garbage_goes_and_what_is_kept_stays() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path(), LIMIT).unwrap();
    let segments: Vec<Vec<u8>> = (0..5).map(|n| vec![n; 30]).collect();
    let of = |version, which: &[usize]| manifest(version, &which.iter().map(|n| &segments[*n][..]).collect::<Vec<_>>());
    for segment in &segments[..4] {
        put(&cache, segment);
    }
    let left = || (0..5).filter(|n| has(&cache, &segments[*n])).collect::<Vec<_>>();
    cache.keep(Mode::Serve, KeepReason::LastGood, Some(&of(1, &[0])));
    cache.keep(Mode::Serve, KeepReason::Serving, Some(&of(2, &[0, 1])));
    cache.part(Digest::sha256(b"other"), 5).unwrap().append(b"oth").unwrap();
    cache.make_room(Mode::Serve, &of(3, &[1, 2, 2])).unwrap();
    assert_eq!(left(), [0, 1, 2]);
    assert_eq!(names(&directory.path().join("segments")).len(), 3, "the part went, too");
    let full = cache.make_room(Mode::Shadow, &of(1, &[3])).unwrap_err();
    assert!(matches!(full, CacheError::Full { needed: 120, limit: 100 }), "{full}");
    assert_eq!(left(), [0, 1, 2], "what does not fit costs nothing");
    // The next candidate takes the place of the previous candidate.
    cache.make_room(Mode::Serve, &of(4, &[0, 3])).unwrap();
    assert_eq!(left(), [0, 1]);
    cache.keep(Mode::Serve, KeepReason::Serving, None);
    cache.collect_garbage().unwrap();
    assert_eq!(left(), [0]);
    assert!(cache.make_room(Mode::Serve, &of(5, &[0, 1, 2, 3])).is_err());
}

#[test]
fn a_disk_that_fails_is_an_error_that_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Cache::open(&file, LIMIT).unwrap_err();
    assert!(matches!(&error, CacheError::Io { path, what: "created", .. } if *path == file), "{error}");
    assert!(error.to_string().contains("`intel.control.cache`"), "{error}");
}
