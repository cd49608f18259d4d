//! A process of the benchmark, its CPU read from `/proc`, and one that is started from this same binary and spoken to by
//! lines.

use std::io::{BufRead, BufReader, Write};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Ends when dropped.
pub struct Process(process::Child);

/// A process of this same binary.
pub struct Child {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(command: &mut Command) -> Result<Process> {
        Ok(Process(command.spawn()?))
    }

    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// User and system time of all its threads so far (proc(5), `/proc/pid/stat`, fields 14 and 15).
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name in field 2 may hold spaces, so count from behind its bracket.
        let (_, fields) = stat.rsplit_once(')').context("/proc/pid/stat has no name")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        // USER_HZ is 100 on every Linux that Rust runs on.
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Child {
    pub fn start(arguments: &[&str]) -> Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process = Process::start(command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let input = process.0.stdin.take().context("the child has no input")?;
        let output = BufReader::new(process.0.stdout.take().context("the child has no output")?);
        Ok(Child { process, input, output })
    }

    /// The next line that the process writes.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "a process of the benchmark ended too early");
        Ok(line.trim_end().to_owned())
    }

    pub fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}")?;
        Ok(())
    }

    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only fails when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a line to the parent, through standard output.
pub fn send_line(line: impl std::fmt::Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
