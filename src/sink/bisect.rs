//! The search for the records that a next hop refuses, so that the rest of their batch is delivered.
//!
//! A verdict belongs to one delivery of one batch ([`DeliveryAttempt`]): each record is either sent and accepted, or sent and
//! refused alone, once for each time that it occurs. Records that were refused in earlier batches ([`SearchMemory`]) are sent
//! alone at once and the others in one request; nothing else is remembered about them.
//!
//! A refused message is split into [`FAN`] pieces, a refused piece again, until each piece is one record; up to
//! [`AT_ONCE`] requests run concurrently. So one bad record of 10,000 is found in five round trips, which fits the
//! deadline even if each takes a second. The search is depth-first: if a next hop refuses everything, single records
//! are reached early, and [`STRIKES`] of them without anything accepted end the search.

mod attempt;
mod memory;
mod progress;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};

pub(super) use attempt::DeliveryAttempt;
pub(super) use memory::SearchMemory;

use self::progress::SearchProgress;
use super::blocking::blocking;
use crate::encoding::Rope;
use crate::encoding::envelope::{Envelope, Layout};
use crate::pipeline::BatchRefusal;

/// Pieces into which a refused message is split.
const FAN: usize = 16;
/// Concurrent requests of one search.
const AT_ONCE: usize = 32;
/// Most requests of one search. A retry of the batch continues it.
const MAX_REQUESTS: usize = 4096;
/// Records refused in a row, with nothing accepted in between, that mean that the records are not the cause.
pub(super) const STRIKES: usize = 32;
/// Longest text of the next hop that is kept, in characters.
const MAX_TEXT: usize = 200;

/// The reason that the next hop refused a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusalReason {
    /// The label for metrics.
    pub(super) status: String,
    /// The next hop's text.
    pub(super) text: String,
}

/// The verdict of the next hop on a message.
#[derive(Clone, Debug)]
pub(super) enum SendVerdict {
    Accepted,
    Refused(RefusalReason),
}

/// A request that the next hop refuses and that cannot be split: usually one record.
#[derive(Clone, Debug)]
pub(super) struct RefusedRequest {
    pub(super) request: Rope,
    pub(super) reason: Arc<RefusalReason>,
}

impl RefusalReason {
    fn shortened(self) -> Arc<RefusalReason> {
        let text = self.text.chars().take(MAX_TEXT).collect();
        Arc::new(RefusalReason { text, ..self })
    }
}

/// A message, split by record if it has several.
enum Message {
    Whole(Bytes),
    Records(Box<Layout>),
}

impl Message {
    /// Reads a message. Blocks: walking megabytes would block the async threads.
    fn new(envelope: Envelope, message: Bytes) -> Message {
        match Layout::new(envelope, message.clone()) {
            Ok(layout) if layout.len() > 1 => Message::Records(Box::new(layout)),
            _ => Message::Whole(message),
        }
    }

    fn request(&self, places: &[u32]) -> Rope {
        match self {
            Message::Whole(message) => Rope::from(message.clone()),
            Message::Records(layout) => layout.request_at(places),
        }
    }

    fn len(&self) -> usize {
        match self {
            Message::Whole(_) => 1,
            Message::Records(layout) => layout.len(),
        }
    }

    /// The pieces that a search begins with, the last one first, and whether suspects wait behind the others.
    fn first_pieces(&self, memory: &SearchMemory) -> (Vec<Vec<u32>>, bool) {
        // invariant: a batch has less than 4 GiB, and a record two bytes at least.
        let all = 0..self.len() as u32;
        let Message::Records(layout) = self else { return (Vec::new(), false) };
        let (suspects, others): (Vec<u32>, Vec<u32>) = if memory.has_suspects() {
            all.partition(|place| memory.is_suspect(&layout.request_at(&[*place])))
        } else {
            (Vec::new(), all.collect())
        };
        if suspects.is_empty() {
            return (cut(&others), false);
        }
        let mut pieces: Vec<Vec<u32>> = suspects.into_iter().map(|place| vec![place]).collect();
        let both = !others.is_empty();
        pieces.extend(both.then_some(others));
        (pieces, both)
    }

    fn refused(&self, progress: &SearchProgress) -> Vec<RefusedRequest> {
        let one = |(place, reason): &(u32, Arc<RefusalReason>)| RefusedRequest {
            request: self.request(&[*place]),
            reason: Arc::clone(reason),
        };
        progress.refused().iter().map(one).collect()
    }
}

