//! Postings: the indicators that a key leads to.

/// One indicator that looks for a key, and under which conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Posting {
    /// Number of the indicator in its segment or snapshot.
    pub indicator: u32,
    /// Number of the field set that the term is restricted to; 0 means no restriction.
    pub target: u16,
    /// Number of the URL scheme that the event must have; 0 is any.
    pub scheme: u16,
}
