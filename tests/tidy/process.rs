//! Rules about what may stop or flood a process: tasks that end unseen, and lines of the log without a throttle.

use std::collections::BTreeSet;

use super::{assert_none, codes, log_calls, sources, words};

/// Where tasks and threads are made other than by `task::background`, and what becomes of a panic there.
const SPAWNS: [(&str, &str); 18] = [
    ("src/task.rs", "it is what this rule asks for"),
    ("src/admin/thread.rs", "the app waits for its end"),
    ("src/cli/scan/pipeline.rs", "the command waits for its threads, and ends with a panic"),
    ("src/provider/files/thread.rs", "it goes on after a panic"),
    ("src/app/reload.rs", "opens files again, once"),
    ("src/app/wiring.rs", "asks for the health of a next hop, once"),
    ("src/cli/admin.rs", "of one connection"),
    ("src/cli/fleet/control_plane.rs", "the command waits for its end"),
    ("src/cli/demo.rs", "the demo waits for its end"),
    ("src/cli/run.rs", "the command waits for its end"),
    ("src/controlplane/server/progress.rs", "of one call"),
    ("src/file_timeout.rs", "opens one file"),
    ("src/sink/fanout.rs", "of one batch"),
    ("src/sink/link.rs", "of one connection"),
    ("src/sink/ndjson.rs", "syncs once, and the next batch asks again"),
    ("src/source/filter/stream.rs", "of one stream"),
    ("src/source/workers.rs", "work that panics is an answer"),
    ("src/telemetry/log_buffer.rs", "it writes what the hook for panics logs, and calls nothing that panics"),
];

#[test]
fn no_task_that_runs_as_long_as_the_process_ends_unseen() {
    let mut offences = Vec::new();
    let mut making = BTreeSet::new();
    for (path, code) in codes() {
        if ["tokio::spawn(", "thread::spawn(", "thread::Builder"].iter().any(|made| code.contains(made)) {
            if !SPAWNS.iter().any(|(known, _)| *known == path) {
                offences.push(path.clone());
            }
            making.insert(path);
        }
    }
    let gone = SPAWNS.iter().filter(|(known, _)| !making.contains(*known)).map(|(known, _)| format!("{known}: gone"));
    offences.extend(gone);
    assert_none(
        "use `task::background` or `task::background_thread`, or say in SPAWNS of tests/tidy/process.rs what becomes of a panic",
        offences,
    );
}

/// Where peers send something: what they do must not fill the log.
const PEERS: [&str; 6] =
    ["src/net/socket/", "src/source/", "src/sink/", "src/net/tls/", "src/controlplane/server/", "src/pipeline"];
/// Files there whose lines no peer can repeat.
const UNTHROTTLED: [(&str, &str); 10] = [
    ("src/sink/connection.rs", "attempts to connect back off"),
    ("src/sink/headers.rs", "once until the file is good again"),
    ("src/sink/line_file.rs", "whoever rotates files, and disks"),
    ("src/sink/link.rs", "once for each connection, at the level debug"),
    ("src/sink/ndjson.rs", "at a signal, and once a second"),
    ("src/source/health.rs", "at start"),
    ("src/source/listener.rs", "at start"),
    ("src/net/socket/bind.rs", "at the end"),
    ("src/net/socket/unix.rs", "at the end"),
    ("src/net/tls/reload.rs", "once for each change of a file"),
];

#[test]
fn a_line_that_a_peer_can_repeat_is_throttled() {
    let mut offences = Vec::new();
    for (path, text) in sources() {
        let is_of_peers = PEERS.iter().any(|of| path.starts_with(of));
        if !is_of_peers || UNTHROTTLED.iter().any(|(known, _)| *known == path) {
            continue;
        }
        for (line, arguments) in log_calls(&text) {
            if words(&arguments, "left_out").next().is_none() {
                offences.push(format!("{path}:{line}"));
            }
        }
    }
    assert_none("put a telemetry::Throttle around the line, and give `left_out`", offences);
}
