//! The scripted control plane: a real server, of which a test holds the other end of every stream.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hotlist::intel::manifest::{Digest, Mode, Signed};
use hotlist::proto::control::v1::control_server::{Control, ControlServer};
use hotlist::proto::control::v1::{
    AlertAck, AlertBatch, Chunk, FetchSegmentRequest, Signature, Slot, SyncRequest, SyncResponse,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

use super::common::PATIENCE;

/// Bytes of a chunk.
const CHUNK: usize = 1000;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the next fetch of a segment gets; after that it gets the truth.
#[derive(Clone, Debug)]
pub enum Trick {
    /// So many bytes from the offset on, and then a status.
    Break(usize, Code),
    /// So many bytes from the offset on, and then the end.
    End(usize),
    /// So many bytes from the offset on, and then nothing.
    Hang(usize),
    /// Other bytes, with the right length.
    Bytes(Vec<u8>),
    /// The truth, with another length.
    Length(u64),
    /// The truth, and then more.
    Beyond,
    /// The truth, with a pause after each chunk.
    Slow(Duration),
    /// Chunks without a byte, forever.
    Empty,
    /// Bytes forever, with the right length in the first chunk.
    Endless,
    /// A status.
    Refuse(Code),
}

#[derive(Default)]
struct State {
    segments: HashMap<Digest, Vec<u8>>,
    tricks: HashMap<Digest, VecDeque<Trick>>,
    fetches: Vec<(Digest, u64)>,
    /// Over which connection each of them came.
    peers: Vec<Option<SocketAddr>>,
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<State>>,
    streams: mpsc::UnboundedSender<Node>,
    fetched: mpsc::UnboundedSender<Digest>,
}

/// The server.
pub struct Plane {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    streams: mpsc::UnboundedReceiver<Node>,
    fetched: mpsc::UnboundedReceiver<Digest>,
    /// Dropping it ends the server.
    _stop: oneshot::Sender<()>,
}

/// One stream of a node, with the control plane's end in the test's hand.
pub struct Node {
    requests: mpsc::UnboundedReceiver<Result<SyncRequest, Status>>,
    responses: mpsc::UnboundedSender<Result<SyncResponse, Status>>,
}

impl Plane {
    pub async fn start() -> Plane {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Plane::serve(address, TcpListenerStream::new(listener))
    }

    /// On connections that come in any way.
    pub fn serve<S, I>(address: SocketAddr, incoming: S) -> Plane
    where
        S: Stream<Item = std::io::Result<I>> + Send + 'static,
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + tonic::transport::server::Connected + Unpin + Send + 'static,
    {
        let (streams, opened) = mpsc::unbounded_channel();
        let (fetched, fetches) = mpsc::unbounded_channel();
        let state = Arc::default();
        let service = Service { state: Arc::clone(&state), streams, fetched };
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server::builder().add_service(ControlServer::new(service));
        tokio::spawn(async move {
            // Not gracefully: what is open ends, too.
            tokio::select! {
                served = server.serve_with_incoming(incoming) => served.unwrap(),
                _ = stopped => {}
            }
        });
        Plane { address, state, streams: opened, fetched: fetches, _stop: stop }
    }

    /// The next stream that a node opens.
    pub async fn node(&mut self) -> Node {
        tokio::time::timeout(PATIENCE, self.streams.recv()).await.expect("no node comes").unwrap()
    }

    /// The next fetch that begins.
    pub async fn fetch(&mut self) -> Digest {
        tokio::time::timeout(PATIENCE, self.fetched.recv()).await.expect("no fetch comes").unwrap()
    }

    /// A stream on which the first request of each slot was read.
    pub async fn greeted(&mut self) -> (Node, [SyncRequest; 2]) {
        let mut node = self.node().await;
        let first = [node.request().await, node.request().await];
        (node, first)
    }

    pub fn hold(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        self.state.lock().unwrap().segments.insert(digest, bytes.to_vec());
        digest
    }

    pub fn trick(&self, digest: Digest, trick: Trick) {
        self.state.lock().unwrap().tricks.entry(digest).or_default().push_back(trick);
    }

    pub fn forget_tricks(&self) {
        self.state.lock().unwrap().tricks.clear();
    }

    /// Every fetch so far, with its offset.
    pub fn fetches(&self) -> Vec<(Digest, u64)> {
        self.state.lock().unwrap().fetches.clone()
    }

    /// Over which connection each fetch came.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.state.lock().unwrap().peers.iter().map(|peer| peer.unwrap()).collect()
    }
}

impl Node {
    pub async fn request(&mut self) -> SyncRequest {
        let request = tokio::time::timeout(PATIENCE, self.requests.recv()).await.expect("no request comes");
        request.expect("the stream ended").unwrap()
    }

    /// Waits for the end of the node's half, whatever comes before it.
    pub async fn ended(&mut self) {
        let end = async { while let Some(Ok(_)) = self.requests.recv().await {} };
        tokio::time::timeout(PATIENCE, end).await.expect("the stream does not end");
    }

    /// Whether nothing has come.
    pub fn is_silent(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }

