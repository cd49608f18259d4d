//! `/tap`: hits as they happen, and the rates of events and hits each second, as NDJSON.
//!
//! A hit is rendered only while there are watchers, and at most a fixed number per second; the others are counted. A slow
//! watcher loses lines, and never delays events.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::text;
use crate::net::socket::Connection;

/// The maximum number of watchers.
const MAX_WATCHERS: usize = 8;
/// The maximum number of shown hits per second.
const HITS_PER_SECOND: u32 = 100;
/// The maximum number of lines that a watcher may lag behind.
const MAX_LAG: usize = 4 * HITS_PER_SECOND as usize;

/// Returns the matched events and hits since the start.
pub type Counts = Arc<dyn Fn() -> (u64, u64) + Send + Sync>;

/// Sends hits to the watchers.
#[derive(Clone, Debug)]
pub struct HitTap(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lines: broadcast::Sender<Bytes>,
    watchers: AtomicUsize,
    /// The number of hits that may still be shown in this second.
    left: AtomicU32,
    /// The number of hits that were not shown.
    left_out: AtomicU64,
}

impl Default for HitTap {
    fn default() -> HitTap {
        let (left, left_out) = (AtomicU32::new(HITS_PER_SECOND), AtomicU64::new(0));
        HitTap(Arc::new(Shared {
            lines: broadcast::Sender::new(MAX_LAG),
            watchers: AtomicUsize::new(0),
            left,
            left_out,
        }))
    }
}

impl HitTap {
    /// Shows a hit to the watchers. `render` formats its line, and is not called without watchers or above the limit.
    pub fn hit(&self, render: impl FnOnce() -> serde_json::Value) {
        if self.0.watchers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let take = |left: u32| left.checked_sub(1);
        if self.0.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            self.0.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // An error means that the last watcher has just left.
        let _ = self.0.lines.send(line(&render()));
    }

    /// Adds a watcher, if there are not too many.
    fn watch(&self) -> Option<Watcher> {
        let enter = |watchers: usize| (watchers < MAX_WATCHERS).then_some(watchers + 1);
        self.0.watchers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).ok()?;
        Some(Watcher { lines: self.0.lines.subscribe(), tap: self.clone() })
    }
}

/// A watcher; removed when dropped.
struct Watcher {
    lines: broadcast::Receiver<Bytes>,
    tap: HitTap,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.tap.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The state of one response.
struct WatcherStream {
    watcher: Watcher,
    counts: Counts,
    seconds: Interval,
    connection: Connection,
    /// Events, hits and hits not shown, as of the last second.
    before: (u64, u64, u64),
    /// Lines that this watcher missed since the last line of rates.
    lost: u64,
}

pub(super) async fn tap(
    State((tap, counts)): State<(HitTap, Counts)>,
    Extension(connection): Extension<Connection>,
) -> Response {
    let Some(watcher) = tap.watch() else {
        let refusal = format!("there are already {MAX_WATCHERS} watchers; end another `hotlist tap`\n");
        return text(StatusCode::SERVICE_UNAVAILABLE, refusal);
    };
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick completes at once.
    seconds.tick().await;
    let (events, hits) = counts();
    let before = (events, hits, tap.0.left_out.load(Ordering::Relaxed));
    let stream = WatcherStream { watcher, counts, seconds, connection, before, lost: 0 };
    let lines = stream::unfold(stream, |mut stream| async move {
        let line = stream.next().await?;
        Some((Ok::<Bytes, Infallible>(line), stream))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

impl WatcherStream {
    /// Returns the next line; `None` when the listener drains.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                () = self.connection.draining() => return None,
                _ = self.seconds.tick() => return Some(self.rates()),
                received = self.watcher.lines.recv() => match received {
                    Ok(line) => return Some(line),
                    Err(RecvError::Lagged(lost)) => self.lost += lost,
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    fn rates(&mut self) -> Bytes {
        let shared = &self.watcher.tap.0;
        shared.left.store(HITS_PER_SECOND, Ordering::Relaxed);
        let ((events, hits), left_out) = ((self.counts)(), shared.left_out.load(Ordering::Relaxed));
        let before = std::mem::replace(&mut self.before, (events, hits, left_out));
        let not_shown = left_out.saturating_sub(before.2) + std::mem::take(&mut self.lost);
        line(&json!({
            "type": "rates",
            "events": events.saturating_sub(before.0),
            "hits": hits.saturating_sub(before.1),
            "not_shown": not_shown,
        }))
    }
}

fn line(value: &serde_json::Value) -> Bytes {
    Bytes::from(value.to_string() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: nothing is rendered while nobody watches, no more than the bound after, and what is left out is counted;
    /// there is room for so many watchers and no more.
    #[test]
    fn hits_are_rendered_for_watchers_only_and_within_bounds() {
        let tap = HitTap::default();
        tap.hit(|| panic!("nobody watches"));
        let mut watcher = tap.watch().unwrap();
        let mut rendered = 0;
        for number in 0..HITS_PER_SECOND + 5 {
            tap.hit(|| {
                rendered += 1;
                json!({ "number": number })
            });
        }
        assert_eq!((rendered, tap.0.left_out.load(Ordering::Relaxed)), (HITS_PER_SECOND, 5));
        assert_eq!(watcher.lines.try_recv().unwrap(), "{\"number\":0}\n");
        let more: Vec<_> = (1..MAX_WATCHERS).map(|_| tap.watch().unwrap()).collect();
        assert!(tap.watch().is_none());
        drop((watcher, more));
        tap.hit(|| panic!("nobody watches any more"));
        assert!(tap.watch().is_some());
    }
}
