//! Byte permits: a message is read only when there is room for it, and holds its room for as long as its bytes live.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::pipeline::Room;
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
    /// Units of the common room.
    total: usize,
}

/// Room for one message. Given back when dropped.
#[derive(Debug)]
pub struct Admission {
    permit: OwnedSemaphorePermit,
    grown: Mutex<Grown>,
    common: Arc<Semaphore>,
    /// Where a small message grows when the common room is full.
    reserve: Option<Arc<Semaphore>>,
    /// Units of the common room that it could have besides `permit`, if it were alone.
    most: usize,
}

/// What a message grew by.
#[derive(Debug, Default)]
struct Grown {
    permit: Option<OwnedSemaphorePermit>,
    /// What it grew by in the reserve.
    reserved: Option<OwnedSemaphorePermit>,
    /// Bytes that are in use, of those that the permits stand for.
    bytes: usize,
}

impl Grown {
    fn units(&self) -> usize {
        let units = |permit: &Option<_>| permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        units(&self.permit) + units(&self.reserved)
    }

    /// Gives back so many units, those of the reserve first.
    fn give_back(&mut self, units: usize) {
        let reserved = self.reserved.as_ref().map_or(0, OwnedSemaphorePermit::num_permits).min(units);
        for (permit, units) in [(&mut self.reserved, reserved), (&mut self.permit, units - reserved)] {
            drop(permit.as_mut().and_then(|permit| permit.split(units)));
        }
    }
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
            total: common,
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
        let is_common = Arc::ptr_eq(permit.semaphore(), &self.common);
        let most = self.total - if is_common { permit.num_permits() } else { 0 };
        let reserve = is_small.then(reserve);
        Some(Admission { permit, grown: Mutex::default(), common: common(), reserve, most })
    }
}

impl Admission {
    fn grown(&self) -> MutexGuard<'_, Grown> {
        // A permit cannot be half-merged.
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ties the room to a message: it is given back when the last slice of the message is gone and `self` too.
    pub fn attach(self: &Arc<Self>, message: Bytes) -> Bytes {
        Bytes::from_owner(Admitted { message, _admission: Arc::clone(self) })
    }
}

impl Room for Admission {
    /// Does not wait: who grows already holds room, and two that wait for each other would wait in vain.
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

impl Drop for Admission {
    fn drop(&mut self) {
        let units = self.permit.num_permits() + self.grown().units();
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
        assert!(admission.take(9 * UNIT));
        assert!(!admission.take(1));
        admission.give_back(UNIT + 1);
        assert!(admission.take(UNIT) && admission.take(1), "bytes are counted, not units");
        assert!(!admission.take(1));
        drop(admission);
        assert!(in_flight.admit(10 * UNIT, Duration::ZERO).await.is_some(), "all came back");
    }

    /// Scenario: large messages hold all the common room. Guarantee: a small one has the reserve, a large one waits in
    /// vain, and a small one grows in the reserve by as much as a small one has, further in the common room only.
    #[tokio::test(start_paused = true)]
    async fn small_messages_have_a_reserve() {
        let in_flight = InFlight::new(10 << 20, 2 << 20);
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