/// Finds the records of a message that are refused alone, and delivers all others through `send`. `part` is the number
/// of the message in its delivery; `refusal` is the next hop's answer to the whole message, or `None` if an earlier
/// delivery started the search.
///
/// # Errors
/// A request failed for another reason, everything is refused, or the search takes too many requests.
pub(super) async fn bisect<F, A>(
    envelope: Envelope,
    message: Bytes,
    attempt: &DeliveryAttempt,
    part: usize,
    refusal: Option<RefusalReason>,
    memory: &Arc<SearchMemory>,
    send: F,
) -> Result<Vec<RefusedRequest>, BatchRefusal>
where
    F: Fn(Rope) -> A,
    A: Future<Output = Result<SendVerdict, BatchRefusal>>,
{
    let failed = |error: String| BatchRefusal::Unavailable(format!("the search for refused records failed: {error}"));
    attempt.identify().await.map_err(failed)?;
    let (earlier, remembered) = (attempt.progress(part).unwrap_or_default(), Arc::clone(memory));
    let begins = refusal.is_some();
    let (message, (pieces, suspects_wait)) = blocking(move || {
        let message = Message::new(envelope, message);
        let pieces = if begins { message.first_pieces(&remembered) } else { (Vec::new(), false) };
        (message, pieces)
    })
    .await
    .map_err(failed)?;
    let everything = |reason: &RefusalReason| {
        attempt.forget();
        memory.everything_is_refused(reason)
    };
    let mut accepted = false;
    let mut waiting = earlier.pieces();
    match (refusal, &message) {
        // A message that cannot be split is refused as a whole.
        (Some(reason), Message::Whole(_)) => {
            if memory.strike() > STRIKES {
                return Err(everything(&reason));
            }
            let reason = reason.shortened();
            let progress = attempt.update(part, |progress| {
                let whole = progress.open(vec![0]);
                progress.refuse(whole, reason);
                progress.clone()
            });
            return Ok(message.refused(&progress));
        }
        (Some(_), Message::Records(_)) => {
            waiting = attempt.update(part, |progress| pieces.into_iter().map(|piece| progress.open(piece)).collect());
        }
        (None, _) => {
            // A record that was accepted before tests whether the next hop still accepts anything.
            if let Some(place) = earlier.accepted().filter(|_| !waiting.is_empty()) {
                accepted = matches!(send(message.request(&[place])).await?, SendVerdict::Accepted);
            }
        }
    }
    let strikes = memory.strikes();
    if strikes >= STRIKES && !waiting.is_empty() {
        // Nothing was accepted for long: one record, a different one at each attempt, tests whether that has changed.
        let place = strikes % message.len();
        match send(message.request(&[place as u32])).await? {
            SendVerdict::Refused(reason) => {
                memory.strike();
                return Err(everything(&reason));
            }
            SendVerdict::Accepted => accepted = true,
        }
    }
    let mut under_way = FuturesUnordered::new();
    let mut requests = 0;
    // Suspects are most likely refused again: the verdict on the other records comes before that counts.
    let mut at_once = if suspects_wait { 1 } else { AT_ONCE };
    loop {
        while under_way.len() < at_once
            && let Some(piece) = waiting.pop()
        {
            requests += 1;
            let places = attempt.update(part, |progress| progress.places(piece));
            let request = message.request(&places);
            let answer = send(request.clone());
            under_way.push(async move { (piece, places, request, answer.await) });
        }
        let Some((piece, places, request, answer)) = under_way.next().await else { break };
        at_once = AT_ONCE;
        match answer? {
            SendVerdict::Accepted => {
                accepted = true;
                if let [_] = places.as_slice() {
                    memory.acquit(&request);
                }
                attempt.update(part, |progress| progress.accept(piece));
            }
            SendVerdict::Refused(_) if places.len() > 1 => {
                waiting.extend(attempt.update(part, |progress| progress.cut(piece, cut(&places))));
            }
            SendVerdict::Refused(reason) => {
                memory.suspect(&request);
                if memory.strike() >= STRIKES && !accepted {
                    return Err(everything(&reason));
                }
                attempt.update(part, |progress| progress.refuse(piece, reason.shortened()));
            }
        }
        if requests > MAX_REQUESTS {
            let text = format!(
                "{MAX_REQUESTS} requests did not find every record that the next hop refuses; a retry of the batch continues the search"
            );
            return Err(BatchRefusal::Unavailable(text));
        }
    }
    if accepted {
        memory.accepted();
    }
    let progress = attempt.progress(part).unwrap_or_default();
    blocking(move || message.refused(&progress)).await.map_err(failed)
}

/// Splits the places into [`FAN`] pieces of nearly equal length, or into single places if there are no more.
fn cut(places: &[u32]) -> Vec<Vec<u32>> {
    let pieces = FAN.min(places.len());
    let bound = |piece: usize| places.len() * piece / pieces;
    (0..pieces).filter_map(|piece| places.get(bound(piece)..bound(piece + 1))).map(<[u32]>::to_vec).collect()
}
