//! Carries feeds over from an older snapshot: their keys, hashes and contexts are taken as they are, so that a change of
//! one feed reads nothing of the others, and a feed whose file has gone bad keeps what it had.

use std::sync::Arc;

use super::{SnapshotBuilder, SnapshotError};
use crate::intel::exact::Posting;
use crate::intel::snapshot::{RangeRule, Snapshot, Stored};
use crate::intel::space::Space;
use crate::observable::url;

/// Why feeds cannot be carried over.
#[derive(Debug, thiserror::Error)]
pub enum NotCarried {
    /// Keys and fields of the two have different meanings.
    #[error("the older snapshot was built for other fields or options; read the feeds anew")]
    Unlike,
    /// The new snapshot would be too large.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl SnapshotBuilder {
    /// Adds the feeds of an older snapshot for which `keep` holds, by their place in [`Snapshot::feeds`], in its order.
    ///
    /// # Errors
    /// The older one has another field table, other options or another seed; or the whole would be too large.
    pub fn carry_over(&mut self, older: &Snapshot, keep: impl Fn(usize) -> bool) -> Result<(), NotCarried> {
        let alike = Arc::ptr_eq(&self.table, &older.table)
            && self.options == older.options
            && self.hasher.hash(Space::Text, b"") == older.hasher.hash(Space::Text, b"");
        if !alike {
            return Err(NotCarried::Unlike);
        }
        let renumbered = self.carry_indicators(older, &keep)?;
        let targets = self.carry_targets(older)?;
        let schemes = self.carry_schemes(older, &renumbered)?;
        let carried = |posting: &Posting| {
            let indicator = renumbered[posting.indicator as usize]?;
            let target = targets[usize::from(posting.target)];
            Some(Posting { indicator, target, scheme: schemes[usize::from(posting.scheme)] })
        };
        for space in Space::ALL {
            self.spaces[space as usize].reserve_like(&older.spaces[space as usize]);
            for (hash, key, postings) in older.spaces[space as usize].hashed() {
                let mut kept = false;
                for posting in postings.iter().filter_map(carried) {
                    kept = true;
                    self.reaches(space, posting);
                    self.spaces[space as usize].insert(hash, key, posting);
                }
                if kept && space == Space::Url {
                    let host = std::str::from_utf8(key).map(url::host_of_rest).unwrap_or_default();
                    self.url_hosts.push(self.hasher.hash(Space::UrlHost, host.as_bytes()));
                }
            }
        }
        for (network, postings) in older.networks.iter() {
            for posting in postings.iter().filter_map(carried) {
                self.reaches(if network.addr().is_ipv4() { Space::Ipv4 } else { Space::Ipv6 }, posting);
                self.networks.insert(network, posting);
            }
        }
        for range in &older.ranges {
            if let Some(posting) = carried(&range.posting) {
                self.reaches(range.value.space(), posting);
                self.ranges.push(RangeRule { posting, ..range.clone() });
            }
        }
        Ok(())
    }

    /// The new number of every indicator of the older snapshot; `None` for those that stay behind.
    fn carry_indicators(
        &mut self,
        older: &Snapshot,
        keep: &impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<u32>>, SnapshotError> {
        let mut feeds = vec![None; older.feeds.len()];
        for (number, feed) in older.feeds.iter().enumerate().filter(|(number, _)| keep(*number)) {
            feeds[number] = Some(self.feeds.len() as u32);
            self.feeds.push(feed.clone());
            self.sizes.push(older.sizes[number].clone());
        }
        let mut renumbered = Vec::with_capacity(older.indicators.len());
        for stored in &older.indicators {
            let Some(feed) = feeds[stored.feed as usize] else {
                renumbered.push(None);
                continue;
            };
            let at = u32::try_from(self.indicators.len()).map_err(|_| SnapshotError::TooManyIndicators)?;
            self.indicators.push(Stored { feed, ..stored.clone() });
            renumbered.push(Some(at));
        }
        Ok(renumbered)
    }

    /// The new number of every URL scheme of the older snapshot; 0 for one that no indicator asks for any more.
    fn carry_schemes(&mut self, older: &Snapshot, renumbered: &[Option<u32>]) -> Result<Vec<u16>, SnapshotError> {
        let mut numbers = vec![0; older.schemes.len()];
        for (_, postings) in [Space::Url, Space::UrlPrefix].iter().flat_map(|space| older.space(*space).iter()) {
            for posting in postings.iter().filter(|posting| renumbered[posting.indicator as usize].is_some()) {
                let at = usize::from(posting.scheme);
                if at > 0 && numbers[at] == 0 {
                    numbers[at] = self.scheme(&older.schemes[at])?;
                }
            }
        }
        Ok(numbers)
    }

    /// The new number of every target of the older snapshot.
    fn carry_targets(&mut self, older: &Snapshot) -> Result<Vec<u16>, SnapshotError> {
        let mut paths = vec![None; older.targets.len()];
        for (path, number) in &older.target_numbers {
            paths[usize::from(*number)] = Some(path);
        }
        // Number 0 has no path: it is no restriction, in every snapshot.
        paths.into_iter().map(|path| path.map_or(Ok(0), |path| self.target_of_path("", path))).collect()
    }
}
