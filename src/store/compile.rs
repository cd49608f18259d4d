//! Feeds as segments: what `hotlist compile` and `hotlist compact` write.
//!
//! A feed is a chain of segments in a store: a full one, then a delta for each change. A feed that did not change makes no
//! new segment. As with live files, a bad feed never replaces a good one: not if it cannot be read, is empty, or fell to
//! less than half.

mod delta;
mod state;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Store;
use crate::durable::{self, Durability};
use crate::intel::indicator::{Feed, Indicator};
use crate::intel::segment::{BuildError, HashKey, Segment, SegmentBuilder, SegmentError};
use delta::{Chain, Difference};

pub use state::{FeedState, SegmentState, StateError};

/// The content of a feed, which may be read twice.
pub trait FeedContent {
    fn feed(&self) -> &Feed;

    /// Returns a digest of the content, and of how it is read.
    ///
    /// # Errors
    /// The content cannot be read.
    fn source(&self) -> Result<String, String>;

    /// Reads one indicator after the other.
    ///
    /// # Errors
    /// The content cannot be read, or `each` refused an indicator.
    fn read(&mut self, each: &mut dyn FnMut(&Indicator) -> Result<(), BuildError>) -> Result<(), ReadError>;
}

/// The reason that the content of a feed was not read to its end.
#[derive(Debug)]
pub enum ReadError {
    /// It cannot be read.
    Content(String),
    /// A segment cannot hold it.
    Build(BuildError),
}

/// The reason that a feed cannot be compiled. What the store has of it stays.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A file of it cannot be used as a whole.
    #[error("feed `{feed}`: {cause}; the store keeps what it has of the feed")]
    File { feed: String, cause: String },
    /// There is nothing in it.
    #[error("feed `{feed}` has no indicator; the store keeps what it has of the feed")]
    Empty { feed: String },
    /// There is much less in it than there was.
    #[error(
        "feed `{feed}` fell from {held} indicators to {found}; give --allow-shrink if that is meant, the store keeps what it has of the feed"
    )]
    Shrunk {
        feed: String,
        /// How many there were.
        held: usize,
        found: usize,
    },
    /// Too much for a segment.
    #[error("feed `{feed}`: {cause}")]
    Build { feed: String, cause: BuildError },
    /// A segment of the store cannot be read.
    #[error("feed `{feed}`: {cause}; remove {} to compile the feed from nothing", state.display())]
    Chain {
        feed: String,
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
        cause: io::Error,
    },
}

/// The outcome for a feed.
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
    /// The outcome.
    pub change: Change,
    /// Its content in the store now.
    pub state: FeedState,
}

