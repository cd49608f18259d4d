//! Clients that nobody here wrote: grpcio, with code that grpcio-tools made of the published proto, and grpcurl.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::common::{Plane, Scene};
use crate::grpcurl::grpcurl;
use crate::python::python;

/// The program of `tests/python/control_client.py`.
struct Stranger {
    child: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Stranger {
    fn start(python: &Path, address: &str) -> Stranger {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(python);
        command.arg(root.join("tests/python/control_client.py")).arg(root.join("proto")).arg(address);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Stranger { child, orders, lines: BufReader::new(stdout).lines() }
    }

    /// The output when it has done this.
    fn does(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        self.lines.next().expect("it ended").unwrap()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // It ends by itself with its input.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Scenario: a stranger subscribes, acknowledges, refuses, and comes back with its version. Guarantee: the proto and
/// its comments are all that it needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the Python client"]
async fn a_stranger_speaks_the_control_stream() {
    let python = python("grpc, grpc_tools");
    let scene = Scene::new();
    let content = vec![7; 100_000];
    let segment = scene.segment(&content);
    scene.publish("all", &[("language", "python")], &[segment]);
    let plane = Plane::start(&scene).await;
    let mut stranger = Stranger::start(&python, &plane.address);
    assert_eq!(stranger.does("open stranger 0 0"), "opened");
    assert_eq!(stranger.does("next"), format!("response 1 {}", segment.digest));
    let fetched = hotlist::intel::manifest::Digest::sha256(&content[1..]);
    assert_eq!(stranger.does(&format!("fetch {} 1", segment.digest)), format!("fetched 99999 {fetched}"));
    let unknown = stranger.does(&format!("fetch {} 0", "00".repeat(32)));
    assert!(unknown.starts_with("error NOT_FOUND ") && unknown.contains("segment"), "{unknown}");
    assert_eq!(stranger.does("ack"), "acked");
    scene.publish("all", &[], &[]);
    assert_eq!(stranger.does("next"), "response 2 ");
    assert_eq!(stranger.does("nack unsigned"), "nacked");
    scene.publish("all", &[], &[]);
    assert_eq!(stranger.does("next"), "response 3 ", "version 2 does not come again");
    assert_eq!(stranger.does("nack unsigned"), "nacked");
    assert_eq!(stranger.does("close"), "closed 0");
    let nodes = plane.nodes_when(|nodes| nodes.len() == 1 && !nodes[0].connected).await;
    let slot = &nodes[0].slots[0];
    assert_eq!((slot.version, slot.refused_version, slot.error.as_ref().unwrap().message.as_str()), (1, 3, "unsigned"));

    assert_eq!(stranger.does("open stranger 1 3"), "opened");
    scene.publish("all", &[], &[segment]);
    assert_eq!(stranger.does("next"), format!("response 4 {}", segment.digest), "version 3 does not come again");
    assert_eq!(stranger.does("ack"), "acked");
    assert_eq!(stranger.does("close"), "closed 0");
    assert_eq!(stranger.does("open stranger 4 0"), "opened");
    assert_eq!(stranger.does("close"), "closed 0", "it has what there is");
    assert_eq!(stranger.does("open ../stranger 0 0"), "opened");
    assert!(stranger.does("next").starts_with("error INVALID_ARGUMENT node.name: "));
}

/// Scenario: grpcurl, which knows nothing but the address. Guarantee: it finds the services by reflection, gets what is
/// published although it says no more than its first word, and sees that the control plane is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs grpcurl"]
async fn grpcurl_needs_no_proto() {
    let grpcurl = grpcurl();
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let plane = Plane::start(&scene).await;
    let run = |request: &str, method: &str| {
        let output =
            Command::new(&grpcurl).args(["-plaintext", "-d", request, &plane.address, method]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let first = r#"{"node": {"name": "curl"}, "slot": "SLOT_SERVE"}"#;
    assert_eq!(run(first, "hotlist.control.v1.Control/Sync")["version"], "1");
    let nodes = run("{}", "hotlist.control.v1.Operator/ListNodes");
    assert_eq!(nodes["nodes"][0]["node"]["name"], "curl");
    for service in ["", "hotlist.control.v1.Control"] {
        let request = format!(r#"{{"service": "{service}"}}"#);
        assert_eq!(run(&request, "grpc.health.v1.Health/Check")["status"], "SERVING");
    }
}
