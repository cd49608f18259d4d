//! One schedule: collectors, the sinks of one sidecar and its successors, next hops and a disk, from one seed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hotlist::config::Endpoint;
use hotlist::config::Fsync;
use hotlist::encoding::Format;
use hotlist::pipeline::{Batch, Deliver, MatchedMessage};
use hotlist::sink::disk::Disk;
use hotlist::sink::grpc::{GrpcSink, Settings};
use hotlist::sink::ndjson::Output;
use hotlist::sink::{Fanout, NdjsonSink, RejectedFile, Sink, SinkBackend, rejected};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::disk::{Faults, ProcessDisk, SimulatedDisk};
use crate::next_hop::{Counts, GOOD, Mood, NextHop, batch, count, records};

/// How long things go wrong.
const TURMOIL: Duration = Duration::from_secs(60);
/// How often a collector may try once everything works: a next hop that refused everything is asked again with another
/// record at each try, and no batch has more records.
const TRIES: usize = 150;

/// The counters of a schedule.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub acknowledged: usize,
    pub requests: usize,
    pub lines: usize,
    pub partial_lines: usize,
    pub lines_of_events: usize,
    pub disk: Vec<&'static str>,
}

/// The state that survives the restarts of the sidecar.
struct World {
    next_hops: Vec<Link>,
    /// The file of an `ndjson` sink.
    lines: Option<PathBuf>,
    disk: SimulatedDisk,
    process: Mutex<Arc<Process>>,
    deadline: Duration,
}

/// A next hop and how its sink is configured.
struct Link {
    /// The records that an operator sent again from the rejected file.
    resent: Mutex<Counts>,
    next_hop: NextHop,
    file: Option<PathBuf>,
    max_request_bytes: usize,
}

/// One life of the sidecar.
struct Process {
    fanout: Fanout,
    disk: ProcessDisk,
    dead: CancellationToken,
}

impl World {
    fn new(chance: &mut Chance) -> Arc<World> {
        let disk = SimulatedDisk::new(chance.split());
        let link = |number: usize, chance: &mut Chance| Link {
            resent: Mutex::default(),
            next_hop: NextHop::new(chance.split()),
            file: (!chance.one_in(6)).then(|| PathBuf::from(format!("/rejected{number}.ndjson"))),
            max_request_bytes: *chance.pick(&[300, 1000, 4 << 20, 4 << 20]),
        };
        let next_hops = (0..1 + chance.below(2)).map(|number| link(number, chance)).collect();
        let deadline = Duration::from_secs(*chance.pick(&[2, 8]));
        let process = Mutex::new(Arc::new(Process::nobody(&disk)));
        let lines = chance.one_in(2).then(|| PathBuf::from("/lines.ndjson"));
        let world = Arc::new(World { next_hops, lines, disk, process, deadline });
        world.start();
        world
    }

    /// Starts the sidecar.
    fn start(&self) {
        let disk = self.disk.process();
        let mut sinks = Vec::new();
        for link in &self.next_hops {
            let open = |path: &PathBuf| {
                let file = self.open(&disk, |disk| RejectedFile::open_on(disk, path.clone(), 1 << 20));
                file.map(Arc::new)
            };
            let settings = Settings {
                max_request_bytes: link.max_request_bytes,
                deadline: self.deadline,
                rejected: link.file.as_ref().and_then(open),
                ..Settings::default()
            };
            let sink = GrpcSink::otlp(Endpoint::parse("http://127.0.0.1:1").unwrap(), settings);
            let sink = sink.with_dial(Arc::new(link.next_hop.clone()));
            sinks.push(Arc::new(Sink::new("next", SinkBackend::Grpc(Box::new(sink)))));
        }
        if let Some(path) = &self.lines {
            let sink = self.open(&disk, |disk| NdjsonSink::open_on(disk, Output::File(path.clone()), Fsync::Batch));
            sinks.extend(sink.map(|sink| Arc::new(Sink::new("lines", SinkBackend::Ndjson(sink)))));
        }
        let process = Process { fanout: Fanout::new(sinks), disk, dead: CancellationToken::new() };
        *self.process.lock().unwrap() = Arc::new(process);
    }

    /// Opens something. A start that fails is tried again by the supervisor; `None` when the process died.
    fn open<T, E>(&self, disk: &ProcessDisk, open: impl Fn(Arc<dyn Disk>) -> Result<T, E>) -> Option<T> {
        loop {
            match open(Arc::new(disk.clone())) {
                Ok(opened) => return Some(opened),
                Err(_) if disk.is_alive() => {}
                Err(_) => return None,
            }
        }
    }

    /// The sidecar, started again if it is dead.
    fn process(&self) -> Arc<Process> {
        loop {
            let process = Arc::clone(&self.process.lock().unwrap());
            if process.disk.is_alive() {
                return process;
            }
            process.dead.cancel();
            self.start();
        }
    }

