//! Measurements of a running process by the system and its own metrics: memory, processor time, open files, counters.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::process::{Hotlist, PATIENCE};

/// Ticks of `/proc/<pid>/stat` in a second (`USER_HZ`), the same on every architecture that people run servers on.
const TICKS: u64 = 100;

impl Hotlist {
    /// The most memory that the process ever had resident, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    /// The memory that is resident now, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The time that all threads of the process took of a processor, in ticks of 10 ms.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(self.proc("stat")).unwrap();
        // The name in parentheses may hold anything; `utime` and `stime` are the 14th and 15th field of the line.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1000 / TICKS)
    }

    /// What the file descriptors of the process refer to, sorted.
    pub fn open_files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.proc("fd")).unwrap();
        // One may be closed between listing and looking.
        let targets = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let mut targets: Vec<String> = targets.map(|target| target.display().to_string()).collect();
        targets.sort();
        targets
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.id()))
    }

    /// The value of one series (`name{label="value"}`), 0 when it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let (_, metrics) = self.admin("/metrics").await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a series has a value that is wanted.
    pub async fn until_metric(&self, series: &str, is_wanted: impl Fn(f64) -> bool) -> f64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.metric(series).await;
            if is_wanted(value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{series} stays {value}: {}", self.log());
        }
    }
}
