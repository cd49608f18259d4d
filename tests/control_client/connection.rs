//! The connection: lost, silent, half open, refused; and what goes on without it.

use std::net::SocketAddr;
use std::time::Duration;

use hotlist::intel::manifest::Mode;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Code;

use super::common::{Running, bare, manifest, metrics, noise, series, settings, sign};
use super::plane::{Plane, Trick};
use super::recorder::Recorder;

/// Passes bytes on until it is told to freeze: then nothing moves on the connections that are open, and nobody is told.
struct Proxy {
    address: SocketAddr,
    frozen: watch::Sender<u64>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (frozen, watch) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut frozen = watch.clone();
                frozen.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                        _ = frozen.changed() => {}
                    }
                    // Both sockets stay open.
                    std::future::pending::<()>().await;
                });
            }
        });
        Proxy { address, frozen }
    }

    fn freeze(&self) {
        self.frozen.send_modify(|count| *count += 1);
    }
}

/// Guarantee: a connection on which nothing moves any more is found by pings, and another one is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let proxy = Proxy::start(plane.address).await;
    let recorder = Recorder::new();
    let mut settings = settings(directory.path(), proxy.address);
    (settings.timing.ping_after, settings.timing.ping_timeout) =
        (Duration::from_millis(100), Duration::from_millis(300));
    let mut node = Running::start(settings, &recorder);
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 1, "n", &bare(1));
    assert_eq!(stream.request().await.version, 1);
    let start = Instant::now();
    proxy.freeze();
    stream.push(Mode::Serve, 2, "lost", &bare(2));
    let (mut stream, [serve, _]) = plane.greeted().await;
    assert_eq!(serve.version, 1);
    // A ping may have been on its way already.
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    stream.push(Mode::Serve, 2, "n", &bare(2));
    assert_eq!(stream.request().await.version, 2);
    node.until("it is connected", |status| status.is_connected).await;
    node.stop().await;
}

/// Guarantee: a control plane that says nothing is left in peace; it answers pings.
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_no_fault() {
    metrics();
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let mut settings = settings(directory.path(), plane.address);
    (settings.timing.ping_after, settings.timing.ping_timeout) = (Duration::from_millis(20), Duration::from_secs(10));
    let mut node = Running::start(settings, &Recorder::new());
    let (mut stream, _) = plane.greeted().await;
    node.until("it is connected", |status| status.is_connected).await;
    // Twenty pings' time, measured by the one clock that pings use.
    tokio::time::timeout(Duration::from_millis(400), stream.ended()).await.unwrap_err();
    assert!(node.status.borrow().is_connected);
    node.stop().await;
}

/// Guarantee: after the stream broke off the node says what serves, and which version it will not take.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_is_opened_again() {
    metrics();
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    recorder.refuse(8);
    let lost = series("hotlist_control_disconnects_total{reason=\"lost\"}");
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 1, "n", &bare(1));
    assert_eq!(stream.request().await.version, 1);
    stream.push(Mode::Serve, 8, "n", &bare(8));
    assert!(stream.request().await.error.is_some());
    for code in [Code::Unavailable, Code::Internal] {
        stream.fail(code);
        let (next, [serve, shadow]) = plane.greeted().await;
        assert_eq!((serve.version, serve.refused_version, serve.nonce.as_str()), (1, 8, ""));
        assert_eq!((shadow.version, shadow.refused_version), (0, 0));
        stream = next;
    }
    // A clean end is no better.
    drop(stream);
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 9, "n", &bare(9));
    assert_eq!(stream.request().await.version, 9);
    stream.fail(Code::Unavailable);
    assert_eq!(plane.greeted().await.1[0].refused_version, 0, "something newer serves");
    assert!(series("hotlist_control_disconnects_total{reason=\"lost\"}") >= lost + 4.0);
    node.stop().await;
}

