//! The binary as a control plane and as an operator's tool.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use hotlist::intel::manifest::{Digest, Manifest, PublicKey, Signature, verify};
use hotlist::proto::control::v1::Slot;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;

use crate::certificates::Authority;
use crate::common::{Agent, PATIENCE, Scene};
use crate::fetch::fetch;
use crate::parts::assert_line;

/// A running `hotlist control-plane`. Ended when dropped.
pub struct Process {
    child: Child,
    log: Receiver<String>,
    pub address: String,
    admin: String,
}

impl Process {
    pub fn start(scene: &Scene, more: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
        command.args(["control-plane", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--store"]);
        command.arg(scene.store.root()).args(more).current_dir(scene.path()).env_remove("HOTLIST_LOG");
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (line, log) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|text| drop(line.send(text))));
        let mut process = Process { child, log, address: String::new(), admin: String::new() };
        process.admin = process.address_of("admin is listening");
        process.address = process.address_of("control plane is listening");
        process
    }

    /// The address in the next line with this text.
    fn address_of(&self, text: &str) -> String {
        let line = self.wait_for(text);
        line.split("address=").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    }

    pub fn wait_for(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line with {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    pub async fn admin(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// How it ended after SIGTERM.
    fn terminate(mut self) -> ExitStatus {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        while self.log.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn hotlist(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hotlist")).args(arguments).current_dir(directory).output().unwrap()
}

/// The output of a subcommand that succeeds.
pub fn prints(directory: &Path, arguments: &[&str]) -> String {
    let output = hotlist(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The error of a subcommand that fails.
pub fn complains(directory: &Path, arguments: &[&str]) -> String {
    let output = hotlist(directory, arguments);
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub async fn dial(address: &str) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// Scenario: a day of an operator, from the key to the way back, with a node at the process. Guarantee: each command
/// reaches the node at once, signed; the table, the metrics and the end are as they should be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_publishes_looks_and_goes_back() {
    let scene = Scene::new();
    let segment = scene.segment(b"a segment").digest.to_string();
    let run = |arguments: &[&str]| prints(scene.path(), arguments);
    let made = run(&["keygen", "--out", "signing.pem"]);
    let public = PublicKey::from_pem(&std::fs::read(scene.path().join("signing.pem.pub")).unwrap()).unwrap();
    assert_line(&made, &[&public.id(), "signing.pem", "signing.pem.pub"]);
    let process = Process::start(&scene, &[]);
    let mut node = Agent::open(dial(&process.address).await, "n1", &[("tenant", "acme"), ("zone", "eu")]).await;
    node.ask(Slot::Serve, 0, 0).await;

    let of = ["--store", "store", "--name", "acme", "--key", "signing.pem"];
    let content = ["--audience", "acme", "--label", "tenant=acme", "--segment", &segment, "--rule", "urlhaus"];
    let said = run(&[&["publish"][..], &of, &content, &["--expires", "30d"]].concat());
    assert_line(&said, &["acme serve version 1", "1 segment", &public.id()]);
    let response = node.next().await;
    let manifest = Manifest::parse(&response.manifest).unwrap();
    assert_eq!((manifest.version, manifest.rules[0].feed.as_str()), (1, "urlhaus"));
    let signature = &response.signatures[0];
    let signature = Signature { key_id: signature.key_id.clone(), signature: signature.signature.to_vec() };
    assert_eq!(verify(&response.manifest, &[signature], &[public]), Ok(public));
    node.ack(&response).await;

    run(&[&["publish"][..], &of, &content, &["--mode", "shadow"]].concat());
    node.ask(Slot::Shadow, 0, 0).await;
    let response = node.next().await;
    assert_eq!((response.slot(), response.version), (Slot::Shadow, 2));
    node.nack(&response, 0, "the disk\u{1b}[2J is full").await;
    run(&[&["promote"][..], &of].concat());
    let response = node.next().await;
    assert_eq!((response.slot(), response.version), (Slot::Serve, 3));
    node.ack(&response).await;
    run(&[&["rollback"][..], &of, &["--to", "1"]].concat());
    assert_eq!(node.next_version().await, (Slot::Serve, 4));

    let endpoint = format!("http://{}", process.address);
    let nodes = ["nodes", "--endpoint", &endpoint];
    let seen = loop {
        let json: Value = serde_json::from_str(&run(&[&nodes[..], &["--json"]].concat())).unwrap();
        if json["slots"][0]["version"] == 3 && json["slots"][1]["refused_version"] == 2 {
            break json;
        }
    };
    assert_eq!((&seen["node"], &seen["tenant"], &seen["connected"]), (&"n1".into(), &"acme".into(), &true.into()));
    assert_eq!(seen["slots"][0]["wanted_version"], 4);
    assert_eq!(seen["slots"][1]["error"]["message"], "the disk\u{1b}[2J is full");
    let table = run(&nodes);
    let columns: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(columns[..4], ["n1", "acme", "tenant=acme,zone=eu", "yes"]);
    assert_eq!(columns[5..7], ["3", "4"]);
    assert!(table.contains("2: the disk\\u{1b}[2J is full") && !table.contains('\u{1b}'), "{table}");
    assert_eq!(run(&[&nodes[..], &["--tenant", "nobody"]].concat()), "no nodes\n");

    // Also counted: a segment, a missing segment, and a file that is not a publication.
    let digest: Digest = segment.parse().unwrap();
    assert_eq!(fetch(dial(&process.address).await, &digest.0, 2).await.unwrap().0, b"segment");
    assert!(fetch(dial(&process.address).await, &[0; 32], 0).await.is_err());
    std::fs::write(scene.store.publications().join("bad.serve.json"), "{}").unwrap();
    let line = process.wait_for("publication refused");
    assert!(line.contains("bad.serve.json") && line.contains("missing field"), "{line}");

    assert!(process.admin("/livez").await.contains("200 OK"));
    assert!(process.admin("/readyz").await.contains("200 OK"));
    let metrics = process.admin("/metrics").await;
    for line in [
        "hotlist_control_plane_nodes 1",
        "hotlist_control_plane_publications 1",
        "hotlist_control_plane_publication_errors_total 1",
        "hotlist_control_plane_fetched_bytes_total 7",
        "hotlist_control_plane_refusals_total{call=\"fetch_segment\",status=\"not_found\"} 1",
        "hotlist_control_plane_pushes_total{slot=\"serve\"} 3",
        "hotlist_control_plane_pushes_total{slot=\"shadow\"} 1",
        "hotlist_control_plane_answers_total{slot=\"serve\",answer=\"ack\"} 2",
        "hotlist_control_plane_answers_total{slot=\"shadow\",answer=\"nack\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}:\n{metrics}");
    }
    assert_eq!(process.terminate().code(), Some(0));
    assert_eq!(node.try_next().await.unwrap_err().code(), tonic::Code::Unavailable);
    assert!(complains(scene.path(), &nodes).contains("no connection to http://127.0.0.1:"));
}

/// Scenario: arguments that cannot be. Guarantee: each says what is wrong and nothing is made.
#[test]
fn what_cannot_be_done_is_said() {
    let scene = Scene::new();
    let publish = ["publish", "--store", "store", "--name", "p", "--audience", "acme"];
    let with = |more: &[&str]| complains(scene.path(), &[&publish[..], more].concat());
    for (more, words) in [
        (&["--segment", "../x"][..], "--segment ../x: a digest has 64"),
        (&["--segment", &"0".repeat(64)], "no such segment"),
        (&["--label", "zone"], "--label zone: give KEY=VALUE"),
        (&["--expires", "soon"], "--expires soon: give a time"),
        (&["--rule", "f=x"], "give `feed` or `collection`"),
        (&["--key", "none.pem"], "--key none.pem: cannot be read"),
    ] {
        let complaint = with(more);
        assert!(complaint.contains(words), "{complaint}");
    }
    for (name, audience, store, words) in [
        ("../p", "acme", "store", "give 1 to 63"),
        ("p", "ACME", "store", "audience"),
        ("p", "acme", "stare", "--store stare: is not a directory"),
    ] {
        let arguments = ["publish", "--store", store, "--name", name, "--audience", audience];
        let complaint = complains(scene.path(), &arguments);
        assert!(complaint.contains(words), "{complaint}");
    }
    assert!(!scene.path().join("stare").exists());
    let json = |path: std::path::PathBuf| {
        std::fs::read_dir(path).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count()
    };
    assert_eq!((json(scene.store.history()), json(scene.store.publications())), (0, 1), "the lock alone");

    prints(scene.path(), &["keygen", "--out", "k.pem"]);
    assert!(complains(scene.path(), &["keygen", "--out", "k.pem"]).contains("k.pem: cannot be created"));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(scene.path().join("k.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    let open = complains(scene.path(), &["control-plane", "--store", "store", "--listen", "0.0.0.0:0"]);
    assert!(open.contains("certificates"), "{open}");
}

/// Scenario: `nodes` over mutual TLS, with the role and without. Guarantee: with the role the nodes are listed; without
/// it the error names the missing role.
#[test]
fn nodes_speaks_mutual_tls() {
    let scene = Scene::new();
    let authority = Authority::new();
    authority.files(scene.path(), &authority.sign());
    let tls = ["--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca", "ca.pem"];
    let process = Process::start(&scene, &tls);
    for (name, uri) in [("admin", "spiffe://x/role/admin"), ("node", "spiffe://x/tenant/a")] {
        let identity = authority.client(&[uri]);
        std::fs::write(scene.path().join(format!("{name}.pem")), identity.pem).unwrap();
        std::fs::write(scene.path().join(format!("{name}.key")), identity.key).unwrap();
    }
    let endpoint = format!("https://{}", process.address);
    let nodes = ["nodes", "--endpoint", &endpoint, "--ca-file", "ca.pem"];
    let admin = [&nodes[..], &["--cert-file", "admin.pem", "--key-file", "admin.key"]].concat();
    assert_eq!(prints(scene.path(), &admin), "no nodes\n");
    let node = [&nodes[..], &["--cert-file", "node.pem", "--key-file", "node.key"]].concat();
    let complaint = complains(scene.path(), &node);
    assert!(complaint.contains("PERMISSION_DENIED") && complaint.contains("role/admin"), "{complaint}");
    assert!(complains(scene.path(), &nodes).contains(&endpoint));
}
