//! `limits.max_connection_age`: connections end after a while however busy they are, and no request is lost with them.

use std::time::Duration;

use hotlist::config::Address;
use hotlist::sink::grpc::Settings;
use hotlist::source::{ConnectionAge, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::Client;
use crate::metrics::{self, PATIENCE, closed, until};
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar, bind, loopback, otlp};
use crate::wire::{frame, greeting, http2};

const YOUNG: Duration = Duration::from_millis(300);

fn start(name: &str, grace: Duration, next_hop: &NextHop) -> Sidecar {
    metrics::install();
    let limits = Limits { max_connection_age: Some(ConnectionAge { after: YOUNG, grace }), ..Limits::default() };
    let patient = Settings { deadline: PATIENCE, ..Settings::default() };
    Sidecar::serve(bind(name, &loopback(), limits, Identity, [otlp(&next_hop.endpoint, patient)]))
}

async fn dial(sidecar: &Sidecar) -> TcpStream {
    let Address::Tcp(address) = sidecar.address else { panic!("{}", sidecar.address) };
    TcpStream::connect(address).await.unwrap()
}

/// Scenario: a connection is old and has no request. Guarantee: its peer gets a GOAWAY without an error, and the
/// connection is closed and counted.
#[tokio::test]
async fn an_old_connection_is_told_to_go() {
    let next_hop = NextHop::start().await;
    let sidecar = start("aged", PATIENCE, &next_hop);
    let mut peer = dial(&sidecar).await;
    peer.write_all(&greeting()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, peer.read_to_end(&mut bytes)).await.expect("the connection stays open");
    let go_away = http2(7, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert!(bytes.windows(go_away.len()).any(|window| window == go_away), "{bytes:?}");
    until("it is counted", || closed("aged", "max_age") == 1.0).await;
}

/// Scenario: a request is under way when its connection is too old. Guarantee: it is answered, and then the connection
/// ends.
#[tokio::test]
async fn a_request_on_an_old_connection_is_answered() {
    let mut next_hop = NextHop::start().await;
    let sidecar = start("aged-busy", PATIENCE, &next_hop);
    let client = Client::connect(&sidecar.address).await;
    let busy = tokio::spawn(async move { client.export(frame(0, b"slow")).await.status() });
    let held = next_hop.arrived().await;
    // A second connection, of the same age, that is closed when the first one would be.
    let mut idle = dial(&sidecar).await;
    idle.write_all(&greeting()).await.unwrap();
    let _ = timeout(PATIENCE, idle.read_to_end(&mut Vec::new())).await.expect("the connection stays open");
    tokio::time::sleep(YOUNG).await;
    assert_eq!(closed("aged-busy", "max_age"), 1.0, "only the idle one is closed");
    held.ok();
    assert_eq!(busy.await.unwrap(), 0);
    until("it is closed after its answer", || closed("aged-busy", "max_age") == 2.0).await;
}

/// Scenario: the next hop does not answer within the grace of an old connection. Guarantee: the connection is closed, and
/// the request is not acknowledged.
#[tokio::test]
async fn the_grace_of_an_old_connection_ends() {
    let mut next_hop = NextHop::start().await;
    let sidecar = start("aged-cut", YOUNG, &next_hop);
    let client = Client::connect(&sidecar.address).await;
    let busy = tokio::spawn(async move { client.try_export(frame(0, b"never")).await.map(|answer| answer.status()) });
    let _held = next_hop.arrived().await;
    let answer = timeout(PATIENCE, busy).await.expect("the connection stays open").unwrap();
    assert_eq!(answer, None);
    assert_eq!(closed("aged-cut", "max_age"), 1.0);
}

/// Guarantee: over HTTP/1.1 an old connection is closed, too.
#[tokio::test]
async fn an_old_connection_of_http_1_is_closed() {
    let next_hop = NextHop::start().await;
    let sidecar = start("aged-http", PATIENCE, &next_hop);
    let mut peer = dial(&sidecar).await;
    peer.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let _ = timeout(PATIENCE, peer.read_to_end(&mut Vec::new())).await.expect("the connection stays open");
    until("it is counted", || closed("aged-http", "max_age") == 1.0).await;
}
