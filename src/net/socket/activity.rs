//! Tracks the open requests of a connection by watching its service and the bodies of its answers, so that an idle
//! connection is recognised.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::connections::ConnectionState;
use super::host::{self, HostRefusal};
use super::upload::Upload;

/// The requests of one connection.
#[derive(Clone, Debug)]
pub struct Activity(pub(super) Connection);

/// The connection of a request. It is in the extensions of each request, for long-running ones.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(super) entry: Arc<ConnectionState>,
    pub(super) drain: CancellationToken,
}

impl Connection {
    /// Waits until the listener drains: long-running requests must end then.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Closes the connection at once, with all its requests, because its peer does not read its answers.
    pub fn hang_up(&self) {
        self.entry.hung_up.cancel();
    }
}

impl Activity {
    /// Counts the requests of a connection: each from its headers to the last byte of its answer.
    pub fn watch<S>(self, service: S) -> Watched<S> {
        Watched { service, activity: self }
    }

    /// Since when there has been no request; `None` while there is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.0.entry.idle_since()
    }

    /// Returns the number of the request that waits for its answer, if its client accepts interim responses.
    pub(super) fn awaited_request(&self) -> Option<u64> {
        self.0.entry.awaited_request()
    }

    /// Returns the number of the newest request.
    pub(super) fn newest_request(&self) -> u64 {
        self.0.entry.newest_request()
    }

    fn open(&self, version: Version) -> OpenRequest {
        // RFC 9110 section 15.2: no interim response to HTTP/1.0.
        self.0.entry.begin(version == Version::HTTP_11);
        OpenRequest(Arc::clone(&self.0.entry))
    }
}

/// An open request; it ends when this is dropped, whatever the reason.
#[derive(Debug)]
struct OpenRequest(Arc<ConnectionState>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A service on one connection.
#[derive(Clone, Debug)]
pub struct Watched<S> {
    service: S,
    activity: Activity,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Watched<S>
where
    S: tower::Service<Request<Upload>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<WatchedBody<B>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let open = self.activity.open(request.version());
        if let Err(refusal) = host::check(&request) {
            return Box::pin(std::future::ready(Ok(refused(refusal, open))));
        }
        request.extensions_mut().insert(self.activity.0.clone());
        let request = request.map(|body| Upload::new(body, &self.activity.0.entry));
        let answer = self.service.clone().oneshot(request);
        Box::pin(async move {
            answer
                .await
                .map(|response| response.map(|body| WatchedBody { content: Content::Service(body), _open: open }))
        })
    }
}

/// The answer to a request that no service sees. The connection is closed, because what follows may be a part of it.
fn refused<B>(refusal: HostRefusal, open: OpenRequest) -> Response<WatchedBody<B>> {
    let text = Bytes::from(format!("{refusal}\n"));
    let mut response = Response::new(WatchedBody { content: Content::Refusal(text), _open: open });
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The body of an answer: the request is open until the body is sent or dropped.
#[derive(Debug)]
pub struct WatchedBody<B> {
    content: Content<B>,
    _open: OpenRequest,
}

#[derive(Debug)]
enum Content<B> {
    /// The body of the service.
    Service(B),
    /// The reason that no service was asked; empty when it is sent.
    Refusal(Bytes),
}

impl<B: Body<Data = Bytes> + Unpin> Body for WatchedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.content {
            Content::Service(body) => Pin::new(body).poll_frame(context),
            Content::Refusal(text) if text.is_empty() => Poll::Ready(None),
            Content::Refusal(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Service(body) => body.is_end_stream(),
            Content::Refusal(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Service(body) => body.size_hint(),
            Content::Refusal(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}
