//! Clients that announce much and send half: what the process keeps in memory, and who is served meanwhile.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::net::TcpStream;

use crate::client::{EXPORT, export};
use crate::next_hop::NextHop;
use crate::process::{Hotlist, PATIENCE, Scene};

/// The length that each client announces, and the half of it that it sends.
const ANNOUNCED: usize = 60 << 20;
const CLIENTS: usize = 200;

/// `limits.in_flight_bytes`, and what each connection may have in its receive window before it is read (2 MiB), and the
/// process itself in a debug build. See the sum in `docs/configuration.md`.
const BOUND_KIB: u64 = (256 + CLIENTS as u64 * 2 + 100) << 10;

/// A client that sent the header of a message and then as much of its first half as it was allowed to.
struct Half {
    answer: ResponseFuture,
    _body: SendStream<Bytes>,
    _connection: SendRequest<Bytes>,
}

async fn half(address: &str, announced: usize, chunk: Bytes) -> Half {
    let (connection, driver) = h2::client::handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
    tokio::spawn(driver);
    let mut connection = connection.ready().await.unwrap();
    let request = Request::post(format!("http://sidecar{EXPORT}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (answer, mut body) = connection.send_request(request, false).unwrap();
    let length = u32::try_from(announced).unwrap().to_be_bytes();
    body.send_data(Bytes::from([&[0], length.as_slice()].concat()), false).unwrap();
    let mut left = announced / 2;
    while left > 0 {
        body.reserve_capacity(left.min(chunk.len()));
        // Who was not admitted gets no room to send; two seconds are twice the wait for admission.
        let room = std::future::poll_fn(|context| body.poll_capacity(context));
        let Ok(Some(Ok(room))) = tokio::time::timeout(Duration::from_secs(2), room).await else { break };
        let part = chunk.slice(..room.min(left).min(chunk.len()));
        left -= part.len();
        if body.send_data(part, false).is_err() {
            break;
        }
    }
    Half { answer, _body: body, _connection: connection }
}

fn status(response: &Response<RecvStream>) -> String {
    response.headers()["grpc-status"].to_str().unwrap().to_owned()
}

/// Scenario: 200 clients announce 60 MiB each, send what they may of the first 30, and stop. Guarantee: as many as fit
/// are let in, the others are RESOURCE_EXHAUSTED; the memory of the process stays below the stated sum; a small request
/// is served meanwhile; and the stalled ones are sent away with UNAVAILABLE, their room given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_uploads_neither_fill_the_memory_nor_starve_others() {
    let next_hop = NextHop::start().await;
    let scene = Scene::new();
    scene.indicators("feed", &["198.51.100.7"]);
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    let address = hotlist.address();
    let chunk = Bytes::from((0..1u32 << 20).map(|at| at as u8).collect::<Vec<_>>());
    let halves = futures_util::future::join_all((0..CLIENTS).map(|_| half(&address, ANNOUNCED, chunk.clone()))).await;
    // What is left is kept for small requests: this one would fit, and is not let in.
    let medium = half(&address, 16 << 20, chunk.clone()).await;
    let served = Instant::now();
    let answer = export(&address, b"").await.unwrap();
    assert_eq!(answer.status, 0, "{}", answer.message);
    assert!(served.elapsed() < Duration::from_secs(5));

    let answers = halves.into_iter().chain([medium]).map(|half| async move {
        let Half { answer, _body, _connection } = half;
        status(&tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap())
    });
    let statuses = futures_util::future::join_all(answers).await;
    let count = |wanted: &str| statuses.iter().filter(|status| *status == wanted).count();
    // 256 MiB hold four of 60, and the sixteenth that is kept for small requests.
    assert_eq!((count("14"), count("8")), (4, CLIENTS - 4 + 1), "{statuses:?}");
    let peak = hotlist.peak_kib();
    assert!(peak < BOUND_KIB, "{peak} KiB at most, {BOUND_KIB} allowed");
    let (_, metrics) = hotlist.admin("/metrics").await;
    assert!(metrics.contains("\nhotlist_in_flight_bytes 0\n"), "{metrics}");
}
