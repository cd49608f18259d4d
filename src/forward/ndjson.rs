//! Sink `ndjson`: records as lines of JSON, to standard output or to the end of a file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use metrics::counter;

use crate::delivery::{Batch, Refusal};
use crate::telemetry;

/// Renders the bytes of one OTLP `LogRecord` as one line of JSON, without the line's end.
pub type Render = fn(&[u8]) -> Vec<u8>;
/// The log records of an OTLP `ExportLogsServiceRequest`, in order, each the bytes of one `LogRecord`.
pub type Records = fn(&Bytes) -> Vec<Bytes>;

/// Which records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Only {
    /// Those that hit.
    #[default]
    Hits,
    /// Every one.
    All,
}

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
    only: Only,
    render: Render,
    records: Records,
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
    pub fn open(output: Output, only: Only, render: Render, records: Records) -> io::Result<NdjsonSink> {
        let (target, torn) = match &output {
            Output::Stdout => (Target::Stdout, false),
            Output::File(path) => (Target::File(open(path)?), ends_inside_a_line(path)?),
        };
        let writer = Arc::new(Mutex::new(Writer { target, torn }));
        Ok(NdjsonSink { only, render, records, output, turn: Arc::new(tokio::sync::Semaphore::new(1)), writer })
    }

    /// Ready when the lines of the batch are with the operating system. A write that began is not cancelled.
    ///
    /// # Errors
    /// UNAVAILABLE: the output cannot be written.
    pub async fn deliver(&self, name: &str, batch: &Arc<Batch>) -> Result<(), Refusal> {
        if self.only == Only::Hits && batch.hits.is_empty() {
            return Ok(());
        }
        let refuse =
            |cause: String| Refusal::Unavailable(format!("sink {name} cannot write to {}: {cause}", self.output));
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|error| refuse(error.to_string()))?;
        let (only, render, records) = (self.only, self.render, self.records);
        let (writer, batch) = (Arc::clone(&self.writer), Arc::clone(batch));
        let write = move || {
            let _turn = turn;
            let lines = match only {
                Only::Hits => render_lines(batch.hits.iter().map(|hit| &hit.record), render),
                Only::All => render_lines(&records(&batch.message.to_bytes()), render),
            };
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

fn render_lines<'a>(records: impl IntoIterator<Item = &'a Bytes>, render: Render) -> Vec<u8> {
    let mut lines = Vec::new();
    for record in records {
        lines.append(&mut render(record));
        lines.push(b'\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Tagged;
    use crate::encoding::Rope;

    fn batch(message: &'static [u8], hits: &[&'static [u8]]) -> Arc<Batch> {
        let tagged = |(place, hit): (usize, &&'static [u8])| Tagged { place, record: Bytes::from_static(hit) };
        let hits = hits.iter().enumerate().map(tagged).collect();
        Arc::new(Batch { message: Rope::from(Bytes::from_static(message)), records: 2, hits, ..Batch::default() })
    }

    fn quoted(record: &[u8]) -> Vec<u8> {
        [b"\"", record, b"\""].concat()
    }

    fn by_comma(message: &Bytes) -> Vec<Bytes> {
        message.split(|byte| *byte == b',').map(Bytes::copy_from_slice).collect()
    }

    /// The file keeps what it had, gets the hits of each batch only, and they are there when the answer is.
    #[tokio::test]
    async fn hits_are_appended_before_the_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hits.ndjson");
        std::fs::write(&path, "\"old\"\n").unwrap();
        let sink = NdjsonSink::open(Output::File(path.clone()), Only::Hits, quoted, by_comma).unwrap();
        sink.deliver("hits", &batch(b"a,b", &[])).await.unwrap();
        sink.deliver("hits", &batch(b"a,b", &[b"b"])).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "\"old\"\n\"b\"\n");
    }

    /// Scenario: a process was killed in the middle of a write. Guarantee: the next run closes the torn line first, so
    /// that its own lines are whole.
    #[tokio::test]
    async fn a_line_that_a_killed_process_tore_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hits.ndjson");
        for (found, left) in [("", "\"b\"\n"), ("\"a\"\n", "\"a\"\n\"b\"\n"), ("\"a\"\n\"a", "\"a\"\n\"a\n\"b\"\n")] {
            std::fs::write(&path, found).unwrap();
            let sink = NdjsonSink::open(Output::File(path.clone()), Only::Hits, quoted, by_comma).unwrap();
            sink.deliver("hits", &batch(b"a,b", &[b"b"])).await.unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), left);
        }
    }

    #[tokio::test]
    async fn all_records_are_written_when_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.ndjson");
        let sink = NdjsonSink::open(Output::File(path.clone()), Only::All, quoted, by_comma).unwrap();
        sink.deliver("all", &batch(b"a,b", &[b"b"])).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "\"a\"\n\"b\"\n");
    }

    /// Batches written at the same time never mix their lines.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn concurrent_batches_stay_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.ndjson");
        let sink = NdjsonSink::open(Output::File(path.clone()), Only::All, quoted, by_comma).unwrap();
        let batches = [batch(b"a,a,a", &[]), batch(b"b,b,b", &[])];
        let writes = (0..50).map(|round| sink.deliver("all", &batches[round % 2]));
        futures_util::future::try_join_all(writes).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 150);
        assert!(lines.chunks(3).all(|three| three.iter().all(|line| line == &three[0])));
    }

    #[test]
    fn a_missing_directory_is_named() {
        let output = Output::File("/nonexistent-directory/x.ndjson".into());
        let message = NdjsonSink::open(output, Only::Hits, quoted, by_comma).unwrap_err().to_string();
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
        let sink = NdjsonSink::open(Output::File(full), Only::All, quoted, by_comma).unwrap();
        let result = sink.deliver("all", &batch(b"a", &[])).await;
        assert!(matches!(&result, Err(Refusal::Unavailable(text)) if text.contains("/dev/full")), "{result:?}");
    }
}
