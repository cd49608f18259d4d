//! Source `otlp`: OTLP/gRPC, the `Export` methods of `LogsService`, `MetricsService` and `TraceService`, and OTLP/HTTP
//! (`otlp_http`) on the same address.
//!
//! Logs are matched. Metrics and traces pass unchanged, under the same limits, if a sink accepts them.

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tonic::body::Body;

use super::export_response::export_response;
use super::intake::{Intake, RequestContent};
use super::service::source_service;
use super::unary::{self, Method};
use super::{BoundSource, Limits, SharedResources, listener, otlp_http};
use crate::config::Address;
use crate::encoding::Format;
use crate::net::grpc;
use crate::net::socket::Listener;
use crate::pipeline::{Deliver, Signal, Transform};

/// The methods, one per signal.
const METHODS: [Method; 3] = [method(Signal::Logs), method(Signal::Metrics), method(Signal::Traces)];

const fn method(signal: Signal) -> Method {
    Method {
        path: signal.export_path(),
        content: RequestContent { format: Format::Otlp, signal },
        answer: export_response,
    }
}

/// The service. Cheap to clone: it is cloned for each connection.
#[derive(Clone)]
pub struct OtlpSource {
    intake: Arc<Intake>,
}

impl OtlpSource {
    /// Binds the socket; connections are not accepted before [`BoundSource::serve`]. Needs a tokio runtime. `name` is the
    /// source's name in metrics and logs.
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
    ) -> io::Result<BoundSource> {
        OtlpSource::on(listener::bind(name, address)?, limits, shared, process, deliver)
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
    ) -> io::Result<BoundSource> {
        let source = OtlpSource::new(listener.name(), limits.clone(), shared, process, deliver)?;
        Ok(BoundSource::on(listener, limits, source).with_http1())
    }

    /// Creates the service alone, to be embedded in another server.
    ///
    /// # Errors
    /// The limits contradict each other.
    pub fn new(
        name: &str,
        limits: Limits,
        shared: &SharedResources,
        process: Arc<dyn Transform>,
        deliver: Arc<dyn Deliver>,
    ) -> io::Result<OtlpSource> {
        Ok(OtlpSource { intake: Arc::new(Intake::new(name, limits, shared, process, deliver)?) })
    }
}

source_service!(OtlpSource);

impl OtlpSource {
    fn answer<B>(&self, request: Request<B>) -> impl Future<Output = Response<Body>> + Send + use<B>
    where
        B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    {
        let intake = Arc::clone(&self.intake);
        async move {
            let path = request.uri().path();
            let is_grpc = METHODS.iter().any(|method| method.path == path) || grpc::is_grpc(request.headers());
            match is_grpc {
                true => unary::call(&intake, &METHODS, request).await,
                false => otlp_http::call(&intake, request).await,
            }
        }
    }
}
