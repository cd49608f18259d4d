//! From publishing to the first live hit, and what reloads do to the latency of a busy sidecar.
//!
//! `cargo bench --bench publish [-- --rounds N] [--held N] [--pause MS] [--quick] [--json]`. A control plane and three
//! sidecars, each a process of its own, hold some indicators already; in every round 10,000 more are compiled and published.
//! Each sidecar gets batches of 100 events all the time, with so many milliseconds (2) between an answer and the next batch.
//! The time of a round is that from the start of `hotlist publish` until the last of the sidecars has tagged an event with a
//! new indicator. Compiling and publishing, which an operator does on another machine, run at idle
//! priority here (not with `--pause 0`).

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
    thread_schedule_policy,
};

/// Sidecars.
const NODES: usize = 3;
/// Indicators that a round adds.
const ADDED: usize = 10_000;
/// Events of a batch of the load.
const BATCH: usize = 100;
/// How long a reload may continue after the first hit, to free the replaced snapshot and to delete old files.
const AFTERMATH: Duration = Duration::from_millis(50);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn hotlist(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
    command.args(arguments).current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs what an operator runs on another machine. If it `stands_back` it runs where nothing else wants to, since it is not
/// to take processors from the sidecars here.
fn run(arguments: &[&str], directory: &Path, stands_back: bool) -> Result<()> {
    let mut command = hotlist(arguments, directory);
    let run = move || -> Result<ExitStatus> {
        if !stands_back {
            return Ok(command.status()?);
        }
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let set = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
        // Besides the policy a niceness is set, which may not be allowed and does not matter.
        if thread_schedule_policy().ok() != Some(idle) {
            bail!("the publisher cannot stand back: {set:?}");
        }
        Ok(command.status()?)
    };
    // The policy is the thread's, and the process that it starts inherits it.
    let status = std::thread::spawn(run).join().map_err(|_| anyhow!("the publisher broke down"))??;
    if !status.success() {
        bail!("hotlist {} failed", arguments.join(" "));
    }
    Ok(())
}

/// So many ports that nobody listens at, each another: all are held until the last is known.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// One sidecar, and the file of its hits.
struct Node {
    _process: Process,
    port: u16,
    hits: PathBuf,
}

impl Node {
    fn start(number: usize, port: u16, control: u16, directory: &Path) -> Result<Node> {
        let (hits, config) = (format!("hits{number}.ndjson"), format!("node{number}.yaml"));
        let text = format!(
            "sources: {{ a: {{ type: otlp, address: '127.0.0.1:{port}' }} }}\nintel: {{ control: {{ endpoint: \
             'http://127.0.0.1:{control}', audience: bench, node: n{number}, cache: cache{number} }} }}\nsinks:\n  all: {{ \
             type: blackhole, inputs: [a] }}\n  hits: {{ type: ndjson, inputs: [a], path: {hits}, only: hits }}\n"
        );
        std::fs::write(directory.join(&config), text)?;
        let process = Process(hotlist(&["run", "--config", &config], directory).spawn()?);
        Ok(Node { _process: process, port, hits: directory.join(hits) })
    }

    fn hits(&self) -> u64 {
        std::fs::metadata(&self.hits).map_or(0, |metadata| metadata.len())
    }
}

/// A connection that sends batches one after the other.
struct Sender {
    stream: BufReader<TcpStream>,
}

impl Sender {
    fn connect(port: u16) -> Result<Sender> {
        let begun = Instant::now();
        loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    return Ok(Sender { stream: BufReader::new(stream) });
                }
                Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Sends a body and waits for its answer.
    fn send(&mut self, body: &str) -> Result<()> {
        let head = format!(
            "POST /v1/logs HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let (mut line, mut length) = (String::new(), 0);
        self.stream.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200") {
            bail!("the sidecar answered {line:?}");
        }
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let (name, value) = match line.trim_end().split_once(':') {
                Some(header) => header,
                None => break,
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut answer = vec![0; length];
        Ok(self.stream.read_exact(&mut answer)?)
    }
}

/// A batch of events that each ask for one name.
fn batch<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut records = String::new();
    for name in names {
        let comma = if records.is_empty() { "" } else { "," };
        let _ = write!(
            records,
            r#"{comma}{{"body":{{"kvlistValue":{{"values":[{{"key":"dns.question.name","value":{{"stringValue":"{name}"}}}}]}}}}}}"#
        );
    }
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#)
}

/// When each batch began, and how long it took.
type Taken = Vec<(Instant, Duration)>;

/// Sends batches that hit nothing until `stop` is set.
fn load(port: u16, pause: Duration, stop: Arc<AtomicBool>) -> Result<JoinHandle<Result<Taken>>> {
    let mut sender = Sender::connect(port)?;
    let names: Vec<String> = (0..BATCH).map(|number| format!("host{number}.harmless.example")).collect();
    let body = batch(names.iter().map(String::as_str));
    Ok(std::thread::spawn(move || {
        let mut taken = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            sender.send(&body)?;
            taken.push((begun, begun.elapsed()));
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
        Ok(taken)
    }))
}

/// When the publication came under its name, after which nodes get to know of it: a publisher that waits for its disk
/// before is no reload.
fn in_force(directory: &Path) -> Result<Instant> {
    let path = directory.join("store/publications/all.serve.json");
    let (now, metadata) = (Instant::now(), std::fs::metadata(path)?);
    let at = UNIX_EPOCH + Duration::new(metadata.ctime().unsigned_abs(), metadata.ctime_nsec() as u32);
    let age = SystemTime::now().duration_since(at).unwrap_or_default();
    now.checked_sub(age).context("the clock of this machine runs for less than a second")
}

fn quantile(values: &mut [f64], of: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len().max(1) - 1) as f64 * of).round() as usize).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::print_stdout, reason = "a benchmark talks to the person at the terminal")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let number = |name: &str, otherwise: usize| match arguments.iter().skip_while(|known| *known != name).nth(1) {
        Some(text) => text.parse().with_context(|| format!("{name}: a number")),
        None => Ok(otherwise),
    };
    let rounds = number("--rounds", if flag("--quick") { 2 } else { 20 })?;
    let pause = Duration::from_millis(number("--pause", 2)? as u64);
    let held = number("--held", if flag("--quick") { 20_000 } else { 1_000_000 })?;
    let temporary = tempfile::tempdir()?;
    let directory = temporary.path();
    // Without a pause there is no processor that nothing else wants.
    let run = |arguments: &[&str]| run(arguments, directory, !pause.is_zero());
    let feed = directory.join("feed.txt");
    let mut file = OpenOptions::new().create(true).append(true).open(&feed)?;
    let lines: String = (0..held).fold(String::new(), |mut lines, number| {
        let _ = writeln!(lines, "held{number}.example.com");
        lines
    });
    file.write_all(lines.as_bytes())?;
    run(&["compile", "feed.txt", "--out", "store"])?;
    let publish = ["publish", "--store", "store", "--name", "all", "--audience", "bench"];
    run(&publish)?;
    let mut ports = free_ports(NODES + 1)?;
    let control = ports.pop().context("a port for the control plane")?;
    let address = format!("127.0.0.1:{control}");
    let _control = Process(
        hotlist(&["control-plane", "--admin", "none", "--store", "store", "--listen", &address], directory).spawn()?,
    );
    let node = |(number, port)| Node::start(number, port, control, directory);
    let nodes = ports.into_iter().enumerate().map(node).collect::<Result<Vec<_>>>()?;
    let mut probes = nodes.iter().map(|node| Sender::connect(node.port)).collect::<Result<Vec<_>>>()?;
    wait(&nodes, &mut probes, "held0.example.com")?;
    let stop = Arc::new(AtomicBool::new(false));
    let loads = nodes.iter().map(|node| load(node.port, pause, Arc::clone(&stop))).collect::<Result<Vec<_>>>()?;
    let (mut seconds, mut hits, mut compiles) = (Vec::new(), Vec::new(), Vec::new());
    let (mut quiets, mut reloads) = (Vec::new(), Vec::new());
    let unknown = batch(std::iter::once("never.example"));
    for round in 0..rounds {
        let lines: String = (0..ADDED).fold(String::new(), |mut lines, number| {
            let _ = writeln!(lines, "new{number}.round{round}.example.com");
            lines
        });
        file.write_all(lines.as_bytes())?;
        let begun = Instant::now();
        run(&["compile", "feed.txt", "--out", "store"])?;
        compiles.push(begun.elapsed().as_secs_f64());
        // A time without a reload, to compare with: the probes continue as they do during a reload.
        let quiet = Instant::now();
        while quiet.elapsed() < Duration::from_millis(500) {
            probes.iter_mut().try_for_each(|probe| probe.send(&unknown))?;
        }
        quiets.push((quiet, Instant::now()));
        let begun = Instant::now();
        run(&publish)?;
        let in_force = in_force(directory)?;
        wait(&nodes, &mut probes, &format!("new{}.round{round}.example.com", ADDED - 1))?;
        seconds.push(begun.elapsed().as_secs_f64());
        hits.push(in_force.elapsed().as_secs_f64());
        std::thread::sleep(AFTERMATH);
        reloads.push((in_force.max(begun), Instant::now()));
    }
    stop.store(true, Ordering::Relaxed);
    let (mut steady, mut during) = (Vec::new(), Vec::new());
    for load in loads {
        let taken = load.join().map_err(|_| anyhow!("the load broke down"))??;
        for (begun, took) in taken {
            let meets =
                |times: &[(Instant, Instant)]| times.iter().any(|(from, to)| begun + took >= *from && begun <= *to);
            if meets(&reloads) {
                during.push(took.as_secs_f64() * 1e3);
            } else if meets(&quiets) {
                steady.push(took.as_secs_f64() * 1e3);
            }
        }
    }
    let longest = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
    let (longest, longest_hit) = (longest(&seconds), longest(&hits));
    let (median, median_hit, compile) =
        (quantile(&mut seconds, 0.5), quantile(&mut hits, 0.5), quantile(&mut compiles, 0.5));
    let (steady_p99, during_p99) = (quantile(&mut steady, 0.99), quantile(&mut during, 0.99));
    println!("{held} indicators held, {ADDED} added a round, {NODES} sidecars, {rounds} rounds");
    println!("compile the change:            median {compile:.3} s");
    println!("publish to the last first hit: median {median:.3} s, longest {longest:.3} s (budget: median 1 s)");
    println!("  of which since it is in force: median {median_hit:.3} s, longest {longest_hit:.3} s");
    println!(
        "batches of {BATCH} events: p50 {:.2} ms, p99 {steady_p99:.2} ms steady ({}); p50 {:.2} ms, p99 {during_p99:.2} ms during reloads ({}): ratio of p99 {:.2} (budget 2)",
        quantile(&mut steady, 0.5),
        steady.len(),
        quantile(&mut during, 0.5),
        during.len(),
        during_p99 / steady_p99
    );
    if flag("--json") {
        let row = json!({
            "rounds": rounds, "held": held, "compile_seconds": compile, "publish_seconds": median,
            "longest_seconds": longest, "hit_seconds": median_hit, "longest_hit_seconds": longest_hit,
            "steady_p99_ms": steady_p99, "during_p99_ms": during_p99,
        });
        println!("{}", json!({ "publish": row }));
    }
    Ok(())
}

/// Sends events with a name to every node until each has tagged one.
fn wait(nodes: &[Node], probes: &mut [Sender], name: &str) -> Result<()> {
    let begun = Instant::now();
    let body = batch(std::iter::once(name));
    for (node, probe) in nodes.iter().zip(probes) {
        let before = node.hits();
        loop {
            probe.send(&body)?;
            // An answer comes when the hit is in the file.
            if node.hits() > before {
                break;
            }
            if begun.elapsed() > PATIENCE {
                bail!("no hit for {name} within {PATIENCE:?}");
            }
        }
    }
    Ok(())
}
