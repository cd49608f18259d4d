//! Neighbours: whatever one tenant, node or connection holds, others are served; a caller that does not read, write or
//! answer loses what it held.

use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use hotlist::controlplane::server::{Limits, Quota};
use hotlist::proto::control::v1::control_client::ControlClient;
use hotlist::proto::control::v1::{AlertBatch, FetchSegmentRequest, Node, Slot, SyncRequest};
use hotlist::store::TenantQuotas;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::certificates::{Authority, connect, tls};
use crate::common::{Agent, PATIENCE, Plane, Scene, list};
use crate::fetch::fetch;

const FETCH: &str = "/hotlist.control.v1.Control/FetchSegment";
const SYNC: &str = "/hotlist.control.v1.Control/Sync";
const ALERTS: &str = "/hotlist.control.v1.Control/ReportAlerts";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
/// A time-out that no test reaches.
const NEVER: Duration = Duration::from_secs(3600);
/// One that each test may wait for.
const SOON: Duration = Duration::from_millis(200);

/// Time-outs that play no part.
fn patient() -> Limits {
    let [hello, message, not_read, no_answer, silent] = [NEVER; 5];
    Limits { hello, message, not_read, no_answer, silent, ..Limits::default() }
}

/// A peer whose windows are closed: nothing that it is sent is ever read.
struct Hostile {
    calls: SendRequest<Bytes>,
    held: Vec<(ResponseFuture, SendStream<Bytes>)>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Hostile {
    async fn over<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> Hostile {
        let (calls, connection) = Builder::new().initial_window_size(0).handshake(stream).await.unwrap();
        Hostile { calls, held: Vec::new(), connection: tokio::spawn(connection) }
    }

    async fn plain(plane: &Plane) -> Hostile {
        Hostile::over(TcpStream::connect(&plane.address).await.unwrap()).await
    }

    /// Begins a call with these bytes, and keeps it.
    async fn hold(&mut self, path: &str, bytes: Vec<u8>, is_all: bool) {
        let request = http::Request::post(format!("http://127.0.0.1{path}"));
        let request = request.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap();
        let mut calls = self.calls.clone().ready().await.unwrap();
        let (response, mut body) = calls.send_request(request, false).unwrap();
        if !bytes.is_empty() || is_all {
            // A call that was refused may be over by now.
            let _ = body.send_data(bytes.into(), is_all);
        }
        self.held.push((response, body));
    }

    /// The status of each call that has an answer by now; 0 for a call that is still open.
    async fn statuses(&mut self) -> Vec<i32> {
        let mut statuses = Vec::new();
        for (response, _) in &mut self.held {
            let response = timeout(PATIENCE, response).await.expect("no answer").unwrap();
            let status = response.headers().get("grpc-status");
            statuses.push(status.map_or(0, |status| status.to_str().unwrap().parse().unwrap()));
        }
        statuses
    }
}

/// A message of gRPC.
fn message(of: &impl Message) -> Vec<u8> {
    let bytes = of.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    framed.extend(bytes);
    framed
}

fn hello(node: &str) -> SyncRequest {
    let node = Node { name: node.to_owned(), ..Node::default() };
    SyncRequest { node: Some(node), slot: Slot::Serve.into(), ..SyncRequest::default() }
}

async fn report(channel: Channel, node: &str) -> Result<u64, Status> {
    let batch = AlertBatch { id: 7, alerts: vec![Bytes::from_static(b"{}")], node: node.to_owned() };
    let acks = ControlClient::new(channel).report_alerts(tokio_stream::iter([batch])).await?;
    Ok(acks.into_inner().message().await?.map_or(0, |ack| ack.id))
}

/// Scenario: one tenant has many connections with closed windows, and on each as many calls of every kind as HTTP/2 lets
/// it: fetches that it does not read, Sync streams under names of its own, alert streams, messages that never end, watches
/// of health. No time-out helps. Guarantee: another tenant's node connects, follows, fetches and reports at its first
/// attempt, an operator lists the nodes, and the hostile tenant was refused by reason of its quotas.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_one_tenant_holds_another_is_served() {
    let scene = Scene::new();
    let content: Vec<u8> = vec![7; 300_000];
    let segment = scene.segment(&content);
    scene.publish("all", &[], &[segment]);
    let authority = Authority::new();
    let files = authority.files(scene.path(), &authority.sign());
    let quota = |total| Quota { total, node: 4, connection: 4 };
    let limits = Limits {
        connections: Quota { total: 24, node: 4, connection: 1 },
        syncs: quota(24),
        fetches: quota(24),
        alerts: quota(24),
        message_bytes: Quota { total: 8 << 20, node: 1 << 20, connection: 2 << 20 },
        ..patient()
    };
    let plane = Plane::start_within(&scene, Some(&files), limits).await;
    let hostile = authority.client(&["spiffe://x/tenant/a", "spiffe://x/role/admin"]);
    let mut connections = Vec::new();
    let mut refused = 0;
    for at in 0..16 {
        let mut connection = Hostile::over(tls(&plane.address, &authority, Some(&hostile)).await.unwrap()).await;
        let digest = Bytes::copy_from_slice(&segment.digest.0);
        for call in 0..6 {
            connection.hold(FETCH, message(&FetchSegmentRequest { digest: digest.clone(), offset: 0 }), true).await;
            connection.hold(SYNC, message(&hello(&format!("n{at}-{call}"))), false).await;
            // Half of them begin a message that never comes to its end.
            let begun = if call % 2 == 0 { [&[0, 0, 0x0f, 0, 0][..], &[1; 100]].concat() } else { Vec::new() };
            connection.hold(ALERTS, begun, false).await;
            connection.hold(WATCH, vec![0; 5], true).await;
        }
        refused +=
            connection.statuses().await.into_iter().filter(|status| *status == Code::ResourceExhausted as i32).count();
        for _ in 0..6 {
            connection.hold(FETCH, vec![0, 0], false).await;
        }
        connections.push(connection);
    }
    assert!(refused > 16 * 6, "{refused} calls were refused");

