//! The indicator files: `intel.files` become a snapshot, at start and after every change.
//!
//! `feed_set` decides which content may replace which, `lists` does so for allowlists, `report` reports changes in the log,
//! in metrics and in readiness, `thread` waits for changes and drives the others.

mod feed_set;
mod lists;
mod report;
mod thread;

use crate::config;
use crate::intel::snapshot::MatchOptions;

pub use feed_set::{FeedFault, FeedSet, Settings, SettingsRefusal};
pub use lists::AllowlistSet;
pub use report::FeedReporter;
pub use thread::FeedWatcherHandle;

/// Returns the match options of a configuration.
pub fn options(matching: &config::Match) -> MatchOptions {
    MatchOptions {
        subdomains: matching.subdomains,
        url_hosts: matching.url_hosts,
        user_principals: matching.user_principals,
        registered_domains: matching.registered_domain == config::RegisteredDomain::Derive,
        text: matching.text == config::TextScan::All,
        text_refang: matching.text_refang,
        max_url_bytes: matching.max_url_bytes,
        max_text_bytes: matching.max_text_bytes,
    }
}

#[cfg(test)]
mod tests;
