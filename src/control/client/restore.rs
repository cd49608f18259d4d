//! Restores the last good manifests at start, before the control plane is contacted.

use std::sync::Arc;

use super::apply::{Apply, Gate};
use super::cache::Keep;
use super::job::{Outcome, Shared, put_into_service};
use super::judge;
use super::settings::Settings;
use super::slot::Slot;
use crate::escape::Escaped;

/// Activates the last good manifest of a slot, if there is one and it is unchanged. Blocks. Never deletes anything: the
/// cause of an error may be the configuration.
pub(super) fn restore<A: Apply>(shared: &Shared<A>, settings: &Settings, slot: &mut Slot) {
    let (cache, mode) = (shared.cache(), slot.mode);
    match cache.highest(mode) {
        Ok(highest) => slot.seen = highest,
        Err(error) => tracing::error!(slot = %mode, error = %Escaped(&error), "new versions are refused"),
    }
    let outcome = match cache.last_good(mode) {
        Ok(None) => return,
        Ok(Some(signed)) => judge::sound(signed, mode, settings)
            .and_then(|judged| {
                judge::kept(&judged, slot.seen)?;
                cache.check(&judged.manifest)?;
                Ok(judged)
            })
            .map_or_else(Outcome::Refused, |judged| {
                cache.keep(mode, Keep::LastGood, Some(&judged.manifest));
                put_into_service(shared, mode, Arc::new(Gate::preparing()), judged)
            }),
        Err(error) => {
            tracing::error!(slot = %mode, error = %Escaped(&error), "cannot read the last good version");
            return;
        }
    };
    match outcome {
        Outcome::Serves(judged, _) => {
            tracing::info!(slot = %mode, version = judged.manifest.version, "last good version active");
            // The record of the highest versions may have been removed.
            if slot.seen.is_none_or(|seen| seen.version < judged.manifest.version) {
                slot.seen = Some(judged.as_highest());
            }
            slot.serving = Some(judged);
        }
        Outcome::Refused(refusal) => {
            tracing::error!(slot = %mode, error = %Escaped(&refusal), "cannot activate the last good version");
            cache.keep(mode, Keep::LastGood, None);
        }
        Outcome::Cleared | Outcome::Dropped => {}
    }
}
