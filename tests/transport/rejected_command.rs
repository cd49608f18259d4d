//! `hotlist rejected`: what it lists, what it sends again, and what it leaves alone.

use std::path::Path;
use std::process::{Command, Output};

use hotlist::sink::grpc::Settings;
use hotlist::sink::rejected::{self, Entry};
use serde_json::json;

use crate::client::Client;
use crate::next_hop::NextHop;
use crate::rejected::{batch, entries, next_hop, read, refuse_bad, sidecar_with, texts};
use crate::wire::frame;

fn hotlist(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hotlist")).args(arguments).output().unwrap()
}

/// Scenario: three rejected records and a torn line; the next hop takes two of them now. Guarantee: `list` shows all
/// and reports the torn line, `resend` removes the accepted ones and leaves the rest, with exit code 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_records_are_listed_and_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected.ndjson");
    let name = path.to_str().unwrap();
    let (endpoint, _) = next_hop(refuse_bad).await;
    let sidecar = sidecar_with(&endpoint, Some(&path), Settings::default());
    let client = Client::connect(&sidecar.address).await;
    let texts = ["bad 1", "bad 2", "bad 3", "good"].map(str::to_owned);
    assert_eq!(client.export(frame(0, &batch(&texts))).await.status(), 0);
    let mut content = std::fs::read(&path).unwrap();
    content.extend_from_slice(b"{\"time\":\"2026-");
    std::fs::write(&path, content).unwrap();

    let listed = hotlist(&["rejected", "list", "--json", name]);
    assert!(listed.status.success());
    let lines: Vec<serde_json::Value> =
        String::from_utf8(listed.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    let number =
        |text: &str| lines.iter().find(|line| line["record"]["message"] == text).unwrap()["number"].to_string();
    assert!(String::from_utf8(listed.stderr).unwrap().contains(":4: cannot be read: "));
    let table = String::from_utf8(hotlist(&["rejected", "list", name]).stdout).unwrap();
    assert!(table.contains("invalid_argument") && table.contains(r#""message":"bad 2""#), "{table}");

    let (mended, seen) = next_hop(|texts, arrived| {
        if texts == ["bad 2"] {
            arrived.answer_status(3, "still malformed");
            return None;
        }
        Some(arrived)
    })
    .await;
    let dry = hotlist(&["rejected", "resend", name, "--endpoint", &mended, "--dry-run"]);
    assert_eq!(String::from_utf8(dry.stdout).unwrap().lines().count(), 3);
    assert_eq!(seen.requests(), 0);
    let one = hotlist(&["rejected", "resend", name, "--endpoint", &mended, "--select", &number("bad 3")]);
    assert_eq!((one.status.code(), seen.taken()), (Some(0), vec!["bad 3".to_owned()]), "{one:?}");
    let rest = hotlist(&["rejected", "resend", name, "--endpoint", &mended, "--header", "x-tenant=one"]);
    assert_eq!((rest.status.code(), seen.taken()), (Some(1), vec!["bad 1".to_owned()]), "{rest:?}");
    assert!(String::from_utf8(rest.stderr).unwrap().contains("still malformed"));
    let mut left = Vec::new();
    rejected::read(&path, |line| left.push(line.entry.ok())).unwrap();
    assert_eq!(left.len(), 2, "what was refused, and the torn line");
    assert_eq!(read(&left[0].as_ref().unwrap().request), ["bad 2"]);
}

/// Scenario: the next hop answers that it rejected some records of a batch, with a rejected file, with a file that has no
/// room, and without a file. Guarantee: the answer is OK with the same partial success; with room, the whole batch is in
/// the file, marked, `list` shows it and `resend` sends it only when asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_batch_of_a_partial_success_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejected.ndjson");
    let name = path.to_str().unwrap();
    // `partial_success { rejected_log_records: 2, error_message: "no" }`
    let answer: &[u8] = &[10, 6, 8, 2, 18, 2, b'n', b'o'];
    let texts = texts(3, |_| false);
    for file in [Some(path.as_path()), Some(Path::new("/dev/full")), None] {
        let mut next_hop = NextHop::start().await;
        let sidecar = sidecar_with(&next_hop.endpoint, file, Settings::default());
        let client = Client::connect(&sidecar.address).await;
        let (told, _) = tokio::join!(client.export(frame(0, &batch(&texts))), async {
            next_hop.arrived().await.answer_message(answer)
        });
        assert_eq!((told.status(), &told.body[5..]), (0, answer), "{file:?}");
    }
    let [entry] = <[Entry; 1]>::try_from(entries(&path)).unwrap();
    assert_eq!((entry.partial, entry.status.as_str(), entry.message.as_str()), (Some(2), "ok", "no"));
    assert_eq!(read(&entry.request), texts);

    let table = String::from_utf8(hotlist(&["rejected", "list", name]).stdout).unwrap();
    assert!(table.contains("partial (2 of 3)") && table.contains("good 0"), "{table}");
    let line: serde_json::Value =
        serde_json::from_slice(&hotlist(&["rejected", "list", "--json", name]).stdout).unwrap();
    assert_eq!((&line["partial"], line["records"][2]["message"].as_str()), (&json!(2), Some("good 2")));
    let (endpoint, seen) = next_hop(refuse_bad).await;
    let without = hotlist(&["rejected", "resend", name, "--endpoint", &endpoint]);
    assert_eq!((without.status.code(), seen.requests(), entries(&path).len()), (Some(0), 0, 1), "{without:?}");
    assert!(String::from_utf8(without.stderr).unwrap().contains("1 line of a partial success"));
    let with = hotlist(&["rejected", "resend", name, "--endpoint", &endpoint, "--partial"]);
    assert_eq!((with.status.code(), seen.taken(), entries(&path).len()), (Some(0), texts, 0), "{with:?}");
}