    let other = authority.client(&["spiffe://x/tenant/b/node/n1"]);
    let channel = connect(&plane.address, &authority, Some(&other)).await.unwrap();
    let mut node = Agent::open(channel.clone(), "n1", &[]).await;
    node.ask(Slot::Serve, 0, 0).await;
    assert_eq!(node.next_version().await, (Slot::Serve, 1));
    assert!(fetch(channel.clone(), &segment.digest.0, 0).await.unwrap().0 == content);
    assert_eq!(report(channel, "n1").await.unwrap(), 7);
    let operator = authority.client(&["spiffe://x/role/admin"]);
    let channel = connect(&plane.address, &authority, Some(&operator)).await.unwrap();
    assert!(list(channel).await.unwrap().iter().any(|node| node.tenant == "b"));
    assert!(connections.iter().all(|hostile| !hostile.connection.is_finished()));
}

/// Scenario: a node's certificate names the node, and the node opens stream after stream. Guarantee: it has its own share
/// of its tenant's, a sibling has another, and what is closed is free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_holds_no_more_than_its_share_of_its_tenant() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let authority = Authority::new();
    let files = authority.files(scene.path(), &authority.sign());
    let syncs = Quota { total: 100, node: 3, connection: 2 };
    let plane = Plane::start_within(&scene, Some(&files), Limits { syncs, ..patient() }).await;
    let of = |node: &str| authority.client(&[&format!("spiffe://x/tenant/a/node/{node}")]);
    let (first, sibling) = (of("n1"), of("n2"));
    let mut streams = Vec::new();
    for (connection, taken) in [(0, 2), (1, 1)] {
        let channel = connect(&plane.address, &authority, Some(&first)).await.unwrap();
        for _ in 0..taken {
            streams.push(Agent::open(channel.clone(), "n1", &[]).await);
        }
        let status = Agent::try_open(channel, "n1", &[]).await.err().unwrap();
        let word = if connection == 0 { "on this connection" } else { "by this node" };
        assert!(status.code() == Code::ResourceExhausted && status.message().contains(word), "{status}");
    }
    let channel = connect(&plane.address, &authority, Some(&sibling)).await.unwrap();
    Agent::open(channel, "n2", &[]).await.finish().await;
    streams.pop().unwrap().finish().await;
    let channel = connect(&plane.address, &authority, Some(&first)).await.unwrap();
    let mut again = Agent::open(channel, "n1", &[]).await;
    again.ask(Slot::Serve, 0, 0).await;
    assert_eq!(again.next_version().await, (Slot::Serve, 1));
}

