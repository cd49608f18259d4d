//! `hotlist demo` as a newcomer runs it: the real binary, its real sidecar, and what it says about them.

// Says to clippy what cargo knows: helpers here are test code, too.
#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use hotlist::config::Endpoint;
use hotlist::encoding::{Rope, otlp};
use hotlist::pipeline::{Batch, MatchedMessage};
use hotlist::sink::GrpcSink;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
    command.arg("demo").args(arguments).env_remove("HOTLIST_LOG").stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// A line of the summary: what follows its name.
fn figure<'a>(out: &'a str, name: &str) -> &'a str {
    let line = out.lines().find(|line| line.trim_start().starts_with(name) && line.starts_with("  "));
    line.unwrap_or_else(|| panic!("no line `{name}` in\n{out}")).trim_start().trim_start_matches(name).trim()
}

/// Scenario: 2,000 events are sent, one in fifty an incident of the examples.
/// Guarantee: all of them arrive, table and tagged event show what hit, the figures are those of this run, nothing is
/// complained of, and the exit code is 0.
#[test]
fn the_demo_shows_hits_a_tagged_event_and_its_own_figures() {
    let output = demo(&["--events", "2000", "--full"]).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{out}");

    // One of each kind of indicator, and a feed of each format.
    for cells in [
        ["ipv4-addr", "198.51.100.77", "destination.ip", "harbour"],
        ["ipv4-addr", "203.0.113.200/29", "source.ip", "networks"],
        ["ipv4-addr", "192.0.2.99", "related.ip", "addresses"],
        ["domain-name", "update.harbour-cloud.example", "dns.question.name", "harbour"],
        ["domain-name", "metrics.ad-mill.example", "dns.question.name", "hosts"],
        ["domain-name", "drop.lantern-share.example", "destination.domain", "lantern"],
        ["url", "https://files.drop-zone.test/payload/stage2.bin", "url.original", "addresses"],
        ["file", "0f1e2d3c4b5a69788796a5b4c3d2e1f0", "file.hash.md5", "harbour"],
        ["email-addr", "quartermaster@harbour-cloud.example", "email.from.address", "harbour"],
        ["user-account", "harbour\\svc-replica", "user.name", "harbour"],
    ] {
        let is_shown = out.lines().any(|line| cells.iter().all(|cell| line.contains(cell)));
        assert!(is_shown, "{cells:?} in\n{out}");
    }
    // What policy drops is not shown as a hit: the expired address, and the withdrawn name.
    assert!(!out.contains("198.51.100.78") && !out.contains("withdrawn.lantern-share.example"), "{out}");

    let event = &out[out.find("\n{").unwrap()..=out.find("\n}\n").unwrap() + 1];
    let event: Value = serde_json::from_str(event).unwrap();
    let enrichments = event.pointer("/threat/enrichments").and_then(Value::as_array).unwrap();
    assert!(enrichments.iter().any(|enrichment| enrichment.pointer("/hotlist/detection") == Some(&json!("CTI"))));
    assert!(event["tags"].as_array().unwrap().contains(&json!("threat-match")), "{event}");

    assert_eq!(figure(&out, "events"), "2,000 sent, 2,000 matched, 2,000 received");
    // 40 incidents: the 17 of the examples twice, then the first six again; 14 of the 17 hit.
    let hits = figure(&out, "hits");
    assert!(hits.ends_with(" on 33 events"), "{hits}");
    assert!(hits.split(' ').next().unwrap().parse::<u32>().unwrap() >= 33, "{hits}");
    assert_eq!(figure(&out, "suppressed"), "c2_field 3, expired 2, revoked 2");
    assert!(figure(&out, "prefilter").contains(" % of the look-ups passed ("), "{out}");
    assert!(figure(&out, "speed").contains(" events per second"), "{out}");
}

/// Scenario: the demo as README names it, with its output in a file.
/// Guarantee: one screen of 80 columns shows the story: what runs, hits, one tagged event, figures, what to do next.
#[test]
fn the_demo_fits_one_screen() {
    let output = demo(&["--events", "1000"]).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    assert!(out.lines().count() <= 50, "{} lines:\n{out}", out.lines().count());
    let headings = ["A sender, ", "Hits, ", "One of ", "  events ", "Next"];
    let places: Vec<usize> =
        headings.iter().map(|heading| out.find(heading).unwrap_or_else(|| panic!("{out}"))).collect();
    assert!(places.is_sorted(), "{out}");
    let event = &out[out.find("\n{").unwrap()..=out.find("\n}\n").unwrap() + 1];
    let event: Value = serde_json::from_str(event).unwrap();
    assert_eq!(event.pointer("/threat/enrichments/0/hotlist/detection"), Some(&json!("CTI")));
}

/// Scenario: the demo is kept serving, an event that hits is sent to the address that it printed, then Ctrl-C.
/// Guarantee: the hit is printed, the tagged event stands in the file that was named, and the end is a drain with
/// exit code 0 that leaves no temporary files.
#[test]
fn a_kept_demo_serves_until_interrupted() {
    let mut child = demo(&["--events", "100", "--keep"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address = after(&mut lines, "Serving until Ctrl-C: OTLP/gRPC at ");
    let address = address.split_once(". Hits").unwrap().0.to_owned();
    let file = after(&mut lines, "  tail -f '").trim_end_matches('\'').to_owned();
    after(&mut lines, "  curl http://127.0.0.1:");

    tokio::runtime::Runtime::new().unwrap().block_on(send(&address));
    let hit = after(&mut lines, "hit ");
    assert!(hit.ends_with("ipv4-addr  192.0.2.66  at source.ip = 192.0.2.66  (addresses)"), "{hit}");

    assert_line(&file, "\"marker\":\"sent by the test\"");
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(ended(&mut child), Some(0));
    assert!(!std::path::Path::new(&file).exists(), "{file} was left behind");
}

/// What follows `start` in the next line that begins with it.
fn after(lines: &mut impl Iterator<Item = String>, start: &str) -> String {
    let line = lines.find(|line| line.starts_with(start));
    line.unwrap_or_else(|| panic!("the output ended before `{start}`"))[start.len()..].to_owned()
}

async fn send(address: &str) {
    let event = json!({ "source": { "ip": "192.0.2.66" }, "marker": "sent by the test" });
    let message = Rope::from(Bytes::from(otlp::request_of([(1, &event)])));
    let endpoint = Endpoint::parse(&format!("http://{address}")).unwrap();
    let client = GrpcSink::otlp(endpoint, hotlist::sink::grpc::Settings::default());
    client
        .deliver("test", &Arc::new(Batch::from(MatchedMessage { message, records: 1, ..MatchedMessage::default() })))
        .await
        .unwrap();
}

/// The request was answered after the file had it, so that one look is enough.
fn assert_line(file: &str, part: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.lines().any(|line| line.contains(part)), "{text}");
}

/// The exit code; the process was stopped, and closes its standard output when it ends.
fn ended(child: &mut Child) -> Option<i32> {
    child.wait().unwrap().code()
}
