//! Source `filter`: the Filter stream and Check of `proto/hotlist/filter/v1/filter.proto`, for your own programs.
//!
//! A plain tower service with its own framing, like OTLP: tonic's codec would buffer messages before memory is taken
//! for them. The events of a stream are walked and spliced as bytes; only Check, which has few values, is decoded.

mod check;
mod outbox;
mod stream;

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tonic::body::Body;

use super::intake::Intake;
use super::service::source_service;
use super::{BoundSource, Limits, SharedResources, listener, unary};
use crate::config::Address;
use crate::net::socket::Listener;
use crate::pipeline::{Deliver, Transform, ValueLookup};

/// Its description for reflection: an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = crate::proto::filter::FILE_DESCRIPTOR_SET;

/// The methods of the service.
#[derive(Clone, Copy)]
enum Method {
    Stream,
    Check,
}

const METHODS: [(&str, Method); 2] =
    [("/hotlist.filter.v1.Filter/Stream", Method::Stream), ("/hotlist.filter.v1.Filter/Check", Method::Check)];

/// The service. Cheap to clone: it is cloned for each connection.
#[derive(Clone)]
pub struct FilterSource {
    state: Arc<State>,
}

struct State {
    intake: Arc<Intake>,
    check: Arc<dyn ValueLookup>,
    window: usize,
}

/// The limits of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub limits: Limits,
    /// Batches of one stream that are in work or whose answers are not sent yet, at most.
    pub window: usize,
}

impl FilterSource {
    /// Binds the socket; connections are not accepted before [`BoundSource::serve`]. Needs a tokio runtime. `name` is the
    /// source's name in metrics and logs, `matcher` matches events and looks up values.
    ///
    /// # Errors
    /// The address cannot be bound, the limits contradict each other, or there is no runtime.
    pub fn bind(
        name: &str,
        address: &Address,
        settings: Settings,
        shared: &SharedResources,
        matcher: Arc<impl Transform + ValueLookup>,
        deliver: Arc<dyn Deliver>,
    ) -> io::Result<BoundSource> {
        FilterSource::on(listener::bind(name, address)?, settings, shared, matcher, deliver)
    }

    /// Creates the source on a bound socket.
    ///
    /// # Errors
    /// The limits contradict each other.
    pub fn on(
        listener: Listener,
        settings: Settings,
        shared: &SharedResources,
        matcher: Arc<impl Transform + ValueLookup>,
        deliver: Arc<dyn Deliver>,
    ) -> io::Result<BoundSource> {
        let Settings { limits, window } = settings;
        if window == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "window is 0, it must be at least 1"));
        }
        let process: Arc<dyn Transform> = matcher.clone();
        let intake = Arc::new(Intake::new(listener.name(), limits.clone(), shared, process, deliver)?);
        let state = Arc::new(State { intake, check: matcher, window });
        Ok(BoundSource::on(listener, limits, FilterSource { state }))
    }
}

source_service!(FilterSource);

impl FilterSource {
    fn answer<B>(&self, request: Request<B>) -> impl Future<Output = Response<Body>> + Send + use<B>
    where
        B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    {
        let state = Arc::clone(&self.state);
        async move {
            match unary::find_method(&METHODS, |(path, _)| path, &request) {
                Ok(((_, Method::Stream), encoding)) => stream::open(state, request, encoding),
                Ok(((_, Method::Check), encoding)) => check::call(state, request, encoding).await,
                Err(answer) => {
                    state.intake.count().end(answer.label());
                    answer.into_response()
                }
            }
        }
    }
}
