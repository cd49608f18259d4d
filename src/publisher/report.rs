//! Reports the active snapshot: in the log, in metrics and in readiness.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use metrics::gauge;

use crate::counted::count;
use crate::intel::snapshot::Snapshot;
use crate::observable::Kind;
use crate::readiness::{self, Readiness};
use crate::telemetry;

pub(super) struct ActiveReport {
    readiness: Readiness,
    clock: fn() -> Timestamp,
    /// Whether there is a control plane. Without one, the sizes of feeds are reported with their files.
    has_control: bool,
    /// Every feed with a gauge, so that the gauge of a removed feed is reset.
    feeds: BTreeSet<String>,
}

impl ActiveReport {
    pub(super) fn new(readiness: Readiness, clock: fn() -> Timestamp, has_control: bool) -> ActiveReport {
        ActiveReport { readiness, clock, has_control, feeds: BTreeSet::new() }
    }

    /// Reports a snapshot that was activated.
    pub(super) fn active(&mut self, snapshot: &Snapshot) {
        for (kind, number) in snapshot.counts() {
            gauge!(telemetry::INDICATORS, "kind" => kind.as_str()).set(number as f64);
        }
        gauge!(telemetry::SNAPSHOT_TIMESTAMP_SECONDS).set((self.clock)().as_second() as f64);
        gauge!(telemetry::SNAPSHOT_BYTES).set(snapshot.memory_bytes() as f64);
        if self.has_control {
            self.feeds(snapshot);
        }
        let detail = format!("{}, {}", snapshot.name(), count(snapshot.len() as u64, "indicator", "indicators"));
        self.readiness.set(readiness::SNAPSHOT, true, detail);
        let (name, indicators, networks) = (&**snapshot.name(), snapshot.len(), snapshot.networks().len());
        let (feeds, bytes) = (snapshot.feeds().len(), snapshot.memory_bytes());
        let prefilter_bytes = snapshot.prefilter().size_bytes();
        let is_enabled = snapshot.feeds().iter().any(|feed| feed.enabled);
        if self.has_control {
            tracing::info!(snapshot = name, indicators, networks, feeds, bytes, prefilter_bytes, "snapshot active");
            if !is_enabled {
                tracing::warn!("no rule enables a feed: NOTHING IS MATCHED, every event passes untagged");
            }
        } else {
            tracing::info!(snapshot = name, indicators, networks, feeds, bytes, prefilter_bytes, "snapshot ready");
            if !is_enabled {
                tracing::warn!("no enabled feed in intel.files: NOTHING IS MATCHED, every event passes untagged");
            }
        }
    }

    /// Reports that there is no snapshot any more.
    pub(super) fn none(&mut self) {
        for kind in Kind::ALL {
            gauge!(telemetry::INDICATORS, "kind" => kind.as_str()).set(0.0);
        }
        for feed in std::mem::take(&mut self.feeds) {
            gauge!(telemetry::FEED_INDICATORS, "feed" => feed).set(0.0);
        }
        gauge!(telemetry::SNAPSHOT_BYTES).set(0.0);
        self.readiness.set(readiness::SNAPSHOT, false, "no manifest and no indicator files");
        tracing::warn!("no manifest and no indicator files: NOTHING IS MATCHED");
    }

    /// Reports at the start that no indicator file could be loaded.
    pub(super) fn no_files(&self) {
        tracing::error!("no file of intel.files could be loaded: NOTHING IS MATCHED");
        self.readiness.set(readiness::SNAPSHOT, false, "no indicator file could be loaded");
    }

    fn feeds(&mut self, snapshot: &Snapshot) {
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, feed) in snapshot.feeds().iter().enumerate() {
            *sizes.entry(&feed.name).or_default() += snapshot.feed_len(place);
        }
        self.feeds.retain(|feed| {
            let stays = sizes.contains_key(feed.as_str());
            if !stays {
                gauge!(telemetry::FEED_INDICATORS, "feed" => feed.clone()).set(0.0);
            }
            stays
        });
        for (feed, size) in sizes {
            gauge!(telemetry::FEED_INDICATORS, "feed" => feed.to_owned()).set(size as f64);
            self.feeds.insert(feed.to_owned());
        }
    }
}
