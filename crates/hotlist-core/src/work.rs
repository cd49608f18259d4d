//! Limits of the work on one request: its memory, which is reserved before it is allocated, and the time until its
//! client disconnects.
//!
//! Every buffer that is derived from a request takes memory by [`Work::take`] or [`Work::hold`] first, so that the
//! memory of all requests together is bounded whatever they contain. Work in steps calls [`Work::check`] at each step.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

/// The memory that a request holds, which grows with what is made of its batch and is returned with it.
pub trait MemoryPermit: fmt::Debug + Send + Sync {
    /// Takes this many more bytes, without waiting. Returns whether they were available.
    fn take(&self, bytes: usize) -> bool;

    /// Returns this many of the taken bytes.
    fn give_back(&self, bytes: usize);

    /// Bytes that could be taken if no other request held any.
    fn left_alone(&self) -> usize;
}

/// The limits of the work on one request. Cheap to clone; clones share one memory permit. The default has no limits.
#[derive(Clone, Debug, Default)]
pub struct Work {
    permit: Option<Arc<dyn MemoryPermit>>,
    cancelled: Option<Arc<AtomicBool>>,
}

/// The reason that work stops early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// Other requests hold the memory that it needs.
    #[error("too many bytes are in flight: retry later, or raise `limits.in_flight_bytes`")]
    NoMemoryNow,
    /// It needs more memory than the limit for all requests, so that no retry can succeed.
    #[error(
        "the request needs more memory than all requests together may have: send smaller batches, or raise \
         `limits.in_flight_bytes`"
    )]
    NeverEnoughMemory,
    /// The client disconnected, and nobody waits for the result.
    #[error("the client disconnected before its request was finished")]
    Cancelled,
}

impl Work {
    /// Creates limits with memory from `permit`.
    pub fn within(permit: Arc<dyn MemoryPermit>) -> Work {
        Work { permit: Some(permit), cancelled: None }
    }

    /// Adds that the work stops when `client` is dropped before [`ClientGuard::finish`].
    #[must_use]
    pub fn until(self, client: &ClientGuard) -> Work {
        Work { cancelled: Some(Arc::clone(&client.left)), ..self }
    }

    /// Whether the client disconnected.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.as_ref().is_some_and(|left| left.load(Ordering::Relaxed))
    }

    /// Checks at each step whether to continue.
    ///
    /// # Errors
    /// The client disconnected.
    #[inline]
    pub fn check(&self) -> Result<(), StopReason> {
        if self.is_cancelled() { Err(StopReason::Cancelled) } else { Ok(()) }
    }

    /// Takes this many more bytes, until the request ends.
    ///
    /// # Errors
    /// The memory is not available, now or ever.
    pub fn take(&self, bytes: usize) -> Result<(), StopReason> {
        match &self.permit {
            Some(permit) if !permit.take(bytes) => {
                Err(if bytes > permit.left_alone() { StopReason::NeverEnoughMemory } else { StopReason::NoMemoryNow })
            }
            _ => Ok(()),
        }
    }

    /// Takes this many more bytes, until the returned value is dropped.
    ///
    /// # Errors
    /// The memory is not available, now or ever.
    pub fn hold(&self, bytes: usize) -> Result<HeldMemory, StopReason> {
        self.take(bytes)?;
        Ok(HeldMemory { permit: self.permit.clone(), bytes })
    }

    /// Bytes that the request could still take if no other request held any; `None` if there is no limit. The value
    /// depends only on the request and the configuration, never on the load.
    pub fn left_alone(&self) -> Option<usize> {
        self.permit.as_ref().map(|permit| permit.left_alone())
    }
}

/// Memory that is returned when this is dropped.
#[derive(Debug)]
pub struct HeldMemory {
    permit: Option<Arc<dyn MemoryPermit>>,
    bytes: usize,
}

impl HeldMemory {
    /// Takes this many more bytes.
    ///
    /// # Errors
    /// The memory is not available, now or ever.
    pub fn grow(&mut self, bytes: usize) -> Result<(), StopReason> {
        Work { permit: self.permit.clone(), cancelled: None }.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Ties the memory to bytes: it is returned with their last slice.
    pub fn own(self, bytes: impl Into<Bytes>) -> Bytes {
        Bytes::from_owner(Owned { bytes: bytes.into(), _memory: self })
    }

    /// Returns all but this many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(permit) = self.permit.as_ref().filter(|_| bytes < self.bytes) {
            permit.give_back(self.bytes - bytes);
        }
        self.bytes = self.bytes.min(bytes);
    }
}

struct Owned {
    bytes: Bytes,
    _memory: HeldMemory,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// The client that waits for the result of work. Dropping it before it is finished cancels the work.
#[derive(Debug, Default)]
pub struct ClientGuard {
    left: Arc<AtomicBool>,
    finished: bool,
}

impl ClientGuard {
    /// Marks the work as finished: later work is not cancelled any more.
    pub fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        if !self.finished {
            self.left.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A memory pool of which others hold a part.
    #[derive(Debug)]
    struct Shared {
        total: usize,
        others: usize,
        held: Mutex<usize>,
    }

    impl MemoryPermit for Shared {
        fn take(&self, bytes: usize) -> bool {
            let mut held = self.held.lock().unwrap();
            let fits = *held + self.others + bytes <= self.total;
            *held += if fits { bytes } else { 0 };
            fits
        }

        fn give_back(&self, bytes: usize) {
            *self.held.lock().unwrap() -= bytes;
        }

        fn left_alone(&self) -> usize {
            self.total - *self.held.lock().unwrap()
        }
    }

    /// Guarantee: a request that is refused because others hold memory may retry, one that exceeds the total may not.
    #[test]
    fn what_does_not_fit_now_is_told_from_what_never_fits() {
        let permit = Arc::new(Shared { total: 100, others: 40, held: Mutex::default() });
        let work = Work::within(permit.clone());
        assert_eq!(work.take(101), Err(StopReason::NeverEnoughMemory));
        assert_eq!(work.take(61), Err(StopReason::NoMemoryNow));
        work.take(10).unwrap();
        let mut held = work.hold(30).unwrap();
        assert_eq!((work.take(30), held.grow(61)), (Err(StopReason::NoMemoryNow), Err(StopReason::NeverEnoughMemory)));
        held.grow(20).unwrap();
        assert_eq!(work.left_alone(), Some(40));
        held.shrink_to(5);
        assert_eq!(*permit.held.lock().unwrap(), 15);
        drop(held);
        assert_eq!(*permit.held.lock().unwrap(), 10, "what is taken stays, what is held comes back");
        assert_eq!((Work::default().take(usize::MAX), Work::default().left_alone()), (Ok(()), None));
    }

    #[test]
    fn work_is_cancelled_by_a_client_that_leaves_and_not_by_one_that_is_answered() {
        let (leaves, stays) = (ClientGuard::default(), ClientGuard::default());
        let (cancelled, finished) = (Work::default().until(&leaves), Work::default().until(&stays));
        assert_eq!((cancelled.check(), finished.check()), (Ok(()), Ok(())));
        drop(leaves);
        stays.finish();
        assert_eq!((cancelled.check(), finished.check()), (Err(StopReason::Cancelled), Ok(())));
    }
}
