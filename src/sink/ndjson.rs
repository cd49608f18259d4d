//! Sink `ndjson`: records as JSON lines, to standard output or appended to a file.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;

use super::Only;
use super::blocking::blocking;
use super::disk::{Disk, HostDisk};
use super::line_file::{LineFile, LineFileError, Lines};
use crate::config::Fsync;
use crate::encoding::{EnvelopeError, LineWriter, RecordSpan};
use crate::escape::Escaped;
use crate::pipeline::{Batch, BatchRefusal, HeldMemory, Signal, StopReason};
use crate::telemetry;

/// With [`Fsync::Interval`], how long an acknowledged line may be unsynced.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Lines are written in pieces of about this many bytes.
const PIECE: usize = 1 << 16;

/// Where lines are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Appended to a file, which is opened again when it was rotated.
    File(PathBuf),
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Stdout => f.write_str("standard output"),
            Output::File(path) => path.display().fmt(f),
        }
    }
}

/// A sink that writes JSON lines.
#[derive(Debug)]
pub struct NdjsonSink {
    output: Output,
    fsync: Fsync,
    shared: Arc<Shared>,
}

/// The state that sinks with the same output share: that of a new configuration, and the old one, which may still
/// write.
#[derive(Debug)]
struct Shared {
    /// One batch writes at a time; the others wait without blocking a thread.
    turn: Arc<tokio::sync::Semaphore>,
    target: Mutex<Target>,
    /// Whether a task waits to sync lines to the disk.
    is_sync_due: AtomicBool,
    /// Whether the last write failed.
    has_failed: AtomicBool,
}

#[derive(Debug)]
enum Target {
    Stdout {
        /// Whether the last write ended inside a line, which the next write must end first.
        is_torn: bool,
    },
    File(LineFile),
}

