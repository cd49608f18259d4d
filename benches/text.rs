//! The cost of scanning texts: `match.text: all`, compared with `off`, on lines of syslog and of access logs of about
//! 300 bytes, against a million indicators of which none is in a line.
//!
//! `cargo bench --bench text [-- --json] [-- --quick]`. Time is that of the processor; each figure is the least of several
//! passes of one run, interleaved.

mod lines;

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use hotlist::detect::{Budgets, Detector};
use hotlist::encoding::{Format, Tagging, otlp};
use hotlist::intel::indicator::{Context, Indicator, Target, Term};
use hotlist::intel::snapshot::{Feed, MatchOptions, SnapshotBuilder};
use hotlist::intel::term;
use hotlist::matcher::Matcher;
use hotlist::observable::Kind;
use hotlist::schema::FieldTable;
use hotlist::text::tokens;
use hotlist::work::Work;
use jiff::Timestamp;
use nix::sys::time::TimeValLike;
use nix::time::ClockId;
use serde_json::Value;

use lines::{line, mixed};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Lines of a batch.
const BATCH: usize = 500;

#[expect(clippy::print_stdout, reason = "a benchmark talks to the person at the terminal")]
fn main() -> Outcome<()> {
    let flag = |name: &str| std::env::args().any(|argument| argument == name);
    let (indicators, count, passes) = if flag("--quick") { (10_000, 2_000, 2) } else { (1_000_000, 50_000, 9) };
    let lines: Vec<String> = (0..count).map(line).collect();
    let bytes = lines.iter().map(String::len).sum::<usize>() as f64;
    let (off, all) = detectors(indicators)?;
    let batches = lines.chunks(BATCH).map(batch).collect::<Vec<_>>();

    let (mut found, mut hits) = (0, 0);
    let mut best = [f64::INFINITY; 4];
    for _ in 0..passes {
        let mut measure = |at: usize, run: &mut dyn FnMut() -> Outcome<()>| -> Outcome<()> {
            let begun = now()?;
            run()?;
            best[at] = best[at].min((now()? - begun) as f64);
            Ok(())
        };
        found = 0;
        measure(0, &mut || {
            lines.iter().for_each(|line| {
                let _ = tokens(line.as_bytes(), &mut |token| {
                    black_box(token);
                    found += 1;
                });
            });
            Ok(())
        })?;
        measure(1, &mut || {
            let mut matcher = Matcher::new(&all.snapshot);
            for line in &lines {
                hits += all.text(line.as_bytes(), &mut matcher, Timestamp::UNIX_EPOCH).hits.len();
            }
            Ok(())
        })?;
        for (at, detector) in [(2, &off), (3, &all)] {
            measure(at, &mut || {
                for batch in &batches {
                    let done = detector.batch(Format::Otlp, batch.clone(), Timestamp::UNIX_EPOCH, &Work::default())?;
                    hits += done.0.hits.len();
                }
                Ok(())
            })?;
        }
    }
    if hits > 0 {
        return Err(format!("{hits} hits in lines without a listed value").into());
    }
    let [tokens, matched, off, all] = best;
    let (lines, tokens_a_line) = (count as f64, found as f64 / count as f64);
    let speed = |nanoseconds: f64| bytes / nanoseconds * 1000.0;
    println!("{indicators} indicators, {count} lines of {:.0} bytes with {tokens_a_line:.1} tokens", bytes / lines);
    println!("tokens found          {:>8.0} MB/s a core", speed(tokens));
    println!("lines matched         {:>8.0} MB/s a core, {:>6.0} ns a line", speed(matched), matched / lines);
    println!("OTLP, text: off       {:>8.0} ns an event", off / lines);
    println!("OTLP, text: all       {:>8.0} ns an event, {:.0} more", all / lines, (all - off) / lines);
    if flag("--json") {
        println!(
            "{}",
            serde_json::json!({ "text": {
                "indicators": indicators, "bytes_a_line": bytes / lines, "tokens_a_line": tokens_a_line,
                "tokens_mb_s": speed(tokens), "lines_mb_s": speed(matched),
                "off_ns": off / lines, "all_ns": all / lines, "more_ns": (all - off) / lines,
            } })
        );
    }
    Ok(())
}

/// Nanoseconds of processor time of this thread.
fn now() -> Outcome<i64> {
    Ok(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.num_nanoseconds())
}

/// An OTLP request whose records have the lines as bodies.
fn batch(lines: &[String]) -> Bytes {
    let bodies: Vec<Value> = lines.iter().map(|line| Value::String(line.clone())).collect();
    otlp::request_of(bodies.iter().map(|body| (1_715_678_497_482_000_000, body))).into()
}

/// The detectors with `match.text` `off` and `all`, of the same indicators: addresses, names, URLs and hashes.
fn detectors(count: usize) -> Outcome<(Detector, Detector)> {
    let context = Arc::new(Context::default());
    let mut indicators = Vec::with_capacity(count);
    for at in 0..count {
        let number = mixed(at);
        let (kind, value) = match at % 10 {
            0..=3 => (Kind::Ip, format!("2001:db8:{:x}::{:x}:{:x}", number % 0xffff, at >> 16, at & 0xffff)),
            4..=6 => (Kind::Domain, format!("{number:x}.host{}.example", at % 977)),
            7..=8 => (Kind::Sha256, format!("{number:064x}")),
            _ => (Kind::Url, format!("http://{number:x}.host{}.example/{at}", at % 977)),
        };
        let value = term::value(kind, &value).ok_or_else(|| format!("`{value}` is not of kind {kind}"))?;
        indicators.push(Indicator {
            id: None,
            terms: vec![Term { value, target: Target::Kind }],
            program: None,
            context: Arc::clone(&context),
            valid_from: None,
            valid_until: None,
            revoked: false,
            port: None,
            line: u32::try_from(at)?,
        });
    }
    let table = Arc::new(FieldTable::shipped()?);
    let detector = |text: bool, indicators: Vec<Indicator>| -> Outcome<Detector> {
        let options = MatchOptions { subdomains: true, url_hosts: true, text, ..MatchOptions::EXACT };
        let mut builder = SnapshotBuilder::new(Arc::clone(&table), options, 11);
        builder.add_feed(Feed::named("bench"), indicators)?;
        let snapshot = Arc::new(builder.build("bench"));
        Ok(Detector { snapshot, policy: None, tagging: Tagging::default(), budgets: Budgets::default() })
    };
    Ok((detector(false, indicators.clone())?, detector(true, indicators)?))
}
