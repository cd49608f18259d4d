//! The connection: lost, silent, half open, refused; and what continues without it.

use std::net::SocketAddr;
use std::time::Duration;

use hotlist::intel::manifest::{Mode, Signature, Signed};
use hotlist::proto::control::v1::control_server::{Control, ControlServer};
use hotlist::proto::control::v1::{
    self as proto, AlertAck, AlertBatch, Chunk, FetchSegmentRequest, SyncRequest, SyncResponse,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, Streaming};

use super::common::{PATIENCE, Running, bare, manifest, metrics, noise, series, settings, sign};
use super::plane::{Plane, Trick};
use super::recorder::Recorder;

/// Forwards bytes until it is frozen: then nothing moves on the open connections, and neither side is notified.
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

/// Guarantee: a connection on which nothing moves any more is found, and another one is made. The time-out is much longer
/// than a busy machine takes to answer, and the cause in the status says what found it.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let proxy = Proxy::start(plane.address).await;
    let recorder = Recorder::new();
    let mut settings = settings(directory.path(), proxy.address);
    (settings.timing.ping_after, settings.timing.ping_timeout) = (Duration::from_millis(100), Duration::from_secs(3));
    let mut node = Running::start(settings, &recorder);
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 1, "n", &bare(1));
    assert_eq!(stream.request().await.version, 1);
    proxy.freeze();
    stream.push(Mode::Serve, 2, "lost", &bare(2));
    let status = node.until("the connection is given up", |status| status.cause.is_some()).await;
    let cause = status.cause.unwrap();
    assert!(cause.contains("health check") && cause.contains("3s"), "{cause}");
    let (mut stream, [serve, _]) = plane.greeted().await;
    assert_eq!(serve.version, 1);
    stream.push(Mode::Serve, 2, "n", &bare(2));
    assert_eq!(stream.request().await.version, 2);
    node.until("it is connected", |status| status.is_connected).await;
    node.stop().await;
}

/// Counts the frames of HTTP/2 that a client sends, by type, and passes everything on.
async fn frames(to: SocketAddr) -> (SocketAddr, watch::Receiver<[u64; 10]>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (counts, counted) = watch::channel([0; 10]);
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (near.into_split(), far.into_split());
        tokio::spawn(async move { drop(tokio::io::copy(&mut far_read, &mut near_write).await) });
        let mut preface = [0; 24];
        near_read.read_exact(&mut preface).await.unwrap();
        far_write.write_all(&preface).await.unwrap();
        let mut head = [0; 9];
        while near_read.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            near_read.read_exact(&mut payload).await.unwrap();
            // A ping that answers one is none of its own.
            if (head[3], head[4] & 1) != (6, 1) {
                counts.send_modify(|counts| counts[usize::from(head[3])] += 1);
            }
            far_write.write_all(&head).await.unwrap();
            far_write.write_all(&payload).await.unwrap();
        }
    });
    (address, counted)
}

/// Guarantee: a silent control plane is asked again and again in calls that it may answer with UNIMPLEMENTED, and never
/// with a ping, for which stock gRPC servers would end the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_control_plane_gets_calls_and_no_pings() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start().await;
    let (address, mut counted) = frames(plane.address).await;
    let mut settings = settings(directory.path(), address);
    (settings.timing.ping_after, settings.timing.ping_timeout) = (Duration::from_millis(20), Duration::from_secs(10));
    let mut node = Running::start(settings, &Recorder::new());
    let (_stream, _) = plane.greeted().await;
    // HEADERS of Sync, and of five calls.
    let counts = tokio::time::timeout(PATIENCE, counted.wait_for(|counts| counts[1] >= 6)).await.unwrap();
    assert_eq!(counts.unwrap()[6], 0);
    assert!(node.until("it is connected", |status| status.is_connected).await.cause.is_none());
    node.stop().await;
}

/// Answers Sync with nothing, not even a header, until it is released; then with a version. Other calls are
/// UNIMPLEMENTED.
struct Late(watch::Receiver<bool>);

#[tonic::async_trait]
impl Control for Late {
    type SyncStream = tokio_stream::Once<Result<SyncResponse, Status>>;
    type FetchSegmentStream = tokio_stream::Empty<Result<Chunk, Status>>;
    type ReportAlertsStream = tokio_stream::Empty<Result<AlertAck, Status>>;

    async fn sync(&self, mut request: Request<Streaming<SyncRequest>>) -> Result<Response<Self::SyncStream>, Status> {
        request.get_mut().message().await?;
        let _ = self.0.clone().wait_for(|is_time| *is_time).await;
        let Signed { manifest, signatures } = bare(1);
        let signature = |of: Signature| proto::Signature { key_id: of.key_id, signature: of.signature.into() };
        let signatures = signatures.into_iter().map(signature).collect();
        let (slot, nonce) = (proto::Slot::Serve.into(), "n".to_owned());
        let response = SyncResponse { slot, version: 1, nonce, manifest: manifest.into(), signatures };
        Ok(Response::new(tokio_stream::once(Ok(response))))
    }

    async fn fetch_segment(
        &self,
        _: Request<FetchSegmentRequest>,
    ) -> Result<Response<Self::FetchSegmentStream>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn report_alerts(
        &self,
        _: Request<Streaming<AlertBatch>>,
    ) -> Result<Response<Self::ReportAlertsStream>, Status> {
        Err(Status::unimplemented("no"))
    }
}

/// Guarantee: a control plane that sends no head before its first response is waited for, though that takes longer than
/// opening the stream may, and what it sends then serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_answers_late_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(directory.path(), listener.local_addr().unwrap());
    settings.timing.open = Duration::from_millis(100);
    let (answer, is_time) = watch::channel(false);
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let service = ControlServer::new(Late(is_time));
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let recorder = Recorder::new();
    let mut node = Running::start(settings, &recorder);
    let status = node.until("it is connected", |status| status.is_connected || status.cause.is_some()).await;
    assert_eq!(status.cause, None);
    answer.send(true).unwrap();
    node.until("it serves", |status| status.slots[0].version == 1).await;
    node.stop().await;
}

/// Guarantee: the client does not disconnect from a control plane that sends nothing, as long as calls are answered.
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
    // The time of twenty calls.
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

/// Scenario: the stream breaks off while a segment is fetched. Guarantee: the fetch continues at its offset when the
/// version is sent again.
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
fn bare_like(version: u64) -> Signed {
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

/// Guarantee: an unreachable server, or one that is not a control plane, is reported with the cause, and the node still
/// stops at once.
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
