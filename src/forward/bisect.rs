//! The search for the records that a next hop refuses, so that the rest of their batch is delivered.
//!
//! A refused message is cut into [`FAN`] parts, a refused part again, until records stand alone; up to [`AT_ONCE`]
//! requests are under way. So one bad record of 10,000 is found in five round trips, which fits the deadline even when
//! each takes a second. The depth comes first: in a batch in which everything is refused, records stand alone early,
//! and [`STRIKES`] of them without anything accepted end the search. What was found stays known, so that a search that
//! the deadline cut goes on where it was when the collector comes again.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use sha2::{Digest as _, Sha256};

use crate::delivery::Refusal;
use crate::encoding::Rope;
use crate::encoding::envelope::{Envelope, Layout};

/// Parts that a refused message is cut into.
const FAN: usize = 16;
/// Requests of one search under way at once.
const AT_ONCE: usize = 32;
/// Requests of one search. The next try of the batch goes on from there.
const MAX_REQUESTS: usize = 4096;
/// Records refused one after another, with nothing accepted between them, that mean that it is not the records' fault.
pub(super) const STRIKES: usize = 32;
/// Records whose refusal is remembered, about 300 bytes each.
const REMEMBERED: usize = 16_384;
/// Longest text of the next hop that is kept, in characters.
const MAX_TEXT: usize = 200;

/// Identifies a record in its surroundings.
type Fingerprint = [u8; 16];

/// Why the next hop refused a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// The word for metrics.
    pub(super) status: String,
    /// The next hop's text.
    pub(super) text: String,
}

/// What the next hop made of a message.
#[derive(Clone, Debug)]
pub(super) enum Sent {
    Accepted,
    Refused(Reason),
}

/// A request that the next hop refuses and that has no parts: one record, usually.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) request: Rope,
    pub(super) reason: Reason,
    fingerprint: Fingerprint,
}

/// What a sink knows of refusals.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Records refused alone since the next hop last accepted anything.
    strikes: AtomicUsize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    refused: HashMap<Fingerprint, Verdict>,
    order: VecDeque<Fingerprint>,
}

#[derive(Clone, Debug)]
struct Verdict {
    reason: Reason,
    /// It stands in the file.
    kept: bool,
}

impl Memory {
    /// The next hop accepted something.
    pub(super) fn accepted(&self) {
        self.strikes.store(0, Ordering::Relaxed);
    }

    fn strike(&self) -> usize {
        self.strikes.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in it can be half-changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, refused: &Refused) {
        let mut known = self.known();
        if known.refused.contains_key(&refused.fingerprint) {
            return;
        }
        known.refused.insert(refused.fingerprint, Verdict { reason: refused.reason.clone(), kept: false });
        known.order.push_back(refused.fingerprint);
        if known.order.len() > REMEMBERED
            && let Some(oldest) = known.order.pop_front()
        {
            known.refused.remove(&oldest);
        }
    }

    /// The refusal that everything meets. What was found is no fault of the records, and is forgotten.
    fn everything_is_refused(&self, reason: &Reason) -> Refusal {
        let Known { refused, order } = &mut *self.known();
        refused.retain(|_, verdict| verdict.kept);
        order.retain(|fingerprint| refused.contains_key(fingerprint));
        Refusal::Unavailable(format!(
            "the next hop refused {STRIKES} records one after another and accepted none, so it is not the records' \
             fault: check the next hop and the sink's settings; it says {}: {}",
            reason.status, reason.text
        ))
    }

    /// Leaves out what already stands in the file: another sink made the collector come again.
    pub(super) fn not_kept(&self, refused: Vec<Refused>) -> Vec<Refused> {
        let known = self.known();
        let kept = |one: &Refused| known.refused.get(&one.fingerprint).is_some_and(|verdict| verdict.kept);
        refused.into_iter().filter(|one| !kept(one)).collect()
    }

    /// Notes that they stand in the file.
    pub(super) fn kept(&self, refused: &[Refused]) {
        let mut known = self.known();
        for one in refused {
            if let Some(verdict) = known.refused.get_mut(&one.fingerprint) {
                verdict.kept = true;
            }
        }
    }
}

impl Refused {
    fn new(request: Rope, reason: &Reason) -> Refused {
        let text = reason.text.chars().take(MAX_TEXT).collect();
        let fingerprint = fingerprint(&request);
        Refused { request, reason: Reason { status: reason.status.clone(), text }, fingerprint }
    }
}

