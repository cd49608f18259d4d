//! The live step for single values: looks them up with the detector that matches events.

use std::sync::Arc;

use super::MatchStage;
use crate::pipeline::{BatchRefusal, LookupResults, ValueLookup};

impl ValueLookup for MatchStage {
    fn check(&self, values: &[(&str, &str)]) -> Result<LookupResults, BatchRefusal> {
        let serving = self.serving.load_full();
        let Some(detector) = &serving.detector else {
            // An empty result would be misleading, whatever the failure mode does with events.
            return Err(BatchRefusal::Unavailable("no indicators are loaded, so values cannot be checked".to_owned()));
        };
        let now = (self.clock)();
        let check = |(kind, value): &(&str, &str)| detector.check(kind, value, now).map_err(|error| error.to_string());
        Ok(LookupResults {
            results: values.iter().map(check).collect(),
            snapshot: Arc::clone(detector.snapshot.name()),
        })
    }
}
