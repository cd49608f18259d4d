//! Feeds to segments: what `hotlist compile` and `hotlist compact` do.
//!
//! A feed is a chain of segments in a store: a full one, then a delta for each change. A feed that did not change makes no
//! new segment. What may replace a good feed is judged as it is for live files: one that cannot be read, is empty, or fell
//! to less than half, does not.

mod state;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::load::{self, FeedFile, Outcome};
use crate::fields::FieldTable;
use crate::intel::segment::{
    self, BuildError, HashKey, Keep, Numbering, Numbers, Segment, SegmentBuilder, SegmentError, withdrawn,
};

pub use state::{FeedState, OriginWord, SegmentState, StateError, feeds};

/// How many indicators have a fingerprint: a feed may say the same twice.
type Fingerprints = HashMap<u64, u32, foldhash::fast::RandomState>;

/// Why a feed cannot be compiled. What the store has of it stays.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A file of it cannot be used as a whole.
    #[error("feed `{feed}`: {cause}; the store keeps what it has of the feed")]
    File {
        /// The feed.
        feed: String,
        /// Why.
        cause: String,
    },
    /// There is nothing in it.
    #[error("feed `{feed}` has no indicator; the store keeps what it has of the feed")]
    Empty {
        /// The feed.
        feed: String,
    },
    /// There is much less in it than there was.
    #[error(
        "feed `{feed}` fell from {held} indicators to {found}; give --allow-shrink if that is meant, the store keeps what it has of the feed"
    )]
    Shrunk {
        /// The feed.
        feed: String,
        /// How many there were.
        held: usize,
        /// How many there are.
        found: usize,
    },
    /// Too much for a segment.
    #[error("feed `{feed}`: {cause}")]
    Build {
        /// The feed.
        feed: String,
        /// Why.
        cause: BuildError,
    },
    /// A segment of the store cannot be read.
    #[error("feed `{feed}`: {cause}; remove {} to compile the feed from nothing", state.display())]
    Chain {
        /// The feed.
        feed: String,
        /// Why.
        cause: SegmentError,
        /// The file that names the segment.
        state: PathBuf,
    },
    /// The store's list of a feed's segments cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store cannot be written to.
    #[error("{}: {cause}", path.display())]
    Store {
        /// The directory.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// What became of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its files are those that were compiled last, or say the same.
    Unchanged,
    /// A segment of all of it, which takes the place of the ones before.
    Full,
    /// A segment of what changed.
    Delta {
        /// Indicators that it adds.
        added: usize,
        /// Indicators that it withdraws.
        withdrawn: usize,
    },
}

/// A feed that was compiled.
#[derive(Debug)]
pub struct Compiled {
    /// What became of it.
    pub change: Change,
    /// What the store has of it now.
    pub state: FeedState,
}

/// Compiles the files of one feed into a store, a directory that is made if it is not there.
///
/// `told` is called with what came of each file that was read; an unchanged feed reads none. `progress` is called with
/// the number of bytes that were read since the last call.
///
/// # Errors
/// The feed cannot be used, or the store cannot; nothing in it has changed then.
pub fn compile(
    files: &[FeedFile],
    table: &FieldTable,
    store: &Path,
    allow_shrink: bool,
    told: &mut dyn FnMut(&Outcome),
    progress: &dyn Fn(u64),
) -> Result<Option<Compiled>, CompileError> {
    let Some(first) = files.first() else { return Ok(None) };
    let feed = &first.feed;
    let segments = segments_directory(store)?;
    let before = FeedState::load(store, &feed.name)?;
    let source = source(files, table).map_err(|cause| CompileError::File { feed: feed.name.clone(), cause })?;
    if let Some(state) = before.as_ref().filter(|state| state.source == source && state.is_complete(&segments)) {
        return Ok(Some(Compiled { change: Change::Unchanged, state: state.clone() }));
    }
    let whole = import(files, table, told, progress)?;
    let chain = match &before {
        Some(state) => state.open(store)?,
        None => Vec::new(),
    };
    let refs: Vec<&Segment> = chain.iter().map(|segment| &**segment).collect();
    let dead = withdrawn(&refs);
    let held: usize = refs.iter().zip(&dead).map(|(segment, dead)| segment.len() as usize - dead.len()).sum();
    let found = whole.len() as usize;
    if found == 0 {
        return Err(CompileError::Empty { feed: feed.name.clone() });
    }
    if !allow_shrink && found < held.div_ceil(2) {
        return Err(CompileError::Shrunk { feed: feed.name.clone(), held, found });
    }
    let mut state = before.unwrap_or_else(|| FeedState::new(feed));
    state.source = source;
    state.origin = feed.origin.into();
    let (change, new) = match delta(&whole, &refs, &dead, feed).map_err(|cause| build(feed, cause))? {
        Some((Change::Unchanged, _)) => (Change::Unchanged, None),
        Some((change, delta)) => (change, Some(delta)),
        None => {
            state.segments.clear();
            (Change::Full, Some(whole))
        }
    };
    if let Some(segment) = new {
        let store_failed = |cause| CompileError::Store { path: segments.clone(), cause };
        let (digest, _) = segment::write(&segments, segment.as_bytes()).map_err(store_failed)?;
        let withdrawn = segment.tombstones().len();
        state.segments.push(SegmentState {
            digest: digest.to_string(),
            bytes: segment.as_bytes().len() as u64,
            indicators: segment.len() as usize,
            withdrawn,
        });
    }
    state.indicators = found;
    state.save(store)?;
    Ok(Some(Compiled { change, state }))
}