fn fingerprint(request: &Rope) -> Fingerprint {
    let mut hash = Sha256::new();
    request.parts().iter().for_each(|part| hash.update(part));
    let hash = hash.finalize();
    std::array::from_fn(|at| hash.get(at).copied().unwrap_or_default())
}

/// Finds the records of a refused message that are refused alone, and delivers all others through `send`.
///
/// # Errors
/// A request failed for another reason, everything is refused, or it takes too many requests.
pub(super) async fn bisect<F, A>(
    envelope: Envelope,
    message: Bytes,
    reason: Reason,
    memory: &Arc<Memory>,
    send: F,
) -> Result<Vec<Refused>, Refusal>
where
    F: Fn(Rope) -> A,
    A: Future<Output = Result<Sent, Refusal>>,
{
    let laid_out = {
        let (message, memory) = (message.clone(), Arc::clone(memory));
        // Walking and hashing megabytes is nothing for the threads that answer.
        tokio::task::spawn_blocking(move || lay_out(envelope, message, &memory)).await
    };
    let laid_out =
        laid_out.map_err(|error| Refusal::Unavailable(format!("looking for bad records failed: {error}")))?;
    let Some((mut layout, mut refused)) = laid_out else {
        // What has no parts is refused as a whole.
        let whole = Refused::new(Rope::from(message), &reason);
        memory.remember(&whole);
        return match memory.strike() {
            strikes if strikes > STRIKES => Err(memory.everything_is_refused(&reason)),
            _ => Ok(vec![whole]),
        };
    };
    let strikes = memory.strikes.load(Ordering::Relaxed);
    if strikes >= STRIKES && !layout.is_empty() {
        // Nothing was accepted for long: one record, another one at each try, says whether that is over.
        let place = strikes % layout.len();
        match send(layout.request(place..place + 1)).await? {
            Sent::Refused(reason) => {
                memory.strike();
                return Err(memory.everything_is_refused(&reason));
            }
            Sent::Accepted => layout.leave_out(&[place]),
        }
    }
    let whole = 0..layout.len();
    let mut waiting =
        if refused.is_empty() { cut(&whole) } else { Vec::from_iter((!whole.is_empty()).then_some(whole)) };
    let mut under_way = FuturesUnordered::new();
    let (mut requests, mut accepted) = (0, false);
    loop {
        while under_way.len() < AT_ONCE
            && let Some(places) = waiting.pop()
        {
            requests += 1;
            let answer = send(layout.request(places.clone()));
            under_way.push(async move { (places, answer.await) });
        }
        let Some((places, answer)) = under_way.next().await else { break };
        match answer? {
            Sent::Accepted => accepted = true,
            Sent::Refused(_) if places.len() > 1 => waiting.extend(cut(&places)),
            Sent::Refused(reason) => {
                let one = Refused::new(layout.request(places), &reason);
                memory.remember(&one);
                refused.push(one);
                if memory.strike() >= STRIKES && !accepted {
                    return Err(memory.everything_is_refused(&reason));
                }
            }
        }
        if requests > MAX_REQUESTS {
            let text = format!("more than {MAX_REQUESTS} requests did not find every record that the next hop refuses");
            return Err(Refusal::Unavailable(text));
        }
    }
    if accepted {
        memory.accepted();
    }
    Ok(refused)
}

/// The records, without those that an earlier search found, and those. `None`: there is one at most.
fn lay_out(envelope: Envelope, message: Bytes, memory: &Memory) -> Option<(Layout, Vec<Refused>)> {
    let mut layout = Layout::new(envelope, message).ok().filter(|layout| layout.len() > 1)?;
    let (mut places, mut refused) = (Vec::new(), Vec::new());
    if memory.known().refused.is_empty() {
        return Some((layout, refused));
    }
    for place in 0..layout.len() {
        let request = layout.request(place..place + 1);
        let fingerprint = fingerprint(&request);
        let reason = memory.known().refused.get(&fingerprint).map(|verdict| verdict.reason.clone());
        if let Some(reason) = reason {
            places.push(place);
            refused.push(Refused { request, reason, fingerprint });
        }
    }
    layout.leave_out(&places);
    Some((layout, refused))
}

/// The range in [`FAN`] parts of nearly one length, or in single places when it has no more.
fn cut(places: &Range<usize>) -> Vec<Range<usize>> {
    let parts = FAN.min(places.len());
    let bound = |part: usize| places.start + places.len() * part / parts;
    (0..parts).map(|part| bound(part)..bound(part + 1)).collect()
}
