//! A control plane of a test, and a node that the test controls.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hotlist::config::{Address, ServerTls};
use hotlist::controlplane::server::{Limits, Server, ServerError};
use hotlist::intel::manifest::{Digest, Mode, SegmentRef};
use hotlist::names::Name;
use hotlist::proto::control::v1::control_client::ControlClient;
use hotlist::proto::control::v1::operator_client::OperatorClient;
use hotlist::proto::control::v1::{Error, ListNodesRequest, Node, NodeStatus, Slot, SyncRequest, SyncResponse};
use hotlist::store::{Draft, Labels, Publication, Store};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A store of a test.
pub struct Scene {
    directory: TempDir,
    pub store: Store,
}

impl Scene {
    pub fn new() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        Scene { directory, store }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a segment into the store.
    pub fn segment(&self, content: &[u8]) -> SegmentRef {
        let digest = Digest::sha256(content);
        std::fs::write(self.store.segment(&digest), content).unwrap();
        SegmentRef { digest, bytes: content.len() as u64 }
    }

    /// Publishes what serves.
    pub fn publish(&self, name: &str, labels: &[(&str, &str)], segments: &[SegmentRef]) -> Publication {
        self.publish_as(Mode::Serve, name, labels, segments)
    }

    pub fn publish_as(&self, mode: Mode, name: &str, labels: &[(&str, &str)], segments: &[SegmentRef]) -> Publication {
        self.store.publish(Draft { mode, ..draft(name, labels, segments) }, None, Timestamp::now()).unwrap()
    }

    /// The file of the active publication.
    pub fn file(&self, name: &str, mode: Mode) -> PathBuf {
        self.store.publications().join(format!("{name}.{mode}.json"))
    }
}

pub fn draft(name: &str, labels: &[(&str, &str)], segments: &[SegmentRef]) -> Draft {
    Draft {
        name: Name::parse(name).unwrap(),
        labels: pairs(labels).collect::<Labels>(),
        audience: "acme".to_owned(),
        mode: Mode::Serve,
        segments: segments.to_vec(),
        revocations: Vec::new(),
        rules: Vec::new(),
        lifetime: None,
    }
}

pub fn pairs<'a>(labels: &'a [(&str, &str)]) -> impl Iterator<Item = (String, String)> + 'a {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
}

/// A running control plane.
pub struct Plane {
    pub address: String,
    stop: Option<oneshot::Sender<()>>,
    done: JoinHandle<Result<(), ServerError>>,
}

impl Plane {
    /// On a free port of this host, without TLS.
    pub async fn start(scene: &Scene) -> Plane {
        Plane::start_with(scene, None).await
    }

    pub async fn start_with(scene: &Scene, tls: Option<&ServerTls>) -> Plane {
        Plane::start_within(scene, tls, Limits::default()).await
    }

    pub async fn start_within(scene: &Scene, tls: Option<&ServerTls>, limits: Limits) -> Plane {
        let address = Address::parse("127.0.0.1:0").unwrap();
        let server = Server::bind(scene.store.clone(), &address, tls, limits).await.unwrap();
        let address = server.address().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        Plane { address, stop: Some(stop), done: tokio::spawn(server.serve(shutdown)) }
    }

    /// Stops it, and waits until it has ended.
    pub async fn end(mut self) {
        drop(self.stop.take());
        timeout(PATIENCE, self.done).await.unwrap().unwrap().unwrap();
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub async fn client(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel().await)
    }

    /// A node with these labels that has not requested anything yet.
    pub async fn node(&self, name: &str, labels: &[(&str, &str)]) -> Agent {
        Agent::open(self.channel().await, name, labels).await
    }

    pub async fn nodes(&self) -> Vec<NodeStatus> {
        list(self.channel().await).await.unwrap()
    }