impl Store {
    /// Compiles a feed: adds a segment of what changed, if anything did.
    ///
    /// # Errors
    /// The feed or the store cannot be used; nothing in the store has changed then.
    pub fn compile(&self, content: &mut dyn FeedContent, allow_shrink: bool) -> Result<Compiled, CompileError> {
        let feed = content.feed().clone();
        let feed = &feed;
        let segments = self.make_segments()?;
        let before = self.feed(&feed.name)?;
        let source = content.source().map_err(|cause| CompileError::File { feed: feed.name.clone(), cause })?;
        let has_other_forms = before.as_ref().is_some_and(|state| state.has_other_forms(&segments));
        let is_current =
            |state: &&FeedState| state.source == source && state.is_complete(&segments) && !has_other_forms;
        if let Some(state) = before.as_ref().filter(is_current) {
            return Ok(Compiled { change: Change::Unchanged, state: state.clone() });
        }
        let chain = match &before {
            Some(state) if !has_other_forms => Chain::open(state, &self.root)?,
            _ => Chain::default(),
        };
        let mut whole = None;
        let (found, difference) = match chain.compare(feed) {
            Some(mut comparison) => {
                content.read(&mut |indicator| comparison.add(indicator)).map_err(|cause| unread(feed, cause))?;
                (comparison.read(), comparison.finish(feed).map_err(|cause| build(feed, cause))?)
            }
            None => {
                let segment = compile_whole(content, feed)?;
                let found = segment.len() as usize;
                whole = Some(segment);
                (found, Difference::Rebuild)
            }
        };
        let held = before.as_ref().filter(|_| has_other_forms).map_or(chain.len(), |state| state.indicators);
        check(found, held, allow_shrink, feed)?;
        let (change, new) = match (difference, whole) {
            (Difference::None, _) => (Change::Unchanged, None),
            (Difference::Delta { added, withdrawn, segment }, _) => (Change::Delta { added, withdrawn }, Some(segment)),
            (Difference::Rebuild, Some(whole)) => (Change::Full, Some(whole)),
            (Difference::Rebuild, None) => (Change::Full, Some(compile_whole(content, feed)?)),
        };
        // The content may change between two readings.
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
            self.add_segment(&segment)?;
            state.segments.push(SegmentState {
                digest: segment.digest().to_string(),
                bytes: segment.as_bytes().len() as u64,
                indicators: segment.len() as usize,
                withdrawn: segment.tombstones().len(),
            });
        }
        state.indicators = found;
        state.save(&self.root)?;
        Ok(Compiled { change, state })
    }

    /// Merges the chain of a feed into one segment. Returns `None` if there is nothing to merge.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn compact(&self, feed: &str) -> Result<Option<FeedState>, CompileError> {
        let Some(mut state) = self.feed(feed)?.filter(|state| state.segments.len() > 1) else {
            return Ok(None);
        };
        let failed = |cause| CompileError::Build { feed: feed.to_owned(), cause };
        let whole = Chain::open(&state, &self.root)?.joined().map_err(failed)?;
        self.add_segment(&whole)?;
        state.segments = vec![SegmentState {
            digest: whole.digest().to_string(),
            bytes: whole.as_bytes().len() as u64,
            indicators: whole.len() as usize,
            withdrawn: 0,
        }];
        state.save(&self.root)?;
        Ok(Some(state))
    }

    /// Returns a compiled feed.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn feed(&self, name: &str) -> Result<Option<FeedState>, StateError> {
        FeedState::load(&self.root, name)
    }

    /// Returns every compiled feed, in the order of the names of their files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn feeds(&self) -> Result<Vec<FeedState>, StateError> {
        state::feeds(&self.root)
    }

    /// Writes a segment under its digest, unless its file is there and undamaged.
    fn add_segment(&self, segment: &Segment) -> Result<(), CompileError> {
        let directory = self.make_segments()?;
        let path = self.segment(&segment.digest());
        if std::fs::read(&path).is_ok_and(|found| found == segment.as_bytes()) {
            return Ok(());
        }
        let written = durable::replace(&path, segment.as_bytes(), Durability::Synced);
        written.map_err(|cause| CompileError::Store { path: directory, cause })
    }

    fn make_segments(&self) -> Result<PathBuf, CompileError> {
        let segments = self.segments();
        durable::make_directory(&segments).map_err(|cause| CompileError::Store { path: segments.clone(), cause })?;
        Ok(segments)
    }
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

fn build(feed: &Feed, cause: BuildError) -> CompileError {
    CompileError::Build { feed: feed.name.clone(), cause }
}

fn unread(feed: &Feed, cause: ReadError) -> CompileError {
    match cause {
        ReadError::Build(cause) => build(feed, cause),
        ReadError::Content(cause) => CompileError::File { feed: feed.name.clone(), cause },
    }
}

/// Builds one segment of the whole content.
fn compile_whole(content: &mut dyn FeedContent, feed: &Feed) -> Result<Arc<Segment>, CompileError> {
    let mut builder = SegmentBuilder::with_fingerprints();
    builder.feed(feed);
    content.read(&mut |indicator| builder.add(indicator)).map_err(|cause| unread(feed, cause))?;
    builder.into_segment(HashKey::Content).map_err(|cause| build(feed, cause))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// Scenario: the file of a segment is damaged in place, or there is one already. Guarantee: adding the segment again
    /// repairs the damaged file, and leaves a good one alone.
    #[test]
    fn a_segment_is_written_once_and_repaired() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::at(directory.path().join("store")).unwrap();
        let mut builder = SegmentBuilder::with_fingerprints();
        builder.feed(&Feed::named("f"));
        let segment = builder.into_segment(HashKey::Content).unwrap();
        store.add_segment(&segment).unwrap();
        let path = store.segment(&segment.digest());
        let written = path.metadata().unwrap();
        store.add_segment(&segment).unwrap();
        assert_eq!(path.metadata().unwrap().ino(), written.ino());
        std::fs::write(&path, b"damaged").unwrap();
        store.add_segment(&segment).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), segment.as_bytes());
        assert!(Segment::open(&path, Some(segment.digest())).is_ok());
    }
}
