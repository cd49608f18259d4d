//! The progress of a publication: how each target node responded.

use jiff::Timestamp;

use super::nodes::NodeRecord;
use super::publication::Publication;
use super::publication_set::{PublicationReader, PublicationSet};
use super::{Store, StoreError};
use crate::intel::manifest::Mode;

/// The response of a node to a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeProgress {
    /// The version is active in its slot.
    Applied,
    /// The version is active, but the node's canary is not found in it.
    CanaryMissing,
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
    pub nodes: Vec<(NodeProgress, NodeRecord)>,
    /// The version that superseded it; 0 when the publication was removed.
    pub superseded: Option<u64>,
}

impl Rollout {
    /// Returns the number of nodes with this response.
    pub fn count(&self, progress: NodeProgress) -> usize {
        self.nodes.iter().filter(|(of, _)| *of == progress).count()
    }

    /// Returns whether every connected node has answered.
    pub fn is_over(&self) -> bool {
        self.superseded.is_some()
            || (self.count(NodeProgress::Waiting) == 0 && self.count(NodeProgress::Gone) < self.nodes.len())
    }

    fn compute(
        publication: &Publication,
        snapshot: &PublicationSet,
        nodes: Vec<NodeRecord>,
        now: Timestamp,
    ) -> Rollout {
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

fn progress(publication: &Publication, node: &NodeRecord, now: Timestamp) -> NodeProgress {
    let (version, mode) = (publication.manifest.version, publication.manifest.mode);
    let slot = node.slots.iter().find(|slot| slot.mode == mode);
    let canary = node.statistics.and_then(|of| of.canary_found);
    match slot {
        Some(slot) if slot.version == version && mode == Mode::Serve && canary == Some(false) => {
            NodeProgress::CanaryMissing
        }
        Some(slot) if slot.version == version => NodeProgress::Applied,
        _ if !node.is_connected(now) => NodeProgress::Gone,
        Some(slot) if slot.refused_version == version => NodeProgress::Refused,
        _ => NodeProgress::Waiting,
    }
}

impl Store {
    /// Returns the progress of a publication, as of the node records, which are updated once per second.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn rollout(&self, publication: &Publication, now: Timestamp) -> Result<Rollout, StoreError> {
        let snapshot = PublicationReader::new(self.clone()).read().unwrap_or_default();
        Ok(Rollout::compute(publication, &snapshot, self.read_nodes(None)?, now))
    }
}
