//! The match path for a Filter request: each event is a JSON document of its own.

use bytes::Bytes;
use jiff::Timestamp;

use super::{Detector, Report};
use crate::delivery::{Batch, Tagged};
use crate::encoding::filter::{self, EnvelopeError, EventSpan};
use crate::encoding::{Format, Rope, json};
use crate::enrich;
use crate::matcher::{Matcher, Sieve};

impl Detector {
    /// Matches and tags the events of one `hotlist.filter.v1.FilterRequest`. `arrival` is the event time of events that
    /// have none.
    ///
    /// # Errors
    /// The message is no such request. An event that is no JSON object is no error: its place is in [`Batch::odd`].
    pub fn documents(&self, message: Bytes, arrival: Timestamp) -> Result<(Batch, Report), EnvelopeError> {
        let mut report = Report::default();
        let mut edits: Vec<(EventSpan, Bytes)> = Vec::new();
        let (mut hits, mut odd) = (Vec::new(), Vec::new());
        let mut sieve = Sieve::new(&self.snapshot);
        let mut matcher = Matcher::new(&self.snapshot);
        filter::events(&message, |span| {
            let place = report.events as usize;
            report.events += 1;
            let document = &message[span.content()];
            let walked = json::walk(document, self.snapshot.trie(), &mut sieve);
            let passes = sieve.passes();
            let tagged = match walked {
                Ok(walked) => {
                    report.too_deep += u64::from(walked.too_deep);
                    if passes { self.event(document, &mut matcher, arrival, &mut report) } else { Ok(None) }
                }
                Err(error) => Err(error),
            };
            match tagged {
                Ok(Some(record)) => {
                    hits.push(Tagged { place, record: record.clone() });
                    edits.push((span, record));
                }
                Ok(None) => {}
                Err(_) => odd.push(place as u32),
            }
        })?;
        report.odd_records = odd.len() as u64;
        report.counts = sieve.counts();
        report.seen = sieve.into_seen();
        let message = if edits.is_empty() { Rope::from(message) } else { filter::splice(&message, &edits) };
        let (records, snapshot) = (report.events as usize, self.snapshot.version());
        Ok((Batch { format: Format::Filter, message, records, hits, snapshot, odd, ..Batch::default() }, report))
    }

    /// The tagged event, when the matcher finds something in it and policy leaves a hit.
    #[cold]
    fn event(
        &self,
        document: &[u8],
        matcher: &mut Matcher<'_>,
        arrival: Timestamp,
        report: &mut Report,
    ) -> Result<Option<Bytes>, json::JsonError> {
        let verdict = self.document(document, self.snapshot.trie(), matcher, arrival)?;
        report.suppressions.extend(verdict.suppressed.iter().map(|(_, reason)| *reason));
        let listings = verdict.hit_listings.iter().chain(&verdict.suppressed_listings).flatten();
        report.listings.extend(listings.cloned());
        if verdict.hits.is_empty() {
            return Ok(None);
        }
        let enrichments = enrich::enrichments(&self.snapshot, &verdict.hits, &verdict.hit_listings, &verdict.facts);
        report.hits.extend(verdict.hits.into_iter().map(|hit| {
            let feed = self.snapshot.feed_of(self.snapshot.indicator(hit.posting.indicator)).name.as_str().into();
            (hit, feed)
        }));
        let (tagged, outcome) = json::tag(document, &enrichments, enrich::TAG)?;
        report.threat_not_object += u64::from(outcome.threat_not_object);
        Ok(Some(tagged.into()))
    }
}
