//! The binary as a child process: started on a configuration, watched by its log, killed when dropped.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with everything that one process needs: configuration, indicators, outputs.
pub struct Scene {
    directory: TempDir,
}

impl Scene {
    pub fn new() -> Scene {
        Scene { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file and says where it is.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// The configuration of the README: one source, files of indicators, the next hop, and a file of hits.
    pub fn readme(&self, endpoint: &str) -> PathBuf {
        self.sidecar(endpoint, "", "")
    }

    /// The same with more settings of the next hop (`, key: value`) and more lines at the end.
    pub fn sidecar(&self, endpoint: &str, sink: &str, more: &str) -> PathBuf {
        let (indicators, hits) = (self.path("indicators"), self.path("hits.ndjson"));
        let text = format!(
            r#"sources:
  agents: {{ type: otlp, address: "127.0.0.1:0" }}
intel:
  files: [{{ path: "{}/*", allow_generic: true }}]
sinks:
  next: {{ type: otlp, inputs: [agents], endpoint: "{endpoint}"{sink} }}
  hits: {{ type: ndjson, inputs: [agents], path: "{}", only: hits }}
admin: {{ address: "127.0.0.1:0" }}
log: {{ format: json }}
{more}"#,
            indicators.display(),
            hits.display()
        );
        self.write("hotlist.yaml", &text)
    }

    /// Indicators, one a line, as the feed `name`.
    pub fn indicators(&self, name: &str, values: &[&str]) {
        std::fs::create_dir_all(self.path("indicators")).unwrap();
        self.write(&format!("indicators/{name}.txt"), &(values.join("\n") + "\n"));
    }

    /// The lines of an NDJSON output.
    pub fn ndjson(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}")))
            .collect()
    }
}

#[derive(Default)]
struct Log {
    lines: Vec<String>,
    ended: bool,
    /// Nobody reads what the process writes.
    stalled: bool,
}

/// A running `hotlist run`.
pub struct Hotlist {
    child: Child,
    log: Arc<(Mutex<Log>, Condvar)>,
}

impl Hotlist {
    /// Starts, and does not wait for anything.
    pub fn spawn(config: &Path) -> Hotlist {
        Hotlist::spawn_with(config, &[])
    }

    /// The same with environment variables.
    pub fn spawn_with(config: &Path, variables: &[(&str, &str)]) -> Hotlist {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
        command.envs(variables.iter().copied());
        Hotlist::spawn_as(command, config)
    }

    /// Starts with more arguments, and waits until the source listens.
    pub fn start_with_arguments(config: &Path, arguments: &[&str]) -> Hotlist {
        let command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
        let hotlist = Hotlist::spawn_with_arguments(command, config, arguments);
        hotlist.wait_for("source is listening");
        hotlist
    }

    /// The same with so many open files and no more.
    pub fn spawn_with_files(config: &Path, files: u32) -> Hotlist {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_hotlist")]);
        Hotlist::spawn_as(command, config)
    }

    /// The same where names are those of a file like `/etc/hosts`, which may change at any time. Needs the right to mount.
    pub fn spawn_among(hosts: &Path, config: &Path, files: u32) -> Hotlist {
        let mut command = Command::new("unshare");
        let script = format!("mount --bind \"$0\" /etc/hosts && ulimit -n {files} && exec \"$@\"");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        command.arg(hosts).arg(env!("CARGO_BIN_EXE_hotlist"));
        Hotlist::spawn_as(command, config)
    }

    fn spawn_as(command: Command, config: &Path) -> Hotlist {
        Hotlist::spawn_with_arguments(command, config, &[])
    }

    fn spawn_with_arguments(mut command: Command, config: &Path, arguments: &[&str]) -> Hotlist {
        command.args(["run", "--config"]).arg(config).args(arguments).env_remove("HOTLIST_LOG").stderr(Stdio::piped());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        // As small as a pipe may be, so that it is soon full when nobody reads.
        fcntl(&stderr, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        let stderr = BufReader::new(stderr);
        let log = Arc::new((Mutex::new(Log::default()), Condvar::new()));
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.split(b'\n') {
                let Ok(line) = line else { break };
                let mut log = written.0.lock().unwrap();
                log.lines.push(String::from_utf8_lossy(&line).into_owned());
                written.1.notify_all();
                drop(written.1.wait_while(log, |log| log.stalled).unwrap());
            }
            written.0.lock().unwrap().ended = true;
            written.1.notify_all();
        });
        Hotlist { child, log }
    }

    /// Starts, and waits until the source listens.
    pub fn start(config: &Path) -> Hotlist {
        let hotlist = Hotlist::spawn(config);
        hotlist.wait_for("source is listening");
        hotlist
    }

    /// The first line of the log with this text, once it is there.
    pub fn wait_for(&self, text: &str) -> Value {
        let (log, changed) = &*self.log;
        let deadline = Instant::now() + PATIENCE;
        let mut log = log.lock().unwrap();
        loop {
            if let Some(line) = log.lines.iter().find(|line| line.contains(text)) {
                return serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!log.ended && !left.is_zero(), "no line with {text:?} in:\n{}", log.lines.join("\n"));
            log = changed.wait_timeout(log, left).unwrap().0;
        }
    }

    /// From now on nobody reads the log, or somebody does again.
    pub fn stall_log(&self, stalled: bool) {
        self.log.0.lock().unwrap().stalled = stalled;
        self.log.1.notify_all();
    }

    /// Everything in the log until now.
    pub fn log(&self) -> String {
        self.log.0.lock().unwrap().lines.join("\n")
    }

    /// Where the source listens.
    pub fn address(&self) -> String {
        self.wait_for("source is listening")["address"].as_str().unwrap().to_owned()
    }

    /// Status and body of a GET on the admin listener.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        self.admin_by("GET", path).await
    }

    /// The same by another method.
    pub async fn admin_by(&self, method: &str, path: &str) -> (u16, String) {
        self.try_admin(method, path).await.unwrap()
    }

    /// The same of a process that may close connections, for want of file descriptors.
    pub async fn try_admin(&self, method: &str, path: &str) -> std::io::Result<(u16, String)> {
        let address = self.wait_for("admin is listening")["address"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.id()).unwrap()), signal).unwrap();
    }

    /// `kill -9`, and the process is gone.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// How the process ended, and its whole log.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let (log, changed) = &*self.log;
        let deadline = Instant::now() + PATIENCE;
        let mut log = log.lock().unwrap();
        while !log.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the process does not end:\n{}", log.lines.join("\n"));
            log = changed.wait_timeout(log, left).unwrap().0;
        }
        let lines = log.lines.join("\n");
        drop(log);
        (self.child.wait().unwrap(), lines)
    }
}

impl Drop for Hotlist {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
