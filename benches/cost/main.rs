//! The cost gate: no input costs more than a stated factor of a normal one, and cost grows no faster than the input.
//!
//! `cargo bench --bench cost [-- WORDS…]` runs every case of `cases.rs`, or those whose name has one of the words. CPU is
//! counted in instructions under valgrind's callgrind, since time on a shared machine says little; memory is counted by
//! an allocator, in this process. Exits with 1 and names each case beyond its bound.

mod cases;
mod encode;
#[expect(unsafe_code, reason = "an allocator is written with it; this one hands every call to the system's")]
mod heap;
mod layouts;
mod values;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use cases::{Bound, Case};
use work::{Sink, Workshop};

/// Bytes of the small input of a case. The large one has [`GROWTH`] times as many.
const SMALL: usize = 8 << 10;
const GROWTH: usize = 4;
/// How much the cost may grow when the input grows [`GROWTH`] times.
const MAX_GROWTH: f64 = 4.5;
/// The published bounds (`docs/threat-model.md`), as factors of a normal input of as many bytes: of its CPU, and of the
/// bytes of the input.
const MAX_CPU: f64 = 40.0;
const MAX_CPU_TINY_HITS: f64 = 80.0;
const MAX_MEMORY: f64 = 16.0;
/// What a longer output may take besides, for a byte of it: tags of hits, the hits themselves, and what a conversion adds.
const MAX_MEMORY_OF_OUTPUT: f64 = 7.0;
/// The function whose instructions count, with all that it calls: [`work::measured`], as callgrind knows it. A pattern
/// would not do: callgrind then writes no files.
const MEASURED: &str = "cost::work::measured";

/// For glibc, so that a copy counts the same for each byte however long it is. From 4 KiB on it copies by `rep movsb`, which
/// callgrind counts as an instruction a byte, and below by vectors of 32 bytes.
const EVEN_COPIES: &str = "glibc.cpu.x86_rep_movsb_threshold=1000000000";

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let done = match arguments.split_first() {
        Some((first, rest)) if first == "--measure" => measure(rest).map(|()| true),
        _ => gate(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report(&format!("cost: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a bench reports on standard output")]
fn report(line: &str) {
    println!("{line}");
}

/// The cases that were asked for, and the normal one of each encoding and sink, which all are compared with.
fn chosen(words: &[String]) -> Outcome<Vec<Case>> {
    let mut cases = cases::all()?;
    cases.retain(|case| {
        case.bound == Bound::Normal || words.is_empty() || words.iter().any(|word| case.name().contains(word.as_str()))
    });
    Ok(cases)
}

/// The part of a run under callgrind: does the work of every `parts`th case, small and large, in order. Callgrind writes
/// a file each time that [`work::measured`] returns. Inputs are read from `directory`: to make them here would take longer
/// than the work.
fn measure(arguments: &[String]) -> Outcome<()> {
    let [directory, part, parts, words @ ..] = arguments else {
        return Err("--measure DIRECTORY PART PARTS [WORD…]".into());
    };
    let (part, parts): (usize, usize) = (part.parse()?, parts.parse()?);
    let workshop = Workshop::new()?;
    for (at, case) in chosen(words)?.iter().enumerate().skip(part).step_by(parts) {
        for size in [0, 1] {
            let input = std::fs::read(input_file(Path::new(directory), at, size))?;
            // What is refused is reported by the gate, which does the same.
            let _ = work::measured(&workshop, case, &input.into());
        }
    }
    Ok(())
}

/// Where the small (0) or large (1) input of a case is.
fn input_file(directory: &Path, at: usize, size: usize) -> PathBuf {
    directory.join(format!("{at}.{size}.input"))
}

/// The cost of one case.
struct Cost {
    case: Case,
    /// Instructions and bytes of the small and of the large input.
    instructions: [(u64, usize); 2],
    /// The most bytes at once beyond the input, the input, and what came out.
    memory: (usize, usize, usize),
}

impl Cost {
    fn per_byte(&self) -> f64 {
        let [_, (instructions, bytes)] = self.instructions;
        instructions as f64 / bytes as f64
    }

    fn growth(&self) -> f64 {
        let [(small, small_bytes), (large, large_bytes)] = self.instructions;
        large as f64 / small as f64 * (GROWTH as f64 * small_bytes as f64 / large_bytes as f64)
    }
}

/// Runs all of it and reports; whether every case is within its bounds.
fn gate(words: &[String]) -> Outcome<bool> {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cost");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory)?;
    let cases = chosen(words)?;
    let mut sizes = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let inputs = [case.input(SMALL)?, case.input(SMALL * GROWTH)?];
        sizes.push([inputs[0].len(), inputs[1].len()]);
        for (size, input) in inputs.iter().enumerate() {
            std::fs::write(input_file(&directory, at, size), input)?;
        }
    }
    let parts = std::thread::available_parallelism()?.get();
    let children = (0..parts).map(|part| callgrind(&directory, part, parts, words)).collect::<Outcome<Vec<_>>>()?;
    let workshop = Workshop::new()?;
    let (mut memory, mut wrong) = (Vec::new(), 0);
    for (case, sizes) in cases.into_iter().zip(sizes) {
        let input = case.input(SMALL * GROWTH)?;
        let (done, most) = heap::most(|| work::measured(&workshop, &case, &input));
        let fault = match &done {
            Err(error) => Some(error.to_string()),
            Ok(done) if case.bound.hits().is_some_and(|hits| hits != (done.hits > 0)) => {
                Some(format!("{} records hit", done.hits))
            }
            Ok(_) => None,
        };
        if let Some(fault) = fault {
            report(&format!("WRONG  {:<64} {fault}", case.name()));
            wrong += 1;
        }
        memory.push((case, sizes, (most, input.len(), done.map_or(0, |done| done.output))));
    }
    for mut child in children {
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("callgrind ended with {status}; its output is in {}", directory.display()).into());
        }
    }
    let mut counts: Vec<_> = (0..parts).map(|part| counted(&directory, part)).collect::<Outcome<Vec<_>>>()?;
    counts.iter_mut().for_each(|part| part.reverse());
    let mut costs = Vec::new();
    for (at, (case, sizes, memory)) in memory.into_iter().enumerate() {
        let mut next = || counts[at % parts].pop().ok_or("callgrind wrote fewer files than there are cases");
        costs.push(Cost { case, instructions: [(next()?, sizes[0]), (next()?, sizes[1])], memory });
    }
    if counts.iter().any(|part| !part.is_empty()) {
        return Err("callgrind wrote more files than there are cases".into());
    }
    report(&format!("{wrong} cases were refused or did not do what they say"));
    let cut = layouts::faults()?;
    cut.iter().for_each(|fault| report(&format!("WRONG  {fault}")));
    wrong += cut.len();
    Ok(judge(&costs) && wrong == 0)
}

