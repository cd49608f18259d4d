//! Keys: which canonical forms of a value are looked up, and which an indicator is found by, in one place.
//!
//! A key is canonical bytes in a table: a name space ([`KeySpace`]) or the networks of one prefix length ([`TableId`]). An
//! indicator has the keys of [`indicator_keys`], a value at a field those of [`event_keys`]. An indicator is found for a
//! value if they share a key and their URL schemes agree ([`schemes_agree`]), and not otherwise. Comparisons other than `=`
//! have no keys, and no value has the key of a `LIKE` or `MATCHES`: those are evaluated on the keys of values
//! ([`ExpressionIndex`](super::expression::ExpressionIndex)).
//!
//! Segments are built from [`indicator_keys`] and the prefilter from [`prefilter_keys`]. The sieve, the matcher and the
//! evaluator of patterns are each a [`KeyVisitor`] of [`visit_keys`], which [`event_keys`] collects. `tests/matching/keys.rs`
//! holds all of them to the sentence above.

mod event;
mod indicator;
mod plan;
mod show;
mod space;
mod table;
mod token;
mod visit;
mod visitor;

pub use event::{EventKey, event_keys, url_prefixes};
pub use indicator::{IndicatorOptions, has_key, indicator_keys, schemes_agree};
pub use plan::KeyPlan;
pub use show::show_key;
pub use space::{KeyHasher, KeySpace, number_key, time_key};
pub use table::{TableId, network_key, prefilter_key_count, prefilter_keys};
pub use token::visit_token;
pub use visit::visit_keys;
pub use visitor::KeyVisitor;

/// How values are matched, the same for live events and past ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchOptions {
    /// Every domain indicator covers its subdomains too.
    pub subdomains: bool,
    /// A URL field yields its host as a domain or address.
    pub url_hosts: bool,
    /// A user principal name (`user@domain`) yields its user, too.
    pub user_principals: bool,
    /// The registered domain of a name is matched where an event may have it in a field of its own and senders seldom do
    /// (`dns.question.registered_domain`).
    pub registered_domains: bool,
    /// Every string of an event is scanned for tokens (`match.text: all`).
    pub text: bool,
    /// Defanged forms in text are read as well.
    pub text_refang: bool,
    /// Longer URLs are not read, except for their host.
    pub max_url_bytes: usize,
    /// Longer texts, names and paths are not read.
    pub max_text_bytes: usize,
}

impl MatchOptions {
    /// Neither subdomains nor hosts of URLs, and the limits of the configuration's defaults.
    pub const EXACT: MatchOptions = MatchOptions {
        subdomains: false,
        url_hosts: false,
        user_principals: false,
        registered_domains: false,
        text: false,
        text_refang: false,
        max_url_bytes: 8 << 10,
        max_text_bytes: 128 << 10,
    };
}

impl Default for MatchOptions {
    fn default() -> MatchOptions {
        MatchOptions::EXACT
    }
}
