//! Restores the last good manifests at start, before the control plane is contacted.

use std::sync::Arc;

use super::apply::{Apply, CancelGate};
use super::cache::KeepReason;
use super::job::{JobContext, JobOutcome, activate};
use super::settings::Settings;
use super::slot::Slot;
use super::verify;
use crate::escape::Escaped;

/// Activates the last good manifest of a slot, if there is one and it is unchanged. Blocks. Never deletes anything: the
/// cause of an error may be the configuration.
pub(super) fn restore<A: Apply>(shared: &JobContext<A>, settings: &Settings, slot: &mut Slot) {
    let (cache, mode) = (shared.cache(), slot.mode);
    match cache.highest(mode) {
        Ok(highest) => slot.seen = highest,
        Err(error) => tracing::error!(slot = %mode, error = %Escaped(&error), "new versions are refused"),
    }
    let outcome = match cache.last_good(mode) {
        Ok(None) => return,
        Ok(Some(signed)) => verify::check_signed(signed, mode, settings)
            .and_then(|verified| {
                verify::check_kept(&verified, slot.seen)?;
                cache.check(&verified.manifest)?;
                Ok(verified)
            })
            .map_or_else(JobOutcome::Refused, |verified| {
                cache.keep(mode, KeepReason::LastGood, Some(&verified.manifest));
                activate(shared, mode, Arc::new(CancelGate::preparing()), verified)
            }),
        Err(error) => {
            tracing::error!(slot = %mode, error = %Escaped(&error), "cannot read the last good version");
            return;
        }
    };
    match outcome {
        JobOutcome::Activated(verified, _) => {
            tracing::info!(slot = %mode, version = verified.manifest.version, "last good version active");
            // The record of the highest versions may have been removed.
            if slot.seen.is_none_or(|seen| seen.version < verified.manifest.version) {
                slot.seen = Some(verified.as_highest());
            }
            slot.serving = Some(verified);
        }
        JobOutcome::Refused(refusal) => {
            tracing::error!(slot = %mode, error = %Escaped(&refusal), "cannot activate the last good version");
            cache.keep(mode, KeepReason::LastGood, None);
        }
        JobOutcome::Cleared | JobOutcome::Dropped => {}
    }
}
