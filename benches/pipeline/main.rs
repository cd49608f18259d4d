//! CPU of the whole pipeline, from socket to socket, against other ways to stand in the same place.
//!
//! Kinds of process: a generator, a next hop, and between them one of `passthrough` (tonic, raw bytes, no inspection:
//! the floor), `decode-encode` (tonic and prost, as most proxies are written), `sidecar`, and `own-passthrough`, which
//! is a sidecar without indicators: the floor of each of its sources; `sidecar-ecs` has the schemas of ECS alone. Only the CPU of the process in the middle counts.
//! Runs are interleaved, so that a slow minute of the machine meets all alike, and the least of the repetitions is
//! shown: noise only ever adds.
//!
//! `cargo bench --bench pipeline -- --events 1000000 --repeat 5 --json`
//!
//! With `--against BINARY` the `hotlist` of this build is compared with an older one instead, in pairs:
//! `cargo bench --bench pipeline -- --against BINARY --pairs 20`

mod against;
mod child;
mod compare;
mod events;
mod filter;
mod generator;
mod grpc;
mod http1;
mod middle;
mod next_hop;
mod report;
mod sidecar;
mod source;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use source::{NextHop, Source};

/// The allocator that Hotlist ships with, for every process alike.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Debug, Parser)]
#[command(
    about = "CPU of the pipeline against a pass-through and against decode and encode, and of each source against \
                   its own pass-through"
)]
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
    /// The sources that are measured; without `otlp` nothing is compared with tonic
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Source::value_variants().iter().copied())]
    sources: Vec<Source>,
    /// Only this process in the middle, for a profiler
    #[arg(long, value_enum)]
    only: Option<Role>,
    /// An older `hotlist`: compares the one of this build with it, and fails when that one is slower
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// Pairs of runs of such a comparison, at least 20
    #[arg(long, default_value_t = against::MIN_PAIRS, requires = "against")]
    pairs: usize,
    /// Few events, to see that it runs
    #[arg(long)]
    quick: bool,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
    /// The role of this process; set by the benchmark itself
    #[arg(long, hide = true)]
    role: Option<Role>,
    #[command(flatten)]
    next_hop: NextHop,
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
    OwnPassthrough,
    /// A sidecar with the schemas of ECS alone.
    SidecarEcs,
    Sidecar,
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    if options.quick {
        options.events = options.events.min(20_000);
        options.distinct = options.distinct.min(5_000);
        options.indicators = options.indicators.min(10_000);
        options.repeat = 1;
    }
    let Options { sources, next_hop, .. } = &options;
    match options.role {
        None if options.against.is_some() => {
            let old = options.against.as_deref().context("there is a program to compare with")?;
            against::report(&options, &against::run(&options, old)?)
        }
        None => report::write(&options, &compare::run(&options)?),
        Some(Role::Generator) => generator::run(sources, options.distinct, options.frame_bytes),
        Some(Role::NextHop) => next_hop::run(),
        Some(Role::Passthrough) => middle::run(&next_hop.to, middle::Work::Pass),
        Some(Role::DecodeEncode) => middle::run(&next_hop.to, middle::Work::DecodeEncode),
        Some(Role::OwnPassthrough) => sidecar::run(sources, next_hop, None, false),
        Some(role @ (Role::Sidecar | Role::SidecarEcs)) => {
            let file = options.indicator_file.as_deref().context("a sidecar needs --indicator-file")?;
            sidecar::run(sources, next_hop, Some(file), role == Role::SidecarEcs)
        }
    }
}