/// Starts a measuring process under callgrind.
fn callgrind(directory: &Path, part: usize, parts: usize, words: &[String]) -> Outcome<Child> {
    let log = std::fs::File::create(directory.join(format!("{part}.log")))?;
    Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg("--dump-line=no")
        .env("GLIBC_TUNABLES", EVEN_COPIES)
        .arg(format!("--toggle-collect={MEASURED}"))
        .arg(format!("--dump-after={MEASURED}"))
        .arg(format!("--callgrind-out-file={}", directory.join(format!("{part}.out")).display()))
        .arg(std::env::current_exe()?)
        .arg("--measure")
        .arg(directory)
        .args([part.to_string(), parts.to_string()])
        .args(words)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|error| format!("valgrind cannot be started: {error}; install the package `valgrind`").into())
}

/// The instructions of each call of [`work::measured`], in order: callgrind numbers its files from 1.
fn counted(directory: &Path, part: usize) -> Outcome<Vec<u64>> {
    let mut counts = Vec::new();
    while let Ok(text) = std::fs::read_to_string(directory.join(format!("{part}.out.{}", counts.len() + 1))) {
        let total =
            text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
        counts.push(total.ok_or("a file of callgrind has no total")?.trim().parse()?);
    }
    Ok(counts)
}

/// Reports every case beyond a bound, and the dearest ones of those within.
fn judge(costs: &[Cost]) -> bool {
    let normal = |of: &Cost| {
        let same = |cost: &&Cost| {
            cost.case.bound == Bound::Normal && (cost.case.encoding, cost.case.sink) == (of.case.encoding, of.case.sink)
        };
        costs.iter().find(same).map_or(f64::NAN, Cost::per_byte)
    };
    let mut failed = 0;
    let mut factors = Vec::new();
    for cost in costs {
        let factor = cost.per_byte() / normal(cost);
        let (most, input, output) = cost.memory;
        let max_cpu = if cost.case.bound == Bound::TinyHits { MAX_CPU_TINY_HITS } else { MAX_CPU };
        let of_output = if output > input { MAX_MEMORY_OF_OUTPUT * output as f64 / input as f64 } else { 0.0 };
        let memory = most as f64 / input as f64;
        let max_memory = MAX_MEMORY + of_output;
        let line = format!(
            "{:<64} {:>8.1} instructions a byte, {factor:>6.1} × normal, grows {:>5.2} ×, {memory:>5.1} bytes a byte",
            cost.case.name(),
            cost.per_byte(),
            cost.growth(),
        );
        // Written so that what is no number fails. What is cheaper than a normal batch may grow: long values are not read.
        let grows_well = cost.growth() <= MAX_GROWTH || factor <= 1.0;
        let within = factor <= max_cpu && grows_well && memory <= max_memory;
        if !within {
            failed += 1;
            report(&format!("BEYOND {line}"));
        } else if cost.case.bound == Bound::Normal {
            report(&format!("normal {line}"));
        } else {
            factors.push((factor, line));
        }
    }
    factors.sort_by(|a, b| b.0.total_cmp(&a.0));
    factors.iter().take(12).for_each(|(_, line)| report(&format!("       {line}")));
    report(&format!("{} cases, {failed} beyond their bounds", costs.len()));
    let worst = |of: &dyn Fn(&Cost) -> f64| costs.iter().map(of).fold(0.0, f64::max);
    report(&format!(
        "worst: {:.1} × normal, grows {:.2} ×, {:.1} bytes a byte",
        worst(&|cost| cost.per_byte() / normal(cost)),
        worst(&Cost::growth),
        worst(&|cost| cost.memory.0 as f64 / cost.memory.1 as f64),
    ));
    failed == 0 && !costs.is_empty()
}
