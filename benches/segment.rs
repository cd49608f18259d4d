//! Segments at full size: what compiling, opening and looking up cost, and how large they are.
//!
//! `cargo bench --bench segment [-- --keys N] [--quick] [--json]`. First N generated domains (10 M by default),
//! then every set of `../shared/data/iocs/scale`, if that is there: each is compiled by the program itself, opened, and asked
//! for every one of its values and for as many that are not in it. `missed` counts values that are not found, which are lines
//! that the importer reads as something else or refuses; a value that is found though it is not there is an error.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hotlist::intel::keys::{IndicatorOptions, indicator_keys};
use hotlist::intel::segment::{Segment, SegmentFeed};
use hotlist::intel::snapshot::{Feed, MatchOptions, Snapshot, SnapshotBuilder};
use hotlist::intel::term;
use hotlist::observable::Kind;
use hotlist::schema::FieldTable;
use serde_json::{Value, json};

/// The sets of real indicators, and what they hold.
const SCALE: [(&str, Kind); 12] = [
    ("domain", Kind::Domain),
    ("ipv4", Kind::Ip),
    ("ipv6", Kind::Ip),
    ("cidr4", Kind::Ip),
    ("cidr6", Kind::Ip),
    ("url", Kind::Url),
    ("url_noscheme", Kind::Url),
    ("md5", Kind::Md5),
    ("sha1", Kind::Sha1),
    ("sha256", Kind::Sha256),
    ("sha512", Kind::Sha512),
    ("email", Kind::Email),
];

#[expect(clippy::print_stdout, reason = "a benchmark talks to the person at the terminal")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let quick = flag("--quick");
    let keys = match after("--keys") {
        Some(keys) => keys.parse().context("--keys: a number")?,
        None if quick => 50_000,
        None => 10_000_000,
    };
    let directory = tempfile::tempdir()?;
    println!("{}", HEAD);
    let mut rows = Vec::new();
    let list = directory.path().join("generated.txt");
    generate(&list, keys)?;
    let row = measure("generated", Kind::Domain, &list, directory.path())?;
    println!("{}", shown(&row));
    rows.push(row);
    let row = change(&list, directory.path(), keys)?;
    rows.push(row);
    let scale = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/iocs/scale");
    if !scale.is_dir() {
        println!("the sets of real indicators are skipped: {} is not there", scale.display());
    } else if !quick {
        for (name, kind) in SCALE {
            let row = measure(name, kind, &scale.join(format!("{name}.txt.gz")), directory.path())?;
            println!("{}", shown(&row));
            rows.push(row);
        }
    }
    if flag("--json") {
        println!("{}", json!({ "segment": rows }));
    }
    Ok(())
}

const HEAD: &str = "set                indicators   MB  B each  compile s  peak MB  open ms  snapshot ms  resident B each  hit ns  miss ns  missed";

fn shown(row: &Value) -> String {
    let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
    format!(
        "{:<18} {:>10} {:>4.0} {:>7.1} {:>10.2} {:>8.0} {:>8.0} {:>12.0} {:>16.2} {:>7.0} {:>8.0} {:>7}",
        row["set"].as_str().unwrap_or_default(),
        number("indicators"),
        number("bytes") / 1e6,
        number("bytes") / number("indicators"),
        number("compile_seconds"),
        number("peak_bytes") / 1e6,
        number("open_seconds") * 1e3,
        number("snapshot_seconds") * 1e3,
        number("resident_bytes") / number("indicators"),
        number("hit_nanoseconds"),
        number("miss_nanoseconds"),
        number("missed"),
    )
}

