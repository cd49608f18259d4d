//! The work on a batch stops for want of room, and when its client leaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hotlist::detect::Budget;
use hotlist::encoding::Format;
use hotlist::encoding::otlp::request_of;
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::observable::Kind;
use hotlist::pipeline::{BatchRefusal, ClientGuard, MemoryPermit, Work};
use jiff::Timestamp;
use serde_json::json;

use crate::common::{detector, indicator, table};

/// Records of the batch, each of which hits.
const RECORDS: usize = 100;

/// Room that counts what is taken, and whose client leaves when a third of the records is tagged.
#[derive(Debug)]
struct Observed {
    total: usize,
    /// What other requests hold of it.
    others: usize,
    taken: AtomicUsize,
    asked: AtomicUsize,
    client: Mutex<Option<ClientGuard>>,
}

impl MemoryPermit for Observed {
    fn take(&self, bytes: usize) -> bool {
        // Each tagged record asks twice: for what it has, and for what tags add.
        if self.asked.fetch_add(1, Ordering::Relaxed) > 2 * RECORDS / 3 {
            self.client.lock().unwrap().take();
        }
        self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.total - self.others
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn left_alone(&self) -> usize {
        self.total.saturating_sub(self.taken.load(Ordering::Relaxed))
    }
}

fn run(total: usize, others: usize, leaves: bool) -> (Result<usize, BatchRefusal>, Arc<Observed>) {
    let feed = (Feed::named("planted"), vec![indicator(Kind::Domain, "evil.example.com")]);
    let detector = detector(&table(), MatchOptions::default(), None, vec![feed]);
    let event = json!({ "dns": { "question": { "name": "evil.example.com" } } });
    let message = Bytes::from(request_of(std::iter::repeat_n((0, &event), RECORDS)));
    let client = ClientGuard::default();
    let room =
        Observed { total, others, taken: AtomicUsize::new(0), asked: AtomicUsize::new(0), client: Mutex::default() };
    let room = Arc::new(room);
    let work = Work::within(room.clone()).until(&client);
    if leaves {
        room.client.lock().unwrap().replace(client);
    } else {
        client.finish();
    }
    let judged = detector.batch(Format::Otlp, message, Timestamp::UNIX_EPOCH, &work);
    let judged = judged.map(|(batch, _)| batch.hits.iter().map(|hit| hit.record.len()).sum());
    (judged.map_err(BatchRefusal::from), room)
}

/// Guarantee: no further record is matched once the client is gone.
#[test]
fn work_of_a_client_that_left_stops_at_the_next_record() {
    let (judged, room) = run(usize::MAX / 2, 0, true);
    assert!(
        matches!(&judged, Err(BatchRefusal::Unavailable(text)) if text.contains("client disconnected")),
        "{judged:?}"
    );
    let asked = room.asked.load(Ordering::Relaxed);
    assert!((2 * RECORDS / 3..2 * RECORDS / 3 + 4).contains(&asked), "{asked}");
}

/// Guarantee: tagged records take at least as much room as they have bytes, and a batch for which there is never enough
/// room is refused differently from one that can be sent again.
#[test]
fn tagged_records_take_room() {
    let (judged, room) = run(usize::MAX / 2, 0, false);
    let bytes = judged.unwrap();
    assert!(room.taken.load(Ordering::Relaxed) >= bytes && bytes > 0);
    let (judged, _) = run(usize::MAX / 2, usize::MAX / 2 - bytes / 2, false);
    assert!(matches!(&judged, Err(BatchRefusal::ResourceExhausted(_))), "{judged:?}");
    let (judged, _) = run(10, 0, false);
    assert!(matches!(&judged, Err(BatchRefusal::InvalidArgument(_))), "{judged:?}");
}

/// Scenario: the room for a batch grows from nothing. Guarantee: from some room on the batch is never refused, though it
/// first passes without tags, and then carries its hits only in part; every hit is counted, except for the records that
/// are not even listed, and what the batch does not carry is counted as exceeding a budget.
#[test]
fn hits_are_carried_as_far_as_there_is_room() {
    let feed = (Feed::named("planted"), vec![indicator(Kind::Domain, "evil.example.com")]);
    let detector = detector(&table(), MatchOptions::default(), None, vec![feed]);
    let event = json!({ "dns": { "question": { "name": "evil.example.com" } } });
    let message = Bytes::from(request_of(std::iter::repeat_n((0, &event), RECORDS)));
    let mut seen = Vec::new();
    for total in (0..160).map(|step| step * 4096) {
        let room = Observed {
            total,
            others: 0,
            taken: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            client: Mutex::default(),
        };
        let work = Work::within(Arc::new(room));
        let Ok((batch, report)) = detector.batch(Format::Otlp, message.clone(), Timestamp::UNIX_EPOCH, &work) else {
            assert!(seen.is_empty(), "refused with {total} bytes, and not with less");
            continue;
        };
        let carried = batch.hits.iter().filter(|record| record.hits.len() == 1).count();
        let exceeding = report.truncated.get(&Budget::BatchHits) + report.truncated.get(&Budget::CarriedHits);
        assert_eq!(carried as u64 + exceeding, RECORDS as u64, "{total}");
        assert_eq!(report.hits.total(), batch.hits.len() as u64, "{total}");
        seen.push(carried);
    }
    assert!(seen.first().is_some_and(|carried| *carried < RECORDS) && seen.last() == Some(&RECORDS), "{seen:?}");
}