    /// Sends a batch until it is acknowledged. `Err`: it was not, though everything works.
    async fn collect(&self, message: &bytes::Bytes, chance: &mut Chance, end: Instant) -> Result<(), String> {
        let mut tries = 0;
        loop {
            let process = self.process();
            let batch = Arc::new(Batch::from(MatchedMessage::unmatched(Format::Otlp, message.clone()).unwrap()));
            let patience = Duration::from_millis(3_000 + chance.below(9_000) as u64);
            let told = tokio::select! {
                biased;
                () = process.dead.cancelled() => None,
                told = timeout(patience, process.fanout.deliver(batch)) => told.ok(),
            };
            let refused = match told {
                // A process that died meanwhile answered nobody, and some answers are lost on their way.
                Some(Ok(_)) if process.disk.is_alive() && !chance.one_in(30) => return Ok(()),
                Some(Err(refusal)) => refusal.to_string(),
                _ => "nothing".to_owned(),
            };
            if Instant::now() > end {
                tries += 1;
                if tries > TRIES {
                    return Err(format!("a batch is not acknowledged although everything works; last: {refused}"));
                }
            }
            sleep(Duration::from_millis(100 + chance.below(4_000) as u64)).await;
        }
    }

    /// Changes what works and what does not.
    async fn trouble(&self, chance: &mut Chance, faults: Faults, names: &[String], end: Instant) {
        let moods = [
            Mood::Honest,
            Mood::Honest,
            Mood::Honest,
            Mood::RefusesAll,
            Mood::Fails(14),
            Mood::Fails(8),
            Mood::Fails(7),
            Mood::Takes(250),
            Mood::Partial,
            Mood::Partial,
            Mood::LosesAnswers,
            Mood::Silent,
            Mood::Closes,
        ];
        while Instant::now() < end {
            for link in &self.next_hops {
                let delay = *chance.pick(&[1, 50, 500, 5_000]);
                link.next_hop.set(*chance.pick(&moods), delay, chance.one_in(15));
                if chance.one_in(2) {
                    link.next_hop.change_mind(chance.pick::<String>(names));
                }
                if chance.one_in(6) {
                    link.next_hop.close_connections();
                }
                if chance.one_in(4) {
                    self.resend(link, chance);
                }
            }
            if faults.death > 0 && chance.one_in(4) {
                self.disk.die();
                self.process();
            }
            if faults.rotation > 0 && chance.one_in(3) {
                self.disk.rotate();
            }
            self.disk.set_full(faults.short_write > 0 && chance.one_in(4));
            sleep(Duration::from_millis(chance.below(8_000) as u64)).await;
        }
    }

    /// An operator sends some lines of a rejected file again, which the next hop takes, and takes them out of the file.
    fn resend(&self, link: &Link, chance: &mut Chance) {
        let (Some(path), disk) = (&link.file, self.disk.process()) else { return };
        let (mut accepted, mut resent) = (HashMap::new(), Counts::new());
        let read = rejected::read_on(&disk, path, |line| {
            if let Ok(entry) = line.entry
                && entry.partial.is_none()
                && chance.one_in(2)
            {
                count(&mut resent, &records(&entry.request));
                *accepted.entry(line.digest).or_default() += 1;
            }
        });
        // What was sent and is still in the file is there twice, which is no fault; what is not there must have been sent.
        if read.is_ok() && rejected::remove_on(&disk, path, &accepted).is_ok() {
            let mut all = link.resent.lock().unwrap();
            resent.into_iter().for_each(|(record, times)| *all.entry(record).or_default() += times);
        }
    }

    /// From now on everything works, and each next hop refuses what it refused last.
    fn calm(&self, chance: &mut Chance) {
        self.disk.set_faults(Faults::default());
        self.disk.set_full(false);
        for link in &self.next_hops {
            // A batch that is sent in many parts has no time for a slow next hop.
            let delay = if link.max_request_bytes > 4096 { *chance.pick(&[1, 100, 1_500]) } else { 20 };
            link.next_hop.set(Mood::Honest, delay, false);
            if link.file.is_none() {
                // Nothing is kept without a file, so refused records would be refused forever.
                link.next_hop.forgive();
            }
        }
    }
}

impl Process {
    fn nobody(disk: &SimulatedDisk) -> Process {
        Process { fanout: Fanout::new([]), disk: disk.process(), dead: CancellationToken::new() }
    }
}

/// Runs the schedule of a seed. `Err` says what does not hold.
pub fn run(seed: u64) -> Result<Summary, String> {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(schedule(seed))
}

