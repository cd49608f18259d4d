//! Connections are bounded: in number, in the time for a handshake and a header, and in how long they idle. Who keeps
//! to the rules is served whatever others do.

use std::time::{Duration, Instant};

use hotlist::config::Address;
use hotlist::sink::grpc::Settings;
use hotlist::source::Limits;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Client, full, request};
use crate::metrics::{self, PATIENCE, closed, until};
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar, bind, loopback, otlp};
use crate::wire::{frame, greeting, http2};

const SHORT: Duration = Duration::from_millis(200);
const RST_STREAM: u8 = 3;
const HEADERS: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;
/// `:method POST`, `:scheme http`, `:path /`: entries of HPACK's static table (RFC 7541 appendix A).
const POST_ROOT: [u8; 3] = [0x83, 0x86, 0x84];

fn start(name: &str, limits: Limits, next_hop: &NextHop) -> Sidecar {
    metrics::install();
    let patient = Settings { deadline: PATIENCE, ..Settings::default() };
    Sidecar::serve(bind(name, &loopback(), limits, Identity, [otlp(&next_hop.endpoint, patient)]))
}

async fn dial(sidecar: &Sidecar) -> TcpStream {
    let Address::Tcp(address) = sidecar.address else { panic!("{}", sidecar.address) };
    TcpStream::connect(address).await.unwrap()
}

/// Everything until the other side closes; a reset is a close, too.
async fn until_closed(mut peer: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, peer.read_to_end(&mut bytes)).await.expect("the connection stays open");
    bytes
}

/// Scenario: 10,000 connections that say nothing, or no more than hello, where 64 may be. Guarantee: a request under way
/// is not disturbed, a collector that comes after all of them is served, and the sidecar never holds more than twice
/// as many connections as it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_lock_nobody_out() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let count = usize::try_from(hard).unwrap().saturating_sub(1_000).min(10_000);
    assert!(count >= 1_000, "the system allows only {hard} open files");
    let mut next_hop = NextHop::start().await;
    let sidecar = start("flood", Limits { max_connections: 64, ..Limits::default() }, &next_hop);
    let busy = Client::connect(&sidecar.address).await;
    let busy = tokio::spawn(async move { busy.export(frame(0, b"slow")).await.status() });
    let held = next_hop.arrived().await;
    let mut peers = Vec::with_capacity(count);
    for at in 0..count {
        let mut peer = dial(&sidecar).await;
        if at % 2 == 0 {
            // Who is closed already cannot be greeted.
            let _ = peer.write_all(&greeting()).await;
        }
        // Rendering all metrics takes longer than a connection.
        assert!(at % 500 > 0 || metrics::open("flood") <= 2.0 * 64.0);
        peers.push(peer);
    }
    held.ok();
    assert_eq!(busy.await.unwrap(), 0);
    next_hop.accept_all();
    let client = Client::connect(&sidecar.address).await;
    assert_eq!(client.export(frame(0, b"after all")).await.status(), 0);
    until("all but the last 64 are closed", || metrics::open("flood") <= 64.0).await;
    assert!(closed("flood", "evicted") > (count / 2) as f64);
}

/// Scenario: every place is taken by a connection with a request. Guarantee: one more is closed at once and counted,
/// and served once there is room.
#[tokio::test]
async fn beyond_the_bound_a_connection_is_refused_while_all_are_busy() {
    let mut next_hop = NextHop::start().await;
    let sidecar = start("full", Limits { max_connections: 2, ..Limits::default() }, &next_hop);
    let (mut busy, mut held) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let client = Client::connect(&sidecar.address).await;
        busy.push(tokio::spawn(async move { client.export(frame(0, b"slow")).await.status() }));
        held.push(next_hop.arrived().await);
    }
    assert!(until_closed(dial(&sidecar).await).await.is_empty());
    until("the refusal is counted", || closed("full", "capacity") == 1.0).await;
    held.into_iter().for_each(|held| drop(held.ok()));
    for busy in busy {
        assert_eq!(busy.await.unwrap(), 0);
    }
    next_hop.accept_all();
    until("the busy have gone", || metrics::open("full") == 0.0).await;
    assert_eq!(Client::connect(&sidecar.address).await.export(frame(0, b"x")).await.status(), 0);
}

