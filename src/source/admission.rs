//! Memory permits: a message is read only when memory is available, and holds its permit as long as its bytes exist.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::pipeline::MemoryPermit;
use crate::telemetry;

/// Unit of a permit in bytes. `acquire_many` counts in `u32`, and limits above 4 GiB must be expressible.
const UNIT: usize = 1024;

/// Longest message in bytes that may use the reserve.
const SMALL: usize = 1 << 20;

/// The memory for messages in flight of one process. A part of it is reserved for small messages, so that large
/// messages that stall cannot starve all other clients.
#[derive(Clone, Debug)]
pub struct MessageMemory {
    common: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    reserved: u32,
    /// Units outside the reserve.
    total: usize,
}

/// The memory permit of one message. Dropping it returns the memory.
#[derive(Debug)]
pub struct MessagePermit {
    permit: OwnedSemaphorePermit,
    grown: Mutex<PermitGrowth>,
    common: Arc<Semaphore>,
    /// Where a small message grows when the common memory is used up.
    reserve: Option<Arc<Semaphore>>,
    /// Units of the common memory that the message could hold in addition to `permit` if no other message held any.
    most: usize,
}

/// The permits of a message in addition to its first one.
#[derive(Debug, Default)]
struct PermitGrowth {
    permit: Option<OwnedSemaphorePermit>,
    /// The part that is in the reserve.
    reserved: Option<OwnedSemaphorePermit>,
    /// Bytes in use, out of those that the permits cover.
    bytes: usize,
}

impl PermitGrowth {
    fn units(&self) -> usize {
        let units = |permit: &Option<_>| permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        units(&self.permit) + units(&self.reserved)
    }

    /// Returns this many units, those of the reserve first.
    fn give_back(&mut self, units: usize) {
        let reserved = self.reserved.as_ref().map_or(0, OwnedSemaphorePermit::num_permits).min(units);
        for (permit, units) in [(&mut self.reserved, reserved), (&mut self.permit, units - reserved)] {
            drop(permit.as_mut().and_then(|permit| permit.split(units)));
        }
    }
}

impl MessageMemory {
    /// Creates a pool of `bytes`, of which `reserve` are for small messages.
    pub fn new(bytes: usize, reserve: usize) -> MessageMemory {
        let reserved = (reserve / UNIT).min(u32::MAX as usize);
        let common = (bytes / UNIT).saturating_sub(reserved).min(Semaphore::MAX_PERMITS);
        MessageMemory {
            common: Arc::new(Semaphore::new(common)),
            reserve: Arc::new(Semaphore::new(reserved)),
            reserved: reserved as u32,
            total: common,
        }
    }

    /// Takes memory for a message of `bytes`, waiting at most `wait`. Returns `None` if no memory became available.
    pub async fn admit(&self, bytes: usize, wait: Duration) -> Option<MessagePermit> {
        let units = units(bytes);
        let common = || Arc::clone(&self.common);
        let reserve = || Arc::clone(&self.reserve);
        let is_small = bytes <= SMALL && units <= self.reserved;
        let at_once = match common().try_acquire_many_owned(units) {
            Err(_) if is_small => reserve().try_acquire_many_owned(units),
            permit => permit,
        };
        let permit = match at_once {
            Ok(permit) => permit,
            Err(_) => {
                let waiting = async {
                    if !is_small {
                        return common().acquire_many_owned(units).await;
                    }
                    tokio::select! {
                        permit = common().acquire_many_owned(units) => permit,
                        permit = reserve().acquire_many_owned(units) => permit,
                    }
                };
                tokio::time::timeout(wait, waiting).await.ok()?.ok()?
            }
        };
        gauge!(telemetry::IN_FLIGHT_BYTES).increment(f64::from(units) * UNIT as f64);
        let is_common = Arc::ptr_eq(permit.semaphore(), &self.common);
        let most = self.total - if is_common { permit.num_permits() } else { 0 };
        let reserve = is_small.then(reserve);
        Some(MessagePermit { permit, grown: Mutex::default(), common: common(), reserve, most })
    }
}

impl MessagePermit {
    fn grown(&self) -> MutexGuard<'_, PermitGrowth> {
        // A permit cannot be half-merged, so the state behind a poisoned lock is valid.
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ties the memory to a message: it is returned when the last slice of the message and `self` are dropped.
    pub fn attach(self: &Arc<Self>, message: Bytes) -> Bytes {
        Bytes::from_owner(Admitted { message, _permit: Arc::clone(self) })
    }
}

