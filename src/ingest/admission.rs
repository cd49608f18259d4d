//! Byte permits: a message is read only when there is room for it, and holds its room for as long as its bytes live.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry;

/// Unit of a permit in bytes: `acquire_many` counts in `u32`, and 4 GiB in flight must be sayable.
const UNIT: usize = 1024;

/// The room of one source.
#[derive(Clone, Debug)]
pub struct InFlight {
    permits: Arc<Semaphore>,
}

/// Room for one message. Given back when dropped.
#[derive(Debug)]
pub struct Admission {
    permit: OwnedSemaphorePermit,
}

impl InFlight {
    /// Room for `bytes` in all.
    pub fn new(bytes: usize) -> InFlight {
        InFlight { permits: Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))) }
    }

    /// Takes room for a message of `bytes`, waiting for it at most for `wait`. `None`: there was none.
    pub async fn admit(&self, bytes: usize, wait: Duration) -> Option<Admission> {
        let units = units(bytes);
        let permit = match Arc::clone(&self.permits).try_acquire_many_owned(units) {
            Ok(permit) => permit,
            Err(_) => {
                tokio::time::timeout(wait, Arc::clone(&self.permits).acquire_many_owned(units)).await.ok()?.ok()?
            }
        };
        gauge!(telemetry::IN_FLIGHT_BYTES).increment(f64::from(units) * UNIT as f64);
        Some(Admission { permit })
    }
}

impl Admission {
    /// Takes room for `bytes` more, without waiting: who grows already holds room, and two that wait for each other
    /// would wait in vain. Says whether there was room.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let units = units(bytes);
        match Arc::clone(self.permit.semaphore()).try_acquire_many_owned(units) {
            Ok(more) => {
                self.permit.merge(more);
                gauge!(telemetry::IN_FLIGHT_BYTES).increment(f64::from(units) * UNIT as f64);
                true
            }
            Err(_) => false,
        }
    }

    /// Ties the room to a message: it is given back when the last slice of the message is gone and `self` too.
    pub fn attach(self: &Arc<Self>, message: Bytes) -> Bytes {
        Bytes::from_owner(Admitted { message, _admission: Arc::clone(self) })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        gauge!(telemetry::IN_FLIGHT_BYTES).decrement((self.permit.num_permits() * UNIT) as f64);
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
        let in_flight = InFlight::new(10 * UNIT);
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
        let in_flight = InFlight::new(10 * UNIT);
        let mut admission = in_flight.admit(UNIT, Duration::ZERO).await.unwrap();
        assert!(admission.grow(9 * UNIT));
        assert!(!admission.grow(1));
        drop(admission);
        assert!(in_flight.admit(10 * UNIT, Duration::ZERO).await.is_some(), "all came back");
    }
}
