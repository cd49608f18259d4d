//! Two programs against each other: the `hotlist` of this build and an older one, in pairs.
//!
//! Both run as they are deployed, `hotlist run` with a configuration of their own, side by side. The events of a pair go
//! through one and then through the other, and the next pair begins with the other, so that whatever slows the machine
//! down meets both alike. What counts is the ratio of each pair.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::Options;
use crate::child::Process;
use crate::compare::Ends;
use crate::source::{NextHop, Source, configuration};

/// Fewer pairs say nothing.
pub const MIN_PAIRS: usize = 20;
/// How long a program may take to load its indicators and listen.
const START: Duration = Duration::from_secs(120);

/// The measurements through one source.
pub struct Comparison {
    pub source: Source,
    /// CPU of an event in microseconds: the program that was given, and the one of this build.
    pub pairs: Vec<(f64, f64)>,
}

/// The ratio of new to old over all pairs.
pub struct Ratio {
    pub mean: f64,
    /// In which it lies with 95 % confidence.
    pub from: f64,
    pub to: f64,
}

/// A program that serves, and the addresses of its sources.
struct Program {
    process: Process,
    addresses: Vec<String>,
}

pub fn run(options: &Options, old: &Path) -> Result<Vec<Comparison>> {
    let pairs = if options.quick { 2 } else { options.pairs };
    ensure!(options.quick || pairs >= MIN_PAIRS, "--pairs {pairs}: fewer than {MIN_PAIRS} say nothing");
    let directory = tempfile::tempdir()?;
    let (mut ends, next_hop, _) = Ends::start(options)?;
    let indicators = directory.path().join("indicators.txt");
    crate::events::write_indicators(&indicators, options.indicators)?;
    let start = |name: &str, binary: &Path| {
        let config = directory.path().join(format!("{name}.yaml"));
        Program::start(binary, &config, &options.sources, &next_hop, &indicators)
    };
    let new = start("new", &PathBuf::from(env!("CARGO_BIN_EXE_hotlist")))?;
    let old = start("old", old)?;
    let mut compared = Vec::new();
    for (place, source) in options.sources.iter().enumerate() {
        let mut cpu = |program: &Program| -> Result<f64> {
            Ok(ends.measure(options.events, &program.process, *source, &program.addresses[place])?.cpu_micros)
        };
        // The first pair warms caches, connections and the branch predictor, and is not counted.
        let mut measured = Vec::new();
        for number in 0..=pairs {
            let pair = if number % 2 == 0 {
                let first = cpu(&old)?;
                (first, cpu(&new)?)
            } else {
                let first = cpu(&new)?;
                (cpu(&old)?, first)
            };
            if number > 0 {
                measured.push(pair);
            }
        }
        compared.push(Comparison { source: *source, pairs: measured });
    }
    Ok(compared)
}

/// Shows the ratios.
///
/// # Errors
/// The program of this build is slower through one of the sources.
#[expect(clippy::print_stdout, reason = "a bench reports on standard output")]
pub fn report(options: &Options, compared: &[Comparison]) -> Result<()> {
    println!(
        "{:<12}{:>8}{:>14}{:>14}{:>10}  95 % confidence",
        "source", "pairs", "old µs/event", "new µs/event", "ratio"
    );
    let mut slower = Vec::new();
    let mut lines = Vec::new();
    for comparison in compared {
        let name = comparison.source.name();
        let (old, new): (Vec<f64>, Vec<f64>) = comparison.pairs.iter().copied().unzip();
        let (old, new, ratio) = (median(old), median(new), comparison.ratio());
        let Ratio { mean, from, to } = ratio;
        println!("{name:<12}{:>8}{old:>14.3}{new:>14.3}{mean:>10.3}  {from:.3} to {to:.3}", comparison.pairs.len());
        lines.push(json!({ "source": name, "pairs": comparison.pairs, "ratio": mean, "from": from, "to": to }));
        if from > 1.0 {
            slower.push(name);
        }
    }
    if options.json {
        println!("{}", serde_json::Value::from(lines));
    }
    ensure!(options.quick || slower.is_empty(), "this build is slower than the other through {}", slower.join(", "));
    Ok(())
}

impl Comparison {
    /// The geometric mean of the ratios, and its interval by Student's distribution of their logarithms.
    fn ratio(&self) -> Ratio {
        let logs: Vec<f64> = self.pairs.iter().map(|(old, new)| (new / old).ln()).collect();
        let count = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / count;
        let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
        // The quantile for 95 % on both sides: within 0.5 % of the tables from 19 degrees of freedom on.
        let quantile = 1.96 + 2.4 / (count - 1.0);
        let half = quantile * (variance / count).sqrt();
        Ratio { mean: mean.exp(), from: (mean - half).exp(), to: (mean + half).exp() }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Program {
    fn start(
        binary: &Path,
        config: &Path,
        sources: &[Source],
        next_hop: &NextHop,
        indicators: &Path,
    ) -> Result<Program> {
        // All are bound at once, so that they differ; who else takes one before the program does makes it end.
        let free = |_| TcpListener::bind(("127.0.0.1", 0));
        let listeners = (0..=sources.len()).map(free).collect::<Result<Vec<_>, _>>()?;
        let local = |listener: &TcpListener| Ok(listener.local_addr()?.to_string());
        let mut addresses = listeners.iter().map(local).collect::<Result<Vec<_>>>()?;
        drop(listeners);
        let admin = addresses.pop().context("there is an address for the admin server")?;
        let mut document = configuration(sources, next_hop, &addresses);
        document.insert("admin".to_owned(), json!({ "address": admin }));
        document.insert("intel".to_owned(), json!({ "files": [indicators] }));
        // JSON is YAML.
        std::fs::write(config, serde_json::to_string(&document)?)?;
        let log = std::fs::File::create(config.with_extension("log"))?;
        let mut command = Command::new(binary);
        command.arg("run").arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = Process::start(&mut command).with_context(|| format!("{} cannot be run", binary.display()))?;
        let mut program = Program { process, addresses };
        let until = Instant::now() + START;
        while !program.addresses.iter().all(|address| TcpStream::connect(address).is_ok()) {
            let log = || std::fs::read_to_string(config.with_extension("log")).unwrap_or_default();
            ensure!(program.process.is_running()?, "{} ended: {}", binary.display(), log());
            ensure!(Instant::now() < until, "{} does not listen: {}", binary.display(), log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(program)
    }
}
