//! A next hop on a script: it hands every request to the test, and answers when and what the test says.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use http::{HeaderMap, HeaderValue, Response, request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// The listening end.
pub struct NextHop {
    pub endpoint: String,
    requests: UnboundedReceiver<Arrived>,
}

/// One request, whole, unanswered.
pub struct Arrived {
    pub head: request::Parts,
    /// With the five bytes of framing.
    pub wire: Bytes,
    respond: SendResponse<Bytes>,
    connection: Handle,
}

/// The connection that a request came on.
#[derive(Clone)]
pub struct Handle {
    abort: AbortHandle,
    /// After the GOAWAY, and disconnected.
    drain: watch::Sender<bool>,
    gone: watch::Receiver<bool>,
}

impl NextHop {
    pub async fn start() -> NextHop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (arrived, requests) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                serve(listener.accept().await.unwrap().0, arrived.clone());
            }
        });
        NextHop { endpoint, requests }
    }

    /// The same behind TLS. Who fails in the handshake never arrives.
    pub async fn start_tls(config: Arc<ServerConfig>) -> NextHop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let (arrived, requests) = unbounded_channel();
        let acceptor = TlsAcceptor::from(config);
        tokio::spawn(async move {
            loop {
                let (stream, arrived) = (listener.accept().await.unwrap().0, arrived.clone());
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, arrived);
                }
            }
        });
        NextHop { endpoint, requests }
    }

    pub async fn start_unix(path: &Path) -> NextHop {
        let listener = UnixListener::bind(path).unwrap();
        let (arrived, requests) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                serve(listener.accept().await.unwrap().0, arrived.clone());
            }
        });
        NextHop { endpoint: format!("unix:{}", path.display()), requests }
    }

    /// The next request.
    pub async fn arrived(&mut self) -> Arrived {
        self.requests.recv().await.unwrap()
    }

    /// Whether a request waits here.
    pub fn is_idle(&mut self) -> bool {
        self.requests.is_empty()
    }

    /// Answers OK to everything from now on.
    pub fn accept_all(mut self) {
        tokio::spawn(async move {
            while let Some(arrived) = self.requests.recv().await {
                arrived.ok();
            }
        });
    }
}

impl Arrived {
    pub fn message(&self) -> Bytes {
        self.wire.slice(5..)
    }

    pub fn ok(self) -> Handle {
        self.answer_message(&[])
    }

    /// OK with a message.
    pub fn answer_message(mut self, message: &[u8]) -> Handle {
        let mut stream = self.respond.send_response(grpc_head(), false).unwrap();
        stream.send_data(crate::wire::frame(0, message), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        stream.send_trailers(trailers).unwrap();
        self.connection
    }

    /// A status in the headers, as servers do that fail early.
    pub fn answer_status(mut self, status: u8, message: &'static str) {
        let mut head = grpc_head();
        head.headers_mut().insert("grpc-status", HeaderValue::from(u16::from(status)));
        head.headers_mut().insert("grpc-message", HeaderValue::from_static(message));
        self.respond.send_response(head, true).unwrap();
    }

    /// A status with all its headers, without a body or behind one.
    pub fn answer_with(mut self, status: HeaderMap, behind_a_body: bool) {
        let mut head = grpc_head();
        if behind_a_body {
            let mut stream = self.respond.send_response(head, false).unwrap();
            stream.send_data(crate::wire::frame(0, &[]), false).unwrap();
            stream.send_trailers(status).unwrap();
        } else {
            head.headers_mut().extend(status);
            self.respond.send_response(head, true).unwrap();
        }
    }

    /// An answer of a gateway, without a status of gRPC, and when to come again.
    pub fn answer_http_later(mut self, status: u16, seconds: u64) {
        let head = Response::builder().status(status).header("retry-after", seconds).body(()).unwrap();
        self.respond.send_response(head, true).unwrap();
    }

    /// An answer without any status.
    pub fn answer_http(mut self, status: u16) {
        let head = Response::builder().status(status).body(()).unwrap();
        self.respond.send_response(head, true).unwrap();
    }

    /// Headers, and then the connection is gone.
    pub fn close_after_headers(mut self) {
        let mut stream = self.respond.send_response(grpc_head(), false).unwrap();
        stream.send_reset(h2::Reason::INTERNAL_ERROR);
        self.connection.abort.abort();
    }

    /// RST_STREAM that says that nothing was processed.
    pub fn turn_away(mut self) {
        self.respond.send_reset(h2::Reason::REFUSED_STREAM);
    }

    /// Ready when the sender of the request took it back.
    pub async fn cancelled(&mut self) -> h2::Reason {
        std::future::poll_fn(|context| self.respond.poll_reset(context)).await.unwrap()
    }
}

impl Handle {
    /// Closes as a server does that is restarted: GOAWAY, and the peer has seen it when this is ready.
    pub async fn close_gracefully(mut self) {
        self.drain.send(true).unwrap();
        self.gone.wait_for(|gone| *gone).await.unwrap();
    }
}

fn grpc_head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn serve<S>(socket: S, arrived: UnboundedSender<Arrived>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (drain, mut draining) = watch::channel(false);
    let (now_gone, gone) = watch::channel(false);
    let (give, take) = tokio::sync::oneshot::channel::<Handle>();
    let task = tokio::spawn(async move {
        let handle = take.await.unwrap();
        let handshake = h2::server::Builder::new()
            .initial_window_size(8 << 20)
            .initial_connection_window_size(32 << 20)
            .handshake::<_, Bytes>(socket)
            .await;
        // A sidecar that is dropped in the middle of a handshake is no fault of the test.
        let Ok(mut connection) = handshake else { return };
        loop {
            tokio::select! {
                accepted = connection.accept() => {
                    let Some(Ok((request, respond))) = accepted else { break };
                    let (arrived, connection) = (arrived.clone(), handle.clone());
                    tokio::spawn(async move {
                        let (head, mut body) = request.into_parts();
                        let mut wire = Vec::new();
                        while let Some(data) = body.data().await {
                            // A request that is taken back never arrives.
                            let Ok(data) = data else { return };
                            body.flow_control().release_capacity(data.len()).unwrap();
                            wire.extend_from_slice(&data);
                        }
                        let _ = arrived.send(Arrived { head, wire: Bytes::from(wire), respond, connection });
                    });
                }
                _ = draining.changed() => close(&mut connection),
            }
        }
        drop(connection);
        let _ = now_gone.send(true);
    });
    let handle = Handle { abort: task.abort_handle(), drain, gone };
    assert!(give.send(handle).is_ok());
}

fn close<S>(connection: &mut Connection<S, Bytes>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection.graceful_shutdown();
}
