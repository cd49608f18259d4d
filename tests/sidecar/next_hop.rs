//! A next hop in the test's process: it records what it accepts, and refuses or waits when the test says so.
//!
//! A request is recorded before it is answered. So once the sidecar has acknowledged, everything is here, and no test
//! has to wait.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::{Notify, watch};

use crate::process::PATIENCE;

type Body = BoxBody<Bytes, io::Error>;

/// The answer of the next hop to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Records it and answers OK.
    Accept,
    /// Answers this gRPC status.
    Refuse(u8),
    /// Waits for another mood.
    Hold,
    /// Takes so long, then records it and answers OK.
    Slow(Duration),
    /// Answers with headers and half a message, and then resets the stream.
    BreakOff,
}

/// One accepted request.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method that was called.
    pub path: String,
    pub headers: HeaderMap,
    /// The five bytes of framing and the message, as they came.
    pub wire: Bytes,
}

impl Received {
    /// The message, which must not be compressed.
    pub fn message(&self) -> Bytes {
        assert_eq!(self.wire[0], 0, "a plain message");
        self.wire.slice(5..)
    }
}

/// The listening end.
pub struct NextHop {
    pub endpoint: String,
    shared: Shared,
}

#[derive(Clone)]
struct Shared {
    received: Arc<Mutex<Vec<Received>>>,
    mood: Arc<watch::Sender<Mood>>,
    held: Arc<watch::Sender<usize>>,
    accepted: Arc<watch::Sender<usize>>,
    /// Notified when every connection closes, in the middle of whatever it does.
    reset: Arc<Notify>,
}

/// An address that is taken but refuses every connection, until it begins to listen.
pub struct Closed {
    socket: TcpSocket,
    pub endpoint: String,
}

impl Closed {
    pub fn bind() -> Closed {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let endpoint = format!("http://{}", socket.local_addr().unwrap());
        Closed { socket, endpoint }
    }

    pub fn open(self) -> NextHop {
        NextHop::on_tcp(self.socket.listen(1024).unwrap())
    }
}

impl NextHop {
    pub async fn start() -> NextHop {
        NextHop::on_tcp(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// On one port of several addresses.
    pub async fn start_on(addresses: &[Ipv4Addr]) -> NextHop {
        let first = TcpListener::bind((addresses[0], 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let next_hop = NextHop::on_tcp(first);
        for address in &addresses[1..] {
            next_hop.accept_on(TcpListener::bind((*address, port)).await.unwrap());
        }
        next_hop
    }

    fn on_tcp(listener: TcpListener) -> NextHop {
        let next_hop = NextHop::at(format!("http://{}", listener.local_addr().unwrap()));
        next_hop.accept_on(listener);
        next_hop
    }

    fn accept_on(&self, listener: TcpListener) {
        let shared = self.shared.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Else the second half of an answer waits for the delayed acknowledgement of the first.
                stream.set_nodelay(true).unwrap();
                serve(stream, shared.clone());
            }
        });
    }

    pub fn start_unix(path: &Path) -> NextHop {
        let listener = UnixListener::bind(path).unwrap();
        let next_hop = NextHop::at(format!("unix:{}", path.display()));
        let shared = next_hop.shared.clone();
        tokio::spawn(async move {
            loop {
                serve(listener.accept().await.unwrap().0, shared.clone());
            }
        });
        next_hop
    }

    fn at(endpoint: String) -> NextHop {
        let shared = Shared {
            received: Arc::default(),
            mood: Arc::new(watch::Sender::new(Mood::Accept)),
            held: Arc::new(watch::Sender::new(0)),
            accepted: Arc::new(watch::Sender::new(0)),
            reset: Arc::default(),
        };
        NextHop { endpoint, shared }
    }

    /// Takes what was accepted until now, in the order of arrival.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.shared.received.lock().unwrap())
    }

    /// Whether this very message was accepted.
    pub fn has(&self, message: &[u8]) -> bool {
        self.shared.received.lock().unwrap().iter().any(|request| request.wire[5..] == *message)
    }

    pub fn set(&self, mood: Mood) {
        self.shared.mood.send_replace(mood);
    }

    /// Closes every connection, in the middle of whatever it does.
    pub fn reset(&self) {
        self.shared.reset.notify_waiters();
    }

    /// Ready when so many requests were accepted, from the beginning on. Needed only where the sidecar does not wait.
    pub async fn accepted(&self, count: usize) {
        let mut accepted = self.shared.accepted.subscribe();
        tokio::time::timeout(PATIENCE, accepted.wait_for(|accepted| *accepted >= count)).await.unwrap().unwrap();
    }

    /// Ready when so many requests were held, from the beginning on.
    pub async fn held(&self, count: usize) {
        let mut held = self.shared.held.subscribe();
        tokio::time::timeout(PATIENCE, held.wait_for(|held| *held >= count)).await.unwrap().unwrap();
    }
}

fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Shared) {
    let reset = Arc::clone(&shared.reset);
    let service = service_fn(move |request: Request<Incoming>| respond(request, shared.clone()));
    let connection = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    tokio::spawn(async move {
        tokio::select! {
            () = reset.notified() => {}
            // A sidecar that was killed is no fault of the next hop.
            _ = connection => {}
        }
    });
}

async fn respond(request: Request<Incoming>, shared: Shared) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let wire = body.collect().await?.to_bytes();
    let mut mood = shared.mood.subscribe();
    if *mood.borrow() == Mood::Hold {
        shared.held.send_modify(|held| *held += 1);
    }
    let mood = *mood.wait_for(|mood| *mood != Mood::Hold).await.unwrap();
    let status = match mood {
        Mood::Refuse(status) => status,
        Mood::Accept | Mood::Hold => 0,
        Mood::Slow(time) => {
            tokio::time::sleep(time).await;
            0
        }
        Mood::BreakOff => {
            let frames = [Ok(Frame::data(Bytes::from_static(&[0; 3]))), Err(io::Error::other("on purpose"))];
            return Ok(answer(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))));
        }
    };
    if status == 0 {
        let path = head.uri.path().to_owned();
        shared.received.lock().unwrap().push(Received { path, headers: head.headers, wire });
        shared.accepted.send_modify(|accepted| *accepted += 1);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(u16::from(status)));
    let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)];
    Ok(answer(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames.map(Ok))))))
}

fn answer(body: Body) -> Response<Body> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}
