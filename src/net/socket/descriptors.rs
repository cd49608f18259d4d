//! File descriptors: the limit of the process, and a reserve for listeners that must always be able to answer.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as the system allows the process to, and returns it.
///
/// # Errors
/// The system refuses, and the limit is unchanged.
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

/// Whether an error means that file descriptors ran out, for this process or for the whole system.
pub(super) fn are_out(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].iter().any(|out| errno == Some(out.raw_os_error()))
}

/// Descriptors that a listener reserves, to free them for connections when there are no others.
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

    /// Frees one descriptor, if there is one.
    pub(super) fn give_up(&mut self) -> bool {
        self.held.pop().is_some()
    }

    /// Reserves as many descriptors as are missing and available now.
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