    pub fn push(&self, mode: Mode, version: u64, nonce: &str, signed: &Signed) {
        let signatures = signed.signatures.iter().map(|signature| Signature {
            key_id: signature.key_id.clone(),
            signature: signature.signature.clone().into(),
        });
        self.send(SyncResponse {
            slot: slot(mode).into(),
            version,
            nonce: nonce.to_owned(),
            manifest: signed.manifest.clone().into(),
            signatures: signatures.collect(),
        });
    }

    pub fn send(&self, response: SyncResponse) {
        // A node may be gone, which the test sees elsewhere.
        let _ = self.responses.send(Ok(response));
    }

    pub fn fail(&self, code: Code) {
        let _ = self.responses.send(Err(Status::new(code, "as told")));
    }
}

pub fn slot(mode: Mode) -> Slot {
    match mode {
        Mode::Serve => Slot::Serve,
        Mode::Shadow => Slot::Shadow,
    }
}

#[tonic::async_trait]
impl Control for Service {
    type SyncStream = Answers<SyncResponse>;
    type FetchSegmentStream = Answers<Chunk>;
    type ReportAlertsStream = Answers<AlertAck>;

    async fn sync(&self, request: Request<Streaming<SyncRequest>>) -> Result<Response<Self::SyncStream>, Status> {
        let mut incoming = request.into_inner();
        let (seen, requests) = mpsc::unbounded_channel();
        let (responses, outgoing) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(request) = incoming.message().await.transpose() {
                let is_over = request.is_err();
                if seen.send(request).is_err() || is_over {
                    break;
                }
            }
        });
        let _ = self.streams.send(Node { requests, responses });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(outgoing))))
    }

    async fn fetch_segment(
        &self,
        request: Request<FetchSegmentRequest>,
    ) -> Result<Response<Self::FetchSegmentStream>, Status> {
        let peer = request.remote_addr();
        let FetchSegmentRequest { digest, offset } = request.into_inner();
        let digest = Digest(digest[..].try_into().unwrap());
        let (bytes, trick) = {
            let mut state = self.state.lock().unwrap();
            state.fetches.push((digest, offset));
            state.peers.push(peer);
            let trick = state.tricks.get_mut(&digest).and_then(VecDeque::pop_front);
            (state.segments.get(&digest).cloned(), trick)
        };
        let _ = self.fetched.send(digest);
        let bytes = bytes.ok_or_else(|| Status::not_found("no such segment"))?;
        let answer = answer(&bytes, usize::try_from(offset).unwrap(), trick)?;
        Ok(Response::new(answer))
    }

    async fn report_alerts(
        &self,
        _: Request<Streaming<AlertBatch>>,
    ) -> Result<Response<Self::ReportAlertsStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

fn chunks(bytes: &[u8], length: u64) -> Vec<Result<Chunk, Status>> {
    let mut chunks: Vec<Chunk> =
        bytes.chunks(CHUNK).map(|piece| Chunk { data: Bytes::copy_from_slice(piece), segment_bytes: 0 }).collect();
    if chunks.is_empty() {
        chunks.push(Chunk::default());
    }
    chunks[0].segment_bytes = length;
    chunks.into_iter().map(Ok).collect()
}

fn answer(bytes: &[u8], offset: usize, trick: Option<Trick>) -> Result<Answers<Chunk>, Status> {
    use tokio_stream::{StreamExt as _, iter, pending};
    if offset >= bytes.len() {
        return Err(Status::out_of_range("there is no such byte"));
    }
    let (rest, length) = (&bytes[offset..], bytes.len() as u64);
    let first = |count: usize| iter(chunks(&rest[..count.min(rest.len())], length));
    Ok(match trick {
        None => Box::pin(iter(chunks(rest, length))),
        Some(Trick::Break(count, code)) => Box::pin(first(count).chain(iter([Err(Status::new(code, "as told"))]))),
        Some(Trick::End(count)) => Box::pin(first(count)),
        Some(Trick::Hang(count)) => Box::pin(first(count).chain(pending())),
        Some(Trick::Bytes(other)) => {
            Box::pin(iter(chunks(other.get(offset..).unwrap_or_default(), other.len() as u64)))
        }
        Some(Trick::Length(other)) => Box::pin(iter(chunks(rest, other))),
        Some(Trick::Beyond) => {
            let more = Chunk { data: Bytes::from_static(&[0; CHUNK]), segment_bytes: 0 };
            // In the last chunk itself: what comes after the last byte is not read at all.
            let mut all = chunks(rest, length);
            let last = all.pop().unwrap()?;
            let data = [&last.data[..], &more.data[..]].concat().into();
            all.push(Ok(Chunk { data, ..last }));
            Box::pin(iter(all))
        }
        Some(Trick::Slow(pause)) => Box::pin(iter(chunks(rest, length)).then(move |chunk| async move {
            tokio::time::sleep(pause).await;
            chunk
        })),
        Some(Trick::Empty) => {
            let chunk = Chunk { data: Bytes::new(), segment_bytes: length };
            Box::pin(iter(std::iter::repeat_with(move || Ok(chunk.clone()))))
        }
        Some(Trick::Endless) => {
            let chunk = Chunk { data: Bytes::from_static(&[9; CHUNK]), segment_bytes: length };
            Box::pin(iter(std::iter::repeat_with(move || Ok(chunk.clone()))))
        }
        Some(Trick::Refuse(code)) => return Err(Status::new(code, "as told")),
    })
}
