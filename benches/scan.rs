//! `hotlist scan --text` on text files against a million indicators, compared with `grep -F -w -f` and `rg -F -w -f`.
//!
//! `cargo bench --bench scan [-- --megabytes N] [--quick] [--json]`. The text is lines of syslog and of access logs, of about
//! 300 bytes; one of ten thousand has a value that is listed, and a scan that finds more or fewer is an error. The program
//! reads all of it (1 GB), on all processors and on one; `grep` and `rg` read a sample, since they take so much longer. Time is
//! that of the clock, with the loading of the indicators; the latter is also measured alone. The tools of comparison have
//! another rule for words (a `-` ends one), so that only their time is compared. One that is not installed is left out.
//! `one core` runs under `taskset`, which is part of util-linux.

mod lines;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use lines::{line, mixed};

/// One line of so many has a listed value.
const LISTED: usize = 10_000;

struct Inputs {
    indicators: PathBuf,
    /// A tenth of them.
    part: PathBuf,
    text: PathBuf,
    text_bytes: u64,
    planted: u64,
    sample: PathBuf,
    sample_bytes: u64,
    empty: PathBuf,
}

#[expect(clippy::print_stdout, reason = "a benchmark talks to the person at the terminal")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let quick = flag("--quick");
    let megabytes: u64 = match after("--megabytes") {
        Some(number) => number.parse().context("--megabytes: a number")?,
        None if quick => 5,
        None => 1000,
    };
    let (count, sample) = if quick { (10_000, 1) } else { (1_000_000, 20) };
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let inputs = inputs(directory.path(), count, megabytes * 1_000_000, sample * 1_000_000)?;
    println!("{count} indicators, {} MB of text, sample of {} MB", inputs.text_bytes / 1_000_000, sample);

    let (load, _) = scan(&inputs, &inputs.empty, false)?;
    println!("load the indicators    {load:>8.2} s");
    let mut rows = Vec::new();
    let mut speeds = Vec::new();
    for is_one_core in [false, true] {
        let (seconds, hits) = scan(&inputs, &inputs.text, is_one_core)?;
        ensure!(hits == inputs.planted, "{hits} hits, {} listed values are in the text", inputs.planted);
        let name = if is_one_core { "hotlist, one core" } else { "hotlist" };
        let (speed, alone) =
            (inputs.text_bytes as f64 / seconds / 1e6, inputs.text_bytes as f64 / (seconds - load) / 1e6);
        println!("{name:<22} {seconds:>8.2} s {speed:>8.1} MB/s, {alone:.0} without the loading");
        rows.push(json!({ "name": name, "seconds": seconds, "mb_s": speed, "mb_s_without_loading": alone }));
        speeds.push(speed);
    }
    for (name, tool, options, is_part) in TOOLS {
        let list = if is_part { &inputs.part } else { &inputs.indicators };
        let Some(seconds) = search(tool, options, list, &inputs.sample)? else {
            println!("{name:<22} is not installed");
            continue;
        };
        let speed = inputs.sample_bytes as f64 / seconds / 1e6;
        let ratio = speeds.first().copied().unwrap_or(f64::NAN) / speed;
        let part = if is_part { " with a tenth of the indicators" } else { "" };
        println!("{name:<22} {seconds:>8.2} s {speed:>8.1} MB/s{part}, hotlist {ratio:.0} times as fast");
        rows.push(json!({ "name": name, "part": is_part, "seconds": seconds, "mb_s": speed, "ratio": ratio }));
    }
    if flag("--json") {
        println!("{}", json!({ "scan": { "indicators": count, "load_seconds": load, "rows": rows } }));
    }
    Ok(())
}

