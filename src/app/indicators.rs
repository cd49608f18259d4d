//! Live indicators: the files of `intel.files` become the serving snapshot, at start and at every change after it.
//!
//! `keeper` decides what may replace what, `lists` does so for allowlists, `report` says what happened in the log, in metrics and in readiness,
//! `thread` waits for changes and drives the two.

mod keeper;
mod lists;
mod report;
mod thread;

use crate::config;
use crate::intel::snapshot::MatchOptions;

pub use keeper::{Fault, Keeper, Refused, Settings};
pub use lists::Lists;
pub use report::Reporter;
pub use thread::Intel;

/// How values are matched.
pub fn options(matching: &config::Match) -> MatchOptions {
    MatchOptions {
        subdomains: matching.subdomains,
        url_hosts: matching.url_hosts,
        user_principals: matching.user_principals,
        max_url_bytes: matching.max_url_bytes,
        max_text_bytes: matching.max_text_bytes,
    }
}

#[cfg(test)]
mod tests;
