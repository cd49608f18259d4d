//! A simulated disk: files with a part that survives a power loss, names that do so only after their directory was synced,
//! short writes, no space, operators that rotate files between any two calls, and processes that die in the middle.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use hotlist::sink::disk::{Disk, DiskFile, FileId, Stat};

use crate::chance::Chance;

/// The faults, each once in so many calls; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub rotation: usize,
    pub short_write: usize,
    pub failure: usize,
    pub death: usize,
    /// Whether a death takes what was not synced.
    pub power_loss: bool,
}

/// The disk, which outlives the processes that use it.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

struct State {
    chance: Chance,
    faults: Faults,
    is_full: bool,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    files: BTreeMap<u64, Inode>,
    next: u64,
    /// The process that is alive; calls of others fail.
    process: u64,
    /// The files that operators took away, as they were then.
    taken_away: Vec<Vec<u8>>,
    /// The events, for the trace and the summary.
    pub log: Vec<&'static str>,
}

#[derive(Default)]
struct Inode {
    content: Vec<u8>,
    /// This many bytes survive a power loss.
    durable: usize,
    lock: Option<u64>,
}

/// The disk as one process sees it.
#[derive(Clone)]
pub struct ProcessDisk {
    disk: SimulatedDisk,
    process: u64,
}

struct OpenFile {
    disk: ProcessDisk,
    inode: u64,
    handle: u64,
}

impl SimulatedDisk {
    pub fn new(chance: Chance) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(State {
            chance,
            faults: Faults::default(),
            is_full: false,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            files: BTreeMap::new(),
            next: 1,
            process: 0,
            taken_away: Vec::new(),
            log: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// For a process that starts now. The previous process must be dead.
    pub fn process(&self) -> ProcessDisk {
        ProcessDisk { disk: self.clone(), process: self.state().process }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    pub fn die(&self) {
        self.state().die();
    }

    pub fn rotate(&self) {
        self.state().rotate();
    }

    pub fn log(&self) -> Vec<&'static str> {
        self.state().log.clone()
    }

    /// Everything that ever stood at a path or at what it was renamed to, and that nobody but an operator removed.
    pub fn contents(&self, path: &Path) -> Vec<Vec<u8>> {
        let state = self.state();
        let prefix = path.to_str().unwrap();
        let named = state.names.iter().filter(|(name, _)| name.to_str().unwrap().starts_with(prefix));
        let mut all: Vec<Vec<u8>> = named.map(|(_, inode)| state.files[inode].content.clone()).collect();
        // The first bytes say which path it was.
        let mark = |content: &&Vec<u8>| content.starts_with(prefix.as_bytes());
        all.extend(state.taken_away.iter().filter(mark).map(|content| content[prefix.len()..].to_vec()));
        all
    }
}

impl ProcessDisk {
    pub fn is_alive(&self) -> bool {
        self.disk.state().process == self.process
    }

    /// Begins a call: something may happen before it.
    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.state();
        let Faults { rotation, death, failure, .. } = state.faults;
        if state.process == self.process && rotation > 0 && state.chance.one_in(rotation) {
            state.rotate();
        }
        if state.process == self.process && death > 0 && state.chance.one_in(death) {
            state.die();
        }
        if state.process != self.process {
            return Err(io::Error::other("the process is dead"));
        }
        if failure > 0 && state.chance.one_in(failure) {
            state.log.push("failure");
            return Err(io::Error::other("input/output error"));
        }
        Ok(state)
    }
}

impl State {
    fn die(&mut self) {
        self.process += 1;
        self.log.push("death");
        self.files.values_mut().for_each(|file| file.lock = None);
        if self.faults.power_loss {
            self.log.push("power loss");
            for file in self.files.values_mut() {
                let lost = self.chance.below(file.content.len() - file.durable + 1);
                file.content.truncate(file.content.len() - lost);
                file.durable = file.content.len();
            }
            if self.chance.one_in(2) {
                self.names = self.durable_names.clone();
            } else {
                self.durable_names = self.names.clone();
            }
        }
    }

