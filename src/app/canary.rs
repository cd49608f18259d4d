//! The canary: a harmless indicator that must always be found. When it is not, the match path is broken, or the feed
//! that has it is gone.

use metrics::gauge;

use super::live::Live;
use crate::admin::{self, Readiness};
use crate::telemetry;

/// Looks for the canary, if there is one.
pub(super) struct Canary {
    domain: Option<String>,
    readiness: Readiness,
    /// What was told last.
    was_found: Option<bool>,
}

impl Canary {
    pub(super) fn new(domain: Option<String>, readiness: Readiness) -> Canary {
        Canary { domain, readiness, was_found: None }
    }

    /// Sends it through the match path, and tells when that gives another answer than before.
    pub(super) fn look(&mut self, live: &Live) {
        let Some(domain) = &self.domain else { return };
        let found = live.finds(domain);
        let is_found = found == Some(true);
        gauge!(telemetry::CANARY_FOUND).set(f64::from(u8::from(is_found)));
        let detail = match found {
            Some(true) => format!("{domain} is found"),
            Some(false) => format!("{domain} IS NOT FOUND: no enabled feed has it, or an allowlist does"),
            None => format!("{domain} cannot be found: there are no indicators"),
        };
        // What is shown first: who reads a line finds the rest as it says.
        self.readiness.set(admin::CANARY, is_found, detail.clone());
        if self.was_found.replace(is_found) != Some(is_found) {
            match is_found {
                true => tracing::info!(domain, "the canary is found"),
                false => tracing::error!("canary: {detail}; see `intel.canary`"),
            }
        }
    }
}
