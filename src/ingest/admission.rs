//! Byte permits: a message is read only when there is room for it, and holds its room for as long as its bytes live.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::delivery::Room;
use crate::telemetry;

/// Unit of a permit in bytes: `acquire_many` counts in `u32`, and 4 GiB in flight must be sayable.
const UNIT: usize = 1024;

/// Longest message that may use the reserve.
const SMALL: usize = 1 << 20;

/// The room of one process. A part of it is for small messages only, so that large ones that are never sent whole
/// cannot starve everybody.
#[derive(Clone, Debug)]
pub struct InFlight {
    common: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    reserved: u32,
}

/// Room for one message. Given back when dropped.
#[derive(Debug)]
pub struct Admission {
    permit: OwnedSemaphorePermit,
    /// What it grew by.
    grown: Mutex<Option<OwnedSemaphorePermit>>,
    common: Arc<Semaphore>,
}

impl InFlight {
    /// Room for `bytes` in all, of which `reserve` are for small messages.
    pub fn new(bytes: usize, reserve: usize) -> InFlight {
        let reserved = (reserve / UNIT).min(u32::MAX as usize);
        let common = (bytes / UNIT).saturating_sub(reserved).min(Semaphore::MAX_PERMITS);
        InFlight {
            common: Arc::new(Semaphore::new(common)),
            reserve: Arc::new(Semaphore::new(reserved)),
            reserved: reserved as u32,
        }
    }

    /// Takes room for a message of `bytes`, waiting for it at most for `wait`. `None`: there was none.
    pub async fn admit(&self, bytes: usize, wait: Duration) -> Option<Admission> {
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
        Some(Admission { permit, grown: Mutex::default(), common: common() })
    }
}

impl Admission {
    /// Takes room for `bytes` more, without waiting: who grows already holds room, and two that wait for each other
    /// would wait in vain. Says whether there was room.
    pub fn grow(&self, bytes: usize) -> bool {
        let units = units(bytes);
        let Ok(more) = Arc::clone(&self.common).try_acquire_many_owned(units) else { return false };
        match &mut *self.grown() {
            Some(grown) => grown.merge(more),
            none => *none = Some(more),
        }
        gauge!(telemetry::IN_FLIGHT_BYTES).increment(f64::from(units) * UNIT as f64);
        true
    }

    fn grown(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        // A permit cannot be half-merged.
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ties the room to a message: it is given back when the last slice of the message is gone and `self` too.
    pub fn attach(self: &Arc<Self>, message: Bytes) -> Bytes {
        Bytes::from_owner(Admitted { message, _admission: Arc::clone(self) })
    }
}

impl Room for Admission {
    fn take(&self, bytes: usize) -> bool {
        self.grow(bytes)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let units = self.permit.num_permits() + self.grown().as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        gauge!(telemetry::IN_FLIGHT_BYTES).decrement((units * UNIT) as f64);
    }
}

/// The owner behind the bytes of an admitted message.
struct Admitted {
    message: Bytes,
    _admission: Arc<Admission>,
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

    /// Two messages that together fill the room: a third is refused after the wait, and admitted once one is gone.
    #[tokio::test(start_paused = true)]
    async fn room_is_given_back_with_the_last_slice() {
        let in_flight = InFlight::new(10 * UNIT, 0);
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
        let in_flight = InFlight::new(10 * UNIT, 0);
        let admission = in_flight.admit(UNIT, Duration::ZERO).await.unwrap();
        assert!(admission.grow(9 * UNIT));
        assert!(!admission.grow(1));
        drop(admission);
        assert!(in_flight.admit(10 * UNIT, Duration::ZERO).await.is_some(), "all came back");
    }

    /// Scenario: large messages hold all the common room. Guarantee: a small one has the reserve, a large one waits in
    /// vain, and what uses the reserve grows in the common room only.
    #[tokio::test(start_paused = true)]
    async fn small_messages_have_a_reserve() {
        let in_flight = InFlight::new(10 << 20, 2 << 20);
        let wait = Duration::from_secs(1);
        let large = in_flight.admit(8 << 20, wait).await.unwrap();
        assert!(in_flight.admit(SMALL + 1, wait).await.is_none());
        let small = in_flight.admit(SMALL, wait).await.unwrap();
        assert!(!small.grow(1), "no common room is left");
        let _other = in_flight.admit(SMALL, wait).await.unwrap();
        assert!(in_flight.admit(1, wait).await.is_none(), "the reserve is used up, too");
        drop(large);
        assert!(small.grow(8 << 20));
        drop(small);
        assert!(in_flight.admit(8 << 20, wait).await.is_some(), "all came back");
    }
}