/// Scenario: certificates that name a node, and one that names a tenant alone. Guarantee: the first are for that name
/// only, on every stream that says one; the other may say any.
#[tokio::test]
async fn a_node_has_the_name_in_its_certificate() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let authority = Authority::new();
    let files = authority.files(scene.path(), &authority.sign());
    let plane = Plane::start_with(&scene, Some(&files)).await;
    let bound = authority.client(&["spiffe://x/tenant/a/node/n1"]);
    let channel = connect(&plane.address, &authority, Some(&bound)).await.unwrap();
    let mut victim = Agent::open(channel.clone(), "n2", &[]).await;
    victim.ask(Slot::Serve, 0, 0).await;
    for status in [victim.try_next().await.unwrap_err(), report(channel.clone(), "n2").await.unwrap_err()] {
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(["n1", "n2"].iter().all(|name| status.message().contains(name)), "{status}");
    }
    assert!(!scene.store.root().join("nodes/a").exists() && !scene.store.root().join("alerts/a").exists());
    let mut node = Agent::open(channel.clone(), "n1", &[]).await;
    node.ask(Slot::Serve, 0, 0).await;
    assert_eq!(node.next_version().await, (Slot::Serve, 1));
    assert_eq!(report(channel, "n1").await.unwrap(), 7);
    let free = authority.client(&["spiffe://x/tenant/a"]);
    let channel = connect(&plane.address, &authority, Some(&free)).await.unwrap();
    assert_eq!(report(channel, "n3").await.unwrap(), 7);
}

/// Scenario: a peer that reads nothing holds every fetch that is allowed. Guarantee: its connection is closed and the
/// fetches are free; a peer that reads is not interrupted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_gives_its_fetches_back() {
    let scene = Scene::new();
    let segment = scene.segment(&vec![7; 3_000_000]);
    scene.publish("all", &[], &[segment]);
    let fetches = Quota { total: 3, node: 3, connection: 3 };
    let plane = Plane::start_within(&scene, None, Limits { fetches, not_read: SOON, ..patient() }).await;
    let mut node = plane.node("n1", &[]).await;
    node.ask(Slot::Serve, 0, 0).await;
    assert_eq!(node.next_version().await, (Slot::Serve, 1));
    let mut hostile = Hostile::plain(&plane).await;
    let request = FetchSegmentRequest { digest: Bytes::copy_from_slice(&segment.digest.0), offset: 0 };
    for _ in 0..3 {
        hostile.hold(FETCH, message(&request), true).await;
    }
    assert_eq!(hostile.statuses().await, [0; 3]);
    timeout(PATIENCE, hostile.connection).await.expect("the connection is never closed").unwrap().ok();
    let channel = plane.channel().await;
    let free = async {
        loop {
            match fetch(channel.clone(), &segment.digest.0, 0).await {
                // The peer sees its connection close a moment before what it held is free.
                Err(status) if status.code() == Code::ResourceExhausted => tokio::task::yield_now().await,
                other => return other.unwrap().0.len(),
            }
        }
    };
    assert_eq!(timeout(PATIENCE, free).await.expect("the fetches are never free"), 3_000_000);
    scene.publish("all", &[], &[]);
    assert_eq!(node.next_version().await, (Slot::Serve, 2), "one that has read everything is not cut");
}