/// Makes one segment of the chain of a feed. `None`: there was nothing to do.
///
/// # Errors
/// The store cannot be read or written.
pub fn compact(store: &Path, feed: &str) -> Result<Option<FeedState>, CompileError> {
    let Some(mut state) = FeedState::load(store, feed)?.filter(|state| state.segments.len() > 1) else {
        return Ok(None);
    };
    let segments = segments_directory(store)?;
    let chain = state.open(store)?;
    let refs: Vec<&Segment> = chain.iter().map(|segment| &**segment).collect();
    let dead = withdrawn(&refs);
    let failed = |cause| CompileError::Build { feed: feed.to_owned(), cause };
    let whole = joined(&refs, &dead).map_err(failed)?;
    let store_failed = |cause| CompileError::Store { path: segments.clone(), cause };
    let (digest, _) = segment::write(&segments, whole.as_bytes()).map_err(store_failed)?;
    state.segments = vec![SegmentState {
        digest: digest.to_string(),
        bytes: whole.as_bytes().len() as u64,
        indicators: whole.len() as usize,
        withdrawn: 0,
    }];
    state.save(store)?;
    Ok(Some(state))
}

fn joined(chain: &[&Segment], dead: &[Numbers]) -> Result<Arc<Segment>, BuildError> {
    let keeps: Vec<_> = dead.iter().map(|dead| |number: u32| !dead.contains(number)).collect();
    let parts: Vec<(&Segment, Keep<'_>)> =
        chain.iter().zip(&keeps).map(|(segment, keep)| (*segment, keep as Keep<'_>)).collect();
    let mut builder = SegmentBuilder::with_fingerprints();
    builder.take_over(&parts, Numbering::Joined)?;
    builder.into_segment(HashKey::Content)
}

fn build(feed: &crate::intel::snapshot::Feed, cause: BuildError) -> CompileError {
    CompileError::Build { feed: feed.name.clone(), cause }
}

fn segments_directory(store: &Path) -> Result<PathBuf, CompileError> {
    let segments = store.join("segments");
    std::fs::create_dir_all(&segments).map_err(|cause| CompileError::Store { path: segments.clone(), cause })?;
    Ok(segments)
}

/// Reads all files of a feed into one segment.
fn import(
    files: &[FeedFile],
    table: &FieldTable,
    told: &mut dyn FnMut(&Outcome),
    progress: &dyn Fn(u64),
) -> Result<Arc<Segment>, CompileError> {
    let mut builder = SegmentBuilder::with_fingerprints();
    for (number, file) in files.iter().enumerate() {
        if number == 0 {
            builder.feed(&file.feed);
        }
        let mut failed = None;
        let outcome = load::load_into(file.clone(), table, progress, &mut |indicators| {
            let mut add = || indicators.iter().try_for_each(|indicator| builder.add(indicator));
            if failed.is_none() {
                failed = add().err();
            }
        });
        told(&outcome);
        if let Some(cause) = failed {
            return Err(build(&file.feed, cause));
        }
        if let Err(error) = &outcome.import {
            return Err(CompileError::File { feed: file.feed.name.clone(), cause: error.to_string() });
        }
    }
    let failed = |cause| match files.first() {
        Some(file) => build(&file.feed, cause),
        None => CompileError::Empty { feed: String::new() },
    };
    builder.into_segment(HashKey::Content).map_err(failed)
}

/// What has to be added to a chain so that it says what `whole` does. `None`: that would be more than half of the whole,
/// or cannot be said in tombstones.
fn delta(
    whole: &Segment,
    chain: &[&Segment],
    dead: &[Numbers],
    feed: &crate::intel::snapshot::Feed,
) -> Result<Option<(Change, Arc<Segment>)>, BuildError> {
    if chain.is_empty() {
        return Ok(None);
    }
    // A tombstone says nothing of other origins.
    if chain.iter().flat_map(|segment| segment.feeds()).any(|held| held.origin != feed.origin) {
        return Ok(None);
    }
    let mut of_whole = Fingerprints::default();
    for number in 0..whole.len() {
        let Some(fingerprint) = whole.fingerprint(number) else { return Ok(None) };
        *of_whole.entry(fingerprint).or_default() += 1;
    }
    let mut held = Fingerprints::default();
    for (segment, dead) in chain.iter().zip(dead) {
        for number in (0..segment.len()).filter(|number| !dead.contains(*number)) {
            let Some(fingerprint) = segment.fingerprint(number) else { return Ok(None) };
            *held.entry(fingerprint).or_default() += 1;
        }
    }
    // A tombstone withdraws all that say the same, so where their number changed all of them come again.
    let stays = |fingerprint: u64| held.get(&fingerprint).is_some_and(|held| of_whole.get(&fingerprint) == Some(held));
    let mut removed = Vec::with_capacity(chain.len());
    let mut to_remove = 0;
    for (segment, dead) in chain.iter().zip(dead) {
        let mut gone = Numbers::default();
        for number in (0..segment.len()).filter(|number| !dead.contains(*number)) {
            if !segment.fingerprint(number).is_some_and(stays) {
                gone.insert(number);
            }
        }
        to_remove += gone.len();
        removed.push(gone);
    }
    let is_new = |number: u32| !whole.fingerprint(number).is_some_and(stays);
    let added = (0..whole.len()).filter(|number| is_new(*number)).count();
    let mut builder = SegmentBuilder::with_fingerprints();
    builder.take_over(&[(whole, &is_new)], Numbering::Joined)?;
    if added + to_remove > whole.len() as usize / 2 {
        return Ok(None);
    }
    for (segment, gone) in chain.iter().zip(&removed).filter(|(_, gone)| !gone.is_empty()) {
        let mut left = gone.len();
        let mut told = Numbers::default();
        for table in segment.tables() {
            for (key, payload) in segment.packed_keys(table) {
                segment.postings(payload, |posting| {
                    let number = posting.indicator;
                    let of = segment.feeds().get(segment.feed_of(number)).filter(|of| of.name == feed.name);
                    if let (true, Some(of), Some(fingerprint)) =
                        (gone.contains(number), of, segment.fingerprint(number))
                        && told.insert(number)
                    {
                        builder.withdraw(of, table.id(), key.to_vec(), fingerprint);
                        left -= 1;
                    }
                });
            }
        }
        // A comparison has no key that a tombstone could name.
        if left > 0 {
            return Ok(None);
        }
    }
    let change = match (added, to_remove) {
        (0, 0) => Change::Unchanged,
        (added, withdrawn) => Change::Delta { added, withdrawn },
    };
    Ok(Some((change, builder.into_segment(HashKey::Content)?)))
}

/// What tells the content of files, and how they are read, from any other.
fn source(files: &[FeedFile], table: &FieldTable) -> Result<String, String> {
    let mut all = Sha256::new();
    all.update(env!("CARGO_PKG_VERSION"));
    table.iter().for_each(|(_, field)| all.update(format!("{field:?}")));
    for file in files {
        let failed = |error: io::Error| format!("{}: {error}", file.path.display());
        all.update(format!("{:?} {:?} {} {:?}", file.feed, file.options, file.guarded, file.path.file_name()));
        let mut content = File::open(&file.path).map_err(failed)?;
        let mut buffer = vec![0; 1 << 16];
        let mut digest = Sha256::new();
        loop {
            match content.read(&mut buffer).map_err(failed)? {
                0 => break,
                read => digest.update(buffer.get(..read).unwrap_or_default()),
            }
        }
        all.update(digest.finalize());
    }
    Ok(all.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