/// Scenario: the stream breaks off while a segment is fetched. Guarantee: the fetch goes on at its offset when the
/// version comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_is_taken_up_on_the_next_stream() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (stream, _) = plane.greeted().await;
    let segment = noise(1, 5000);
    let digest = plane.hold(&segment);
    let signed = sign(&manifest(1, &[&segment]));
    plane.trick(digest, Trick::Break(2000, Code::Unavailable));
    plane.trick(digest, Trick::Hang(0));
    stream.push(Mode::Serve, 1, "a", &signed);
    plane.fetch().await;
    plane.fetch().await;
    stream.fail(Code::Unavailable);
    let (mut stream, [serve, _]) = plane.greeted().await;
    assert_eq!((serve.version, serve.refused_version), (0, 0));
    stream.push(Mode::Serve, 1, "b", &signed);
    let answer = stream.request().await;
    assert_eq!((answer.version, answer.nonce.as_str(), answer.error), (1, "b", None));
    assert_eq!(plane.fetches().last(), Some(&(digest, 2000)));
    node.stop().await;
}

/// Scenario: the stream breaks off while a version is being made ready. Guarantee: it needs the control plane no more,
/// so it serves, and the next stream's response is answered.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_made_ready_goes_on_without_a_stream() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let recorder = Recorder::new();
    recorder.hold(1);
    recorder.hold(2);
    let node = Running::start(settings(directory.path(), plane.address), &recorder);
    let (stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 1, "a", &bare(1));
    recorder.until("it has begun", |notes| !notes.begun.is_empty()).await;
    stream.fail(Code::Unavailable);
    let (mut stream, [serve, _]) = plane.greeted().await;
    assert_eq!(serve.version, 0);
    recorder.release(1);
    recorder.until("it serves", |notes| notes.serving.contains_key(&Mode::Serve)).await;
    stream.push(Mode::Serve, 1, "b", &bare_like(1));
    assert!(stream.request().await.error.is_some(), "the same version was issued at another time");

    let two = bare(2);
    stream.push(Mode::Serve, 2, "c", &two);
    recorder.until("it has begun", |notes| notes.begun.len() == 2).await;
    stream.fail(Code::Unavailable);
    let (mut stream, [serve, _]) = plane.greeted().await;
    assert_eq!(serve.version, 1);
    // It comes again, and is adopted.
    stream.push(Mode::Serve, 2, "d", &two);
    stream.push(Mode::Serve, 1, "e", &bare_like(1));
    assert!(stream.request().await.error.is_some());
    recorder.release(2);
    let answer = stream.request().await;
    assert_eq!((answer.version, answer.nonce.as_str(), answer.error), (2, "d", None));
    assert_eq!(recorder.notes().begun.len(), 2);
    node.stop().await;
}

/// A manifest of a version with other bytes than another of that version.
fn bare_like(version: u64) -> hotlist::intel::manifest::Signed {
    let mut manifest = manifest(version, &[]);
    manifest.rules.clear();
    sign(&manifest)
}

/// Guarantee: a control plane that takes streams only to end them is not dialled without pause.
#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_further_and_further_apart() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let mut settings = settings(directory.path(), plane.address);
    settings.timing.back_off = (Duration::from_millis(20), Duration::from_millis(80));
    let start = Instant::now();
    let node = Running::start(settings, &Recorder::new());
    for _ in 0..8 {
        plane.node().await.fail(Code::Unavailable);
    }
    // Seven pauses: 20, 40, and then five of 80, which is the longest.
    assert!(start.elapsed() >= Duration::from_millis(460), "{:?}", start.elapsed());
    node.stop().await;
}

/// Guarantee: one that cannot be reached, or is none, is told by its cause, and the node stops at once all the same.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_control_plane_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(directory.path(), silent.local_addr().unwrap());
    settings.timing.open = Duration::from_millis(200);
    let mut node = Running::start(settings.clone(), &Recorder::new());
    let status = node.until("it gives up", |status| status.cause.is_some()).await;
    assert!(status.to_string().contains("200ms"), "{status}");
    node.stop().await;

    // A server without this service.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    settings.endpoint =
        hotlist::config::Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    settings.timing.open = Duration::from_secs(10);
    let (_, health) = tonic_health::server::health_reporter();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming));
    let mut node = Running::start(settings, &Recorder::new());
    let status = node.until("it is told", |status| status.cause.is_some()).await;
    assert!(status.to_string().contains("not implemented"), "{status}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let mut plane = Plane::serve("127.0.0.1:1".parse().unwrap(), incoming);
    let mut settings = settings(directory.path(), plane.address);
    settings.endpoint = hotlist::config::Endpoint::parse(&format!("unix:{}", path.display())).unwrap();
    let node = Running::start(settings, &Recorder::new());
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 1, "n", &bare(1));
    assert_eq!(stream.request().await.version, 1);
    node.stop().await;
}
