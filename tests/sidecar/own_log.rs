//! The process's own log must cost events nothing: a reader of standard error that stalls, one that is gone, a full
//! disk, and the limit of file sizes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Instant;

use hotlist::encoding::otlp::request_of;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::client::export;
use crate::next_hop::NextHop;
use crate::process::{PATIENCE, Scene};

const PLANTED: &str = "198.51.100.23";
const LOST: &str = "hotlist_log_lines_lost_total";

/// A process whose sockets are known without its log.
struct Quiet {
    child: Child,
    scene: Scene,
}

impl Quiet {
    /// `sinks` and `more` go into the configuration; `command` starts the process.
    fn start(scene: Scene, sinks: &str, mut command: Command, stderr: Stdio) -> Quiet {
        let config = Quiet::configure(&scene, sinks);
        command.args(["run", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let quiet = Quiet { child: command.spawn().unwrap(), scene };
        quiet.until("ready", |quiet| quiet.get("/readyz").is_some_and(|(status, _)| status == 200));
        quiet
    }

    fn configure(scene: &Scene, sinks: &str) -> PathBuf {
        let path = |name: &str| scene.path(name).display().to_string();
        let text = format!(
            r#"sources:
  agents: {{ type: otlp, address: "unix:{}" }}
intel:
  files: [{{ path: "{}/*", allow_generic: true }}]
sinks:
{sinks}
admin: {{ address: "unix:{}" }}
shutdown: {{ delay: 0s }}
"#,
            path("agents.sock"),
            path("indicators"),
            path("admin.sock")
        );
        scene.write("hotlist.yaml", &text)
    }

    fn source(&self) -> String {
        format!("unix:{}", self.scene.path("agents.sock").display())
    }

    /// Status and body of a GET; `None` while nobody listens.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(self.scene.path("admin.sock")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The sum of all series of a metric.
    fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").unwrap();
        let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }

    fn until(&self, what: &str, so: impl Fn(&Quiet) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(self) {
            assert!(Instant::now() < deadline, "never: {what}");
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// How it ended after SIGTERM.
    fn end(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "SIGTERM does not end it");
            std::thread::yield_now();
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that logs some hundred lines per request.
fn talkative() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
    command.env("HOTLIST_LOG", "trace");
    command
}

fn next(next_hop: &NextHop) -> String {
    format!("  next: {{ type: otlp, inputs: [agents], endpoint: \"{}\" }}", next_hop.endpoint)
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.indicators("planted", &[PLANTED]);
    scene
}

fn event(address: &str) -> Vec<u8> {
    request_of([(1, &json!({ "source": { "ip": address } }))])
}

async fn sends(quiet: &Quiet, count: usize) {
    for _ in 0..count {
        assert_eq!(export(&quiet.source(), &event(PLANTED)).await.unwrap().status, 0);
    }
}

/// Everything that waits in the pipe, until it is empty for as long as one probe takes.
fn read_until(quiet: &Quiet, stderr: &mut ChildStderr, text: &str) -> String {
    let (mut all, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while !String::from_utf8_lossy(&all).contains(text) {
        assert!(Instant::now() < deadline, "never in the log: {text}");
        // Whatever happens, it logs something more.
        assert_eq!(quiet.get("/livez").unwrap().0, 200);
        let mut part = vec![0; 1 << 16];
        let count = stderr.read(&mut part).unwrap();
        all.extend_from_slice(&part[..count]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Scenario: nobody reads standard error, while far more is logged than a pipe and the buffer of lines hold. Guarantee:
/// events and probes are answered, what is lost is counted, the log reports it once it is read again, and SIGTERM ends
/// the process although nobody reads again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_the_log_that_stalls_stops_nothing() {
    let next_hop = NextHop::start().await;
    let mut quiet = Quiet::start(scene(), &next(&next_hop), talkative(), Stdio::piped());
    let mut stderr = quiet.child.stderr.take().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while quiet.metric(LOST) == 0.0 {
        assert!(Instant::now() < deadline, "no line is lost");
        sends(&quiet, 20).await;
    }
    assert_eq!(quiet.get("/livez").unwrap().0, 200);
    let log = read_until(&quiet, &mut stderr, "log lines were lost");
    assert!(log.contains("hotlist starting"), "the oldest lines are kept");
    assert!(quiet.end().success());
}

/// Scenario: the reader of standard error goes away; after that the indicators change twice, the configuration is
/// reloaded, and the process is stopped. Guarantee: all of it works, and only log lines are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_a_reader_costs_lines_only() {
    let next_hop = NextHop::start().await;
    let mut quiet = Quiet::start(scene(), &next(&next_hop), talkative(), Stdio::piped());
    drop(quiet.child.stderr.take());
    sends(&quiet, 5).await;
    assert!(quiet.metric(LOST) > 0.0);
    for address in ["203.0.113.8", "203.0.113.9"] {
        let hits = quiet.metric("hotlist_hits_total");
        quiet.scene.indicators(address, &[address]);
        let deadline = Instant::now() + PATIENCE;
        while quiet.metric("hotlist_hits_total") == hits {
            assert!(Instant::now() < deadline, "{address} is never found");
            assert_eq!(export(&quiet.source(), &event(address)).await.unwrap().status, 0);
        }
    }
    quiet.signal(Signal::SIGHUP);
    quiet.until("reloaded", |quiet| quiet.metric("hotlist_config_reloads_total{result=\"applied\"}") == 1.0);
    sends(&quiet, 5).await;
    assert!(quiet.end().success());
}

/// Scenario: standard error is a full disk from the start. Guarantee: the process starts, serves and ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_a_full_disk_below_the_log_works() {
    let next_hop = NextHop::start().await;
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let quiet = Quiet::start(scene(), &next(&next_hop), talkative(), full.into());
    sends(&quiet, 5).await;
    assert!(quiet.metric(LOST) > 0.0);
    assert!(quiet.end().success());
}

/// Scenario: a file sink and the log reach the process's limit of file sizes (`ulimit -f`, `LimitFSIZE`). Guarantee: the
/// batch is refused as with a full disk, and the process lives and ends in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_file_sizes_does_not_end_the_process() {
    let scene = scene();
    let log = std::fs::File::create(scene.path("log")).unwrap();
    let path = scene.path("events.ndjson").display().to_string();
    let mut command = Command::new("sh");
    // Blocks of 512 or 1024 bytes, as the shell likes.
    command.args(["-c", "ulimit -f 16 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_hotlist")]);
    command.env("HOTLIST_LOG", "trace");
    let quiet = Quiet::start(
        scene,
        &format!("  out: {{ type: ndjson, inputs: [agents], path: \"{path}\" }}"),
        command,
        log.into(),
    );
    let large = request_of([(1, &json!({ "message": "x".repeat(5_000) }))]);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(export(&quiet.source(), &large).await.unwrap().status);
    }
    assert_eq!((statuses[0], statuses[5]), (0, 14), "{statuses:?}");
    assert!(quiet.metric(LOST) > 0.0);
    assert!(quiet.end().success());
}