/// Domains as block lists have them: one to three random labels below a common suffix.
fn generate(path: &Path, keys: usize) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let suffixes = ["com", "net", "org", "info", "biz", "ru", "top", "xyz", "co.uk", "com.br"];
    let mut line = String::new();
    for number in 0..keys as u64 {
        let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995;
        line.clear();
        for label in 0..1 + number % 3 {
            random = (random ^ (random >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let _ = write!(
                line,
                "{}{:x}.",
                if label == 0 { "h" } else { "s" },
                random >> (64 - 20 - 12 * u32::from(label == 0))
            );
        }
        // The number keeps them apart.
        let _ = write!(line, "{number:x}.{}", suffixes[(random % 10) as usize]);
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

/// How long the program takes for a list, in seconds, and the most memory that it has, in bytes.
fn compile(list: &Path, kind: Kind, store: &Path) -> Result<(f64, u64)> {
    let start = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
    command.arg("compile").arg(list).args(["--kind", kind.as_str(), "--allow-generic", "--out"]).arg(store);
    let mut child = command.stdout(Stdio::null()).spawn()?;
    // What getrusage(2) says of a child counts this process in, as which it began.
    let peak_of = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let done = loop {
        peak = peak.max(memory(&peak_of, "VmHWM:").unwrap_or(0));
        match child.try_wait()? {
            Some(done) => break done,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    if !done.success() {
        bail!("compiling {} failed", list.display());
    }
    Ok((start.elapsed().as_secs_f64(), peak))
}

/// The segments of a store, from the oldest on.
fn segments(store: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(store.join("segments"))? {
        let entry = entry?;
        found.push((entry.metadata()?.modified()?, entry.path()));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn measure(name: &str, kind: Kind, list: &Path, directory: &Path) -> Result<Value> {
    let store = directory.join(format!("{name}.store"));
    let (compile_seconds, peak_bytes) = compile(list, kind, &store)?;
    let path = segments(&store)?.pop().context("a segment")?;
    let anonymous = resident_anonymous()?;
    let start = Instant::now();
    let segment = Segment::open(&path, None)?;
    let open_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let snapshot = snapshot(&segment)?;
    let snapshot_seconds = start.elapsed().as_secs_f64();
    let resident_bytes = resident_anonymous()?.saturating_sub(anonymous);
    let values = values(list, kind)?;
    let (hits, hit_nanoseconds) = ask(&snapshot, kind, &values)?;
    let known: HashSet<&str, foldhash::fast::RandomState> = values.iter().map(String::as_str).collect();
    let others: Vec<String> = values.iter().filter_map(|value| other(value, kind)).collect();
    let others: Vec<String> = others.into_iter().filter(|other| !known.contains(other.as_str())).collect();
    let (found, miss_nanoseconds) = ask(&snapshot, kind, &others)?;
    if found > 0 {
        bail!("{name}: {found} values are found that are not in it");
    }
    Ok(json!({
        "set": name,
        "indicators": segment.len(),
        "bytes": segment.as_bytes().len(),
        "compile_seconds": compile_seconds,
        "peak_bytes": peak_bytes,
        "open_seconds": open_seconds,
        "snapshot_seconds": snapshot_seconds,
        "resident_bytes": resident_bytes,
        "missed": values.len() - hits,
        "hit_nanoseconds": hit_nanoseconds,
        "miss_nanoseconds": miss_nanoseconds,
    }))
}

/// Ten thousand lines more, and a thousand fewer.
#[expect(clippy::print_stdout, reason = "a benchmark talks to the person at the terminal")]
fn change(list: &Path, directory: &Path, keys: usize) -> Result<Value> {
    let lines: Vec<String> = BufReader::new(File::open(list)?).lines().collect::<Result<_, _>>()?;
    let mut out = BufWriter::new(File::create(list)?);
    for line in lines.iter().skip(1000) {
        writeln!(out, "{line}")?;
    }
    for number in 0..10_000 {
        writeln!(out, "new{number}.example.com")?;
    }
    out.flush()?;
    let store = directory.join("generated.store");
    let (seconds, peak) = compile(list, Kind::Domain, &store)?;
    let bytes = std::fs::metadata(segments(&store)?.pop().context("a segment")?)?.len();
    println!(
        "a change of 11,000 lines in {keys}: {bytes} bytes, compiled in {seconds:.2} s, peak {:.0} MB",
        peak as f64 / 1e6
    );
    Ok(json!({ "set": "change", "bytes": bytes, "compile_seconds": seconds, "peak_bytes": peak }))
}

fn snapshot(segment: &Arc<Segment>) -> Result<Snapshot> {
    let table = Arc::new(FieldTable::embedded(true)?);
    let mut builder = SnapshotBuilder::new(table, MatchOptions::default(), 7);
    builder.add_segment(Arc::clone(segment), |feed: &SegmentFeed| Feed::named(&feed.name))?;
    Ok(builder.build("1"))
}

/// The lines of a list that are values, in an order that has nothing to do with theirs.
fn values(list: &Path, kind: Kind) -> Result<Vec<String>> {
    let file = File::open(list)?;
    let reader: Box<dyn BufRead> = match list.extension().is_some_and(|ending| ending == "gz") {
        true => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file))),
        false => Box::new(BufReader::new(file)),
    };
    let lines: Vec<String> = reader.lines().collect::<Result<_, _>>()?;
    let mut values: Vec<String> = lines.into_iter().filter(|line| term::value(kind, line).is_some()).collect();
    values
        .sort_by_cached_key(|value| std::hash::BuildHasher::hash_one(&foldhash::fast::FixedState::with_seed(3), value));
    Ok(values)
}

/// A value like this one that is another.
fn other(value: &str, kind: Kind) -> Option<String> {
    let other = match kind {
        Kind::Ip => return None,
        Kind::Domain | Kind::Email => format!("{value}x"),
        Kind::Url => format!("{value}/x"),
        _ => value.chars().rev().collect(),
    };
    term::value(kind, &other).map(|value| value.to_string())
}

/// How many values are found, and how long one takes: from the exact sets alone, as behind the prefilter.
fn ask(snapshot: &Snapshot, kind: Kind, values: &[String]) -> Result<(usize, f64)> {
    let mut keys = Vec::with_capacity(values.len());
    for value in values {
        let value = term::value(kind, value).context("a value")?;
        indicator_keys(&value, IndicatorOptions::default(), |table, key| keys.push((table, key.to_vec())));
    }
    if keys.is_empty() {
        return Ok((0, f64::NAN));
    }
    let start = Instant::now();
    let mut found = 0;
    for (table, key) in &keys {
        let mut is_there = false;
        snapshot.find(*table, black_box(key), |_| is_there = true);
        found += usize::from(is_there);
    }
    Ok((found, start.elapsed().as_nanos() as f64 / keys.len() as f64))
}

/// Memory of this process that is no file's, in bytes.
fn resident_anonymous() -> Result<u64> {
    memory("/proc/self/status", "RssAnon:")
}

/// A line of a process's status (proc(5)), in bytes.
fn memory(status: &str, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(status)?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}
