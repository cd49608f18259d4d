//! What of a batch a sink gets: the events that its condition wants, in the format that it speaks.
//!
//! A sink that takes everything in the format in which it came gets the batch as it is.

use std::sync::Arc;

use crate::delivery::{Batch, Others, Refusal};
use crate::encoding::envelope::Layout;
use crate::encoding::{Format, Rope, transcode};

/// Which events of a batch a sink takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Only {
    /// Every one.
    #[default]
    All,
    /// Those that hit.
    Hits,
    /// Those that did not; metrics and traces, which are not matched, are among them.
    NotHits,
}

impl Only {
    /// The batch for a sink that speaks `format`; `None` when nothing of it is for the sink. Blocks when the batch must
    /// be cut or converted: [`Only::is_whole`] says whether.
    ///
    /// # Errors
    /// The batch cannot be walked, although it was before: a fault of Hotlist.
    pub fn of(self, batch: &Arc<Batch>, format: Format) -> Result<Option<Arc<Batch>>, Refusal> {
        if self.is_empty(batch, format) {
            return Ok(None);
        }
        if self.is_whole(batch, format) {
            return Ok(Some(Arc::clone(batch)));
        }
        let unwalkable = |error| Refusal::Unavailable(format!("a batch cannot be laid out for a sink: {error}"));
        let keep = self.keep(batch);
        let copied = if batch.message.parts().len() > 1 { batch.message.len() } else { 0 };
        let made = if format == batch.format { copied } else { copied + batch.message.len() };
        batch.work.take(made)?;
        let message = batch.message.to_bytes();
        let message = if format == batch.format {
            let mut layout = Layout::new(format.envelope(), message).map_err(unwalkable)?;
            layout.retain(keep);
            layout.request(0..layout.len())
        } else {
            Rope::from(transcode(&message, batch.format, format, keep).map_err(unwalkable)?)
        };
        let records = match self {
            Only::All => batch.records,
            Only::Hits => batch.hits.len(),
            Only::NotHits => batch.records - batch.hits.len(),
        };
        let others = if format == batch.format && self != Only::Hits { batch.others } else { Others::default() };
        let (signal, metadata, work) = (batch.signal, batch.metadata.clone(), batch.work.clone());
        Ok(Some(Arc::new(Batch { signal, format, message, records, others, metadata, work, ..Batch::default() })))
    }

    /// Whether the sink gets the batch as it is.
    pub fn is_whole(self, batch: &Batch, format: Format) -> bool {
        format == batch.format
            && match self {
                Only::All => true,
                Only::Hits => batch.hits.len() == batch.records && batch.others.is_empty(),
                Only::NotHits => batch.hits.is_empty(),
            }
    }

    /// Whether there is nothing in it for the sink. An empty batch is something: who sends it wants an answer.
    fn is_empty(self, batch: &Batch, format: Format) -> bool {
        // What another format cannot say is for other sinks, see `Deliver::takes`.
        let others = format == batch.format && !batch.others.is_empty();
        match self {
            Only::All => format != batch.format && batch.records == 0 && !batch.others.is_empty(),
            Only::Hits => batch.hits.is_empty(),
            Only::NotHits => batch.hits.len() == batch.records && !batch.hits.is_empty() && !others,
        }
    }

    /// Says of the records of a batch, asked in order, whether the sink takes them.
    pub(super) fn keep(self, batch: &Batch) -> impl FnMut(usize) -> bool + use<'_> {
        let mut hits = batch.hits.iter().map(|hit| hit.place).peekable();
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;
    use crate::delivery::{Room, Tagged, Work};
    use crate::encoding::wire::put_bytes;

    /// Room for so many bytes.
    #[derive(Debug)]
    struct Left(AtomicUsize);

    impl Room for Left {
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
        let hits = vec![Tagged { place: 1, record: Bytes::from_static(br#"{"b":1}"#) }];
        let left = Arc::new(Left(AtomicUsize::new(room)));
        let work = Work::within(left.clone());
        let message = Rope::from(Bytes::from(message));
        let batch = Batch { format: Format::Filter, message, records: 2, hits, work, ..Batch::default() };
        (Arc::new(batch), left)
    }

    /// What is made of a batch takes room; without room the collector is asked to come again, and nothing is made.
    #[test]
    fn what_is_made_takes_room() {
        let (whole, left) = batch(20);
        assert!(Arc::ptr_eq(&Only::All.of(&whole, Format::Filter).unwrap().unwrap(), &whole));
        assert_eq!(left.0.load(Ordering::Relaxed), 20, "what goes as it is takes none");
        let part = Only::All.of(&whole, Format::Otlp).unwrap().unwrap();
        assert_eq!((part.format, part.records), (Format::Otlp, 2));
        assert_eq!(left.0.load(Ordering::Relaxed), 20 - whole.message.len());
        let refused = Only::Hits.of(&whole, Format::Vector);
        assert!(matches!(&refused, Err(Refusal::ResourceExhausted(_))), "{refused:?}");
    }

    /// Cutting leaves the records that are wanted, as they are; what has none of them is no batch at all.
    #[test]
    fn a_cut_batch_has_the_wanted_records() {
        let (whole, _) = batch(0);
        let records = |only: Only| {
            let part = only.of(&whole, Format::Filter).unwrap().unwrap();
            part.format.records(&part.message.to_bytes()).unwrap()
        };
        assert_eq!(records(Only::Hits), [&br#"{"b":1}"#[..]]);
        assert_eq!(records(Only::NotHits), [&br#"{"a":1}"#[..]]);
        let quiet = Arc::new(Batch { hits: Vec::new(), ..Batch::clone(&whole) });
        assert!(Only::Hits.of(&quiet, Format::Filter).unwrap().is_none());
    }
}
