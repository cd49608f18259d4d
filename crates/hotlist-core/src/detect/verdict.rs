//! The verdict on one event: its hits, and its other findings with the reason why each is not a hit.

use super::budget::Exceeded;
use crate::encoding::json::Malformation;
use crate::intel::allowlist::Listing;
use crate::matcher::Hit;
use crate::policy::{EventFacts, Suppression};

/// The verdict on one event.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The findings that count, in the order of the walk.
    pub hits: Vec<Hit>,
    /// The allowlists that hold the value of each of `hits`, in the same order; mostly none.
    pub hit_listings: Vec<Vec<Listing>>,
    /// The findings that policy dropped, and the reasons.
    pub suppressed: Vec<(Hit, Suppression)>,
    /// The allowlists for which each of `suppressed` was dropped, in the same order.
    pub suppressed_listings: Vec<Vec<Listing>>,
    /// Findings that count only together with others, which the event lacks; policy was not asked.
    /// [`Detector::batch`](super::Detector::batch) forgets them.
    pub unfulfilled: Vec<Hit>,
    /// How the event's text is not a JSON document; what could be read of it was matched.
    pub malformed: Option<Malformation>,
    /// The facts of the event that policy uses.
    pub facts: EventFacts,
    /// The budgets that the event exceeded: there are more findings than these.
    pub exceeded: Exceeded,
}
