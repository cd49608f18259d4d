//! The sockets of the real process: what it shows to whom, and that it survives want of file descriptors.

use std::time::Instant;

use hotlist::encoding::otlp::request_of;
use serde_json::json;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::client::export;
use crate::next_hop::NextHop;
use crate::process::{Hotlist, PATIENCE, Scene};

/// Guarantee: health is asked for on any address. Reflection and `/config` are there for this host only, and a port
/// that is open to others without TLS is warned of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tells_about_the_deployment_stays_on_the_host() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    for (address, local) in [("127.0.0.1:0", true), ("0.0.0.0:0", false)] {
        let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
        let hotlist = Hotlist::start(&scene.write("hotlist.yaml", &text.replace("127.0.0.1:0", address)));
        let channel = Channel::from_shared(format!("http://{}", hotlist.address())).unwrap().connect().await.unwrap();
        let mut health =
            HealthClient::new(channel.clone()).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        let told = async { while health.message().await.unwrap().unwrap().status() != ServingStatus::Serving {} };
        tokio::time::timeout(PATIENCE, told).await.expect("never serving");
        let asked = ServerReflectionClient::new(channel)
            .server_reflection_info(tokio_stream::iter([ServerReflectionRequest::default()]))
            .await;
        assert_eq!(asked.err().map(|status| status.code()), (!local).then_some(Code::Unimplemented));
        let (status, body) = hotlist.admin("/config").await;
        assert_eq!(
            (status, body.contains(&scene.path("hits.ndjson").display().to_string())),
            (if local { 200 } else { 404 }, local)
        );
        for path in ["/livez", "/readyz", "/readyz?verbose", "/metrics"] {
            assert_eq!(hotlist.admin(path).await.0, 200, "{address} {path}");
        }
        let log = hotlist.log();
        for warning in ["send events without encryption", "reachable from other hosts"] {
            assert_eq!(log.contains(warning), !local, "{log}");
        }
    }
}

/// Guarantee: a certificate that cannot be had stops the start, and the message says which key and which file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_certificate_stops_the_start() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let tls = "type: otlp, tls: { cert_file: missing.pem, key_file: missing.key }, address";
    let (status, log) =
        Hotlist::spawn(&scene.write("hotlist.yaml", &text.replacen("type: otlp, address", tls, 1))).wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("sources.agents.tls: missing.pem: "), "{log}");
}

/// How many connections were accepted or refused so far.
async fn decided(hotlist: &Hotlist) -> usize {
    let (_, metrics) = hotlist.admin("/metrics").await;
    let is_counted = |line: &&str| {
        ["hotlist_connections{listener=\"agents\"}", "hotlist_connections_closed_total{listener=\"agents\""]
            .iter()
            .any(|name| line.starts_with(name))
    };
    let values = metrics.lines().filter(is_counted).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum::<f64>() as usize
}

/// Scenario: far more idle connections than the process may have open files, and the next hop restarts meanwhile.
/// Guarantee: the start warns of the limit, sources leave descriptors for everybody else: probes are answered at any time, a
/// new collector is served, and so is the next hop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn want_of_file_descriptors_is_survived() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let hotlist = Hotlist::spawn_with_files(&scene.readme(&next_hop.endpoint), 80);
    let address = hotlist.address();
    let warning = hotlist.wait_for("limit of open files");
    assert_eq!(warning["limit"], 80);
    let message = request_of([(1, &json!({ "source": { "ip": "198.51.100.23" } }))]);
    let (mut peers, mut exports) = (Vec::new(), 0);
    for at in 0..200 {
        peers.push(TcpStream::connect(&address).await.unwrap());
        if at % 20 == 0 {
            assert_eq!(hotlist.admin("/livez").await.0, 200);
            // A line of connections that wait is bounded: one that comes while it is full is refused.
            let until = Instant::now() + PATIENCE;
            while decided(&hotlist).await < peers.len() + exports {
                assert!(Instant::now() < until, "{} connections were decided on", decided(&hotlist).await);
            }
            assert_eq!(export(&address, &message).await.unwrap().status, 0);
            exports += 1;
        }
    }
    let open = std::fs::read_dir(format!("/proc/{}/fd", hotlist.id())).unwrap().count();
    assert!(open < 80 - 8, "{open} files are open");
    assert!(hotlist.metric("hotlist_connections{listener=\"agents\"}").await > 1.0);
    assert_eq!(
        hotlist.metric("hotlist_connections_closed_total{listener=\"agents\",reason=\"accept_failed\"}").await,
        0.0
    );
}
