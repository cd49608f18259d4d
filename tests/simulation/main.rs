//! A simulation of delivery, over time that does not pass and a disk that is not there: collectors that send again what
//! was not acknowledged, the shipped sinks, next hops that change their minds, operators that rotate files and send
//! rejected records again, and processes that die at any step. The law: what was acknowledged was taken by the next hop,
//! or is in the rejected file, and is in the file of the `ndjson` sink, once for each time that it was acknowledged, and
//! nothing is retried forever.
//!
//! `SIMULATION_SCHEDULES` says how many schedules run, `SIMULATION_SECONDS` for how long new ones do, and
//! `SIMULATION_SEED` repeats one. A schedule that fails prints the command that repeats it.

// Says to clippy what cargo knows: helpers here are test code, too.
#![cfg(test)]

mod chance;
mod disk;
mod next_hop;
mod schedule;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use schedule::Summary;

/// Schedules of an ordinary run; the same ones each time.
const SCHEDULES: u64 = 2_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}: {value:?} is not a number")))
}

/// The counters of all schedules together.
#[derive(Default)]
struct Total {
    schedules: u64,
    events: BTreeMap<&'static str, usize>,
}

impl Total {
    fn run(&mut self, seed: u64) {
        let failed = |what: &str| {
            panic!(
                "the schedule of seed {seed} fails: {what}\nit is repeated by\n  SIMULATION_SEED={seed} cargo test --locked \
                 --test simulation -- --nocapture"
            )
        };
        match catch_unwind(AssertUnwindSafe(|| schedule::run(seed))) {
            Ok(Ok(summary)) => self.add(&summary),
            Ok(Err(what)) => failed(&what),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                failed(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panics"))
            }
        }
    }

    fn add(&mut self, summary: &Summary) {
        self.schedules += 1;
        let Summary { acknowledged, requests, lines, partial_lines, lines_of_events, disk } = summary;
        let counts = [
            ("acknowledged records", *acknowledged),
            ("requests", *requests),
            ("lines", *lines),
            ("partial lines", *partial_lines),
            ("lines of events", *lines_of_events),
        ];
        let all = counts.into_iter().chain(disk.iter().map(|event| (*event, 1)));
        all.for_each(|(event, times)| *self.events.entry(event).or_default() += times);
    }
}

/// Law: see above. Also that the schedules are worth something: each kind of fault occurs in them.
#[test]
fn what_is_acknowledged_is_delivered_or_kept() {
    let (mut total, start) = (Total::default(), Instant::now());
    if let Some(seed) = setting("SIMULATION_SEED") {
        total.run(seed);
    } else if let Some(seconds) = setting("SIMULATION_SECONDS") {
        let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let mut seeds = first..;
        while start.elapsed() < Duration::from_secs(seconds) {
            total.run(seeds.next().unwrap());
        }
    } else {
        (0..setting("SIMULATION_SCHEDULES").unwrap_or(SCHEDULES)).for_each(|seed| total.run(seed));
        let kinds = ["partial lines", "lines of events", "death", "power loss", "rename", "remove", "truncate"];
        for event in kinds.into_iter().chain(["short write", "failure"]) {
            assert!(total.events.get(event).is_some_and(|times| *times > 0), "no schedule has a {event}");
        }
    }
    println!("{} schedules in {:?}: {:?}", total.schedules, start.elapsed(), total.events);
}
