//! The progress of a publication: how each target node responded.

use jiff::Timestamp;

use super::nodes::NodeRecord;
use super::publication::Publication;
use super::snapshot::{Reader, Snapshot};
use super::{Store, StoreError};
use crate::intel::manifest::Mode;

/// The response of a node to a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The version is active in its slot.
    Applied,
    /// The version is active, but the node's canary is not found in it.
    CanaryMissing,
    /// It was refused.
    Refused,
    /// The node is connected and has not answered.
    Waiting,
    /// The node is not connected.
    Gone,
}

/// The progress of a publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Each target node, by tenant and name.
    pub nodes: Vec<(Progress, NodeRecord)>,
    /// The version that superseded it; 0 when the publication was removed.
    pub superseded: Option<u64>,
}

impl Rollout {
    /// Returns the number of nodes with this response.
    pub fn count(&self, progress: Progress) -> usize {
        self.nodes.iter().filter(|(of, _)| *of == progress).count()
    }

    /// Returns whether every connected node has answered.
    pub fn is_over(&self) -> bool {
        self.superseded.is_some()
            || (self.count(Progress::Waiting) == 0 && self.count(Progress::Gone) < self.nodes.len())
    }

    fn of(publication: &Publication, snapshot: &Snapshot, nodes: Vec<NodeRecord>, now: Timestamp) -> Rollout {
        let mode = publication.manifest.mode;
        let is_ours = |other: &Publication| other.name == publication.name && other.manifest.mode == mode;
        let active = snapshot.publications().iter().find(|other| is_ours(other));
        let active = active.map_or(0, |active| active.manifest.version);
        let targeted =
            nodes.into_iter().filter(|node| snapshot.wanted(&node.labels, mode).is_some_and(|of| is_ours(of)));
        let nodes = targeted.map(|node| (progress(publication, &node, now), node)).collect();
        Rollout { nodes, superseded: (active != publication.manifest.version).then_some(active) }
    }
}

fn progress(publication: &Publication, node: &NodeRecord, now: Timestamp) -> Progress {
    let (version, mode) = (publication.manifest.version, publication.manifest.mode);
    let slot = node.slots.iter().find(|slot| slot.mode == mode);
    let canary = node.statistics.and_then(|of| of.canary_found);
    match slot {
        Some(slot) if slot.version == version && mode == Mode::Serve && canary == Some(false) => {
            Progress::CanaryMissing
        }
        Some(slot) if slot.version == version => Progress::Applied,
        _ if !node.is_connected(now) => Progress::Gone,
        Some(slot) if slot.refused_version == version => Progress::Refused,
        _ => Progress::Waiting,
    }
}

impl Store {
    /// Returns the progress of a publication, as of the node records, which are updated once per second.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn rollout(&self, publication: &Publication, now: Timestamp) -> Result<Rollout, StoreError> {
        let snapshot = Reader::new(self.clone()).read().unwrap_or_default();
        Ok(Rollout::of(publication, &snapshot, self.read_nodes(None)?, now))
    }
}
