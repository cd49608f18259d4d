//! The Filter source's part of the live step: batches of JSON documents, and single values.

use std::time::Instant;

use bytes::Bytes;

use super::Live;
use crate::config::FailureMode;
use crate::delivery::{Batch, Check, Checked, Refusal};
use crate::encoding::filter::{self, EnvelopeError};
use crate::encoding::{Format, Rope};

const CLOSED: &str = "no indicators are loaded, and failure_mode is closed";

impl Live {
    pub(super) fn documents(&self, message: Bytes) -> Result<Batch, Refusal> {
        let start = Instant::now();
        self.bytes.increment(message.len() as u64);
        let unwalkable = |error: EnvelopeError| Refusal::InvalidArgument(error.to_string());
        let serving = self.serving.load_full();
        let Some(detector) = &serving.detector else {
            if serving.rules.failure_mode == FailureMode::Closed {
                return Err(Refusal::Unavailable(CLOSED.to_owned()));
            }
            let mut records = 0;
            filter::events(&message, |_| records += 1).map_err(unwalkable)?;
            self.events.increment(records as u64);
            self.unmatched.increment(records as u64);
            return Ok(Batch { format: Format::Filter, message: Rope::from(message), records, ..Batch::default() });
        };
        let (batch, report) = detector.documents(message, (self.clock)()).map_err(unwalkable)?;
        self.blind_spots.note(&detector.snapshot, &report);
        self.count(report);
        self.seconds.record(start.elapsed().as_secs_f64());
        Ok(batch)
    }
}

impl Check for Live {
    fn check(&self, values: &[(&str, &str)]) -> Result<Checked, Refusal> {
        let serving = self.serving.load_full();
        let Some(detector) = &serving.detector else {
            // To say that a value is not known would be a lie, whatever the failure mode does with events.
            return Err(Refusal::Unavailable("no indicators are loaded, so nothing is known".to_owned()));
        };
        let now = (self.clock)();
        let check = |(kind, value): &(&str, &str)| detector.check(kind, value, now).map_err(|error| error.to_string());
        Ok(Checked { results: values.iter().map(check).collect(), snapshot: detector.snapshot.version() })
    }
}
