//! Writes log lines to standard error: a bounded buffer, and one thread that writes.
//!
//! No logging code waits for a reader of standard error, or fails with it: a pipe whose reader stalls or is closed, a full
//! disk, a limit on file sizes, a non-blocking terminal. A line that does not fit into the buffer, or cannot be written,
//! is counted and lost; once lines can be written again, the number of lost lines is logged.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::counter;
use tracing_subscriber::fmt::MakeWriter;

use super::LOG_LINES_LOST_TOTAL;

/// The capacity of the buffer in bytes: some thousand lines.
const CAPACITY: usize = 1 << 20;
/// The overhead of a line in bytes.
const OVERHEAD: usize = 64;
/// The pause before a full non-blocking output is retried.
const RETRY: Duration = Duration::from_millis(10);

/// The buffer of log lines.
#[derive(Clone, Debug)]
pub(super) struct LogBuffer(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a line was added.
    filled: Condvar,
    /// Notified when every line was written or lost.
    drained: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// The bytes of the waiting lines and of the line that is being written.
    bytes: usize,
    is_writing: bool,
    /// Lines lost since the last report.
    lost: u64,
}

impl LogBuffer {
    /// Starts the thread, which lives as long as the process. `write` writes a part of its bytes, like `write(2)`, and may
    /// block without a limit.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(super) fn start(write: impl FnMut(&[u8]) -> io::Result<usize> + Send + 'static) -> io::Result<LogBuffer> {
        let log_buffer = LogBuffer(Arc::default());
        let shared = Arc::clone(&log_buffer.0);
        let mut line_writer = LineWriter { write, is_torn: false };
        std::thread::Builder::new().name("hotlist-log".to_owned()).spawn(move || {
            loop {
                shared.write_next(&mut line_writer);
            }
        })?;
        Ok(log_buffer)
    }

    /// Adds a line, including its newline. Never blocks.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.0.lock();
        if state.bytes + line.len() + OVERHEAD > CAPACITY {
            state.lost += 1;
            drop(state);
            counter!(LOG_LINES_LOST_TOTAL, "reason" => "buffer_full").increment(1);
            return;
        }
        state.bytes += line.len() + OVERHEAD;
        state.lines.push_back(line);
        drop(state);
        self.0.filled.notify_one();
    }

    /// Waits until every line so far was written or lost, for at most `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.0.lock();
        while state.is_writing || !state.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.0.drained.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_next<W: FnMut(&[u8]) -> io::Result<usize>>(&self, line_writer: &mut LineWriter<W>) {
        let mut state = self.lock();
        let line = loop {
            match state.lines.pop_front() {
                Some(line) => break line,
                None => state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        state.is_writing = true;
        drop(state);
        let written = line_writer.put(&line);
        if written.is_err() {
            counter!(LOG_LINES_LOST_TOTAL, "reason" => "write_failed").increment(1);
        }
        let mut state = self.lock();
        state.bytes -= line.len() + OVERHEAD;
        let mut lost = 0;
        match written {
            Err(_) => state.lost += 1,
            Ok(()) if state.lines.is_empty() => lost = std::mem::take(&mut state.lost),
            Ok(()) => {}
        }
        drop(state);
        if lost > 0 {
            tracing::warn!(lines = lost, "log lines were lost: standard error could not be written for a while");
        }
        let mut state = self.lock();
        state.is_writing = false;
        if state.lines.is_empty() {
            drop(state);
            self.drained.notify_all();
        }
    }
}

/// Writes whole lines to an output that accepts parts.
struct LineWriter<W> {
    write: W,
    /// Whether the last write ended inside a line.
    is_torn: bool,
}

impl<W: FnMut(&[u8]) -> io::Result<usize>> LineWriter<W> {
    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.all(b"\n")?;
            self.is_torn = false;
        }
        self.all(line)
    }

    fn all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match (self.write)(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = bytes.get(count..).unwrap_or_default();
                    self.is_torn = !bytes.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process made the output non-blocking. Waiting here delays only the log.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(RETRY),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for LogBuffer {
    type Writer = LogLine<'w>;

    fn make_writer(&'w self) -> LogLine<'w> {
        LogLine { log_buffer: self, bytes: Vec::new() }
    }
}

/// One log event, which may be written in pieces.
pub(super) struct LogLine<'w> {
    log_buffer: &'w LogBuffer,
    bytes: Vec<u8>,
}

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.log_buffer.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Creates an output with scripted results of writes; after them it accepts everything.
    fn scripted(answers: Vec<io::Result<usize>>) -> (LogBuffer, Receiver<Vec<u8>>) {
        let (sender, written) = mpsc::channel();
        let mut answers = answers.into_iter();
        let write = move |bytes: &[u8]| {
            let count = answers.next().unwrap_or(Ok(bytes.len()))?;
            sender.send(bytes[..count].to_vec()).unwrap();
            Ok(count)
        };
        (LogBuffer::start(write).unwrap(), written)
    }

    fn all(written: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(written.try_iter().flatten().collect()).unwrap()
    }

    #[test]
    fn an_event_in_pieces_is_one_line_and_order_is_kept() {
        let (log_buffer, written) = scripted(vec![Ok(2), Err(io::ErrorKind::Interrupted.into())]);
        {
            let mut line = log_buffer.make_writer();
            line.write_all(b"fir").unwrap();
            log_buffer.push(b"before\n".to_vec());
            line.write_all(b"st\n").unwrap();
        }
        log_buffer.flush(LONG);
        assert_eq!(all(&written), "before\nfirst\n");
    }

    /// Scenario: an output that does not block is full for a while. Guarantee: nothing is lost.
    #[test]
    fn an_output_that_would_block_is_tried_again() {
        let (log_buffer, written) = scripted(vec![Err(io::ErrorKind::WouldBlock.into()), Ok(1)]);
        log_buffer.push(b"one\n".to_vec());
        log_buffer.flush(LONG);
        assert_eq!(all(&written), "one\n");
    }

    /// Scenario: the disk is full in the middle of the first line, the second one fails as a whole, then there is space.
    /// Guarantee: no two lines run into each other, and the loss is counted.
    #[test]
    fn a_torn_line_is_closed_before_the_next() {
        let full = || Err(io::ErrorKind::StorageFull.into());
        let (log_buffer, written) = scripted(vec![Ok(3), full(), full()]);
        for line in [b"first\n".to_vec(), b"second\n".to_vec(), b"third\n".to_vec()] {
            log_buffer.push(line);
            log_buffer.flush(LONG);
        }
        assert_eq!(all(&written), "fir\nthird\n");
        assert_eq!(log_buffer.0.lock().lost, 0, "reported with the first line that was written");
    }

    /// Creates an output that blocks until it is released.
    fn stalled() -> (LogBuffer, Sender<()>, Receiver<Vec<u8>>) {
        let (sender, written) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let write = move |bytes: &[u8]| {
            // Stays open once the sender is dropped.
            let _ = gate.recv();
            sender.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        };
        (LogBuffer::start(write).unwrap(), go, written)
    }

    /// Scenario: the reader stalls forever while far more is logged than the buffer holds. Guarantee: logging never waits,
    /// the buffer keeps its bound, the flush at the end returns, and the kept lines come in order when the reader resumes.
    #[test]
    fn a_reader_that_stalls_holds_nobody_up() {
        let (log_buffer, go, written) = stalled();
        let line = |number: usize| format!("{number:0>1023}\n").into_bytes();
        let count = 4 * CAPACITY / 1024;
        for number in 0..count {
            log_buffer.push(line(number));
        }
        log_buffer.flush(Duration::from_millis(1));
        let kept = {
            let state = log_buffer.0.lock();
            assert!(state.bytes <= CAPACITY, "{}", state.bytes);
            count - state.lost as usize
        };
        assert!((1..count).contains(&kept), "{kept} of {count}");
        drop(go);
        log_buffer.flush(LONG);
        let expected: Vec<u8> = (0..kept).flat_map(line).collect();
        assert!(all(&written).into_bytes() == expected);
        log_buffer.push(b"again\n".to_vec());
        log_buffer.flush(LONG);
        assert_eq!(all(&written), "again\n");
    }
}
