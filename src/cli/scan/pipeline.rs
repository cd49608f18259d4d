//! One thread reads and splits, several match, and the caller's thread receives the results in the order of the input.
//!
//! At most [`BLOCKS_PER_THREAD`] blocks per thread exist at a time, each with its output, so memory is bounded whatever
//! the size of the files.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, Scope};

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::matching::{EventMatcher, Matched};
use crate::cli::Failure;
use crate::logs::split::{Block, Splitter};
use crate::logs::unpack::{self, TextSink, UnpackError};

/// How many blocks a thread may be ahead of the output.
const BLOCKS_PER_THREAD: usize = 4;

pub(super) enum Input {
    Standard,
    File(PathBuf),
}

/// The results, in the order of the input.
pub(super) enum Item {
    /// A text begins: a file or a member of an archive.
    Text,
    /// A block was matched.
    Matched(Matched),
    /// A member of an archive was left out because its name starts with a dot.
    Hidden,
    /// A file cannot be read to its end.
    Error(UnpackError),
}

/// A place in the order of the input.
enum Slot {
    Item(Item),
    Block(Receiver<Matched>),
}

struct Job {
    file: Arc<str>,
    block: Block,
    result: Sender<Matched>,
}

/// Matches all inputs with `threads` threads. `receive` gets each item, and whether no other one is waiting. The number of
/// bytes that were read from files is added to `read`.
///
/// # Errors
/// An error of `receive`, or the system refuses another thread.
pub(super) fn run(
    inputs: &[Input],
    matcher: &EventMatcher<'_>,
    threads: usize,
    read: &AtomicU64,
    receive: &mut dyn FnMut(Item, bool) -> Result<(), Failure>,
) -> Result<(), Failure> {
    thread::scope(|scope| {
        let (slots, ordered) = bounded::<Slot>(threads.saturating_mul(BLOCKS_PER_THREAD));
        let (jobs, queued) = unbounded::<Job>();
        for _ in 0..threads {
            let queued = queued.clone();
            spawn(scope, "hotlist-match", move || {
                let mut matcher = matcher.start();
                for job in queued {
                    // A receiver that is gone does not need the result.
                    let _ = job.result.send(matcher.block(&job.file, &job.block));
                }
            })?;
        }
        drop(queued);
        spawn(scope, "hotlist-read", move || {
            let mut reader = Reader { slots, jobs, is_live: false };
            inputs.iter().all(|input| reader.input(input, read));
        })?;
        while let Ok(slot) = ordered.recv() {
            let item = match slot {
                Slot::Item(item) => item,
                // A panic of the thread ends the command when the scope does.
                Slot::Block(result) => match result.recv() {
                    Ok(matched) => Item::Matched(matched),
                    Err(_) => break,
                },
            };
            receive(item, ordered.is_empty())?;
        }
        Ok(())
    })
}

fn spawn<'s>(scope: &'s Scope<'s, '_>, name: &str, run: impl FnOnce() + Send + 's) -> Result<(), Failure> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run);
    spawned.context("cannot start a thread; give fewer with --threads")?;
    Ok(())
}

/// Reads inputs and hands out their blocks.
struct Reader {
    slots: Sender<Slot>,
    jobs: Sender<Job>,
    is_live: bool,
}

impl Reader {
    /// Returns whether to continue.
    fn input(&mut self, input: &Input, read: &AtomicU64) -> bool {
        match input {
            Input::Standard => {
                self.is_live = true;
                let goes_on = unpack::stream("-", io::stdin().lock(), self);
                self.is_live = false;
                goes_on
            }
            Input::File(path) => {
                let name = path.to_string_lossy();
                match File::open(path) {
                    Ok(file) => unpack::file(&name, file, read, self),
                    Err(source) => self.item(Item::Error(UnpackError::Read { file: name.into_owned(), source })),
                }
            }
        }
    }

    fn item(&mut self, item: Item) -> bool {
        self.slots.send(Slot::Item(item)).is_ok()
    }
}

impl TextSink for Reader {
    fn text(&mut self, name: &str, text: &mut dyn Read) -> io::Result<bool> {
        if !self.item(Item::Text) {
            return Ok(false);
        }
        let file: Arc<str> = name.into();
        let mut splitter = Splitter::new(text, self.is_live);
        while let Some(block) = splitter.next_block()? {
            let (result, matched) = bounded(1);
            // The order first: its bound is what keeps the reader from running ahead.
            let is_wanted = self.slots.send(Slot::Block(matched)).is_ok()
                && self.jobs.send(Job { file: Arc::clone(&file), block, result }).is_ok();
            if !is_wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn error(&mut self, error: UnpackError) {
        self.item(Item::Error(error));
    }

    fn hidden(&mut self) {
        self.item(Item::Hidden);
    }
}
