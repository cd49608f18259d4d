//! `hotlist rejected resend` over TLS: the real binary, and a next hop that asks for certificates.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bytes::Bytes;
use hotlist::encoding::otlp::request_of;
use hotlist::pipeline::Signal;
use hotlist::sink::RejectedFile;
use hotlist::sink::rejected::Entry;
use serde_json::json;
use tempfile::TempDir;

use crate::authority::{Authority, server_config};
use crate::next_hop::NextHop;

/// A rejected file with one record, and certificates next to it.
struct Scene {
    directory: TempDir,
    file: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rejected.ndjson");
        let entry = Entry {
            partial: None,
            format: hotlist::encoding::Format::Otlp,
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            sink: "next".to_owned(),
            endpoint: "https://127.0.0.1:1".to_owned(),
            signal: Signal::Logs,
            status: "invalid_argument".to_owned(),
            message: "no".to_owned(),
            request: Bytes::from(request_of([(1, &json!({ "message": "malformed" }))])),
        };
        RejectedFile::open(file.clone(), 1 << 20).unwrap().append(&[entry]).unwrap();
        Scene { directory, file }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn resend(&self, endpoint: &str, options: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
        command.args(["rejected", "resend", self.file.to_str().unwrap(), "--endpoint", endpoint]);
        command.args(options).output().unwrap()
    }
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap().lines().count()
}

/// Scenario: the next hop has a certificate of its own authority and asks for one of another authority. Guarantee:
/// without both the record stays in the file, the next hop sees nothing, and the reason is printed; with them it is
/// sent and leaves the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_records_are_sent_again_over_tls() {
    let (servers, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let mut next_hop = NextHop::start_tls(server_config(&servers.sign(), Some(&clients))).await;
    let scene = Scene::new();
    let (ca, other) = (scene.write("ca.pem", &servers.pem), scene.write("other.pem", &strangers.pem));
    let ours = clients.sign();
    let (cert, key) = (scene.write("tls.crt", &ours.pem), scene.write("tls.key", &ours.key));
    let endpoint = next_hop.endpoint.clone();
    for options in [vec![], vec!["--ca-file", &ca], vec!["--ca-file", &other, "--cert-file", &cert, "--key-file", &key]]
    {
        let output = scene.resend(&endpoint, &options);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{options:?}: {told}");
        let reason = told.to_lowercase();
        assert!(reason.contains("certificate") || reason.contains("cannot be reached"), "{options:?}: {told}");
        assert_eq!(lines(&scene.file), 1, "{options:?}");
    }
    assert!(next_hop.is_idle());

    let options = ["--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    let taken = tokio::spawn(async move {
        let arrived = next_hop.arrived().await;
        let message = arrived.message();
        arrived.ok();
        message
    });
    let output = scene.resend(&endpoint, &options);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(taken.await.unwrap(), request_of([(1, &json!({ "message": "malformed" }))]));
    assert_eq!(lines(&scene.file), 0);
}

/// Guarantee: half an identity is a usage error; certificates for an endpoint without TLS and files that cannot be used
/// are reported with what to do; nothing is sent.
#[test]
fn certificates_that_cannot_be_used_are_told() {
    let scene = Scene::new();
    let bad = scene.write("bad.pem", "no certificate");
    let error_of = |endpoint: &str, options: &[&str], code: i32| {
        let output = scene.resend(endpoint, options);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(error_of("https://127.0.0.1:1", &["--cert-file", &bad], 2).contains("--key-file"));
    assert!(error_of("https://127.0.0.1:1", &["--ca-file", &bad], 1).contains("bad.pem"));
    let error = error_of("http://127.0.0.1:1", &["--ca-file", &bad], 1);
    assert!(error.contains("--ca-file: http://127.0.0.1:1 has no TLS"), "{error}");
    assert_eq!(lines(&scene.file), 1);
}
