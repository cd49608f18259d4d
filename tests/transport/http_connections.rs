//! HTTP/1.1 connections on the socket of HTTP/2: bounded in time and number, and drained, like those.

use std::time::Duration;

use bytes::Bytes;
use hotlist::sink::grpc::Settings;
use hotlist::source::Limits;
use tokio::io::AsyncWriteExt;

use crate::http_client::{HttpClient, LOGS, PROTOBUF, Raw, head, request};
use crate::metrics::{self, PATIENCE, closed, until};
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar, bind, loopback, otlp};

const SHORT: Duration = Duration::from_millis(200);

fn start(name: &str, limits: Limits, next_hop: &NextHop) -> Sidecar {
    metrics::install();
    let patient = Settings { deadline: PATIENCE, ..Settings::default() };
    Sidecar::serve(bind(name, &loopback(), limits, Identity, [otlp(&next_hop.endpoint, patient)]))
}

/// Scenario: a peer sends a header a byte at a time, or stops within one, on a new connection and on one that had a
/// request. Guarantee: it is closed in time and counted.
#[tokio::test]
async fn a_header_has_a_time() {
    let next_hop = NextHop::start().await;
    let sidecar = start("http-header", Limits { handshake_timeout: SHORT, ..Limits::default() }, &next_hop);
    next_hop.accept_all();

    let mut peer = Raw::connect(&sidecar.address).await;
    peer.write(&head(Some(1), "")[..40]).await;
    let (said, took) = peer.until_closed().await;
    assert!(said.is_empty() && took < SHORT * 20, "{said} {took:?}");
    until("stopping is counted", || closed("http-header", "timeout") == 1.0).await;

    let peer = Raw::connect(&sidecar.address).await;
    let (read, mut write) = peer.0.into_split();
    let drip = tokio::spawn(async move {
        for byte in b"POST /".iter().chain(std::iter::repeat(&b'a')) {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    until("dripping is counted", || closed("http-header", "timeout") == 2.0).await;
    drip.abort();
    drop(read);

    let mut peer = Raw::connect(&sidecar.address).await;
    peer.write(&[head(Some(1), ""), b"x".to_vec()].concat()).await;
    peer.until("200 OK").await;
    peer.write(b"POST").await;
    peer.until_closed().await;
    until("a second header is counted", || closed("http-header", "timeout") == 3.0).await;
}

/// Scenario: an export without a `Host`, with two, and with a malformed one; then an HTTP/1.0 export without one. Guarantee:
/// the first three get 400 with the reason, the connection is closed, and the next hop gets nothing of them; HTTP/1.0
/// requires no `Host` (RFC 9112, section 3.2).
#[tokio::test]
async fn a_request_has_one_host() {
    let mut next_hop = NextHop::start().await;
    let sidecar = start("http-host", Limits::default(), &next_hop);
    let export = String::from_utf8(head(Some(1), "")).unwrap() + "x";
    for (hosts, reason) in [
        ("", "no Host header"),
        ("host: x\r\nHOST: x\r\n", "more than one Host header"),
        ("host: x/y\r\n", "not a host name"),
    ] {
        let mut peer = Raw::connect(&sidecar.address).await;
        peer.write(export.replace("host: x\r\n", hosts).as_bytes()).await;
        let (answer, _) = peer.until_closed().await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request") && answer.contains(reason), "{hosts:?}: {answer}");
    }
    assert!(next_hop.is_idle());
    next_hop.accept_all();
    let mut peer = Raw::connect(&sidecar.address).await;
    peer.write(export.replace("host: x\r\n", "").replace("HTTP/1.1", "HTTP/1.0").as_bytes()).await;
    peer.until("200 OK").await;
}

/// Guarantee: a connection that is kept for the next request is not bound by the time for a header, but by the idle time.
#[tokio::test]
async fn a_kept_connection_idles_longer_than_a_header() {
    let next_hop = NextHop::start().await;
    let limits = Limits { handshake_timeout: SHORT, idle_timeout: SHORT * 8, ..Limits::default() };
    let sidecar = start("http-idle", limits, &next_hop);
    next_hop.accept_all();
    let mut client = HttpClient::connect(&sidecar.address).await;
    assert_eq!(client.export(b"x").await.http, 200);
    // The time is what is tested.
    tokio::time::sleep(SHORT * 3).await;
    assert_eq!(client.export(b"x").await.http, 200);
    until("idling is counted", || closed("http-idle", "idle") == 1.0).await;
}

/// Guarantee: too large a header is 431, whether it ends or not, and others are served.
#[tokio::test]
async fn a_header_has_a_size() {
    let next_hop = NextHop::start().await;
    let sidecar = start("http-large", Limits::default(), &next_hop);
    next_hop.accept_all();
    for padding in [20 << 10, 1 << 20] {
        let peer = Raw::connect(&sidecar.address).await;
        let (mut read, mut write) = peer.0.into_split();
        let more = format!("large: {}\r\n", "x".repeat(padding));
        let writing = tokio::spawn(async move { write.write_all(&head(Some(1), &more)).await });
        let mut answer = vec![0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut read, &mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 431");
        let _ = writing.await.unwrap();
    }
    assert_eq!(HttpClient::connect(&sidecar.address).await.export(b"x").await.http, 200);
}

/// Scenario: half a body and then nothing, with its length said before and in chunks. Guarantee: 503, and the room that
/// was taken for it is free again; one that goes away is counted as such.
#[tokio::test]
async fn half_a_body_is_503() {
    let next_hop = NextHop::start().await;
    let limits = Limits {
        stall_timeout: SHORT,
        max_request_bytes: 100_000,
        in_flight_bytes: 200_000,
        admission_wait: Duration::from_millis(10),
        ..Limits::default()
    };
    let sidecar = start("http-half", limits, &next_hop);
    next_hop.accept_all();
    for (length, part) in [(Some(100_000), b"half".to_vec()), (None, b"4\r\nhalf\r\n".to_vec())] {
        let mut peers = Vec::new();
        for _ in 0..5 {
            let mut peer = Raw::connect(&sidecar.address).await;
            peer.write(&[head(length, ""), part.clone()].concat()).await;
            peers.push(peer);
        }
        for peer in peers {
            let (said, _) = peer.until_closed().await;
            assert!(said.starts_with("HTTP/1.1 503") || said.starts_with("HTTP/1.1 429"), "{said}");
            assert!(said.contains("retry-after: 1"), "{said}");
        }
    }
    let mut client = HttpClient::connect(&sidecar.address).await;
    assert_eq!(client.export(&[7; 100_000]).await.http, 200);

    let mut peer = Raw::connect(&sidecar.address).await;
    peer.write(&[head(Some(10), ""), b"half".to_vec()].concat()).await;
    drop(peer);
    let gone = || metrics::value("hotlist_source_requests_total{source=\"http-half\",status=\"cancelled\"}");
    until("going away is counted", || gone() == 1.0).await;
}

/// Scenario: a client sends 20 MB where 8 MiB are allowed, and reads only when it has sent all. Guarantee: it gets 413
/// and can use the connection again, so that it does not take the refusal for a fault and retry forever.
#[tokio::test]
async fn who_sends_too_much_is_told_so() {
    let next_hop = NextHop::start().await;
    let sidecar = start("http-much", Limits { max_request_bytes: 8 << 20, ..Limits::default() }, &next_hop);
    next_hop.accept_all();
    let mut peer = Raw::connect(&sidecar.address).await;
    for length in [Some(20 << 20), None] {
        peer.write(&head(length, "")).await;
        let body = vec![7; 20 << 20];
        if length.is_none() {
            peer.write(b"1400000\r\n").await;
        }
        peer.write(&body).await;
        if length.is_none() {
            peer.write(b"\r\n0\r\n\r\n").await;
        }
        let said = peer.until("max_request_bytes").await;
        assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    }
}

/// Guarantee: a client that sends `Expect` is asked to continue, or gets the refusal of its body, without sending it.
#[tokio::test]
async fn who_asks_before_sending_is_answered() {
    let next_hop = NextHop::start().await;
    let sidecar = start("http-expect", Limits::default(), &next_hop);
    next_hop.accept_all();
    let mut peer = Raw::connect(&sidecar.address).await;
    peer.write(&head(Some(1), "expect: 100-continue\r\n")).await;
    let said = peer.until("\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 100 "), "{said}");
    peer.write(b"x").await;
    assert!(peer.until("\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
    peer.write(&head(Some(1 << 30), "expect: 100-continue\r\n")).await;
    assert!(peer.until_closed().await.0.starts_with("HTTP/1.1 413 "));
}

/// Scenario: the server is stopped while one connection has a request and one idles. Guarantee: the idle one is closed,
/// the request is finished, its connection ends, and only then the server returns.
#[tokio::test]
async fn a_drain_finishes_what_is_in_flight() {
    let mut next_hop = NextHop::start().await;
    let sidecar = start("http-drain", Limits::default(), &next_hop);
    let address = sidecar.address.clone();
    let mut idle = Raw::connect(&address).await;
    idle.write(&head(Some(1), "")[..]).await;
    idle.write(b"x").await;
    next_hop.arrived().await.ok();
    idle.until("\r\n\r\n").await;
    let mut client = HttpClient::connect(&address).await;
    let export = tokio::spawn(async move { client.export(b"x").await });
    let held = next_hop.arrived().await;
    let stopped = sidecar.stop();
    let (said, _) = idle.until_closed().await;
    assert_eq!(said, "");
    assert!(!stopped.is_finished());
    held.ok();
    let answer = export.await.unwrap();
    assert_eq!((answer.http, answer.headers["connection"].as_bytes()), (200, b"close".as_slice()));
    stopped.await.unwrap();
    assert_eq!(closed("http-drain", "drained"), 2.0);
}

/// Scenario: a client disconnects while the next hop has not answered. Guarantee: the request to
/// the next hop is cancelled and counted, as over HTTP/2, and the connection is closed.
#[tokio::test]
async fn the_work_for_a_client_that_disconnected_ends() {
    let mut next_hop = NextHop::start().await;
    let sidecar = start("http-gone", Limits::default(), &next_hop);
    let mut peer = Raw::connect(&sidecar.address).await;
    peer.write(&[head(Some(1), ""), b"x".to_vec()].concat()).await;
    let mut held = next_hop.arrived().await;
    drop(peer);
    assert_eq!(held.cancelled().await, h2::Reason::CANCEL);
    until("the connection is closed", || closed("http-gone", "peer") == 1.0).await;
    let cancelled = || metrics::value("hotlist_source_requests_total{source=\"http-gone\",status=\"cancelled\"}");
    until("the request is counted", || cancelled() == 1.0).await;
}

/// Scenario: while the next hop has not answered, one client closes its sending side, another one does so over HTTP/1.0,
/// and a third sends its next request. Guarantee: all get their answers. Only the first gets interim responses: the
/// second would not understand them, and the third has not closed anything.
#[tokio::test]
async fn a_client_that_closed_only_its_sending_side_gets_its_answer() {
    let mut next_hop = NextHop::start().await;
    let sidecar = start("http-closed-side", Limits::default(), &next_hop);
    let post = [head(Some(1), ""), b"x".to_vec()].concat();
    let old = String::from_utf8(post.clone()).unwrap().replace("HTTP/1.1", "HTTP/1.0").into_bytes();
    let (mut peers, mut held) = (Vec::new(), Vec::new());
    for (request, closes) in [(&post, true), (&old, true), (&post, false)] {
        let mut peer = Raw::connect(&sidecar.address).await;
        peer.write(request).await;
        held.push(next_hop.arrived().await);
        if closes {
            peer.0.shutdown().await.unwrap();
        }
        peers.push(peer);
    }
    let mut begun = String::new();
    while begun.matches("HTTP/1.1 100 Continue\r\n\r\n").count() < 2 {
        begun += &peers[0].until("\r\n\r\n").await;
    }
    peers[2].write(&post).await;
    // The second check of the third client finds its request.
    while begun.matches("HTTP/1.1 100 Continue\r\n\r\n").count() < 3 {
        begun += &peers[0].until("\r\n\r\n").await;
    }
    held.into_iter().for_each(|held| drop(held.ok()));
    next_hop.arrived().await.ok();
    let [first, second, mut third] = <[Raw; 3]>::try_from(peers).ok().unwrap();
    let (answer, _) = first.until_closed().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (answer, _) = second.until_closed().await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && !answer.contains("100 Continue"), "{answer}");
    let mut answers = String::new();
    while answers.matches("200 OK").count() < 2 {
        answers += &third.until("200 OK").await;
    }
    assert!(!answers.contains("100 Continue"), "{answers}");
}

/// Scenario: every place is taken by HTTP/1.1 connections that idle. Guarantee: one more takes the place of the oldest,
/// and one with a request keeps its place.
#[tokio::test]
async fn connections_of_both_protocols_share_the_places() {
    let mut next_hop = NextHop::start().await;
    let sidecar = start("http-places", Limits { max_connections: 2, ..Limits::default() }, &next_hop);
    let mut busy = HttpClient::connect(&sidecar.address).await;
    let busy = tokio::spawn(async move { busy.export(b"slow").await.http });
    let held = next_hop.arrived().await;
    for _ in 0..5 {
        let mut client = HttpClient::connect(&sidecar.address).await;
        let post = request("POST", LOGS, &[PROTOBUF], crate::client::full(Bytes::from_static(b"x")));
        let (answer, ()) = tokio::join!(client.send(post), async { drop(next_hop.arrived().await.ok()) });
        assert_eq!(answer.http, 200);
    }
    held.ok();
    assert_eq!(busy.await.unwrap(), 200);
    until("evictions are counted", || closed("http-places", "evicted") + closed("http-places", "peer") >= 4.0).await;
}

/// Guarantee: gRPC over HTTP/1.1, which has no trailers to say how it went, is refused and not half answered.
#[tokio::test]
async fn grpc_wants_http_2() {
    let next_hop = NextHop::start().await;
    let sidecar = start("http-grpc", Limits::default(), &next_hop);
    next_hop.accept_all();
    let mut client = HttpClient::connect(&sidecar.address).await;
    let answer = client.post(crate::client::EXPORT, &[("content-type", "application/grpc")], &[0; 5]).await;
    assert_eq!(answer.http, 505);
}
