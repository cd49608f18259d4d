//! Finds processes that use the same node name. Each process has the times of its first and of its last message: the
//! times of a restarted node follow each other, those of two nodes with one name overlap.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The age up to which what a node or process reported is trusted.
pub(super) const TRUSTED_FOR: Duration = Duration::from_secs(90);
/// The minimum overlap: data of an ended process may arrive after its successor's, and the clocks of control planes that
/// share a store may differ by this.
const OVERLAP: SignedDuration = SignedDuration::from_secs(2);
/// The maximum number of processes that are kept per name.
const MOST: usize = 8;

/// A process that uses, or recently used, the name of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// The id of the process; for a process that sends none, the name of its stream.
    pub id: String,
    /// The address of the connection; empty for a Unix socket.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The time of the first message from the process.
    pub since: Timestamp,
    /// The time of the latest message from the process.
    pub heard: Timestamp,
}

impl InstanceRecord {
    /// Returns whether the latest message from the process is recent enough to count.
    fn is_recent(&self, now: Timestamp) -> bool {
        now.duration_since(self.heard).as_secs() <= TRUSTED_FOR.as_secs().cast_signed()
    }

    fn overlaps(&self, other: &InstanceRecord) -> bool {
        self.heard.min(other.heard).duration_since(self.since.max(other.since)) > OVERLAP
    }
}

/// Returns the processes that use the name at the same time, in order; empty unless there are several.
pub(super) fn duplicates(instances: &[InstanceRecord], now: Timestamp) -> Vec<&InstanceRecord> {
    let recent = || instances.iter().filter(|one| one.is_recent(now));
    recent().filter(|one| recent().any(|other| one.id != other.id && one.overlaps(other))).collect()
}

/// Adds the processes of an earlier record to those of one that was written at `written`, and drops old ones.
pub(super) fn add_earlier(instances: &mut Vec<InstanceRecord>, earlier: &[InstanceRecord], written: Timestamp) {
    for other in earlier.iter().filter(|other| other.is_recent(written)) {
        match instances.iter_mut().find(|mine| mine.id == other.id) {
            Some(mine) => {
                mine.since = mine.since.min(other.since);
                mine.heard = mine.heard.max(other.heard);
            }
            None => instances.push(other.clone()),
        }
    }
    instances.sort_by_key(|one| std::cmp::Reverse(one.heard));
    instances.truncate(MOST);
    instances.sort_by(|a, b| a.id.cmp(&b.id));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{Labels, NodeRecord, Store};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    /// The record that a stream of a process writes: opened at `since`, with its latest message at `heard`.
    fn record(process: &str, stream: &str, since: i64, heard: i64) -> NodeRecord {
        let process_record =
            InstanceRecord { id: process.to_owned(), address: String::new(), since: at(since), heard: at(heard) };
        NodeRecord {
            tenant: None,
            name: "n".to_owned(),
            labels: Labels::default(),
            software: String::new(),
            stream: stream.to_owned(),
            instance: process.to_owned(),
            instances: vec![process_record],
            connected: true,
            heard: at(heard),
            written: at(heard),
            slots: Vec::new(),
            statistics: None,
        }
    }

    proptest! {
        /// Scenario: a history of processes under one name: each sends a message every ten seconds for a while, on one stream
        /// or on several, and the next process begins some seconds before or after the end of the previous process; a
        /// killed process keeps a silent stream that is still confirmed. Guarantee: two processes are shown exactly when
        /// both sent messages for more than 2 s after the later of them began, and as long as that is at most 90 s ago;
        /// the store has what the newest process sent.
        #[test]
        fn processes_that_overlap_are_found_and_others_are_not(
            lives in proptest::collection::vec((1_i64..6, -25_i64..40, 1_usize..3), 1..5),
        ) {
            let root = tempfile::tempdir().unwrap();
            let store = Store::open(root.path()).unwrap();
            let name = crate::names::Name::parse("n").unwrap();
            // The times of the messages of each process.
            let (mut begin, mut heard) = (0, Vec::new());
            for (number, (reports, gap, streams)) in lives.iter().enumerate() {
                let times: Vec<i64> = (0..=*reports).map(|report| begin + report * 10).collect();
                for (at, time) in times.iter().enumerate() {
                    // The processes follow each other.
                    let stream = at * streams / times.len();
                    let since = times[(0..=at).find(|one| one * streams / times.len() == stream).unwrap()];
                    heard.push((*time, number, format!("{number}-{stream}"), since));
                }
                begin = (begin + reports * 10 + gap).max(begin + 1);
            }
            heard.sort();
            for (index, (time, process, stream, since)) in heard.iter().enumerate() {
                let known = store.write_node(None, &name, &record(&process.to_string(), stream, *since, *time)).unwrap();
                // The first process's last time is confirmed by a stream that was never closed.
                let silent = heard[..=index].iter().rfind(|(_, of, ..)| *of == 0).unwrap();
                if silent.2 != *stream {
                    store.write_node(None, &name, &record("0", &silent.2, silent.3, silent.0)).unwrap();
                }
                let so_far = &heard[..=index];
                let life = |of: usize| {
                    let mut times = so_far.iter().filter(|(_, one, ..)| *one == of).map(|(time, ..)| *time);
                    times.next().map(|first| (first, times.next_back().unwrap_or(first)))
                };
                let recent: Vec<_> =
                    (0..lives.len()).filter_map(|of| Some((of, life(of)?))).filter(|(_, (_, last))| time - last <= 90).collect();
                let overlaps = |(of, a): &(usize, (i64, i64))| {
                    recent.iter().any(|(other, b)| of != other && a.1.min(b.1) - a.0.max(b.0) > 2)
                };
                let expected: Vec<String> =
                    recent.iter().filter(|one| overlaps(one)).map(|(of, _)| of.to_string()).collect();
                let found: Vec<String> = known.duplicates(at(*time)).iter().map(|one| one.id.clone()).collect();
                prop_assert_eq!(found, expected);
                prop_assert_eq!(store.read_node(None, &name).unwrap().heard, at(*time));
            }
        }
    }
}
