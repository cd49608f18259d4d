//! Sink `ndjson`: records as lines of JSON, to standard output or to the end of a file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use metrics::counter;

use super::Only;
use crate::delivery::{Batch, Refusal, Signal};
use crate::encoding::EnvelopeError;
use crate::telemetry;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// The end of a file. It is opened once: rotate it by copy and truncation.
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

/// The sink.
#[derive(Debug)]
pub struct NdjsonSink {
    output: Output,
    /// One batch writes at a time; the others wait without holding a thread.
    turn: Arc<tokio::sync::Semaphore>,
    writer: Arc<Mutex<Writer>>,
}

#[derive(Debug)]
struct Writer {
    target: Target,
    /// The last write ended inside a line, which the next one must close first.
    torn: bool,
}

#[derive(Debug)]
enum Target {
    Stdout,
    File(File),
}

impl NdjsonSink {
    /// Opens the output.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or its directory does not exist.
    pub fn open(output: Output) -> io::Result<NdjsonSink> {
        let (target, torn) = match &output {
            Output::Stdout => (Target::Stdout, false),
            Output::File(path) => (Target::File(open(path)?), ends_inside_a_line(path)?),
        };
        let writer = Arc::new(Mutex::new(Writer { target, torn }));
        Ok(NdjsonSink { output, turn: Arc::new(tokio::sync::Semaphore::new(1)), writer })
    }

    /// Ready when the lines of those records of the batch that `only` wants are with the operating system. A write that began is not cancelled.
    ///
    /// # Errors
    /// UNAVAILABLE: the output cannot be written.
    pub async fn deliver(&self, name: &str, batch: &Arc<Batch>, only: Only) -> Result<(), Refusal> {
        if only == Only::Hits && batch.hits.is_empty() {
            return Ok(());
        }
        let refuse =
            |cause: String| Refusal::Unavailable(format!("sink {name} cannot write to {}: {cause}", self.output));
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|error| refuse(error.to_string()))?;
        let (writer, batch) = (Arc::clone(&self.writer), Arc::clone(batch));
        let write = move || {
            let _turn = turn;
            let lines = render(&batch, only).map_err(io::Error::other)?;
            // A panic while writing leaves at worst a torn line.
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.write(&lines).map(|()| lines.len())
        };
        let written = tokio::task::spawn_blocking(write).await.map_err(|error| refuse(error.to_string()))?;
        let bytes = written.map_err(|error| refuse(error.to_string()))?;
        counter!(telemetry::SINK_SENT_BYTES_TOTAL, "sink" => name.to_owned()).increment(bytes as u64);
        Ok(())
    }
}

impl Writer {
    /// Writes whole lines, or, when that fails, leaves the output so that the next lines are whole again.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let before = match &self.target {
            Target::File(file) => Some(file.metadata()?.len()),
            Target::Stdout => None,
        };
        let result = self.try_write(lines);
        let cut_back = match (&result, &self.target, before) {
            (Ok(()), ..) => true,
            (Err(_), Target::File(file), Some(before)) => file.set_len(before).is_ok(),
            (Err(_), ..) => false,
        };
        if result.is_ok() || !cut_back {
            self.torn = !cut_back;
        }
        result
    }

    fn try_write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut output: Box<dyn Write + '_> = match &self.target {
            Target::Stdout => Box::new(io::stdout().lock()),
            Target::File(file) => Box::new(file),
        };
        if self.torn {
            output.write_all(b"\n")?;
        }
        output.write_all(lines)?;
        output.flush()
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
        && !parent.is_dir()
    {
        let text = format!("{} does not exist or is no directory: create it, or choose another path", parent.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|cause| io::Error::new(cause.kind(), format!("{} cannot be opened: {cause}", path.display())))
}

/// Whether a process that was killed while it wrote left the beginning of a line at the end of the file.
fn ends_inside_a_line(path: &Path) -> io::Result<bool> {
    // A device or a pipe has no end to look at.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    let unreadable = |cause: io::Error| {
        let text = format!("{} cannot be read to see whether its last line is whole: {cause}", path.display());
        io::Error::new(cause.kind(), text)
    };
    let mut file = File::open(path).map_err(unreadable)?;
    if file.seek(SeekFrom::End(0)).map_err(unreadable)? == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(unreadable)?;
    Ok(last != *b"\n")
}

