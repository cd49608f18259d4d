//! The assets that the resource of OTLP records names: all records below it share them, so it is read once.

use super::Detector;
use crate::asset::AssetCandidates;
use crate::encoding::envelope::Span;
use crate::encoding::protocol::Protocol;
use crate::encoding::{RecordSpan, Value};

/// The assets of the resource that was read last, and where that is.
#[derive(Debug, Default)]
pub(super) struct Resource {
    read: Option<Span>,
    assets: AssetCandidates,
}

impl Resource {
    pub(super) fn assets(&self) -> AssetCandidates {
        self.assets.clone()
    }

    /// Reads the resource of a record in which something may match, unless it is the one that was read last.
    pub(super) fn read<P: Protocol>(&mut self, detector: &Detector, message: &[u8], record: &RecordSpan) {
        let group = record.group();
        if self.read == Some(group) {
            return;
        }
        (self.read, self.assets) = (Some(group), AssetCandidates::default());
        let (table, assets) = (detector.snapshot.facts(), &mut self.assets);
        P::walk_group(message.get(group.payload()).unwrap_or_default(), table.trie(), &mut |id, value: Value<'_>| {
            if let (Some(field), Value::Text(text)) = (table.field(id).and_then(|field| field.asset), value) {
                assets.add(field.of_resource(), text);
            }
        });
    }
}
