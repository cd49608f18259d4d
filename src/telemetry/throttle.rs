//! Limits log lines that a peer could cause: at most one line of a kind per interval, with the number of omitted lines.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The default interval between two lines of one kind.
const PAUSE: Duration = Duration::from_secs(10);

/// The throttle of one kind of line, for a `static` at the place of the line.
#[derive(Debug)]
pub struct Throttle {
    pause: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Throttle {
    /// Allows at most one line per ten seconds.
    pub const fn new() -> Throttle {
        Throttle { pause: PAUSE, state: Mutex::new((None, 0)) }
    }

    /// Allows at most one line per minute.
    pub const fn once_a_minute() -> Throttle {
        Throttle { pause: Duration::from_secs(60), state: Mutex::new((None, 0)) }
    }

    /// Returns the number of lines omitted since the last one, if a line may be written now.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < self.pause) {
            *left_out += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(left_out))
    }
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a line comes often, then after the pause. Guarantee: one a pause, and none is lost from the count.
    #[test]
    fn one_line_a_pause_and_the_count_of_the_others() {
        let throttle = Throttle::new();
        let start = Instant::now();
        let at = |seconds| throttle.pass_at(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(9), at(10), at(11), at(30)], [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