    /// Waits until the nodes are as wanted, and returns them. The store is updated once a second.
    pub async fn nodes_when(&self, wanted: impl Fn(&[NodeStatus]) -> bool) -> Vec<NodeStatus> {
        let channel = self.channel().await;
        let look = async {
            loop {
                let nodes = list(channel.clone()).await.unwrap();
                if wanted(&nodes) {
                    return nodes;
                }
                // There is no notification when a file is written, so the file is polled.
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, look).await.expect("the nodes never are as wanted")
    }
}

pub async fn list(channel: Channel) -> Result<Vec<NodeStatus>, Status> {
    let answer = OperatorClient::new(channel).list_nodes(ListNodesRequest::default()).await;
    answer.map(|answer| answer.into_inner().nodes)
}

/// A node on a stream.
pub struct Agent {
    node: Option<Node>,
    requests: Option<mpsc::Sender<SyncRequest>>,
    responses: Streaming<SyncResponse>,
}

impl Agent {
    pub async fn open(channel: Channel, name: &str, labels: &[(&str, &str)]) -> Agent {
        Agent::try_open(channel, name, labels).await.unwrap()
    }

    pub async fn try_open(channel: Channel, name: &str, labels: &[(&str, &str)]) -> Result<Agent, Status> {
        let (name, labels, software) = (name.to_owned(), pairs(labels).collect(), "test".to_owned());
        let node = Node { name, labels, software, ..Node::default() };
        Agent::try_open_as(channel, node).await
    }

    /// A process that names itself.
    pub async fn open_as(channel: Channel, name: &str, instance: &str) -> Agent {
        let (name, instance) = (name.to_owned(), instance.to_owned());
        Agent::try_open_as(channel, Node { name, instance, ..Node::default() }).await.unwrap()
    }

    async fn try_open_as(channel: Channel, node: Node) -> Result<Agent, Status> {
        let (requests, stream) = mpsc::channel(16);
        let responses = ControlClient::new(channel).sync(ReceiverStream::new(stream)).await?.into_inner();
        Ok(Agent { node: Some(node), requests: Some(requests), responses })
    }

    /// Sends a request; the first of the stream names the node.
    pub async fn send(&mut self, request: SyncRequest) {
        let node = self.node.take();
        self.requests.as_ref().unwrap().send(SyncRequest { node, ..request }).await.unwrap();
    }

    /// Asks for a slot, with what is in it and what was refused before.
    pub async fn ask(&mut self, slot: Slot, version: u64, refused_version: u64) {
        self.send(SyncRequest { slot: slot.into(), version, refused_version, ..SyncRequest::default() }).await;
    }

    pub async fn ack(&mut self, of: &SyncResponse) {
        let SyncResponse { slot, version, nonce, .. } = of.clone();
        self.send(SyncRequest { slot, version, nonce, ..SyncRequest::default() }).await;
    }

    /// Refuses, with `version` still in the slot.
    pub async fn nack(&mut self, of: &SyncResponse, version: u64, message: &str) {
        let SyncResponse { slot, nonce, .. } = of.clone();
        let error = Some(Error { code: 3, message: message.to_owned() });
        self.send(SyncRequest { slot, version, nonce, error, ..SyncRequest::default() }).await;
    }

    /// What comes next.
    pub async fn next(&mut self) -> SyncResponse {
        self.try_next().await.unwrap().expect("the stream ended")
    }

    pub async fn try_next(&mut self) -> Result<Option<SyncResponse>, Status> {
        timeout(PATIENCE, self.responses.message()).await.expect("nothing comes")
    }

    /// What comes next, whenever it does.
    pub async fn wait_next(&mut self) -> Result<Option<SyncResponse>, Status> {
        self.responses.message().await
    }

    /// Slot and version of what comes next.
    pub async fn next_version(&mut self) -> (Slot, u64) {
        let next = self.next().await;
        (next.slot(), next.version)
    }

    /// Says that nothing more will be sent, and waits until the stream ends.
    pub async fn finish(mut self) {
        drop(self.requests.take());
        assert_eq!(self.try_next().await.unwrap(), None);
    }
}
