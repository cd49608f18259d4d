//! Compiles the files of a feed into a store.

use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::feed::load::{self, FeedFile, Outcome};
use crate::intel::indicator::{Feed, Indicator};
use crate::intel::segment::BuildError;
use crate::schema::FieldTable;
use crate::store::{CompileError, Compiled, FeedContent, ReadError, Store};

/// Compiles the files of one feed. Without files there is nothing to do.
///
/// `report` is called with the outcome of each file that was read; an unchanged feed reads none. `progress` is called with
/// the number of bytes that were read since the last call.
///
/// # Errors
/// The feed or the store cannot be used; nothing in the store has changed then.
pub fn compile(
    store: &Store,
    files: &[FeedFile],
    table: &FieldTable,
    allow_shrink: bool,
    report: &mut dyn FnMut(&Outcome),
    progress: &dyn Fn(u64),
) -> Result<Option<Compiled>, CompileError> {
    let Some(first) = files.first() else { return Ok(None) };
    let mut files = Files { feed: &first.feed, files, table, report, progress, is_reported: false };
    store.compile(&mut files, allow_shrink).map(Some)
}

/// The files of a feed.
struct Files<'a> {
    feed: &'a Feed,
    files: &'a [FeedFile],
    table: &'a FieldTable,
    report: &'a mut dyn FnMut(&Outcome),
    progress: &'a dyn Fn(u64),
    /// Whether they were read before.
    is_reported: bool,
}

impl FeedContent for Files<'_> {
    fn feed(&self) -> &Feed {
        self.feed
    }

    fn source(&self) -> Result<String, String> {
        let mut all = Sha256::new();
        all.update(env!("CARGO_PKG_VERSION"));
        self.table.iter().for_each(|(_, field)| all.update(format!("{field:?}")));
        for file in self.files {
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

    fn read(&mut self, each: &mut dyn FnMut(&Indicator) -> Result<(), BuildError>) -> Result<(), ReadError> {
        // A second reading finds the same problems.
        let is_reported = std::mem::replace(&mut self.is_reported, true);
        for file in self.files {
            let mut failed = None;
            let progress = |read| {
                if !is_reported {
                    (self.progress)(read);
                }
            };
            let outcome = load::load_into(file.clone(), self.table, &progress, &mut |indicators| {
                if failed.is_none() {
                    failed = indicators.iter().try_for_each(&mut *each).err();
                }
            });
            if !is_reported {
                (self.report)(&outcome);
            }
            if let Some(cause) = failed {
                return Err(ReadError::Build(cause));
            }
            if let Err(error) = &outcome.import {
                return Err(ReadError::Content(error.to_string()));
            }
        }
        Ok(())
    }
}
