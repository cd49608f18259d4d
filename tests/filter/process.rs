//! The binary as a child process, watched by its log.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::PATIENCE;

/// A running `hotlist run` with one source and an admin listener. Ended when dropped.
pub struct Hotlist {
    child: Child,
    log: Receiver<String>,
    pub address: String,
    admin: String,
}

impl Hotlist {
    /// Starts on a configuration with these lines in `sources`, and indicators of a directory.
    pub fn start(scene: &Path, source: &str, more: &str) -> Hotlist {
        Hotlist::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), scene, source, more)
    }

    /// The same with a source at this address.
    pub fn start_at(address: SocketAddr, scene: &Path, source: &str, more: &str) -> Hotlist {
        let text = format!(
            "sources:\n  agents: {{ type: filter, address: \"{address}\"{source} }}\nintel: {{ files: [\"{}/*\"] }}\n\
             admin: {{ address: \"127.0.0.1:0\" }}\nlog: {{ format: json }}\n{more}",
            scene.join("indicators").display()
        );
        let config = scene.join("hotlist.yaml");
        std::fs::write(&config, text).unwrap();
        Hotlist::run(&config, scene)
    }

    /// Starts on any configuration, in a directory.
    pub fn run(config: &Path, directory: &Path) -> Hotlist {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
        command.arg("run").arg("--config").arg(config).current_dir(directory).env_remove("HOTLIST_LOG");
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (line, log) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|text| drop(line.send(text))));
        let mut hotlist = Hotlist { child, log, address: String::new(), admin: String::new() };
        while hotlist.address.is_empty() || hotlist.admin.is_empty() {
            let line = hotlist.log.recv_timeout(PATIENCE).expect("it does not listen");
            let Ok(line) = serde_json::from_str::<Value>(&line) else { panic!("{line}") };
            let address = || line["address"].as_str().unwrap_or_default().to_owned();
            let message = line["message"].as_str().unwrap_or_default();
            if message.starts_with("source is listening") {
                hotlist.address = address();
            } else if message.starts_with("admin is listening") {
                hotlist.admin = address();
            }
        }
        hotlist
    }

    pub async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(&self.admin).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// How it ended. Its log is read to the end.
    pub fn wait(mut self) -> ExitStatus {
        while self.log.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Hotlist {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
