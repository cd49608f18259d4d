//! A file that cannot be written is asked before the network: a retry makes no further copy at the next hop.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hotlist::config::Fsync;
use hotlist::encoding::{Format, Rope};
use hotlist::pipeline::{BatchRefusal, HitRecord, MatchedMessage, Transform, Work};
use hotlist::sink::disk::{Disk, DiskFile, HostDisk, Stat};
use hotlist::sink::grpc::Settings;
use hotlist::sink::ndjson::{NdjsonSink, Output};
use hotlist::sink::{Only, Sink, SinkBackend};
use hotlist::source::Limits;

use crate::client::Client;
use crate::next_hop::NextHop;
use crate::sidecar::{Sidecar, otlp};
use crate::wire::{frame, records};

/// The host's file system with room for so many bytes in each file.
#[derive(Clone, Debug)]
struct SmallDisk(Arc<AtomicU64>);

#[derive(Debug)]
struct SmallFile(Box<dyn DiskFile>, SmallDisk);

impl SmallFile {
    fn has_room(&self, bytes: u64) -> io::Result<()> {
        match self.0.stat()?.len + bytes <= self.1.0.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

impl Disk for SmallDisk {
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SmallFile(HostDisk.append(path)?, self.clone())))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        HostDisk.read(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        HostDisk.stat(path)
    }

    fn replace(&self, path: &Path, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<Stat> {
        HostDisk.replace(path, write)
    }

    fn sync_directory_of(&self, path: &Path) -> io::Result<()> {
        HostDisk.sync_directory_of(path)
    }
}

impl DiskFile for SmallFile {
    fn stat(&self) -> io::Result<Stat> {
        self.0.stat()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.has_room(bytes.len() as u64)?;
        self.0.write(bytes)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.has_room(bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.0.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.0.unlock()
    }
}

/// Every record hits, but for those of a message that begins with a short one.
struct LongOnesHit;

impl Transform for LongOnesHit {
    fn process(&self, format: Format, message: Bytes, _: &Work) -> Result<MatchedMessage, BatchRefusal> {
        let mut batch = MatchedMessage { records: 1, ..MatchedMessage::default() };
        if message.len() > 1000 {
            let records = format.records(&message).unwrap();
            batch.hits =
                records.into_iter().map(|record| HitRecord { place: 0, record, ..HitRecord::default() }).collect();
        }
        batch.message = Rope::from(message);
        Ok(batch)
    }
}

/// Scenario: the disk of the hits is full while the next hop takes everything, and the collector tries again and again;
/// then there is room. Guarantee: the next hop has the batch at most one time too many, however often it was tried;
/// batches without hits pass; with room the batch is delivered, and its lines are there once.
#[tokio::test]
async fn a_full_disk_multiplies_nothing_at_the_next_hop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hits.ndjson");
    let room = SmallDisk(Arc::new(AtomicU64::new(100)));
    let file = NdjsonSink::open_on(Arc::new(room.clone()), Output::File(path.clone()), Fsync::Batch).unwrap();
    let hits = Arc::new(Sink::new("hits", SinkBackend::Ndjson(file)).with_only(Only::Hits));
    let mut next_hop = NextHop::start().await;
    let sinks = [Arc::clone(&hits), otlp(&next_hop.endpoint, Settings::default())];
    let sidecar = Sidecar::with(Limits::default(), LongOnesHit, sinks);
    let client = Client::connect(&sidecar.address).await;
    let (long, short) = (records(1, 2000), records(1, 3));

    let (answer, _) = tokio::join!(client.export(frame(0, &long)), async { next_hop.arrived().await.ok() });
    assert_eq!(answer.status(), 14);
    for _ in 0..5 {
        let answer = client.export(frame(0, &long)).await;
        assert_eq!(answer.status(), 14);
        assert!(answer.message().contains("sink hits"), "{}", answer.message());
    }
    assert!(next_hop.is_idle(), "a retry was sent");
    let latest = hits.latest();
    assert!(!latest.is_good() && latest.success.is_none(), "{latest}");

    let (answer, _) = tokio::join!(client.export(frame(0, &short)), async { next_hop.arrived().await.ok() });
    assert_eq!(answer.status(), 0, "a batch without hits passes");

    room.0.store(10_000, Ordering::SeqCst);
    let (answer, _) = tokio::join!(client.export(frame(0, &long)), async { next_hop.arrived().await.ok() });
    assert_eq!(answer.status(), 0, "{answer:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert!(hits.latest().is_good());
}
