//! The measuring: starts the processes, and sends through one after the other what each of them takes.

use anyhow::{Context, Result, ensure};

use crate::child::{Child, Process};
use crate::source::{NextHop, Source};
use crate::{Options, Role, events};

/// The processes in the middle, and whether they take every source or OTLP/gRPC alone.
const COMPARED: [(Role, &str, bool); 5] = [
    (Role::Passthrough, "passthrough", false),
    (Role::DecodeEncode, "decode-encode", false),
    (Role::OwnPassthrough, "own-passthrough", true),
    (Role::SidecarEcs, "sidecar-ecs", true),
    (Role::Sidecar, "sidecar", true),
];

/// One run through one process in the middle.
pub struct Run {
    pub cpu_micros: f64,
    pub events_per_second: f64,
}

/// All runs through one source of one process in the middle.
pub struct Row {
    pub role: Role,
    pub source: Source,
    pub runs: Vec<Run>,
}

/// The measurements.
pub struct Measured {
    /// By source, in the order of the options.
    pub bytes_per_event: Vec<f64>,
    pub rows: Vec<Row>,
}

/// Who measures, and who takes.
pub struct Ends {
    generator: Child,
    next_hop: Child,
}

pub fn run(options: &Options) -> Result<Measured> {
    let directory = tempfile::tempdir()?;
    let indicators = directory.path().join("indicators.txt");
    events::write_indicators(&indicators, options.indicators)?;
    let file = indicators.to_str().context("the temporary directory is not UTF-8")?;
    let (mut ends, NextHop { to, to_vector }, bytes_per_event) = Ends::start(options)?;
    let sources = names(&options.sources);

    let (mut children, mut rows) = (Vec::new(), Vec::new());
    for (role, name, takes_all) in COMPARED {
        let takes = |source: &&Source| takes_all || **source == Source::Otlp;
        let taken: Vec<Source> = options.sources.iter().filter(takes).copied().collect();
        if taken.is_empty() || options.only.is_some_and(|only| only != role) {
            continue;
        }
        let to = ["--to", &to, "--to-vector", &to_vector];
        let with: [&str; 6] = ["--role", name, "--sources", &sources, "--indicator-file", file];
        let mut child = Child::start(&[with.as_slice(), &to].concat())?;
        let line = child.line()?;
        let addresses: Vec<String> = line.split(' ').map(str::to_owned).collect();
        ensure!(addresses.len() == taken.len(), "{name} listens on {line:?}");
        rows.extend(taken.into_iter().zip(addresses).map(|(source, address)| {
            let row = Row { role, source, runs: Vec::new() };
            (row, children.len(), address)
        }));
        children.push(child);
    }
    // What is compared stands side by side: all of one source, then all of the next.
    rows.sort_by_key(|(row, ..)| options.sources.iter().position(|source| *source == row.source));
    // The first round warms caches, connections and the branch predictor, and is not counted.
    for round in 0..=options.repeat {
        for (row, child, address) in &mut rows {
            let run = ends.measure(options.events, children[*child].process(), row.source, address)?;
            if round > 0 {
                row.runs.push(run);
            }
        }
    }
    Ok(Measured { bytes_per_event, rows: rows.into_iter().map(|(row, ..)| row).collect() })
}

/// As they are given to `--sources`.
fn names(sources: &[Source]) -> String {
    sources.iter().map(|source| source.name()).collect::<Vec<_>>().join(",")
}

impl Ends {
    /// Starts both. Gives also where the next hop listens, and the bytes that an event has in each source.
    pub fn start(options: &Options) -> Result<(Ends, NextHop, Vec<f64>)> {
        let mut next_hop = Child::start(&["--role", "next-hop"])?;
        let endpoints = next_hop.line()?;
        let (to, to_vector) = endpoints.split_once(' ').context("the next hop has two endpoints")?;
        let (distinct, frame) = (options.distinct.to_string(), options.frame_bytes.to_string());
        let sources = names(&options.sources);
        let encode: [&str; 6] = ["--sources", &sources, "--distinct", &distinct, "--frame-bytes", &frame];
        let mut generator = Child::start(&[["--role", "generator"].as_slice(), &encode].concat())?;
        let bytes_per_event = generator.line()?.split(' ').map(str::parse::<f64>).collect::<Result<Vec<_>, _>>()?;
        let to = NextHop { to: to.to_owned(), to_vector: to_vector.to_owned() };
        Ok((Ends { generator, next_hop }, to, bytes_per_event))
    }

    pub fn measure(&mut self, events: u64, middle: &Process, source: Source, address: &str) -> Result<Run> {
        let before = middle.cpu()?;
        self.generator.say(&format!("{} {address} {events}", source.name()))?;
        let answer = self.generator.line()?;
        let cpu = middle.cpu()?.saturating_sub(before);
        let (bytes, seconds) = answer.split_once(' ').context("the generator answers bytes and seconds")?;
        self.next_hop.say("take")?;
        let (arrived, sent) = (self.next_hop.line()?, if source.has_sink() { bytes } else { "0" });
        ensure!(arrived == sent, "{sent} bytes were sent on, {arrived} arrived");
        Ok(Run {
            cpu_micros: cpu.as_secs_f64() * 1e6 / events as f64,
            events_per_second: events as f64 / seconds.parse::<f64>()?,
        })
    }
}

impl Row {
    /// The least of the runs.
    pub fn cpu_micros(&self) -> f64 {
        self.runs.iter().map(|run| run.cpu_micros).fold(f64::INFINITY, f64::min)
    }

    /// The most of the runs.
    pub fn events_per_second(&self) -> f64 {
        self.runs.iter().map(|run| run.events_per_second).fold(0.0, f64::max)
    }
}
