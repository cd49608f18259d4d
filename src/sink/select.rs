//! The part of a batch for a sink: the events that its condition selects, in the format that it uses.
//!
//! A sink that takes everything in the format of the batch gets the batch unchanged.

use std::sync::Arc;

use bytes::Bytes;

pub use crate::config::Only;
use crate::encoding::envelope::{Extent, Layout};
use crate::encoding::transcode::{ConversionOutput, ConvertedMessage};
use crate::encoding::{EnvelopeError, Format, Rope, transcode_parts};
use crate::pipeline::{Batch, BatchRefusal, HeldMemory, MatchedMessage, NonLogEvents, StopReason};

impl Only {
    /// Returns the batch for a sink that uses the format of the batch; `None` if nothing of it is for the sink. Blocks
    /// if the batch must be split (see [`Only::is_whole`]).
    ///
    /// # Errors
    /// There is no memory, or the batch cannot be walked although it was before, which is a bug in Hotlist.
    pub fn select(self, batch: &Arc<Batch>) -> Result<Option<Arc<Batch>>, BatchRefusal> {
        if self.is_empty(batch, batch.events.format) {
            return Ok(None);
        }
        if self.is_whole(batch, batch.events.format) {
            return Ok(Some(Arc::clone(batch)));
        }
        let message = joined(batch)?;
        let extent = Extent::measure(batch.events.format.envelope(), &message).map_err(unwalkable)?;
        batch.work.take(extent.bytes_to_pick())?;
        let mut layout = Layout::new(batch.events.format.envelope(), message).map_err(unwalkable)?;
        layout.retain(self.keep(batch));
        let message = layout.request(0..layout.len());
        let records = match self {
            Only::All => batch.events.records,
            Only::Hits => batch.events.hits.len(),
            Only::NotHits => batch.events.records - batch.events.hits.len(),
        };
        let others = if self == Only::Hits { NonLogEvents::default() } else { batch.events.others };
        let Batch { signal, events, metadata, work } = &**batch;
        let (format, snapshot) = (events.format, Arc::clone(&events.snapshot));
        let events = MatchedMessage { format, message, records, others, snapshot, ..MatchedMessage::default() };
        Ok(Some(Arc::new(Batch { signal: *signal, events, metadata: metadata.clone(), work: work.clone() })))
    }

    /// Converts the part of a batch for a sink that uses another format, in parts of at most `max_bytes`; one is built
    /// while the previous one is sent. `take` receives them one after the other, and returns whether more are needed.
    /// Blocks. Returns how many records lost the context around them.
    ///
    /// # Errors
    /// There is no memory, the client disconnected, or the batch cannot be walked although it was before, which is a
    /// bug in Hotlist.
    pub fn convert(
        self,
        batch: &Batch,
        format: Format,
        max_bytes: usize,
        take: impl FnMut(Arc<Batch>) -> bool,
    ) -> Result<usize, BatchRefusal> {
        if self.is_empty(batch, format) {
            return Ok(0);
        }
        let message = joined(batch)?;
        let mut converter = Converter { batch, format, room: batch.work.hold(0)?, take, bare: 0 };
        transcode_parts(&message, batch.events.format, format, self.keep(batch), max_bytes, &mut converter)
            .map_err(|stopped| stopped.0)?;
        Ok(converter.bare)
    }

    /// Whether the sink gets the batch unchanged.
    pub fn is_whole(self, batch: &Batch, format: Format) -> bool {
        format == batch.events.format
            && match self {
                Only::All => true,
                Only::Hits => batch.events.hits.len() == batch.events.records && batch.events.others.is_empty(),
                Only::NotHits => batch.events.hits.is_empty(),
            }
    }

    /// Whether the batch has nothing for the sink. An empty batch counts as something: its sender expects an answer.
    fn is_empty(self, batch: &Batch, format: Format) -> bool {
        // Events that another format cannot express are for other sinks, see `Deliver::takes`.
        let others = format == batch.events.format && !batch.events.others.is_empty();
        match self {
            Only::All => format != batch.events.format && batch.events.records == 0 && !batch.events.others.is_empty(),
            Only::Hits => batch.events.hits.is_empty(),
            Only::NotHits => {
                batch.events.hits.len() == batch.events.records && !batch.events.hits.is_empty() && !others
            }
        }
    }

    /// Returns a function that decides for the records of a batch, in order, whether the sink takes them.
    pub(super) fn keep(self, batch: &Batch) -> impl FnMut(usize) -> bool + use<'_> {
        let mut hits = batch.events.hits.iter().map(|hit| hit.place).peekable();
        move |place| {
            let hit = hits.next_if(|hit| *hit == place).is_some();
            match self {
                Only::All => true,
                Only::Hits => hit,
                Only::NotHits => !hit,
            }
        }
    }
}

fn unwalkable(error: EnvelopeError) -> BatchRefusal {
    BatchRefusal::Unavailable(format!("a batch cannot be prepared for a sink: {error}"))
}

/// Joins the message into one piece, which is a copy if it has several.
fn joined(batch: &Batch) -> Result<Bytes, BatchRefusal> {
    if let [only] = batch.events.message.parts() {
        return Ok(only.clone());
    }
    let room = batch.work.hold(batch.events.message.len())?;
    Ok(room.own(batch.events.message.to_bytes()))
}

/// Builds batches from the parts of a conversion.
struct Converter<'a, F> {
    batch: &'a Batch,
    format: Format,
    /// The memory of the part that is being written.
    room: HeldMemory,
    take: F,
    bare: usize,
}

