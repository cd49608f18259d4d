//! The file of an `ndjson` sink while it is rotated: every kind, at every moment, with each promise about the disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hotlist::config::Fsync;
use hotlist::encoding::{Format, Rope, wire};
use hotlist::pipeline::{Batch, MatchedMessage};
use hotlist::sink::Only;
use hotlist::sink::ndjson::{NdjsonSink, Output};

const FSYNC: [Fsync; 3] = [Fsync::Batch, Fsync::Interval, Fsync::Never];

#[derive(Clone, Copy, Debug)]
enum Rotation {
    Rename,
    Remove,
    RenameAndCreate,
    CopyTruncate,
}

#[derive(Clone, Copy, Debug)]
enum Moment {
    BeforeTheFirstBatch,
    BetweenBatches,
    WithSignal,
}

/// A batch of one document.
fn batch(number: usize) -> Arc<Batch> {
    let mut message = Vec::new();
    wire::put_bytes(&mut message, 2, format!("{{\"n\":{number}}}").as_bytes());
    let message = Rope::from(Bytes::from(message));
    Arc::new(MatchedMessage { format: Format::Filter, message, records: 1, ..MatchedMessage::default() }.into())
}

fn rotate(rotation: Rotation, path: &Path, archive: &Path) {
    match rotation {
        Rotation::Rename => fs::rename(path, archive).unwrap(),
        Rotation::Remove => fs::remove_file(path).unwrap(),
        Rotation::RenameAndCreate => {
            fs::rename(path, archive).unwrap();
            fs::File::create_new(path).unwrap();
        }
        Rotation::CopyTruncate => {
            fs::copy(path, archive).unwrap();
            fs::File::options().write(true).truncate(true).open(path).unwrap();
        }
    }
}

/// Guarantee: what is acknowledged before a rotation is in the file that was rotated away, what is acknowledged after
/// it is in the file at the path, each once; no other process needs a signal, and a signal does no harm.
#[tokio::test]
async fn lines_follow_the_path() {
    for rotation in [Rotation::Rename, Rotation::Remove, Rotation::RenameAndCreate, Rotation::CopyTruncate] {
        for moment in [Moment::BeforeTheFirstBatch, Moment::BetweenBatches, Moment::WithSignal] {
            for fsync in FSYNC {
                let what = format!("{rotation:?} {moment:?} {fsync:?}");
                let directory = tempfile::tempdir().unwrap();
                let (path, archive) = (directory.path().join("hits.ndjson"), directory.path().join("hits.ndjson.1"));
                let sink = NdjsonSink::open(Output::File(path.clone()), fsync).unwrap();
                let mut before = String::new();
                if !matches!(moment, Moment::BeforeTheFirstBatch) {
                    sink.deliver("hits", &batch(1), Only::All).await.unwrap();
                    before = "{\"n\":1}\n".to_owned();
                }
                rotate(rotation, &path, &archive);
                if matches!(moment, Moment::WithSignal) {
                    sink.reopen("hits").await;
                    assert_eq!(fs::read_to_string(&path).unwrap(), "", "{what}");
                }
                sink.deliver("hits", &batch(2), Only::All).await.unwrap();
                sink.deliver("hits", &batch(3), Only::All).await.unwrap();
                assert_eq!(fs::read_to_string(&path).unwrap(), "{\"n\":2}\n{\"n\":3}\n", "{what}");
                if !matches!(rotation, Rotation::Remove) {
                    assert_eq!(fs::read_to_string(&archive).unwrap(), before, "{what}");
                }
            }
        }
    }
}

/// Scenario: two sinks with different conditions, as before and after a new configuration, share an open file.
/// Guarantee: both write to it, and a third that opens it by itself is refused.
#[tokio::test]
async fn a_shared_file_has_one_lock() {
    let directory = tempfile::tempdir().unwrap();
    let output = Output::File(directory.path().join("hits.ndjson"));
    let old = NdjsonSink::open(output.clone(), Fsync::Batch).unwrap();
    let new = old.share(Fsync::Never);
    old.deliver("hits", &batch(1), Only::All).await.unwrap();
    new.deliver("hits", &batch(2), Only::All).await.unwrap();
    drop(old);
    assert!(NdjsonSink::open(output.clone(), Fsync::Batch).is_err());
    drop(new);
    let sink = NdjsonSink::open(output.clone(), Fsync::Batch).unwrap();
    assert_eq!(fs::read_to_string(sink.output().to_string()).unwrap(), "{\"n\":1}\n{\"n\":2}\n");
}

/// Scenario: files are renamed and removed as fast as possible while batches are written. Guarantee: every line that was
/// acknowledged is in a file that was renamed, or in the last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_in_a_race() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hits.ndjson");
    let sink = Arc::new(NdjsonSink::open(Output::File(path.clone()), Fsync::Never).unwrap());
    let writing = tokio::spawn({
        let sink = Arc::clone(&sink);
        async move {
            let mut acknowledged = Vec::new();
            for number in 0..300 {
                if sink.deliver("hits", &batch(number), Only::All).await.is_ok() {
                    acknowledged.push(format!("{{\"n\":{number}}}"));
                }
            }
            acknowledged
        }
    });
    let mut seen = String::new();
    while !writing.is_finished() {
        let archive = directory.path().join("archive");
        if fs::rename(&path, &archive).is_ok() {
            seen += &fs::read_to_string(&archive).unwrap();
            fs::remove_file(&archive).unwrap();
        }
        tokio::task::yield_now().await;
    }
    seen += &fs::read_to_string(&path).unwrap_or_default();
    let acknowledged = writing.await.unwrap();
    assert!(!acknowledged.is_empty());
    let missing: Vec<_> = acknowledged.iter().filter(|line| !seen.lines().any(|seen| seen == *line)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