/// The reason that a batch is not written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Stop(#[from] StopReason),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error(transparent)]
    File(#[from] LineFileError),
    #[error(transparent)]
    Stdout(#[from] io::Error),
}

impl NdjsonSink {
    /// Opens the output.
    ///
    /// # Errors
    /// The file cannot be opened for appending, its directory does not exist, or another writer has it.
    pub fn open(output: Output, fsync: Fsync) -> Result<NdjsonSink, LineFileError> {
        NdjsonSink::open_on(Arc::new(HostDisk), output, fsync)
    }

    /// Opens the output on a given file system.
    ///
    /// # Errors
    /// The same as [`NdjsonSink::open`].
    pub fn open_on(disk: Arc<dyn Disk>, output: Output, fsync: Fsync) -> Result<NdjsonSink, LineFileError> {
        let target = match &output {
            Output::Stdout => Target::Stdout { is_torn: false },
            Output::File(path) => Target::File(LineFile::open(path.clone(), disk)?),
        };
        let turn = Arc::new(tokio::sync::Semaphore::new(1));
        let [is_sync_due, has_failed] = [const { AtomicBool::new(false) }; 2];
        let shared = Arc::new(Shared { turn, target: Mutex::new(target), is_sync_due, has_failed });
        Ok(NdjsonSink { output, fsync, shared })
    }

    /// Creates a second sink for the same open output.
    #[must_use]
    pub fn share(&self, fsync: Fsync) -> NdjsonSink {
        NdjsonSink { output: self.output.clone(), fsync, shared: Arc::clone(&self.shared) }
    }

    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Ready when the lines of the records that `only` selects are in the file that the path names, and synced to the
    /// disk if the sink has [`Fsync::Batch`]. A write that began is not cancelled.
    ///
    /// # Errors
    /// UNAVAILABLE: the output cannot be written. RESOURCE_EXHAUSTED or INVALID_ARGUMENT: there is no memory for the
    /// lines, now or ever.
    pub async fn deliver(&self, name: &str, batch: &Arc<Batch>, only: Only) -> Result<(), BatchRefusal> {
        if only == Only::Hits && batch.events.hits.is_empty() {
            return Ok(());
        }
        let fsync = self.fsync;
        let bytes = self.with_turn(name, batch, move |shared, batch| shared.write(batch, only, fsync)).await?;
        counter!(telemetry::SINK_SENT_BYTES_TOTAL, "sink" => name.to_owned()).increment(bytes);
        if self.fsync == Fsync::Interval && !self.shared.is_sync_due.swap(true, Ordering::AcqRel) {
            tokio::spawn(sync_later(Arc::downgrade(&self.shared), name.to_owned()));
        }
        Ok(())
    }

    /// Checks whether the lines of a batch could be written now. Only a sink whose last write failed is checked: then
    /// the batch is refused before it is sent to the next hop, instead of again with each retry.
    ///
    /// # Errors
    /// The lines could not be written.
    pub async fn check_room(&self, name: &str, batch: &Arc<Batch>, only: Only) -> Result<(), BatchRefusal> {
        if !self.shared.has_failed.load(Ordering::Relaxed) || only == Only::Hits && batch.events.hits.is_empty() {
            return Ok(());
        }
        self.with_turn(name, batch, move |shared, batch| shared.check_room(batch, only)).await
    }

    /// Runs work on the output while no other task uses it.
    async fn with_turn<T: Send + 'static>(
        &self,
        name: &str,
        batch: &Arc<Batch>,
        what: impl FnOnce(&Shared, &Batch) -> Result<T, WriteError> + Send + 'static,
    ) -> Result<T, BatchRefusal> {
        let refuse =
            |cause: String| BatchRefusal::Unavailable(format!("sink {name} cannot write to {}: {cause}", self.output));
        let turn = Arc::clone(&self.shared.turn).acquire_owned().await.map_err(|error| refuse(error.to_string()))?;
        let (shared, batch) = (Arc::clone(&self.shared), Arc::clone(batch));
        let work = move || {
            let _turn = turn;
            what(&shared, &batch)
        };
        blocking(work).await.map_err(refuse)?.map_err(|error| match error {
            WriteError::Stop(stop) => stop.into(),
            _ => refuse(error.to_string()),
        })
    }

    /// Opens the file again if it was rotated, without waiting for the next batch.
    pub async fn reopen(&self, name: &str) {
        let Ok(turn) = Arc::clone(&self.shared.turn).acquire_owned().await else { return };
        let shared = Arc::clone(&self.shared);
        let reopen = move || {
            let _turn = turn;
            match &mut *shared.target() {
                Target::Stdout { .. } => Ok(()),
                Target::File(file) => file.reopen(),
            }
        };
        match blocking(reopen).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(sink = name, error = %Escaped(&error), "the file cannot be opened again"),
            Err(error) => tracing::warn!(sink = name, error = %Escaped(&error), "the file cannot be opened again"),
        }
    }
}

/// Syncs lines to the disk once the interval is over. Lines that arrive after this has begun are synced by the next
/// call.
async fn sync_later(shared: Weak<Shared>, name: String) {
    tokio::time::sleep(SYNC_INTERVAL).await;
    // The file syncs its last lines itself when the sink is gone.
    let Some(shared) = shared.upgrade() else { return };
    let sync = move || {
        shared.is_sync_due.store(false, Ordering::Release);
        match &mut *shared.target() {
            Target::Stdout { .. } => Ok(()),
            Target::File(file) => file.sync(),
        }
    };
    if let Ok(Err(error)) = blocking(sync).await {
        tracing::error!(sink = name, error = %Escaped(&error), "acknowledged lines may not be on the disk");
    }
}

