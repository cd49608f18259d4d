//! Feeds to segments: what `hotlist compile` and `hotlist compact` do.
//!
//! A feed is a chain of segments in a store: a full one, then a delta for each change. A feed that did not change makes no
//! new segment. What may replace a good feed is judged as it is for live files: one that cannot be read, is empty, or fell
//! to less than half, does not.

mod delta;
mod state;

use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::load::{self, FeedFile, Outcome};
use crate::fields::FieldTable;
use crate::intel::indicator::{Feed, Indicator};
use crate::intel::segment::{self, BuildError, HashKey, Segment, SegmentBuilder, SegmentError};
use delta::{Chain, Difference};

pub use state::{FeedState, SegmentState, StateError, feeds};

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
    let has_other_forms = before.as_ref().is_some_and(|state| state.has_other_forms(&segments));
    let is_current = |state: &&FeedState| state.source == source && state.is_complete(&segments) && !has_other_forms;
    if let Some(state) = before.as_ref().filter(is_current) {
        return Ok(Some(Compiled { change: Change::Unchanged, state: state.clone() }));
    }
    let chain = match &before {
        Some(state) if !has_other_forms => Chain::open(state, store)?,
        _ => Chain::default(),
    };
    let mut whole = None;
    let (found, difference) = match chain.compare(feed) {
        Some(mut comparison) => {
            read(files, table, told, progress, &mut |indicator| comparison.add(indicator))?;
            (comparison.read(), comparison.finish(feed).map_err(|cause| build(feed, cause))?)
        }
        None => {
            let segment = compile_whole(files, table, told, progress)?;
            let found = segment.len() as usize;
            whole = Some(segment);
            (found, Difference::Anew)
        }
    };
    let held = before.as_ref().filter(|_| has_other_forms).map_or(chain.len(), |state| state.indicators);
    check(found, held, allow_shrink, feed)?;
    let (change, new) = match (difference, whole) {
        (Difference::None, _) => (Change::Unchanged, None),
        (Difference::Delta { added, withdrawn, segment }, _) => (Change::Delta { added, withdrawn }, Some(segment)),
        (Difference::Anew, Some(whole)) => (Change::Full, Some(whole)),
        // What there is to say of the files was said when they were read first.
        (Difference::Anew, None) => (Change::Full, Some(compile_whole(files, table, &mut |_| {}, &|_| {})?)),
    };
    // Files may change between two readings.
    let found = match &new {
        Some(whole) if change == Change::Full => whole.len() as usize,
        _ => found,
    };
    check(found, held, allow_shrink, feed)?;
    let mut state = before.unwrap_or_else(|| FeedState::new(feed));
    state.source = source;
    state.origin = feed.origin;
    if change == Change::Full {
        state.segments.clear();
    }
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

/// Whether so many indicators may take the place of those that are held.
fn check(found: usize, held: usize, allow_shrink: bool, feed: &Feed) -> Result<(), CompileError> {
    if found == 0 {
        return Err(CompileError::Empty { feed: feed.name.clone() });
    }
    if !allow_shrink && found < held.div_ceil(2) {
        return Err(CompileError::Shrunk { feed: feed.name.clone(), held, found });
    }
    Ok(())
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
    let failed = |cause| CompileError::Build { feed: feed.to_owned(), cause };
    let whole = Chain::open(&state, store)?.joined().map_err(failed)?;
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

fn build(feed: &Feed, cause: BuildError) -> CompileError {
    CompileError::Build { feed: feed.name.clone(), cause }
}

fn segments_directory(store: &Path) -> Result<PathBuf, CompileError> {
    let segments = store.join("segments");
    make_directory(&segments).map_err(|cause| CompileError::Store { path: segments.clone(), cause })?;
    Ok(segments)
}

/// Makes a directory of a store and those above it, for this process's user alone, as its files are.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// All files of a feed as one segment.
fn compile_whole(
    files: &[FeedFile],
    table: &FieldTable,
    told: &mut dyn FnMut(&Outcome),
    progress: &dyn Fn(u64),
) -> Result<Arc<Segment>, CompileError> {
    let mut builder = SegmentBuilder::with_fingerprints();
    let Some(FeedFile { feed, .. }) = files.first() else {
        return Err(CompileError::Empty { feed: String::new() });
    };
    builder.feed(feed);
    read(files, table, told, progress, &mut |indicator| builder.add(indicator))?;
    builder.into_segment(HashKey::Content).map_err(|cause| build(feed, cause))
}

/// Reads all files of a feed, one indicator after the other.
fn read(
    files: &[FeedFile],
    table: &FieldTable,
    told: &mut dyn FnMut(&Outcome),
    progress: &dyn Fn(u64),
    sink: &mut dyn FnMut(&Indicator) -> Result<(), BuildError>,
) -> Result<(), CompileError> {
    for file in files {
        let mut failed = None;
        let outcome = load::load_into(file.clone(), table, progress, &mut |indicators| {
            if failed.is_none() {
                failed = indicators.iter().try_for_each(&mut *sink).err();
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
    Ok(())
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