/// The wanted log records of a batch as lines.
fn render(batch: &Batch, only: Only) -> Result<Vec<u8>, EnvelopeError> {
    let mut lines = Vec::new();
    let mut line = |record: &Bytes| {
        lines.append(&mut batch.format.render_record(record));
        lines.push(b'\n');
    };
    if only == Only::Hits {
        batch.hits.iter().for_each(|hit| line(&hit.record));
        return Ok(lines);
    }
    let mut keep = only.keep(batch);
    for (place, record) in batch.format.records(&batch.message.to_bytes())?.iter().enumerate() {
        if keep(place) && batch.format.signal(record) == Signal::Logs {
            line(record);
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Tagged;
    use crate::encoding::wire::put_bytes;
    use crate::encoding::{Format, Rope};

    const A: &str = r#"{"a":1}"#;
    const B: &str = r#"{"b":1}"#;

    /// A batch of documents, of which those at `hits` hit.
    fn batch(documents: &[&str], hits: &[usize]) -> Arc<Batch> {
        let mut message = Vec::new();
        documents.iter().for_each(|document| put_bytes(&mut message, 2, document.as_bytes()));
        let tagged =
            |place: &usize| Tagged { place: *place, record: Bytes::copy_from_slice(documents[*place].as_bytes()) };
        let hits = hits.iter().map(tagged).collect();
        let (format, message, records) = (Format::Filter, Rope::from(Bytes::from(message)), documents.len());
        Arc::new(Batch { format, message, records, hits, ..Batch::default() })
    }

    /// The file keeps what it had, gets the hits of each batch only, and they are there when the answer is.
    #[tokio::test]
    async fn hits_are_appended_before_the_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hits.ndjson");
        std::fs::write(&path, "{\"old\":1}\n").unwrap();
        let sink = NdjsonSink::open(Output::File(path.clone())).unwrap();
        sink.deliver("hits", &batch(&[A, B], &[]), Only::Hits).await.unwrap();
        sink.deliver("hits", &batch(&[A, B], &[1]), Only::Hits).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"old\":1}\n{\"b\":1}\n");
    }

    /// Scenario: a process was killed in the middle of a write. Guarantee: the next run closes the torn line first, so
    /// that its own lines are whole.
    #[tokio::test]
    async fn a_line_that_a_killed_process_tore_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hits.ndjson");
        for (found, left) in [("", "{\"b\":1}\n"), ("{}\n", "{}\n{\"b\":1}\n"), ("{}\n{", "{}\n{\n{\"b\":1}\n")] {
            std::fs::write(&path, found).unwrap();
            let sink = NdjsonSink::open(Output::File(path.clone())).unwrap();
            sink.deliver("hits", &batch(&[A, B], &[1]), Only::Hits).await.unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), left);
        }
    }

    #[tokio::test]
    async fn the_wanted_records_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.ndjson");
        let sink = NdjsonSink::open(Output::File(path.clone())).unwrap();
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
        let sink = NdjsonSink::open(Output::File(path.clone())).unwrap();
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
        let message = NdjsonSink::open(output).unwrap_err().to_string();
        assert!(message.contains("/nonexistent-directory does not exist"), "{message}");
    }

    /// A full disk is UNAVAILABLE, so that the collector keeps the events.
    #[tokio::test]
    async fn a_full_disk_is_unavailable() {
        let full = PathBuf::from("/dev/full");
        if !full.exists() {
            println!("skipped: this system has no /dev/full");
            return;
        }
        let sink = NdjsonSink::open(Output::File(full)).unwrap();
        let result = sink.deliver("all", &batch(&[A], &[]), Only::All).await;
        assert!(matches!(&result, Err(Refusal::Unavailable(text)) if text.contains("/dev/full")), "{result:?}");
    }
}