impl Shared {
    fn target(&self) -> MutexGuard<'_, Target> {
        // A panic while writing leaves at most a torn line.
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the memory for the lines of a batch, and returns the message in one piece. Blocks, like everything after
    /// it.
    fn begin(batch: &Batch, only: Only) -> Result<(HeldMemory, Bytes), WriteError> {
        let joined = if batch.events.message.parts().len() > 1 { batch.events.message.len() } else { 0 };
        let mut room = batch.work.hold(joined)?;
        let message = batch.events.message.to_bytes();
        let lines = LineWriter::new(batch.events.format, &message, batch.events.records);
        let mut largest = 0;
        each_wanted(batch, only, &message, |_, record| largest = largest.max(lines.weight(record)))?;
        room.grow(largest + PIECE)?;
        // A write that began is finished: readers cannot distinguish a part of a batch from the whole batch.
        batch.work.check()?;
        Ok((room, message))
    }

    /// Checks whether there is space for the lines of a batch.
    fn check_room(&self, batch: &Batch, only: Only) -> Result<(), WriteError> {
        let (_room, message) = Shared::begin(batch, only)?;
        let mut bytes = 0;
        put_lines(batch, only, &message, &mut |piece| {
            bytes += piece.len() as u64;
            Ok(())
        })?;
        match &mut *self.target() {
            Target::File(file) => Ok(file.reserve(bytes)?),
            Target::Stdout { .. } => Ok(()),
        }
    }

    /// Writes the lines of a batch, and returns their length in bytes.
    fn write(&self, batch: &Batch, only: Only, fsync: Fsync) -> Result<u64, WriteError> {
        let (_room, message) = Shared::begin(batch, only)?;
        let lines = |put: &mut dyn FnMut(&[u8]) -> io::Result<()>| put_lines(batch, only, &message, put);
        let written = self.put(fsync, &lines);
        self.has_failed.store(written.is_err(), Ordering::Relaxed);
        written
    }

    fn put(&self, fsync: Fsync, lines: &Lines<'_>) -> Result<u64, WriteError> {
        match &mut *self.target() {
            Target::File(file) => Ok(file.append(fsync, lines)?),
            Target::Stdout { is_torn } => {
                let mut out = io::stdout().lock();
                if *is_torn {
                    out.write_all(b"\n")?;
                }
                *is_torn = true;
                let mut written = 0;
                lines(&mut |piece| {
                    written += piece.len() as u64;
                    out.write_all(piece)
                })?;
                out.flush()?;
                *is_torn = false;
                Ok(written)
            }
        }
    }
}

/// Produces the lines of the selected log records in pieces.
fn put_lines(
    batch: &Batch,
    only: Only,
    message: &Bytes,
    put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut lines = LineWriter::new(batch.events.format, message, batch.events.records);
    let (mut piece, mut result) = (Vec::new(), Ok(()));
    each_wanted(batch, only, message, |span, record| {
        if result.is_ok() {
            lines.write(&mut piece, span, record);
            if piece.len() >= PIECE {
                result = put(&piece);
                piece.clear();
            }
        }
    })
    .map_err(io::Error::other)?;
    result?;
    if piece.is_empty() { Ok(()) } else { put(&piece) }
}