    /// An operator renames, removes, or copies and truncates a file.
    fn rotate(&mut self) {
        let names: Vec<PathBuf> = self.names.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = self.chance.pick(&names).clone();
        let inode = self.names[&name];
        match self.chance.below(3) {
            0 => {
                let new = PathBuf::from(format!("{}.{}", name.display(), self.next));
                self.next += 1;
                for names in [&mut self.names, &mut self.durable_names] {
                    names.remove(&name);
                    names.insert(new.clone(), inode);
                }
                self.log.push("rename");
            }
            1 => {
                self.take_away(&name, inode);
                self.names.remove(&name);
                self.durable_names.remove(&name);
                self.log.push("remove");
            }
            _ => {
                self.take_away(&name, inode);
                let file = self.files.get_mut(&inode).unwrap();
                file.content.clear();
                file.durable = 0;
                self.log.push("truncate");
            }
        }
    }

    fn take_away(&mut self, name: &Path, inode: u64) {
        let base = name.to_str().unwrap().split(".ndjson").next().unwrap();
        let content = [format!("{base}.ndjson").as_bytes(), &self.files[&inode].content].concat();
        self.taken_away.push(content);
    }

    fn stat_of(&self, inode: u64) -> Stat {
        let len = self.files[&inode].content.len() as u64;
        Stat { id: FileId { device: 1, inode }, len, is_regular: true }
    }

    fn create(&mut self, path: &Path, file: Inode) -> u64 {
        let inode = self.next;
        self.next += 1;
        self.files.insert(inode, file);
        self.names.insert(path.to_owned(), inode);
        inode
    }
}

impl Disk for ProcessDisk {
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.call()?;
        let known = state.names.get(path).copied();
        let inode = known.unwrap_or_else(|| state.create(path, Inode::default()));
        state.next += 1;
        Ok(Box::new(OpenFile { disk: self.clone(), inode, handle: state.next }))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.call()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        state.next += 1;
        Ok(Box::new(OpenFile { disk: self.clone(), inode, handle: state.next }))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let state = self.call()?;
        Ok(state.names.get(path).map(|inode| state.stat_of(*inode)))
    }

    fn replace(&self, path: &Path, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<Stat> {
        if !self.call()?.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut content = Vec::new();
        write(&mut content)?;
        // An operator's change between the last check and the change of names is not simulated: no system call
        // excludes it.
        let mut state = self.disk.state();
        let durable = content.len();
        let inode = state.create(path, Inode { content, durable, lock: None });
        state.durable_names.insert(path.to_owned(), inode);
        state.log.push("replace");
        Ok(state.stat_of(inode))
    }

    fn sync_directory_of(&self, _: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl DiskFile for OpenFile {
    fn stat(&self) -> io::Result<Stat> {
        Ok(self.disk.call()?.stat_of(self.inode))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.call()?;
        let content = state.files[&self.inode].content.get(offset as usize..).unwrap_or_default();
        let len = content.len().min(buffer.len());
        buffer[..len].copy_from_slice(&content[..len]);
        Ok(len)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.call()?;
        let mut len = bytes.len();
        let short = state.faults.short_write;
        if state.is_full || (short > 0 && state.chance.one_in(short)) {
            len = state.chance.below(len);
            state.log.push("short write");
            if len == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        state.files.get_mut(&self.inode).unwrap().content.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.call()?;
        let file = state.files.get_mut(&self.inode).unwrap();
        file.content.truncate(len as usize);
        file.durable = file.durable.min(len as usize);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.call()?;
        let file = state.files.get_mut(&self.inode).unwrap();
        file.durable = file.content.len();
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.disk.call()?;
        let file = state.files.get_mut(&self.inode).unwrap();
        Ok(*file.lock.get_or_insert(self.handle) == self.handle)
    }

    fn unlock(&self) -> io::Result<()> {
        let mut state = self.disk.call()?;
        let file = state.files.get_mut(&self.inode).unwrap();
        file.lock = file.lock.filter(|holder| *holder != self.handle);
        Ok(())
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let mut state = self.disk.disk.state();
        if state.process == self.disk.process
            && let Some(file) = state.files.get_mut(&self.inode)
        {
            file.lock = file.lock.filter(|holder| *holder != self.handle);
        }
    }
}

impl fmt::Debug for ProcessDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated disk of process {}", self.process)
    }
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated file {}", self.inode)
    }
}
