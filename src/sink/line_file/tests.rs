//! The file on a simulated disk, on which something happens at any call: short writes, no space, failing syncs, every
//! kind of rotation, another writer without the lock.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::encoding::{Format, Rope};
use crate::pipeline::MatchedMessage;
use crate::sink::Only;
use crate::sink::ndjson::{NdjsonSink, Output, SYNC_INTERVAL};

const PATH: &str = "hits.ndjson";

/// The event at one call to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Nothing; likely, so that most batches succeed.
    Calm,
    /// A write writes one byte only.
    Short,
    /// A write writes one byte, and finds no space for the rest.
    Full,
    /// The same, and another writer appends a line at that moment.
    FullBesideOther,
    /// The call after a write that wrote one byte.
    NoSpace,
    /// The same, after a line of another writer.
    NoSpaceBesideOther,
    /// A sync fails, and the system discards what was to be written.
    SyncFails,
    /// The file gets another name.
    Rename,
    /// The file gets another name, and an empty one takes its place.
    Recreate,
    /// The file is read to its end and removed.
    Remove,
    /// The file is read to its end and cut to nothing.
    CopyTruncate,
}

fn event() -> impl Strategy<Value = Event> {
    use Event::*;
    prop_oneof![
        24 => Just(Calm),
        2 => prop::sample::select(vec![Short, Full, FullBesideOther, SyncFails]),
        3 => prop::sample::select(vec![Rename, Recreate, Remove, CopyTruncate]),
    ]
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    names: BTreeMap<PathBuf, usize>,
    files: Vec<Content>,
    /// The content that the rotating process read each time before it removed or truncated the file.
    taken: Vec<Vec<u8>>,
    /// How often another writer appended its line.
    others: usize,
    handles: usize,
    rotations: usize,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// The content after a power loss.
    durable: Vec<u8>,
    lock: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct Simulated(Arc<Mutex<State>>);

#[derive(Debug)]
struct Handle {
    disk: Simulated,
    number: usize,
    file: usize,
}

impl Simulated {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Performs the next event, and returns it with the state after it.
    fn call(&self) -> (MutexGuard<'_, State>, Event) {
        let mut state = self.state();
        let event = state.events.pop_front().unwrap_or(Event::Calm);
        let rotates = matches!(event, Event::Rename | Event::Recreate | Event::Remove | Event::CopyTruncate);
        if let Some(&file) = state.names.get(Path::new(PATH)).filter(|_| rotates) {
            state.rotations += 1;
            let bytes = state.files[file].bytes.clone();
            let archive = PathBuf::from(format!("archive-{}", state.rotations));
            match event {
                Event::Rename | Event::Recreate => {
                    state.names.remove(Path::new(PATH));
                    state.names.insert(archive, file);
                    if event == Event::Recreate {
                        state.create(Path::new(PATH));
                    }
                }
                Event::Remove => {
                    state.taken.push(bytes);
                    state.names.remove(Path::new(PATH));
                }
                _ => {
                    state.taken.push(bytes);
                    state.files[file].bytes.clear();
                }
            }
        }
        (state, event)
    }

    /// All lines that can be read; `durable`: after a power loss.
    fn lines(&self, durable: bool) -> Vec<String> {
        let state = self.state();
        let files = state.names.values().map(|&file| match durable {
            true => &state.files[file].durable,
            false => &state.files[file].bytes,
        });
        let all = files.chain(&state.taken).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        all.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

impl State {
    fn create(&mut self, path: &Path) -> usize {
        self.files.push(Content::default());
        self.names.insert(path.to_owned(), self.files.len() - 1);
        self.files.len() - 1
    }

    fn stat(&self, file: usize) -> Stat {
        let id = FileId { device: 1, inode: file as u64 };
        Stat { id, len: self.files[file].bytes.len() as u64, is_regular: true }
    }
}

impl Disk for Simulated {
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (mut state, _) = self.call();
        let known = state.names.get(path).copied();
        let file = known.unwrap_or_else(|| state.create(path));
        state.handles += 1;
        Ok(Box::new(Handle { disk: self.clone(), number: state.handles, file }))
    }

    fn read(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        unreachable!("lines are never read")
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let (state, _) = self.call();
        Ok(state.names.get(path).map(|&file| state.stat(file)))
    }

    fn replace(&self, _: &Path, _: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<Stat> {
        unreachable!("a file of lines is never replaced")
    }

    fn sync_directory_of(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Handle {
    fn stat(&self) -> io::Result<Stat> {
        Ok(self.disk.call().0.stat(self.file))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (state, _) = self.disk.call();
        let rest = state.files[self.file].bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let (mut state, event) = self.disk.call();
        match event {
            Event::Short => {
                state.files[self.file].bytes.push(bytes[0]);
                Ok(1)
            }
            Event::Full | Event::FullBesideOther => {
                let next = if event == Event::Full { Event::NoSpace } else { Event::NoSpaceBesideOther };
                state.events.push_front(next);
                state.files[self.file].bytes.push(bytes[0]);
                Ok(1)
            }
            Event::NoSpace => Err(io::ErrorKind::StorageFull.into()),
            Event::NoSpaceBesideOther => {
                state.files[self.file].bytes.extend(b"\nother\n");
                // Lines that are written to a removed file are lost.
                state.others += usize::from(state.names.values().any(|named| *named == self.file));
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => {
                state.files[self.file].bytes.extend(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.call().0.files[self.file].bytes.truncate(len as usize);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut state, event) = self.disk.call();
        if event == Event::SyncFails {
            return Err(io::Error::other("the disk is broken"));
        }
        let content = &mut state.files[self.file];
        content.durable = content.bytes.clone();
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.disk.state();
        let lock = &mut state.files[self.file].lock;
        Ok(*lock.get_or_insert(self.number) == self.number)
    }

    fn unlock(&self) -> io::Result<()> {
        self.disk.state().files[self.file].lock = None;
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        let lock = &mut state.files[self.file].lock;
        if *lock == Some(self.number) {
            *lock = None;
        }
    }
}

fn batch(number: usize) -> [String; 2] {
    [format!("{number} first"), format!("{number} second")]
}

fn append(file: &mut LineFile, fsync: Fsync, number: usize) -> Result<u64, LineFileError> {
    file.append(fsync, &|put| batch(number).iter().try_for_each(|line| put(format!("{line}\n").as_bytes())))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    /// Scenario: batches are written while anything happens to the file at any call. Guarantee: the lines of an
    /// acknowledged batch are complete in a file that has a name, or were there when the file was removed or truncated;
    /// with `batch` a power loss loses none of them; no line of another writer is cut off.
    #[test]
    fn what_is_acknowledged_stays(
        events in prop::collection::vec(event(), 0..200),
        fsync in prop::sample::select(vec![Fsync::Batch, Fsync::Interval, Fsync::Never]),
        torn in any::<bool>(),
    ) {
        let disk = Simulated::default();
        if torn {
            let mut state = disk.state();
            let file = state.create(Path::new(PATH));
            state.files[file].bytes.extend(b"a killed process wro");
        }
        let mut file = LineFile::open(PATH.into(), Arc::new(disk.clone())).unwrap();
        disk.state().events = events.into();
        let mut acknowledged = Vec::new();
        for number in 0..20 {
            if append(&mut file, fsync, number).is_ok() {
                acknowledged.push(number);
            }
        }
        // A disk without faults accepts lines again, whatever happened before.
        disk.state().events.clear();
        let last = append(&mut file, fsync, 20).or_else(|_| append(&mut file, fsync, 20));
        prop_assert!(last.is_ok(), "{last:?}");
        for durable in [false, true] {
            if durable && fsync != Fsync::Batch {
                continue;
            }
            let lines = disk.lines(durable);
            for line in acknowledged.iter().chain([&20]).flat_map(|number| batch(*number)) {
                prop_assert!(lines.contains(&line), "`{line}` is missing (durable: {durable}): {lines:?}");
            }
        }
        let others = disk.lines(false).iter().filter(|line| *line == "other").count();
        let lost = disk.state().others;
        prop_assert!(others >= lost, "{others} of {lost} lines of another writer");
    }
}

/// Guarantee: a failed write leaves the file as it was, and reports the cause.
#[test]
fn a_failed_write_is_cut_off() {
    let disk = Simulated::default();
    let mut file = LineFile::open(PATH.into(), Arc::new(disk.clone())).unwrap();
    append(&mut file, Fsync::Batch, 1).unwrap();
    let before = disk.lines(false);
    // The path is checked, the length and the end are read, one line is written, the next is not.
    disk.state().events = [Event::Calm; 4].into_iter().chain([Event::Full]).collect();
    assert!(matches!(append(&mut file, Fsync::Batch, 2), Err(LineFileError::Write(_))));
    append(&mut file, Fsync::Batch, 3).unwrap();
    let lines = disk.lines(false);
    assert_eq!(lines[..2], before[..]);
    assert!(!lines.contains(&"2 first".to_owned()));
    assert_eq!(lines[lines.len() - 2..], batch(3));
}

/// Guarantee: a sync that fails between batches is reported to the next one, and the one after that is written.
#[test]
fn a_failed_sync_is_told_once() {
    let disk = Simulated::default();
    let mut file = LineFile::open(PATH.into(), Arc::new(disk.clone())).unwrap();
    append(&mut file, Fsync::Interval, 1).unwrap();
    assert!(file.has_unsynced_lines());
    disk.state().events = [Event::SyncFails].into();
    assert!(matches!(file.sync(), Err(LineFileError::Sync(_))));
    assert!(matches!(append(&mut file, Fsync::Interval, 2), Err(LineFileError::Sync(_))));
    append(&mut file, Fsync::Interval, 3).unwrap();
    file.sync().unwrap();
    assert!(!file.has_unsynced_lines() && disk.lines(true).contains(&"3 second".to_owned()));
}

/// Guarantee: a second writer is refused while the first has the file, also under another name of it.
#[test]
fn a_second_writer_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (path, link) = (directory.path().join("a"), directory.path().join("b"));
    let open = |path: &Path| LineFile::open(path.to_owned(), Arc::new(super::super::disk::HostDisk));
    let mut first = open(&path).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        let error = open(path).unwrap_err();
        assert!(matches!(&error, LineFileError::Locked(locked) if locked == path), "{error}");
    }
    // The lock follows the path.
    let moved = directory.path().join("a.1");
    std::fs::rename(&path, &moved).unwrap();
    append(&mut first, Fsync::Batch, 1).unwrap();
    assert!(matches!(open(&path), Err(LineFileError::Locked(_))));
    open(&moved).unwrap();
    drop(first);
    open(&path).unwrap();
}

/// Scenario: the lines of a sink with `fsync: interval` are acknowledged before they are on the disk. Guarantee: they
/// are there after the interval even if no batch follows, and those of a sink that stops are there at once.
#[tokio::test(start_paused = true)]
async fn an_interval_ends_without_another_batch() {
    let disk = Simulated::default();
    let output = Output::File(PATH.into());
    let sink = NdjsonSink::open_on(Arc::new(disk.clone()), output, Fsync::Interval).unwrap();
    let deliver = |text: &str| {
        let mut message = Vec::new();
        crate::encoding::wire::put_bytes(&mut message, 2, text.as_bytes());
        let message = Rope::from(Bytes::from(message));
        Arc::new(MatchedMessage { format: Format::Filter, message, records: 1, ..MatchedMessage::default() }.into())
    };
    sink.deliver("hits", &deliver("{\"a\":1}"), Only::All).await.unwrap();
    assert_eq!((disk.lines(false), disk.lines(true)), (vec!["{\"a\":1}".to_owned()], vec![]));
    tokio::time::sleep(SYNC_INTERVAL * 2).await;
    while disk.lines(true).is_empty() {
        tokio::task::yield_now().await;
    }
    sink.deliver("hits", &deliver("{\"b\":1}"), Only::All).await.unwrap();
    assert_eq!(disk.lines(true).len(), 1);
    drop(sink);
    // Whichever task synced first may release the file last.
    while disk.lines(true).len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(disk.lines(true), ["{\"a\":1}", "{\"b\":1}"]);
}
