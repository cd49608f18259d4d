//! Bodies that come slowly lock nobody out: the slowest makes room for who comes next.

use hotlist::sink::grpc::Settings;
use hotlist::source::Limits;
use tokio::io::AsyncWriteExt;

use crate::client::full;
use crate::http_client::{HttpClient, LOGS, PROTOBUF, Raw, head, request};
use crate::metrics::{self, PATIENCE, closed, until};
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar, bind, loopback, otlp};

/// Scenario: as many clients as there may be connections, and some more, each send the head of a request and one byte of
/// its body, and come again whenever they are closed. Guarantee: a good client that dials again, as collectors do, is served
/// in time, whatever the others do, and what makes room for it is counted as slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_uploads_lock_nobody_out() {
    metrics::install();
    let next_hop = NextHop::start().await;
    let limits = Limits { max_connections: 8, ..Limits::default() };
    let patient = Settings { deadline: PATIENCE, ..Settings::default() };
    let sidecar = Sidecar::serve(bind("slow", &loopback(), limits, Identity, [otlp(&next_hop.endpoint, patient)]));
    next_hop.accept_all();
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let address = sidecar.address.clone();
        slow.spawn(async move {
            loop {
                let mut peer = Raw::connect(&address).await;
                // The peer may be closed before it has written anything.
                if peer.0.write_all(&[head(Some(1000), ""), b"x".to_vec()].concat()).await.is_ok() {
                    peer.until_closed().await;
                }
            }
        });
    }
    until("every place is taken", || metrics::open("slow") >= 8.0).await;
    for _ in 0..5 {
        let served = async {
            loop {
                let mut client = HttpClient::connect(&sidecar.address).await;
                // A connection may be closed for another one before its first request is there.
                if let Ok(answer) = client.try_send(request("POST", LOGS, &[PROTOBUF], full("x".into()))).await {
                    break answer.http;
                }
            }
        };
        assert_eq!(tokio::time::timeout(PATIENCE, served).await.expect("a good client is locked out"), 200);
    }
    assert!(closed("slow", "slow") >= 1.0);
    slow.shutdown().await;
}