/// Scenario: messages whose head, or whose end, never comes; a Sync stream that names no node; one that never answers; a
/// stream of alerts without any. Guarantee: each ends with DEADLINE_EXCEEDED and what is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_go_on_is_ended() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let plane = Plane::start_within(&scene, None, Limits { message: SOON, ..patient() }).await;
    for (path, bytes) in [(SYNC, vec![]), (SYNC, vec![0, 0, 0]), (FETCH, vec![]), (FETCH, vec![0, 0, 0, 0, 9, 1])] {
        let mut hostile = Hostile::plain(&plane).await;
        hostile.hold(path, bytes, false).await;
        let (response, _body) = hostile.held.pop().unwrap();
        let response = timeout(PATIENCE, response).await.expect("no answer").unwrap();
        let status = match response.headers().get("grpc-status") {
            Some(status) => status.to_str().unwrap().to_owned(),
            None => {
                let mut body = response.into_body();
                while let Some(data) = body.data().await {
                    data.unwrap();
                }
                let trailers = timeout(PATIENCE, body.trailers()).await.unwrap().unwrap().unwrap();
                trailers["grpc-status"].to_str().unwrap().to_owned()
            }
        };
        assert_eq!(status, (Code::DeadlineExceeded as i32).to_string(), "{path}");
    }

    let plane = Plane::start_within(&scene, None, Limits { hello: SOON, ..patient() }).await;
    let status = plane.node("n1", &[]).await.try_next().await.unwrap_err();
    assert!(status.code() == Code::DeadlineExceeded && status.message().contains("names the node"), "{status}");

    let plane = Plane::start_within(&scene, None, Limits { no_answer: SOON, ..patient() }).await;
    let mut silent = plane.node("n1", &[]).await;
    silent.ask(Slot::Serve, 0, 0).await;
    silent.next().await;
    let status = silent.try_next().await.unwrap_err();
    assert!(status.code() == Code::DeadlineExceeded && status.message().contains("not answered"), "{status}");

    let plane = Plane::start_within(&scene, None, Limits { silent: SOON, ..patient() }).await;
    let (_sender, batches) = tokio::sync::mpsc::channel::<AlertBatch>(1);
    let batches = tokio_stream::wrappers::ReceiverStream::new(batches);
    let mut acks = plane.client().await.report_alerts(batches).await.unwrap().into_inner();
    assert_eq!(acks.message().await.unwrap_err().code(), Code::DeadlineExceeded);
}

/// Scenario: a tenant invents names of nodes, and sends alerts without end. Guarantee: it is refused at its quotas, and
/// another tenant is not.
#[tokio::test]
async fn a_tenant_fills_its_part_of_the_store_only() {
    let mut scene = Scene::new();
    scene.publish("all", &[], &[]);
    scene.store = scene.store.clone().with_quotas(TenantQuotas { nodes: 2, bytes: 10_000 });
    let plane = Plane::start(&scene).await;
    let channel = plane.channel().await;
    let open = async |tenant: &str, name: &str| {
        let mut node = Agent::open(channel.clone(), name, &[("tenant", tenant)]).await;
        node.ask(Slot::Serve, 0, 0).await;
        node.try_next().await.map(drop)
    };
    open("a", "n1").await.unwrap();
    open("a", "n2").await.unwrap();
    assert_eq!(open("a", "n3").await.unwrap_err().code(), Code::ResourceExhausted);
    open("a", "n1").await.unwrap();
    open("b", "n3").await.unwrap();
    let alert = Bytes::from(format!("{{\"a\":\"{}\"}}", "x".repeat(9_000)));
    let send = async |node: &str| {
        let batch = AlertBatch { id: 1, alerts: vec![alert.clone()], node: node.to_owned() };
        let acks = ControlClient::new(channel.clone()).report_alerts(tokio_stream::iter([batch])).await.unwrap();
        acks.into_inner().message().await.map(drop)
    };
    send("n1").await.unwrap();
    assert_eq!(send("n1").await.unwrap_err().code(), Code::ResourceExhausted);
}

/// Guarantee: whatever a control plane and those who publish write is for their user alone.
#[tokio::test]
async fn every_file_of_a_store_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let plane = Plane::start(&scene).await;
    let mut node = plane.node("n1", &[("tenant", "a")]).await;
    node.ask(Slot::Serve, 0, 0).await;
    node.next().await;
    report(plane.channel().await, "n1").await.unwrap();
    let (mut directories, mut files) = (vec![scene.store.root().to_owned()], 0);
    while let Some(directory) = directories.pop() {
        let mode = std::fs::metadata(&directory).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o700, "{}: {mode:o}", directory.display());
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                assert_eq!(mode, 0o600, "{}: {mode:o}", path.display());
                files += 1;
            }
        }
    }
    assert!(files >= 5, "a publication, its history, the lock, a node, alerts: {files}");
}
