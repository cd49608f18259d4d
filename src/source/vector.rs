//! Source `vector`: Vector's own gRPC protocol, the methods `PushEvents` and `HealthCheck` of `vector.Vector`.
//!
//! Log events are matched; metrics and traces arrive in the same calls and pass unchanged. The messages are defined in
//! `proto/vector/vector.proto` of Vector's repository.

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tonic::body::Body;

use super::health::Health;
use super::intake::{Intake, RequestContent};
use super::service::source_service;
use super::unary::{self, Method};
use super::{BoundSource, Limits, SharedResources, listener};
use crate::config::Address;
use crate::encoding::Format;
use crate::net::socket::Listener;
use crate::pipeline::{Deliver, Signal, Transform};

/// `PushEventsResponse` has no fields.
const METHODS: [Method; 1] = [Method {
    path: "/vector.Vector/PushEvents",
    content: RequestContent { format: Format::Vector, signal: Signal::Logs },
    answer: |_| Vec::new(),
}];

const HEALTH_CHECK: &str = "/vector.Vector/HealthCheck";
/// `HealthCheckResponse` with `status` (1) NOT_SERVING (1). SERVING is 0, which is not written.
const NOT_SERVING: [u8; 2] = [1 << 3, 1];

/// The service. Cheap to clone: it is cloned for each connection.
#[derive(Clone)]
pub struct VectorSource {
    intake: Arc<Intake>,
    health: Health,
}

impl VectorSource {
    /// Binds the socket; connections are not accepted before [`BoundSource::serve`]. Needs a tokio runtime. `name` is the
    /// source's name in metrics and logs, `health` is what it reports to a Vector that asks.
    ///
    /// # Errors
    /// The address cannot be bound, the limits contradict each other, or there is no runtime.
    pub fn bind(
        name: &str,
        address: &Address,
        limits: Limits,
        shared: &SharedResources,
        process: Arc<dyn Transform>,
        deliver: Arc<dyn Deliver>,
        health: Health,
    ) -> io::Result<BoundSource> {
        VectorSource::on(listener::bind(name, address)?, limits, shared, process, deliver, health)
    }

    /// Creates the source on a bound socket.
    ///
    /// # Errors
    /// The limits contradict each other.
    pub fn on(
        listener: Listener,
        limits: Limits,
        shared: &SharedResources,
        process: Arc<dyn Transform>,
        deliver: Arc<dyn Deliver>,
        health: Health,
    ) -> io::Result<BoundSource> {
        let intake = Arc::new(Intake::new(listener.name(), limits.clone(), shared, process, deliver)?);
        Ok(BoundSource::on(listener, limits, VectorSource { intake, health }))
    }
}

source_service!(VectorSource);

impl VectorSource {
    fn answer<B>(&self, request: Request<B>) -> impl Future<Output = Response<Body>> + Send + use<B>
    where
        B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    {
        let (intake, health) = (Arc::clone(&self.intake), self.health.clone());
        async move {
            if request.uri().path() == HEALTH_CHECK {
                // The request has no fields, so its body is not read.
                let message: &[u8] = if health.is_ready() { &[] } else { &NOT_SERVING };
                return unary::taken(message);
            }
            unary::call(&intake, &METHODS, request).await
        }
    }
}