async fn schedule(seed: u64) -> Result<Summary, String> {
    let mut chance = Chance::new(seed);
    let once_in = |chance: &mut Chance, times: usize| if chance.one_in(2) { times } else { 0 };
    let faults = Faults {
        rotation: once_in(&mut chance, 12),
        short_write: once_in(&mut chance, 6),
        failure: once_in(&mut chance, 20),
        death: once_in(&mut chance, 40),
        power_loss: chance.one_in(2),
    };
    let world = World::new(&mut chance);
    world.disk.set_faults(faults);
    let names: Vec<String> =
        std::iter::once(GOOD.to_owned()).chain((0..5).map(|number| format!("record {number}"))).collect();
    let end = Instant::now() + TURMOIL;
    let collectors = 1 + chance.below(2);
    let mut tasks = Vec::new();
    for _ in 0..collectors {
        let (world, mut chance, names) = (Arc::clone(&world), chance.split(), names.clone());
        tasks.push(tokio::spawn(async move {
            let mut acknowledged = Counts::new();
            for _ in 0..2 + chance.below(4) {
                // Mostly small ones: a refused record of a large batch costs many requests, and time.
                let most = if chance.one_in(40) { 90 } else { *chance.pick(&[1, 2, 4, 6]) };
                let mut batch_records: Vec<String> =
                    (0..chance.below(most)).map(|_| chance.pick(&names).clone()).collect();
                batch_records.insert(chance.below(batch_records.len() + 1), GOOD.to_owned());
                world.collect(&batch(&batch_records), &mut chance, end).await?;
                count(&mut acknowledged, &batch_records);
                sleep(Duration::from_millis(chance.below(20_000) as u64)).await;
            }
            Ok::<Counts, String>(acknowledged)
        }));
    }
    world.trouble(&mut chance, faults, &names, end).await;
    world.calm(&mut chance);
    let (mut acknowledged, mut summary) = (Counts::new(), Summary::default());
    for task in tasks {
        for (record, times) in task.await.map_err(|error| error.to_string())?? {
            *acknowledged.entry(record).or_default() += times;
            summary.acknowledged += times;
        }
    }
    for (number, link) in world.next_hops.iter().enumerate() {
        let mut there = link.next_hop.taken();
        for (record, times) in link.resent.lock().unwrap().iter() {
            *there.entry(record.clone()).or_default() += times;
        }
        if let Some(path) = &link.file {
            for content in world.disk.contents(path) {
                let is_whole = faults.short_write == 0 && faults.death == 0 && faults.failure == 0;
                read(&content, is_whole, &mut there, &mut summary).map_err(|error| format!("{path:?}: {error}"))?;
            }
        }
        // A partial success may be lost where there is no file, or where it cannot be written.
        let may_be_lost = link.file.is_none() || faults.short_write > 0 || faults.failure > 0 || faults.rotation > 0;
        let lost = if may_be_lost { link.next_hop.rejected() } else { Counts::new() };
        for (record, times) in &acknowledged {
            let of = |counts: &Counts| counts.get(record).copied().unwrap_or_default();
            if of(&there) + of(&lost) < *times {
                let there = of(&there);
                return Err(format!(
                    "next hop {number}: {record:?} was acknowledged {times} times, and {there} are there"
                ));
            }
        }
        summary.requests += link.next_hop.requests();
    }
    if let Some(path) = &world.lines {
        let mut there = Counts::new();
        for content in world.disk.contents(path) {
            let is_whole = faults.short_write == 0 && faults.death == 0 && faults.failure == 0;
            read_lines(&content, is_whole, &names, &mut there)?;
        }
        for (record, times) in &acknowledged {
            let there = there.get(record).copied().unwrap_or_default();
            if there < *times {
                return Err(format!(
                    "{path:?}: {record:?} was acknowledged {times} times, and {there} lines are there"
                ));
            }
        }
        summary.lines_of_events += there.values().sum::<usize>();
    }
    summary.disk = world.disk.log();
    Ok(summary)
}

/// Counts the records of a rejected file.
fn read(content: &[u8], is_whole: bool, there: &mut Counts, summary: &mut Summary) -> Result<(), String> {
    let mut problem = Ok(());
    let lines = rejected::lines(content, |line| match line.entry {
        Ok(entry) => {
            summary.lines += 1;
            summary.partial_lines += usize::from(entry.partial.is_some());
            count(there, &records(&entry.request));
        }
        Err(error) if is_whole => problem = Err(format!("line {} is not whole: {error}", line.number)),
        Err(_) => {}
    });
    lines.map_err(|error| error.to_string())?;
    problem
}

/// Counts the records of a file of an `ndjson` sink.
fn read_lines(content: &[u8], is_whole: bool, names: &[String], there: &mut Counts) -> Result<(), String> {
    for line in content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else {
            match is_whole {
                true => return Err(format!("a line is not whole: {}", String::from_utf8_lossy(line))),
                false => continue,
            }
        };
        count(there, names.iter().filter(|name| value["message"] == name.as_str()));
    }
    Ok(())
}
