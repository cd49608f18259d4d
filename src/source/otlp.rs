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

use super::intake::{Intake, RequestContent};
use super::service::source_service;
use super::unary::{self, Method};
use super::{BoundSource, Limits, SharedResources, listener, otlp_http};
use crate::config::Address;
use crate::encoding::{Format, wire};
use crate::net::grpc;
use crate::net::socket::Listener;
use crate::pipeline::{Accepted, Deliver, Signal, Transform};

/// The methods, one per signal.
const METHODS: [Method; 3] = [method(Signal::Logs), method(Signal::Metrics), method(Signal::Traces)];

const fn method(signal: Signal) -> Method {
    Method { path: signal.export_path(), content: RequestContent { format: Format::Otlp, signal }, answer: response }
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

/// Writes an `Export…ServiceResponse`, whose fields have the same numbers for every signal: empty, or with
/// `partial_success` (1), which has the number of rejected records (1) and a message (2).
pub(super) fn response(accepted: &Accepted) -> Vec<u8> {
    if *accepted == Accepted::default() {
        return Vec::new();
    }
    let mut partial_success = Vec::with_capacity(accepted.message.len() + 16);
    if accepted.rejected > 0 {
        wire::put_varint(&mut partial_success, 1 << 3);
        // An int64 on the wire.
        wire::put_varint(&mut partial_success, accepted.rejected.min(i64::MAX as u64));
    }
    if !accepted.message.is_empty() {
        wire::put_bytes(&mut partial_success, 2, accepted.message.as_bytes());
    }
    let mut response = Vec::with_capacity(partial_success.len() + 16);
    wire::put_bytes(&mut response, 1, &partial_success);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
    use proptest::prelude::*;
    use prost::Message;

    proptest! {
        /// Law: prost reads the written bytes, and would write the same.
        #[test]
        fn prost_reads_the_response(rejected in 0..=i64::MAX, message: String) {
            let written = response(&Accepted { rejected: rejected as u64, message: message.clone() });
            let partial_success = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: message };
            let said = partial_success != ExportLogsPartialSuccess::default();
            let expected = ExportLogsServiceResponse { partial_success: said.then_some(partial_success) };
            prop_assert_eq!(&written, &expected.encode_to_vec());
            prop_assert_eq!(ExportLogsServiceResponse::decode(&*written).unwrap(), expected);
        }
    }
}
