//! A listener with descriptors in reserve answers when the process has no others left.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hotlist::config::Address;
use hotlist::net::socket::{Activity, ConnectionLimits, Listener};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::metrics::{self, PATIENCE, closed};
use crate::sidecar::loopback;

/// Scenario: everything else in the process has taken all descriptors. Guarantee: probes are answered as long as there are
/// descriptors in reserve, and these come back with the connections that used them.
#[test]
fn probes_are_answered_without_a_free_descriptor() {
    // The limit is that of the process, which may run other tests at the same time.
    if std::env::var_os(ALONE).is_none() {
        let name = "descriptors::probes_are_answered_without_a_free_descriptor";
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(without_a_free_descriptor());
}

/// Set in the process in which the test is alone.
const ALONE: &str = "HOTLIST_TEST_ALONE";

async fn without_a_free_descriptor() {
    metrics::install();
    let listener = Listener::bind("probes", &loopback()).unwrap().with_spare_descriptors(4);
    let Address::Tcp(address) = *listener.local_address() else { panic!("{}", listener.local_address()) };
    let router = Router::new().route("/livez", get(async || "ok"));
    let bounds = ConnectionLimits {
        max_connections: 8,
        max_connections_per_peer: 8,
        max_waiting: 8,
        min_upload_rate: 0,
        handshake_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        max_age: None,
    };
    let open = move |stream, _, activity: Activity| {
        http1::Builder::new().serve_connection(TokioIo::new(stream), activity.watch(router.clone()))
    };
    tokio::spawn(listener.serve(bounds, None, &[b""], open, std::future::pending()));
    // Sockets of clients are made while they can be.
    let clients: Vec<TcpSocket> = (0..3).map(|_| TcpSocket::new_v4().unwrap()).collect();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.min(256), hard).unwrap();
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    for client in clients {
        let mut stream = client.connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("no answer").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        drop(stream);
        // Whatever was freed is taken again by others, but for the reserve.
        tokio::time::sleep(Duration::from_millis(20)).await;
        taken.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
    }
    drop(taken);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(closed("probes", "accept_failed"), 0.0);
}
