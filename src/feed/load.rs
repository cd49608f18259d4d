//! Builds a snapshot from files: finds the files of each feed, imports, screens and indexes them.
//!
//! A file that cannot be read or imported costs its own indicators and nothing else; what happened to each file is
//! in the [`Outcome`]s, for logs, `validate` and `inspect`.

use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use ring::digest;

use crate::intel::guard::{self, GuardRefusal};
use crate::intel::indicator::Indicator;
use crate::intel::segment::SegmentBuilder;
use crate::intel::snapshot::{Feed, MatchOptions, NOTHING, Snapshot, SnapshotBuilder, SnapshotError};
use crate::schema::FieldTable;

use super::{FeedError, FeedOptions, Import, Sink, import_into};

/// One file of a feed, and how to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedFile {
    pub path: PathBuf,
    /// The feed that it belongs to.
    pub feed: Feed,
    pub options: FeedOptions,
    /// Whether the import guard screens it.
    pub guarded: bool,
}

/// The reason that there are no files to load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A path does not exist or cannot be listed.
    #[error("cannot read {}: {source}; give a file, a directory or a glob that exists", path.display())]
    Path { path: PathBuf, source: io::Error },
    /// A file cannot be imported.
    #[error(transparent)]
    Feed(#[from] FeedError),
}

/// The result of one file.
#[derive(Debug)]
pub struct Outcome {
    pub file: FeedFile,
    /// Its indicators, less those that the guard refused; or why there are none.
    pub import: Result<Import, LoadError>,
    /// The indicators that the guard refused, with the line.
    pub refused: Vec<(u32, GuardRefusal)>,
    /// How many indicators there were, also after they moved into a snapshot.
    pub indicators: usize,
    /// The SHA-256 of the bytes that they were read from; absent if the file failed.
    pub digest: Option<Digest>,
}

/// A SHA-256.
pub type Digest = [u8; 32];

/// The worth of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// It cannot be read, or is not what it claims to be as a whole. What it would have held is not known.
    Failed,
    /// It was read to its end, and gave no indicator.
    Empty,
    /// It gave indicators.
    Usable,
}

impl Outcome {
    /// The worth of the file. A file that failed or is empty should not replace good indicators.
    pub fn worth(&self) -> Worth {
        match &self.import {
            Err(_) => Worth::Failed,
            Ok(_) if self.indicators == 0 => Worth::Empty,
            Ok(_) => Worth::Usable,
        }
    }
}

/// Imports one file.
pub fn load(file: FeedFile, table: &FieldTable) -> Outcome {
    let mut all = Vec::new();
    let mut outcome = load_into(file, table, &|_| {}, &mut |portion| match all.is_empty() {
        true => all = portion,
        false => all.extend(portion),
    });
    if let Ok(import) = &mut outcome.import {
        import.indicators = all;
    }
    outcome
}

/// The name of a snapshot of files, from their feeds and digests in any order: `files:` and the beginning of a digest over
/// all of them. Sidecars that read the same files give the same name, wherever these lie.
pub fn name<'a>(files: impl IntoIterator<Item = (&'a str, Option<&'a Digest>)>) -> Arc<str> {
    let mut files: Vec<(&str, Option<&Digest>)> = files.into_iter().collect();
    if files.is_empty() {
        return NOTHING.into();
    }
    files.sort_unstable();
    let mut context = digest::Context::new(&digest::SHA256);
    for (feed, digest) in files {
        context.update(&(feed.len() as u64).to_le_bytes());
        context.update(feed.as_bytes());
        context.update(digest.map_or(&[][..], |digest| digest));
    }
    let all = context.finish();
    let short = all.as_ref().iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}"));
    format!("files:{}", short.collect::<String>()).into()
}

/// The name of a snapshot of what these files gave.
pub fn name_of(outcomes: &[Outcome]) -> Arc<str> {
    let read = outcomes.iter().filter(|outcome| outcome.worth() == Worth::Usable);
    name(read.map(|outcome| (outcome.file.feed.name.as_str(), outcome.digest.as_ref())))
}

/// How much of a digest a name has: enough to distinguish the sets of files of a fleet.
const NAME_BYTES: usize = 6;