/// Calls `each` for the selected log records, with their places.
fn each_wanted(
    batch: &Batch,
    only: Only,
    message: &Bytes,
    mut each: impl FnMut(Option<&RecordSpan>, &[u8]),
) -> Result<(), EnvelopeError> {
    let mut hits = batch.events.hits.iter().peekable();
    let mut keep = only.keep(batch);
    let mut place = 0;
    batch.events.format.envelope().records(message, |span| {
        if only == Only::Hits {
            if let Some(hit) = hits.next_if(|hit| hit.place == place) {
                each(Some(&span), &hit.record);
            }
        } else if keep(place) {
            let record = message.get(span.record.payload()).unwrap_or_default();
            if batch.events.format.signal(record) == Signal::Logs {
                each(Some(&span), record);
            }
        }
        place += 1;
    })?;
    if only == Only::Hits {
        hits.for_each(|hit| each(None, &hit.record));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::wire::put_bytes;
    use crate::encoding::{Format, Rope};
    use crate::pipeline::{HitRecord, MatchedMessage};

    const A: &str = r#"{"a":1}"#;
    const B: &str = r#"{"b":1}"#;

    /// A batch of documents, of which those at `hits` hit.
    fn batch(documents: &[&str], hits: &[usize]) -> Arc<Batch> {
        let mut message = Vec::new();
        documents.iter().for_each(|document| put_bytes(&mut message, 2, document.as_bytes()));
        let tagged = |place: &usize| HitRecord {
            place: *place,
            record: Bytes::copy_from_slice(documents[*place].as_bytes()),
            ..HitRecord::default()
        };
        let hits = hits.iter().map(tagged).collect();
        let (format, message, records) = (Format::Filter, Rope::from(Bytes::from(message)), documents.len());
        Arc::new(MatchedMessage { format, message, records, hits, ..MatchedMessage::default() }.into())
    }

    /// The file keeps its content, gets only the hits of each batch, and has them when the batch is answered.
    #[tokio::test]
    async fn hits_are_appended_before_the_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hits.ndjson");
        std::fs::write(&path, "{\"old\":1}\n").unwrap();
        let sink = NdjsonSink::open(Output::File(path.clone()), Fsync::Batch).unwrap();
        sink.deliver("hits", &batch(&[A, B], &[]), Only::Hits).await.unwrap();
        sink.deliver("hits", &batch(&[A, B], &[1]), Only::Hits).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"old\":1}\n{\"b\":1}\n");
    }

    /// Scenario: a process was killed in the middle of a write. Guarantee: the next process ends the torn line first,
    /// so that its own lines are complete.
    #[tokio::test]
    async fn a_line_that_a_killed_process_tore_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hits.ndjson");
        for (found, left) in [("", "{\"b\":1}\n"), ("{}\n", "{}\n{\"b\":1}\n"), ("{}\n{", "{}\n{\n{\"b\":1}\n")] {
            std::fs::write(&path, found).unwrap();
            let sink = NdjsonSink::open(Output::File(path.clone()), Fsync::Batch).unwrap();
            sink.deliver("hits", &batch(&[A, B], &[1]), Only::Hits).await.unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), left);
        }
    }

    #[tokio::test]
    async fn the_wanted_records_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.ndjson");
        let sink = NdjsonSink::open(Output::File(path.clone()), Fsync::Batch).unwrap();
        sink.deliver("all", &batch(&[A, B], &[1]), Only::All).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"b\":1}\n");
        sink.deliver("all", &batch(&[A, B], &[1]), Only::NotHits).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"b\":1}\n{\"a\":1}\n");
    }

    /// Batches written at the same time never mix their lines.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn concurrent_batches_stay_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.ndjson");
        let sink = NdjsonSink::open(Output::File(path.clone()), Fsync::Batch).unwrap();
        let batches = [batch(&[A, A, A], &[]), batch(&[B, B, B], &[])];
        let writes = (0..50).map(|round| sink.deliver("all", &batches[round % 2], Only::All));
        futures_util::future::try_join_all(writes).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 150);
        assert!(lines.chunks(3).all(|three| three.iter().all(|line| line == &three[0])));
    }

    #[test]
    fn a_missing_directory_is_named() {
        let output = Output::File("/nonexistent-directory/x.ndjson".into());
        let error = NdjsonSink::open(output, Fsync::Batch).unwrap_err();
        let named = std::path::Path::new("/nonexistent-directory");
        assert!(matches!(&error, LineFileError::NoDirectory(path) if path == named), "{error}");
    }

    /// A full disk is UNAVAILABLE, so that the collector keeps the events.
    #[tokio::test]
    async fn a_full_disk_is_unavailable() {
        let full = PathBuf::from("/dev/full");
        if !full.exists() {
            println!("skipped: this system has no /dev/full");
            return;
        }
        let sink = NdjsonSink::open(Output::File(full), Fsync::Batch).unwrap();
        let result = sink.deliver("all", &batch(&[A], &[]), Only::All).await;
        assert!(matches!(&result, Err(BatchRefusal::Unavailable(text)) if text.contains("/dev/full")), "{result:?}");
    }
}