/// Seconds that the program takes for a file, and its hits.
fn scan(inputs: &Inputs, text: &Path, is_one_core: bool) -> Result<(f64, u64)> {
    let program = env!("CARGO_BIN_EXE_hotlist");
    let mut command = Command::new(if is_one_core { "taskset" } else { program });
    if is_one_core {
        command.args(["--cpu-list", "0", program]);
    }
    command.args(["scan", "--text", "--json", "--subdomains", "--indicators"]).arg(&inputs.indicators);
    command.arg("--events").arg(text).stdout(Stdio::null());
    if is_one_core {
        command.args(["--threads", "1"]);
    }
    let begun = Instant::now();
    let output = command.stderr(Stdio::piped()).output()?;
    let seconds = begun.elapsed().as_secs_f64();
    let errors = String::from_utf8_lossy(&output.stderr);
    let summary = errors.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let hits = summary.as_ref().and_then(|summary| summary["hits"].as_u64());
    match hits {
        Some(hits) if output.status.success() => Ok((seconds, hits)),
        _ => bail!("hotlist scan: {}: {errors}", output.status),
    }
}

/// The tools of comparison: name, program, options, and whether it gets a tenth of the indicators only. With `-w` and a
/// million values `rg` was not ready to search within five minutes.
const TOOLS: [(&str, &str, &[&str], bool); 3] = [
    ("grep -F -w", "grep", &["-F", "-w"], false),
    ("rg -F -w", "rg", &["-F", "-w", "--regex-size-limit", "20G", "--dfa-size-limit", "2G"], true),
    ("rg -F", "rg", &["-F", "--regex-size-limit", "20G", "--dfa-size-limit", "2G"], false),
];

/// Seconds that a tool takes for the sample; `None` if it is not installed.
fn search(tool: &str, options: &[&str], indicators: &Path, sample: &Path) -> Result<Option<f64>> {
    let mut command = Command::new(tool);
    command.args(options).arg("-f").arg(indicators).arg(sample);
    command.env("LC_ALL", "C").stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    match command.status() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        // 1 says that nothing was found.
        Ok(status) if status.code().is_some_and(|code| code < 2) => Ok(Some(begun.elapsed().as_secs_f64())),
        Ok(status) => bail!("{tool}: {status}"),
        Err(error) => Err(error.into()),
    }
}

fn inputs(directory: &Path, count: usize, bytes: u64, sample: u64) -> Result<Inputs> {
    let path = |name: &str| directory.join(name);
    let mut indicators = BufWriter::new(File::create(path("indicators.txt"))?);
    let mut part = BufWriter::new(File::create(path("part.txt"))?);
    for at in 0..count {
        let value = indicator(at);
        writeln!(indicators, "{value}")?;
        if at < count / 10 {
            writeln!(part, "{value}")?;
        }
    }
    indicators.flush()?;
    part.flush()?;
    File::create(path("empty.log"))?;
    let (mut text, mut head) =
        (BufWriter::new(File::create(path("text.log"))?), BufWriter::new(File::create(path("sample.log"))?));
    let (mut written, mut sampled, mut planted) = (0, 0, 0);
    for at in 0.. {
        if written >= bytes {
            break;
        }
        let mut text_line = line(at);
        if at % LISTED == LISTED / 2 {
            planted += 1;
            let _ = write!(text_line, " sent to {}", indicator(mixed(at) % count));
        }
        text_line.push('\n');
        text.write_all(text_line.as_bytes())?;
        written += text_line.len() as u64;
        if sampled < sample {
            head.write_all(text_line.as_bytes())?;
            sampled += text_line.len() as u64;
        }
    }
    text.flush()?;
    head.flush()?;
    Ok(Inputs {
        indicators: path("indicators.txt"),
        part: path("part.txt"),
        text: path("text.log"),
        text_bytes: written,
        planted,
        sample: path("sample.log"),
        sample_bytes: sampled,
        empty: path("empty.log"),
    })
}

/// A listed value: an address, a name or a hash, none of which is in a line by chance.
fn indicator(at: usize) -> String {
    let number = mixed(at);
    match at % 10 {
        0..=3 => format!("2001:db8:{:x}::{:x}:{:x}", number % 0xffff, at >> 16, at & 0xffff),
        4..=7 => format!("{number:x}.host{}.example", at % 977),
        _ => format!("{number:064x}"),
    }
}