/// Guarantee: a peer that says nothing, that says hello a byte at a time, or that speaks another protocol is closed,
/// each under its own reason.
#[tokio::test]
async fn a_handshake_has_a_time_and_a_form() {
    let next_hop = NextHop::start().await;
    let sidecar = start("shake", Limits { handshake_timeout: SHORT, ..Limits::default() }, &next_hop);
    assert!(until_closed(dial(&sidecar).await).await.is_empty());
    until("silence is counted", || closed("shake", "handshake_timeout") == 1.0).await;

    let (mut read, mut write) = dial(&sidecar).await.into_split();
    let begun = Instant::now();
    let drip = tokio::spawn(async move {
        for byte in greeting().iter().cycle() {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(SHORT / 8).await;
        }
    });
    let _ = timeout(PATIENCE, read.read_to_end(&mut Vec::new())).await.unwrap();
    assert!(begun.elapsed() < SHORT * 20, "{:?}", begun.elapsed());
    drip.abort();
    until("dripping is counted", || closed("shake", "handshake_timeout") == 2.0).await;

    let mut peer = dial(&sidecar).await;
    // Begins like HTTP/2, and like HTTP/1.
    peer.write_all(b"PRINT / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until_closed(peer).await;
    until("another protocol is counted", || closed("shake", "preface") == 1.0).await;
}

/// Scenario: one connection idles, one has a request for longer than the idle time. Guarantee: the first gets a GOAWAY
/// without an error and is closed, the second is answered.
#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let mut next_hop = NextHop::start().await;
    let sidecar = start("idle", Limits { idle_timeout: SHORT, ..Limits::default() }, &next_hop);
    let busy = Client::connect(&sidecar.address).await;
    let busy = tokio::spawn(async move { busy.export(frame(0, b"slow")).await.status() });
    let held = next_hop.arrived().await;
    let mut peer = dial(&sidecar).await;
    peer.write_all(&greeting()).await.unwrap();
    let bytes = until_closed(peer).await;
    // Stream 0, last stream 2^31-1, NO_ERROR.
    let go_away = http2(7, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert!(bytes.windows(go_away.len()).any(|window| window == go_away), "{bytes:?}");
    until("idling is counted", || closed("idle", "idle") == 1.0).await;
    held.ok();
    assert_eq!(busy.await.unwrap(), 0);
}

/// Scenario: one peer stops in the middle of a header, one after its request's header, and neither answers a ping.
/// Guarantee: both are closed.
#[tokio::test]
async fn who_does_not_answer_a_ping_is_closed() {
    let next_hop = NextHop::start().await;
    let limits = Limits { ping_after: SHORT, ping_timeout: SHORT, ..Limits::default() };
    let sidecar = start("dead", limits, &next_hop);
    let whole = http2(HEADERS, 4, 1, &POST_ROOT);
    for sent in [&whole[..whole.len() - 1], &whole] {
        let mut peer = dial(&sidecar).await;
        peer.write_all(&[greeting(), sent.to_vec()].concat()).await.unwrap();
        until_closed(peer).await;
    }
    until("both are gone", || metrics::open("dead") == 0.0).await;
}

/// Scenario: a client opens streams and resets each at once. Guarantee: it gets ENHANCE_YOUR_CALM and is closed long
/// before it is done, and others are served.
#[tokio::test]
async fn a_storm_of_resets_ends_the_connection() {
    let next_hop = NextHop::start().await;
    let sidecar = start("storm", Limits::default(), &next_hop);
    next_hop.accept_all();
    let other = Client::connect(&sidecar.address).await;
    let mut storm = greeting();
    for stream in (1..20_000).step_by(2) {
        storm.extend(http2(HEADERS, END_STREAM_AND_HEADERS, stream, &POST_ROOT));
        storm.extend(http2(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    let (mut read, mut write) = dial(&sidecar).await.into_split();
    let writing = tokio::spawn(async move { write.write_all(&storm).await });
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, read.read_to_end(&mut answer)).await.expect("the connection stays open");
    let _ = writing.await.unwrap();
    // ENHANCE_YOUR_CALM.
    assert!(answer.windows(4).any(|window| window == 11u32.to_be_bytes()), "{answer:?}");
    until("it is counted", || closed("storm", "protocol") + closed("storm", "peer") == 1.0).await;
    assert_eq!(other.export(frame(0, b"x")).await.status(), 0);
}

/// Guarantee: a request with too many headers is refused by itself; the next one on the connection is served.
#[tokio::test]
async fn headers_are_bounded() {
    let next_hop = NextHop::start().await;
    let sidecar = start("headers", Limits::default(), &next_hop);
    next_hop.accept_all();
    let client = Client::connect(&sidecar.address).await;
    let large = "x".repeat(20 << 10);
    let answer = client.send(request(&[("large", &large)]).body(full(frame(0, b"x"))).unwrap()).await;
    assert_eq!(answer.http, 431);
    assert_eq!(client.export(frame(0, b"x")).await.status(), 0);
}

/// Scenario: a stop while a peer idles that answers nothing. Guarantee: it does not hold up the end.
#[tokio::test]
async fn a_silent_peer_does_not_hold_up_the_end() {
    let next_hop = NextHop::start().await;
    let sidecar = start("silent", Limits::default(), &next_hop);
    let mut peer = dial(&sidecar).await;
    peer.write_all(&greeting()).await.unwrap();
    let mut settings = [0; 9];
    peer.read_exact(&mut settings).await.unwrap();
    timeout(PATIENCE, sidecar.stop()).await.expect("the sidecar does not stop").unwrap();
    assert_eq!((closed("silent", "drained"), metrics::open("silent")), (1.0, 0.0));
}
