//! CPU of the whole pipeline, from socket to socket, against two other ways to stand in the same place.
//!
//! Four kinds of process: a generator, a next hop, and between them one of `passthrough` (tonic, raw bytes, no
//! inspection: the floor), `decode-encode` (tonic and prost, as most proxies are written) and `sidecar`. Only the CPU
//! of the process in the middle counts. Runs are interleaved, so that a slow minute of the machine meets all alike, and
//! the least of the repetitions is shown: noise only ever adds.
//!
//! `cargo bench --bench pipeline -- --events 1000000 --repeat 5 --json`

mod child;
mod events;
mod generator;
mod middle;
mod next_hop;
mod sidecar;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use child::Child;

/// The allocator that Hotlist ships with, for every process alike.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Debug, Parser)]
#[command(about = "CPU of the pipeline against a pass-through and against decode and encode")]
struct Options {
    /// Events in each measured run
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Distinct events that the generator keeps encoded and sends in turn
    #[arg(long, default_value_t = 100_000)]
    distinct: usize,
    /// Repetitions; the least CPU counts
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// Indicators that the sidecar loads
    #[arg(long, default_value_t = 1_000_000)]
    indicators: usize,
    /// Largest HTTP/2 frame that the generator sends; Fluent Bit and gRPC for Go send 16 KiB whatever is allowed
    #[arg(long, default_value_t = 16 << 10)]
    frame_bytes: usize,
    /// Only this process in the middle, for a profiler
    #[arg(long, value_enum)]
    only: Option<Role>,
    /// Few events, to see that it runs
    #[arg(long)]
    quick: bool,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
    /// What this process is; set by the benchmark itself
    #[arg(long, hide = true)]
    role: Option<Role>,
    /// Where the process in the middle sends to; set by the benchmark itself
    #[arg(long, hide = true, default_value = "")]
    to: String,
    /// The file with the indicators; set by the benchmark itself
    #[arg(long, hide = true)]
    indicator_file: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Generator,
    NextHop,
    Passthrough,
    DecodeEncode,
    Sidecar,
}

/// The processes that are compared, by the name they are shown under.
const COMPARED: [(Role, &str); 3] =
    [(Role::Passthrough, "passthrough"), (Role::DecodeEncode, "decode-encode"), (Role::Sidecar, "sidecar")];

fn main() -> Result<()> {
    let mut options = Options::parse();
    if options.quick {
        options.events = options.events.min(20_000);
        options.distinct = options.distinct.min(5_000);
        options.indicators = options.indicators.min(10_000);
        options.repeat = 1;
    }
    match options.role {
        None => compare(&options),
        Some(Role::Generator) => generator::run(options.distinct, options.frame_bytes),
        Some(Role::NextHop) => next_hop::run(),
        Some(Role::Passthrough) => middle::run(&options.to, middle::Work::Pass),
        Some(Role::DecodeEncode) => middle::run(&options.to, middle::Work::DecodeEncode),
        Some(Role::Sidecar) => {
            sidecar::run(&options.to, &options.indicator_file.context("a sidecar needs --indicator-file")?)
        }
    }
}

/// One run through one process in the middle.
struct Run {
    cpu_micros: f64,
    events_per_second: f64,
}

fn compare(options: &Options) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let indicators = directory.path().join("indicators.txt");
    events::write_indicators(&indicators, options.indicators)?;
    let mut next_hop = Child::start(&["--role", "next-hop"])?;
    let to = next_hop.line()?;
    let (distinct, frame) = (options.distinct.to_string(), options.frame_bytes.to_string());
    let mut generator = Child::start(&["--role", "generator", "--distinct", &distinct, "--frame-bytes", &frame])?;
    let bytes_per_event: f64 = generator.line()?.parse()?;
    let file = indicators.to_str().context("the temporary directory is not UTF-8")?;
    let mut compared = Vec::new();
    for (_, name) in COMPARED.into_iter().filter(|(role, _)| options.only.is_none_or(|only| only == *role)) {
        let mut child = Child::start(&["--role", name, "--to", &to, "--indicator-file", file])?;
        let address = child.line()?;
        compared.push((name, child, address, Vec::<Run>::new()));
    }
    // The first round warms caches, connections and the branch predictor, and is not counted.
    for round in 0..=options.repeat {
        for (_, child, address, runs) in &mut compared {
            let run = measure(options.events, child, address, &mut generator, &mut next_hop)?;
            if round > 0 {
                runs.push(run);
            }
        }
    }
    report(options, bytes_per_event, &compared.iter().map(|(name, .., runs)| (*name, runs)).collect::<Vec<_>>())
}

fn measure(events: u64, middle: &Child, address: &str, generator: &mut Child, next_hop: &mut Child) -> Result<Run> {
    let before = middle.cpu()?;
    generator.say(&format!("{address} {events}"))?;
    let answer = generator.line()?;
    let cpu = middle.cpu()?.saturating_sub(before);
    let (bytes, seconds) = answer.split_once(' ').context("the generator answers bytes and seconds")?;
    next_hop.say("take")?;
    let arrived = next_hop.line()?;
    ensure!(arrived == bytes, "{bytes} bytes were sent, {arrived} arrived");
    Ok(Run {
        cpu_micros: cpu.as_secs_f64() * 1e6 / events as f64,
        events_per_second: events as f64 / seconds.parse::<f64>()?,
    })
}

fn report(options: &Options, bytes_per_event: f64, compared: &[(&str, &Vec<Run>)]) -> Result<()> {
    let least = |runs: &[Run]| runs.iter().map(|run| run.cpu_micros).fold(f64::INFINITY, f64::min);
    let most = |runs: &[Run]| runs.iter().map(|run| run.events_per_second).fold(0.0, f64::max);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} events of {bytes_per_event:.0} bytes a run, {} distinct, batches of {}, {} runs each\n",
        options.events,
        options.distinct,
        events::BATCH,
        options.repeat
    )?;
    writeln!(out, "{:<16}{:>16}{:>16}", "", "µs CPU/event", "events/s")?;
    let mut raw = serde_json::Map::new();
    for (name, runs) in compared {
        writeln!(out, "{name:<16}{:>16.3}{:>16.0}", least(runs), most(runs))?;
        let all: Vec<f64> = runs.iter().map(|run| run.cpu_micros).collect();
        raw.insert(
            (*name).to_owned(),
            serde_json::json!({"cpu_us_per_event": least(runs), "events_per_second": most(runs), "runs": all}),
        );
    }
    let cost =
        |wanted: &str| compared.iter().find(|(name, _)| *name == wanted).map_or(f64::NAN, |(_, runs)| least(runs));
    let to_passthrough = cost("sidecar") / cost("passthrough");
    let to_decode = cost("sidecar") / cost("decode-encode");
    writeln!(out, "\nsidecar: {to_passthrough:.2} × passthrough, {to_decode:.2} × decode-encode")?;
    if options.json {
        let line = serde_json::json!({
            "ratio_to_passthrough": to_passthrough,
            "ratio_to_decode_encode": to_decode,
            "events": options.events,
            "distinct": options.distinct,
            "indicators": options.indicators,
            "bytes_per_event": bytes_per_event,
            "roles": raw,
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}