/// Imports one file portion by portion, each screened before it goes to `sink`; the outcome has no indicators but their
/// number. `progress` is called with the number of bytes that were read since the last call. What a file gave that failed
/// is a part of it, and not to be used.
pub fn load_into(file: FeedFile, table: &FieldTable, progress: &dyn Fn(u64), sink: Sink<'_>) -> Outcome {
    let (mut refused, mut count, mut digest) = (Vec::new(), 0, None);
    let opened = File::open(&file.path).map_err(|source| LoadError::Path { path: file.path.clone(), source });
    let import = opened.and_then(|opened| {
        let name = file.path.to_string_lossy();
        let import = || {
            let mut screened = |mut indicators: Vec<Indicator>| {
                if file.guarded {
                    screen(&mut indicators, &mut refused);
                }
                count += indicators.len();
                sink(indicators);
            };
            let mut opened = Observed { inner: opened, context: digest::Context::new(&digest::SHA256), progress };
            let import = import_into(&mut opened, &name, &file.options, table, &mut screened)?;
            digest = opened.context.finish().as_ref().try_into().ok();
            Ok(import)
        };
        // A file must not keep the others from being read: what its import would have made is dropped as a whole.
        catch_unwind(AssertUnwindSafe(import))
            .unwrap_or_else(|_| Err(FeedError::Panicked { file: name.to_string() }.into()))
    });
    if import.is_err() {
        (refused, count) = (Vec::new(), 0);
    }
    Outcome { file, import, refused, indicators: count, digest }
}

/// Imports the files of one feed and adds them to a snapshot. There is no list of all indicators, unless a file fails: then
/// all are read again, since the segment has a part of that file.
///
/// # Errors
/// As [`SnapshotBuilder::add_feed`].
pub fn load_feed(
    files: &[FeedFile],
    table: &FieldTable,
    builder: &mut SnapshotBuilder,
) -> Result<Vec<Outcome>, SnapshotError> {
    let Some(feed) = files.first().map(|file| file.feed.clone()) else { return Ok(Vec::new()) };
    let (mut segment, mut added) = (SegmentBuilder::default(), Ok(()));
    segment.feed(&feed);
    let mut outcomes = Vec::with_capacity(files.len());
    for file in files {
        let outcome = load_into(file.clone(), table, &|_| {}, &mut |portion| {
            if added.is_ok() {
                added = portion.iter().try_for_each(|indicator| segment.add(indicator));
            }
        });
        if outcome.import.is_err() {
            let mut outcomes: Vec<Outcome> = files.iter().map(|file| load(file.clone(), table)).collect();
            add(&mut outcomes, builder)?;
            return Ok(outcomes);
        }
        outcomes.push(outcome);
    }
    added.map_err(|cause| SnapshotError::Segment { feed: feed.name.clone(), cause })?;
    builder.add_built_feed(feed, segment)?;
    Ok(outcomes)
}

/// Takes out what the import guard refuses.
fn screen(indicators: &mut Vec<Indicator>, refused: &mut Vec<(u32, GuardRefusal)>) {
    for indicator in indicators.iter_mut() {
        let line = indicator.line;
        refused.extend(guard::screen(indicator).into_iter().map(|refused| (line, refused)));
    }
    indicators.retain(|indicator| !indicator.terms.is_empty());
}

/// Digests what is read, and reports how much that was.
struct Observed<'p> {
    inner: File,
    context: digest::Context,
    progress: &'p dyn Fn(u64),
}

impl Read for Observed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.context.update(into.get(..read).unwrap_or_default());
        (self.progress)(read as u64);
        Ok(read)
    }
}

/// Indexes what was loaded. The indicators move into the snapshot; the outcomes keep the rest. Files in a row that are of
/// one feed make one feed.
pub fn snapshot(
    outcomes: &mut [Outcome],
    table: &Arc<FieldTable>,
    options: MatchOptions,
    seed: u64,
) -> Result<Snapshot, SnapshotError> {
    let mut builder = SnapshotBuilder::new(table.clone(), options, seed);
    add(outcomes, &mut builder)?;
    Ok(builder.build(name_of(outcomes)))
}