impl MemoryPermit for MessagePermit {
    /// Never waits: the caller already holds memory, and two callers that wait for each other would deadlock.
    fn take(&self, bytes: usize) -> bool {
        let mut grown = self.grown();
        let Some(wanted) = grown.bytes.checked_add(bytes) else { return false };
        let more = wanted.div_ceil(UNIT).saturating_sub(grown.units());
        if more > 0 {
            let Ok(units) = u32::try_from(more) else { return false };
            let of = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_many_owned(units).ok();
            let reserve = self.reserve.as_ref().filter(|_| wanted <= SMALL);
            let (held, permit) = match of(&self.common) {
                Some(permit) => (&mut grown.permit, permit),
                None => match reserve.and_then(of) {
                    Some(permit) => (&mut grown.reserved, permit),
                    None => return false,
                },
            };
            match held {
                Some(held) => held.merge(permit),
                none => *none = Some(permit),
            }
            gauge!(telemetry::IN_FLIGHT_BYTES).increment((more * UNIT) as f64);
        }
        grown.bytes = wanted;
        true
    }

    fn give_back(&self, bytes: usize) {
        let mut grown = self.grown();
        grown.bytes = grown.bytes.saturating_sub(bytes);
        let less = grown.units() - grown.bytes.div_ceil(UNIT);
        if less > 0 {
            grown.give_back(less);
            gauge!(telemetry::IN_FLIGHT_BYTES).decrement((less * UNIT) as f64);
        }
    }

    fn left_alone(&self) -> usize {
        (self.most * UNIT).saturating_sub(self.grown().bytes)
    }
}

impl Drop for MessagePermit {
    fn drop(&mut self) {
        let units = self.permit.num_permits() + self.grown().units();
        gauge!(telemetry::IN_FLIGHT_BYTES).decrement((units * UNIT) as f64);
    }
}

/// The owner of the bytes of an admitted message.
struct Admitted {
    message: Bytes,
    _permit: Arc<MessagePermit>,
}

impl AsRef<[u8]> for Admitted {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two messages that together use all memory: a third is refused after the wait, and admitted once one of them is
    /// gone.
    #[tokio::test(start_paused = true)]
    async fn room_is_given_back_with_the_last_slice() {
        let in_flight = MessageMemory::new(10 * UNIT, 0);
        let wait = Duration::from_secs(1);
        let first = Arc::new(in_flight.admit(6 * UNIT, wait).await.unwrap());
        let _second = in_flight.admit(4 * UNIT, wait).await.unwrap();
        assert!(in_flight.admit(1, wait).await.is_none());

        let message = first.attach(Bytes::from_static(b"abc"));
        drop(first);
        let slice = message.slice(1..2);
        drop(message);
        assert!(in_flight.admit(1, wait).await.is_none(), "a slice still lives");
        drop(slice);
        assert!(in_flight.admit(6 * UNIT, wait).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn growth_never_waits_and_never_passes_the_total() {
        let in_flight = MessageMemory::new(10 * UNIT, 0);
        let admission = in_flight.admit(UNIT, Duration::ZERO).await.unwrap();
        assert!(admission.take(9 * UNIT));
        assert!(!admission.take(1));
        admission.give_back(UNIT + 1);
        assert!(admission.take(UNIT) && admission.take(1), "bytes are counted, not units");
        assert!(!admission.take(1));
        drop(admission);
        assert!(in_flight.admit(10 * UNIT, Duration::ZERO).await.is_some(), "all came back");
    }

    /// Scenario: large messages hold all common memory. Guarantee: a small message uses the reserve, a large one waits
    /// in vain, and a small one grows in the reserve up to the size of a small message, beyond that only in the common
    /// memory.
    #[tokio::test(start_paused = true)]
    async fn small_messages_have_a_reserve() {
        let in_flight = MessageMemory::new(10 << 20, 2 << 20);
        let wait = Duration::from_secs(1);
        let large = in_flight.admit(8 << 20, wait).await.unwrap();
        assert!(in_flight.admit(SMALL + 1, wait).await.is_none());
        let small = in_flight.admit(SMALL, wait).await.unwrap();
        assert!(small.take(2 * UNIT), "there is some reserve");
        small.give_back(UNIT);
        assert!(!small.take(SMALL), "no common room is left");
        let _other = in_flight.admit(SMALL - UNIT, wait).await.unwrap();
        assert!(in_flight.admit(1, wait).await.is_none(), "the reserve is used up, too");
        drop(large);
        assert!(small.take(8 << 20));
        drop(small);
        assert!(in_flight.admit(8 << 20, wait).await.is_some(), "all came back");
    }
}