/// The reason that a conversion stopped.
struct Stopped(BatchRefusal);

impl From<EnvelopeError> for Stopped {
    fn from(error: EnvelopeError) -> Stopped {
        Stopped(unwalkable(error))
    }
}

impl From<StopReason> for Stopped {
    fn from(stop: StopReason) -> Stopped {
        Stopped(stop.into())
    }
}

impl<F: FnMut(Arc<Batch>) -> bool> ConversionOutput for Converter<'_, F> {
    type Error = Stopped;

    fn reserve(&mut self, bytes: usize) -> Result<(), Stopped> {
        self.batch.work.check()?;
        Ok(self.room.grow(bytes)?)
    }

    fn take(&mut self, part: ConvertedMessage) -> Result<(), Stopped> {
        let ConvertedMessage { mut message, records, bare } = part;
        message.shrink_to_fit();
        let mut room = std::mem::replace(&mut self.room, self.batch.work.hold(0)?);
        room.shrink_to(message.len());
        self.bare += bare;
        let message = Rope::from(room.own(message));
        let (signal, format) = (self.batch.signal, self.format);
        let (metadata, work) = (self.batch.metadata.clone(), self.batch.work.clone());
        let events = MatchedMessage { format, message, records, ..MatchedMessage::default() };
        let part = Batch { signal, events, metadata, work };
        if (self.take)(Arc::new(part)) { Ok(()) } else { Err(StopReason::Cancelled.into()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;
    use crate::encoding::wire::put_bytes;
    use crate::pipeline::{HitRecord, MemoryPermit, Work};

    /// Memory for this many bytes.
    #[derive(Debug)]
    struct Left(AtomicUsize);

    impl MemoryPermit for Left {
        fn take(&self, bytes: usize) -> bool {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
        }

        fn give_back(&self, bytes: usize) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }

        fn left_alone(&self) -> usize {
            usize::MAX
        }
    }

    /// Two documents, of which the second hit.
    fn batch(room: usize) -> (Arc<Batch>, Arc<Left>) {
        let mut message = Vec::new();
        [r#"{"a":1}"#, r#"{"b":1}"#].iter().for_each(|document| put_bytes(&mut message, 2, document.as_bytes()));
        let hits = vec![HitRecord { place: 1, record: Bytes::from_static(br#"{"b":1}"#), ..HitRecord::default() }];
        let left = Arc::new(Left(AtomicUsize::new(room)));
        let work = Work::within(left.clone());
        let message = Rope::from(Bytes::from(message));
        let events = MatchedMessage { format: Format::Filter, message, records: 2, hits, ..MatchedMessage::default() };
        let batch = Batch { work, ..Batch::from(events) };
        (Arc::new(batch), left)
    }

    /// Converting a batch takes memory; without memory the collector is asked to retry, and nothing is converted.
    #[test]
    fn what_is_made_takes_room() {
        let (whole, left) = batch(20);
        assert!(Arc::ptr_eq(&Only::All.select(&whole).unwrap().unwrap(), &whole));
        assert_eq!(left.0.load(Ordering::Relaxed), 20, "what goes as it is takes none");
        let refused = Only::Hits.select(&whole);
        assert!(matches!(&refused, Err(BatchRefusal::ResourceExhausted(_))), "{refused:?}");
        let refused = Only::Hits.convert(&whole, Format::Vector, 1000, |_| panic!("nothing is made"));
        assert!(matches!(&refused, Err(BatchRefusal::ResourceExhausted(_))), "{refused:?}");
        assert_eq!(left.0.load(Ordering::Relaxed), 20, "what was not made holds none");
    }

    /// Guarantee: a part holds its own length as long as it exists, and a conversion that nobody waits for ends.
    #[test]
    fn a_conversion_comes_in_parts() {
        let (whole, left) = batch(1000);
        let mut parts = Vec::new();
        let keep = |part: Arc<Batch>| {
            parts.push(part);
            true
        };
        assert_eq!(Only::All.convert(&whole, Format::Otlp, 1, keep).unwrap(), 0);
        let made: Vec<_> = parts.iter().map(|part| (part.events.format, part.events.records)).collect();
        assert_eq!(made, [(Format::Otlp, 1), (Format::Otlp, 1)]);
        let held: usize = parts.iter().map(|part| part.events.message.len()).sum();
        assert_eq!(left.0.load(Ordering::Relaxed), 1000 - held);
        drop(parts);
        assert_eq!(left.0.load(Ordering::Relaxed), 1000);
        let mut made = 0;
        let refused = Only::All.convert(&whole, Format::Otlp, 1, |_| {
            made += 1;
            false
        });
        assert!(refused.is_err() && made == 1, "{refused:?} {made}");
    }

    /// Splitting keeps the selected records unchanged; a selection without records yields no batch.
    #[test]
    fn a_cut_batch_has_the_wanted_records() {
        let (whole, _) = batch(8 << 10);
        let records = |only: Only| {
            let part = only.select(&whole).unwrap().unwrap();
            part.events.format.records(&part.events.message.to_bytes()).unwrap()
        };
        assert_eq!(records(Only::Hits), [&br#"{"b":1}"#[..]]);
        assert_eq!(records(Only::NotHits), [&br#"{"a":1}"#[..]]);
        let mut quiet = Batch::clone(&whole);
        quiet.events.hits.clear();
        let quiet = Arc::new(quiet);
        assert!(Only::Hits.select(&quiet).unwrap().is_none());
    }
}