/// The same for a snapshot that has more to it.
pub fn add(outcomes: &mut [Outcome], builder: &mut SnapshotBuilder) -> Result<(), SnapshotError> {
    for feed in outcomes.chunk_by_mut(|one, other| one.file.feed == other.file.feed) {
        let Some(first) = feed.first().map(|outcome| outcome.file.feed.clone()) else { continue };
        let mut indicators = Vec::new();
        let mut any = false;
        for outcome in feed {
            if let Ok(import) = &mut outcome.import {
                any = true;
                outcome.indicators = import.indicators.len();
                indicators.push(std::mem::take(&mut import.indicators));
            }
        }
        if any {
            builder.add_feed(first, indicators.into_iter().flatten())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, text: &str) -> Outcome {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        let file = FeedFile { feed: Feed::named("f"), options: FeedOptions::default(), guarded: true, path };
        load(file, &FieldTable::embedded(true).unwrap())
    }

    #[test]
    fn a_failed_an_empty_and_a_usable_file_are_told_apart_also_after_indexing() {
        let mut outcomes = [
            outcome("a.txt", "evil.com\n"),
            outcome("b.txt", ""),
            outcome("c.txt", "no value\n"),
            outcome("d.txt", "127.0.0.1\n"),
            outcome("e.json", "{\"type\":"),
        ];
        let expected = [Worth::Usable, Worth::Empty, Worth::Empty, Worth::Empty, Worth::Failed];
        assert_eq!(outcomes.each_ref().map(Outcome::worth), expected);
        let table = Arc::new(FieldTable::embedded(true).unwrap());
        let snapshot = snapshot(&mut outcomes, &table, MatchOptions::default(), 1).unwrap();
        assert_eq!((snapshot.len(), snapshot.feeds().len()), (1, 1));
        assert_eq!(outcomes.each_ref().map(Outcome::worth), expected);
    }

    /// Guarantee: the name is that of the feeds' content, whatever the order and the directories; another byte, another
    /// feed and one file more give another name.
    #[test]
    fn a_snapshot_is_named_by_what_its_files_hold() {
        let table = Arc::new(FieldTable::embedded(true).unwrap());
        let named = |files: &[(&str, &str)]| {
            let mut outcomes: Vec<Outcome> = files.iter().map(|(name, text)| outcome(name, text)).collect();
            let snapshot = snapshot(&mut outcomes, &table, MatchOptions::default(), 1).unwrap();
            snapshot.name().to_string()
        };
        let (one, two) = (("a.txt", "evil.com\n"), ("b.txt", "bad.com\n"));
        let first = named(&[one, two]);
        assert_eq!(first.strip_prefix("files:").unwrap().len(), 12);
        assert_eq!(named(&[two, ("renamed.txt", one.1)]), first);
        for other in [&[one][..], &[one, two, two], &[one, ("b.txt", "bad.org\n")], &[one, ("b.txt", "bad.com\n\n")]] {
            assert_ne!(named(other), first, "{other:?}");
        }
        assert_eq!(named(&[("b.txt", "")]), "none");
        let digest = [7; 32];
        assert_ne!(name([("f", Some(&digest))]), name([("g", Some(&digest))]));
    }

    /// Guarantee: the files of a feed give the same snapshot straight as through lists, also where one of them fails after it
    /// has given indicators: none of that file is in the snapshot.
    #[test]
    fn a_feed_is_the_same_without_a_list_and_a_failed_file_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = FeedOptions::default();
        options.limits.indicators = 17_000;
        let file = |name: &str, values: std::ops::Range<u32>| {
            let path = directory.path().join(name);
            let lines: Vec<String> = values.map(|number| format!("n{number}.example\n")).collect();
            std::fs::write(&path, lines.concat()).unwrap();
            FeedFile { feed: Feed::named("f"), options: options.clone(), guarded: true, path }
        };
        let (one, two, long) = (file("one.txt", 0..3), file("two.txt", 3..16_900), file("long.txt", 100_000..120_000));
        let table = Arc::new(FieldTable::embedded(true).unwrap());
        for files in [vec![one.clone(), two.clone()], vec![one, long, two]] {
            let fails = files.len() == 3;
            let mut builder = SnapshotBuilder::new(Arc::clone(&table), MatchOptions::default(), 1);
            let straight = load_feed(&files, &table, &mut builder).unwrap();
            let mut listed: Vec<Outcome> = files.iter().map(|file| load(file.clone(), &table)).collect();
            let facts = |outcomes: &[Outcome]| -> Vec<_> {
                outcomes.iter().map(|outcome| (outcome.worth(), outcome.indicators, outcome.digest)).collect()
            };
            assert_eq!(facts(&straight), facts(&listed));
            assert_eq!(straight.iter().filter(|outcome| outcome.worth() == Worth::Failed).count(), usize::from(fails));
            let (built, expected) =
                (builder.build(name_of(&straight)), snapshot(&mut listed, &table, MatchOptions::default(), 1).unwrap());
            assert_eq!((built.len(), built.name()), (16_900, expected.name()));
            assert_eq!((built.len(), built.feeds()), (expected.len(), expected.feeds()));
        }
    }
}
