//! Peers that never come to an end, or never begin: bodies, headers and greetings a byte a second, and streams that are
//! opened only to be reset. A collector is served all the while, and each of them is sent away.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::EXPORT;
use crate::hostile::Siege;
use crate::process::PATIENCE;

/// A whole request takes at most a minute (`receive_timeout`), and so does everything else here.
const AT_MOST: Duration = Duration::from_secs(75);

fn export() -> Request<()> {
    Request::post(format!("http://sidecar{EXPORT}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap()
}

/// The answer to a request whose body comes a byte a second: the first five announce `announced` bytes.
async fn drip(address: String, announced: u32) -> Response<RecvStream> {
    let (connection, driver) = h2::client::handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
    tokio::spawn(driver);
    let (answer, mut body) = connection.ready().await.unwrap().send_request(export(), false).unwrap();
    let dripping = tokio::spawn(async move {
        let header = announced.to_be_bytes();
        for byte in [0].into_iter().chain(header).chain(std::iter::repeat(b'x')) {
            // Who was answered sends no more.
            if body.send_data(Bytes::from(vec![byte]), false).is_err() {
                break;
            }
            // Being this slow is what the peer does.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let answer = tokio::time::timeout(AT_MOST, answer).await.expect("never answered").unwrap();
    dripping.abort();
    answer
}

/// Sends bytes one a second until the other side closes.
async fn drip_raw(address: String, bytes: Vec<u8>) {
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let dripping = tokio::spawn(async move {
        for byte in bytes {
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // The other side is to close, not this one.
        write
    });
    let _ = tokio::time::timeout(AT_MOST, read.read_to_end(&mut Vec::new())).await.expect("stays open");
    dripping.abort();
}

/// The greeting of HTTP/2, and then the beginning of a frame of headers.
fn greeting() -> Vec<u8> {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat()
}

/// Scenario: forty bodies, a byte a second each, which announce a mebibyte; twenty greetings and twenty frames of
/// headers at the same pace. Guarantee: the bodies are UNAVAILABLE after a minute with a text that says so and give
/// their room back; the others are closed, each under its reason; a collector is served all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_a_byte_a_second_is_sent_away() {
    let mut siege = Siege::begin().await;
    let address = siege.hotlist.address();
    let begun = Instant::now();
    let mut bodies = JoinSet::new();
    for _ in 0..40 {
        bodies.spawn(drip(address.clone(), 1 << 20));
    }
    let mut others = JoinSet::new();
    for _ in 0..20 {
        others.spawn(drip_raw(address.clone(), greeting()));
        let address = address.clone();
        others.spawn(async move {
            // The greeting at once, and then a frame of 16 KiB of headers that hardly comes.
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&greeting()).await.unwrap();
            let (mut read, mut write) = stream.into_split();
            let header = [0, 0x40, 0, 1, 4, 0, 0, 0, 1].into_iter().chain(std::iter::repeat(0x40));
            let dripping = tokio::spawn(async move {
                for byte in header {
                    if write.write_all(&[byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            let _ = tokio::time::timeout(AT_MOST, read.read_to_end(&mut Vec::new())).await.expect("stays open");
            dripping.abort();
        });
    }
    siege.hotlist.until_metric("hotlist_in_flight_bytes", |bytes| bytes >= f64::from(40 << 20)).await;
    siege.is_well().await;
    while let Some(answer) = bodies.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "14");
        let text = answer.headers()["grpc-message"].to_str().unwrap();
        assert!(text.contains("1024 bytes per second"), "{text}");
    }
    while let Some(other) = others.join_next().await {
        other.unwrap();
    }
    println!("all were sent away after {:?}", begun.elapsed());
    let unavailable = "hotlist_source_requests_total{source=\"agents\",status=\"unavailable\"}";
    assert_eq!(siege.hotlist.metric(unavailable).await, 40.0);
    let closed = |reason| format!("hotlist_connections_closed_total{{listener=\"agents\",reason=\"{reason}\"}}");
    assert_eq!(siege.hotlist.metric(&closed("handshake_timeout")).await, 20.0);
    assert_eq!(siege.hotlist.metric(&closed("timeout")).await, 20.0);
    siege.end().await;
}

/// Scenario: twenty peers that open export after export, send half of it, and reset it, as fast as they can. Guarantee:
/// each gets ENHANCE_YOUR_CALM, is closed, and is counted; the memory of every request is released; a collector is
/// served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_resets_ends_with_its_connections() {
    const PEERS: usize = 20;
    let mut siege = Siege::begin().await;
    let mut peers = JoinSet::new();
    for _ in 0..PEERS {
        let address = siege.hotlist.address();
        peers.spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let (mut connection, driver) = h2::client::handshake(stream).await.unwrap();
            let driver = tokio::spawn(driver);
            for opened in 0..100_000 {
                connection = match connection.ready().await {
                    Ok(connection) => connection,
                    Err(_) => return (opened, driver.await.unwrap()),
                };
                let Ok((_answer, mut body)) = connection.send_request(export(), false) else { continue };
                let _ = body.send_data(Bytes::from_static(&[0, 0, 16, 0, 0, 1, 2, 3]), false);
                body.send_reset(Reason::CANCEL);
                tokio::task::yield_now().await;
            }
            panic!("100,000 resets are put up with");
        });
    }
    siege.is_well().await;
    while let Some(ended) = tokio::time::timeout(PATIENCE, peers.join_next()).await.expect("a storm does not end") {
        let (opened, told) = ended.unwrap();
        let reason = told.err().and_then(|error| error.reason());
        assert!(opened > 0 && matches!(reason, None | Some(Reason::ENHANCE_YOUR_CALM)), "{opened}: {reason:?}");
    }
    let closed = |reason| format!("hotlist_connections_closed_total{{listener=\"agents\",reason=\"{reason}\"}}");
    let (protocol, peer) = (closed("protocol"), closed("peer"));
    let counted = siege.hotlist.metric(&protocol).await + siege.hotlist.metric(&peer).await;
    // The collectors that came once have closed, too.
    assert!(counted >= PEERS as f64, "{counted}");
    siege.end().await;
}
