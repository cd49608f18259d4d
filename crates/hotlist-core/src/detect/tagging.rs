//! Settings for the tags of a detector: the schema, and the treatment of enrichments that arrive with an event.

use jiff::Timestamp;

use super::{Detector, Verdict};
use crate::encoding::tag::Brought;
use crate::encoding::{Flat, Inbound, TagAs, Tagging, Tags, Value, json};
use crate::enrich::{Enricher, Enrichments, Style};
use crate::policy::EventFacts;

impl Detector {
    /// The document with the enrichments of its hits, and with what arrived handled as the policy says.
    ///
    /// # Errors
    /// The text does not begin like a document.
    pub fn tag_document(&self, document: &[u8], verdict: &Verdict) -> Result<Vec<u8>, json::JsonError> {
        let enrichments = self.all_enrichments(verdict, &mut Enricher::new(&self.snapshot));
        json::tag(document, &self.tags(&enrichments)).map(|(tagged, _)| tagged)
    }

    /// A document without hits that arrived with enrichments, when handling these as the policy says changes it.
    pub fn mark_document(&self, document: &[u8]) -> Option<Vec<u8>> {
        let inbound = self.inbound();
        if inbound == Inbound::Keep
            || !json::read(document, self.snapshot.trie(), &mut |_, _: Value<'_>| {}).ok()?.inbound
        {
            return None;
        }
        let tagged = json::tag(document, &Tags { into: self.tagging.into, inbound, ..Tags::NONE });
        tagged.ok().filter(|(_, outcome)| outcome.changed).map(|(tagged, _)| tagged)
    }

    /// The treatment of enrichments that arrive with an event; without a policy they stay.
    pub(super) fn inbound(&self) -> Inbound {
        self.policy.as_ref().filter(|policy| !policy.only_allowlists).map_or(Inbound::Keep, |policy| policy.inbound)
    }

    pub(super) fn tags<'e>(&self, enrichments: &'e Enrichments) -> Tags<'e> {
        let Enrichments { values, style: Style { is_ocsf, .. }, .. } = enrichments;
        let Tagging { into, flat, .. } = self.tagging;
        Tags { into, enrichments: Brought::Hits(values), is_ocsf: *is_ocsf, flat, inbound: self.inbound() }
    }

    /// How the enrichments of an event are made.
    pub(super) fn style(&self, facts: &EventFacts) -> Style {
        let is_ocsf = match self.tagging.form {
            TagAs::Auto => facts.is_ocsf,
            TagAs::Ecs => false,
            TagAs::Ocsf => true,
        };
        Style {
            is_ocsf,
            lacks_osint: facts.lacks_osint,
            has_flats: self.tagging.flat != Flat::Off,
            // Where no time is known, it is that of the epoch.
            is_timeless: facts.time == Timestamp::UNIX_EPOCH,
        }
    }
}
