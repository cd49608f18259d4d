//! File descriptors: the limit of the process, and a few kept for those who must always be answered.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as the system lets a process do so itself, and returns it.
///
/// # Errors
/// The system refuses, and the limit is what it was.
pub fn raise_limit() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(limit())
}

/// The most files that the process may have open.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Whether an error says that there are no more descriptors, for this process or for the whole system.
pub(super) fn are_out(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].iter().any(|out| errno == Some(out.raw_os_error()))
}

/// Descriptors that a listener holds to give them up for connections when there are no others.
#[derive(Debug)]
pub(super) struct Spare {
    wanted: usize,
    held: Vec<OwnedFd>,
}

impl Spare {
    pub(super) fn new(wanted: usize) -> Spare {
        let mut spare = Spare { wanted, held: Vec::new() };
        spare.refill();
        spare
    }

    /// Gives one up, if there is one.
    pub(super) fn give_up(&mut self) -> bool {
        self.held.pop().is_some()
    }

    /// Takes as many as are missing and can be had now.
    pub(super) fn refill(&mut self) {
        while self.held.len() < self.wanted {
            match File::open("/dev/null") {
                Ok(file) => self.held.push(file.into()),
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_the_hard_one_and_no_further() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert_eq!(raise_limit().unwrap(), hard);
        assert_eq!(limit(), hard);
    }

    #[test]
    fn spare_descriptors_come_back() {
        let mut spare = Spare::new(2);
        assert!(spare.give_up() && spare.give_up() && !spare.give_up());
        spare.refill();
        assert!(spare.give_up());
        assert!(are_out(&io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error())));
        assert!(!are_out(&io::ErrorKind::ConnectionAborted.into()));
    }
}
