//! The canary: a harmless indicator that must always be found. If it is not found, the match path is broken, or its feed
//! is missing.

use metrics::gauge;

use super::match_stage::MatchStage;
use crate::readiness::{self, Readiness};
use crate::telemetry;

/// Checks the canary, if one is configured.
pub(super) struct Canary {
    domain: Option<String>,
    readiness: Readiness,
    /// The last reported result.
    was_found: Option<bool>,
}

impl Canary {
    pub(super) fn new(domain: Option<String>, readiness: Readiness) -> Canary {
        Canary { domain, readiness, was_found: None }
    }

    /// Sends the canary through the match path, and reports a changed result.
    pub(super) fn check(&mut self, live: &MatchStage) {
        let Some(domain) = &self.domain else { return };
        let found = live.finds(domain);
        let is_found = found == Some(true);
        gauge!(telemetry::CANARY_FOUND).set(f64::from(u8::from(is_found)));
        let detail = match found {
            Some(true) => format!("{domain} is found"),
            Some(false) => format!("{domain} IS NOT FOUND: no enabled feed contains it, or an allowlist does"),
            None => format!("{domain} cannot be found: no indicators are loaded"),
        };
        // Readiness before the log, so that a reader of the log finds readiness updated.
        self.readiness.set(readiness::CANARY, is_found, detail.clone());
        if self.was_found.replace(is_found) != Some(is_found) {
            match is_found {
                true => tracing::info!(domain, "canary found"),
                false => tracing::error!(domain, cause = detail, "canary not found; see `intel.canary`"),
            }
        }
    }
}
