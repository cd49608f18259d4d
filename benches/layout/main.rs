//! How exact sets could lie in a segment file: what each candidate costs to build, hold, check and ask.
//!
//! `cargo bench --bench layout [-- --keys 10000000] [--only buckets-8,fronts] [--sets domain,generated] [--json]
//! [--quick]`. The keys are those of `../shared/data/iocs/scale`, where that directory is, and generated domains. Each
//! candidate makes one buffer, as a file would be mapped, and answers from it; answers are checked. All times are CPU
//! of one thread; of look-ups the best of three passes counts. Docs: `docs/adr/0013-segment-layout.md`.

mod buckets;
mod fronts;
mod keys;
mod layout;
mod slots;
mod sorted;

use std::hint::black_box;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::time::TimeValLike;
use nix::time::ClockId;

use buckets::Buckets;
use fronts::Fronts;
use keys::Keys;
use layout::{Layout, View as _, hasher};
use slots::Slots;
use sorted::Sorted;

/// Where the sample indicators are, if they are.
const SAMPLES: &str = "../shared/data/iocs/scale";

#[derive(Debug, Parser)]
#[command(about = "What layouts of exact sets cost in bytes, build, check and look-ups")]
struct Options {
    /// Generated domains
    #[arg(long, default_value_t = 10_000_000)]
    keys: usize,
    /// Only these candidates
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these sets: `generated`, or a sample's name, e.g. `domain`
    #[arg(long, value_delimiter = ',')]
    sets: Vec<String>,
    /// 100,000 generated domains alone, to see that it runs
    #[arg(long)]
    quick: bool,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// One candidate with one set of keys.
struct Row {
    candidate: &'static str,
    bytes: f64,
    build: f64,
    peak: f64,
    open: f64,
    walk: f64,
    hit: f64,
    miss: f64,
}

#[expect(clippy::print_stdout, reason = "a benchmark talks to the person at the terminal")]
fn main() -> Result<()> {
    let options = Options::parse();
    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|known| known == name);
    println!(
        "{:<13} {:>9} {:<11} {:>7} {:>8} {:>7} {:>8} {:>8} {:>7} {:>7}",
        "set", "keys", "candidate", "B/key", "build s", "peak B", "open ms", "walk ms", "hit ns", "miss ns"
    );
    let mut json = Vec::new();
    let mut show = |keys: &Keys| -> Result<()> {
        let (hits, misses) = keys::probes(keys, if options.quick { 1 << 16 } else { 1 << 20 });
        let mut rows = Vec::new();
        let mut add = |candidate: &'static str, measure: fn(&Keys, &Keys, &Keys) -> Result<Row>| -> Result<()> {
            if wanted(&options.only, candidate) {
                let row = measure(keys, &hits, &misses).with_context(|| format!("{candidate} of {}", keys.name))?;
                rows.push(Row { candidate, ..row });
            }
            Ok(())
        };
        add("buckets-2", measure::<Buckets<'_, 2>>)?;
        add("buckets-4", measure::<Buckets<'_, 4>>)?;
        add("buckets-8", measure::<Buckets<8>>)?;
        add("buckets-16", measure::<Buckets<16>>)?;
        add("fronts", measure::<Fronts>)?;
        add("slots", measure::<Slots>)?;
        if keys.width.is_some() {
            add("sorted", measure::<Sorted>)?;
        }
        for row in rows {
            println!(
                "{:<13} {:>9} {:<11} {:>7.2} {:>8.2} {:>7.1} {:>8.1} {:>8.1} {:>7.1} {:>7.1}",
                keys.name,
                keys.len(),
                row.candidate,
                row.bytes,
                row.build,
                row.peak,
                row.open,
                row.walk,
                row.hit,
                row.miss
            );
            json.push(serde_json::json!({
                "set": keys.name, "keys": keys.len(), "key_bytes": keys.bytes() as f64 / keys.len() as f64,
                "candidate": row.candidate, "bytes_per_key": row.bytes, "build_s": row.build,
                "build_peak_bytes_per_key": row.peak, "open_ms": row.open, "walk_ms": row.walk,
                "hit_ns": row.hit, "miss_ns": row.miss,
            }));
        }
        Ok(())
    };
    if !options.quick {
        let mut files: Vec<_> = match std::fs::read_dir(Path::new(SAMPLES)) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
            Err(error) => {
                println!("no sample indicators: {SAMPLES}: {error}; only generated domains");
                Vec::new()
            }
        };
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "gz")) {
            let keys = keys::file(file).with_context(|| file.display().to_string())?;
            if wanted(&options.sets, &keys.name) {
                show(&keys)?;
            }
        }
    }
    if wanted(&options.sets, "generated") {
        show(&keys::generated(if options.quick { 100_000 } else { options.keys }))?;
    }
    if options.json {
        println!("{}", serde_json::json!({ "layout": json }));
    }
    Ok(())
}

fn measure<L: Layout>(keys: &Keys, hits: &Keys, misses: &Keys) -> Result<Row> {
    let before = resident()?;
    // Resets the high-water mark of memory on Linux; elsewhere the peak is that of the whole run.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let start = cpu()?;
    let buffer = L::build(keys);
    let build = (cpu()? - start) / 1e9;
    let peak = status("VmHWM:")?.saturating_sub(before) as f64;
    let start = cpu()?;
    let layout = L::open(&buffer, keys.space()).context("the check refuses the buffer")?;
    let open = (cpu()? - start) / 1e6;
    let (hasher, mut sum, mut walked) = (hasher(), 0u64, 0);
    let start = cpu()?;
    layout
        .each(|key, _| {
            sum = sum.wrapping_add(hasher.hash(keys.space(), key));
            walked += 1;
        })
        .context("the walk fails")?;
    let walk = (cpu()? - start) / 1e6;
    let expected = keys.iter().fold(0u64, |sum, key| sum.wrapping_add(hasher.hash(keys.space(), key)));
    ensure!(walked == keys.len() && sum == expected, "the walk sees other keys");
    for number in (0..keys.len()).step_by(1 + keys.len() / 1000) {
        ensure!(layout.get(keys.key(number)) == Some(number as u32), "key {number} has another payload");
    }
    let (mut hit, mut miss) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..3 {
        hit = hit.min(look_up(hits, true, |key| layout.get(key))?);
        miss = miss.min(look_up(misses, false, |key| layout.get(key))?);
    }
    let count = keys.len() as f64;
    Ok(Row { candidate: "", bytes: buffer.len() as f64 / count, build, peak: peak / count, open, walk, hit, miss })
}

/// Nanoseconds of CPU a look-up; every answer must be of the expected kind.
fn look_up(probes: &Keys, expected: bool, get: impl Fn(&[u8]) -> Option<u32>) -> Result<f64> {
    let start = cpu()?;
    let found = probes.iter().filter(|probe| black_box(get(black_box(probe))).is_some()).count();
    let spent = cpu()? - start;
    ensure!(found == if expected { probes.len() } else { 0 }, "{found} of {} probes are found", probes.len());
    Ok(spent / probes.len() as f64)
}

/// Nanoseconds of CPU that this thread has used.
fn cpu() -> Result<f64> {
    Ok(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.num_nanoseconds() as f64)
}

fn resident() -> Result<u64> {
    status("VmRSS:")
}

/// Bytes that the kernel says.
fn status(name: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such line in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}
