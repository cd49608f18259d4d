//! A sidecar in the test's process: source, identity, sinks.

use std::sync::Arc;

use bytes::Bytes;
use hotlist::config::{Address, Endpoint};
use hotlist::encoding::{Format, Rope};
use hotlist::pipeline::{BatchRefusal, MatchedMessage, Transform, Work};
use hotlist::sink::grpc::{GrpcSink, Settings};
use hotlist::sink::{Fanout, Sink, SinkBackend};
use hotlist::source::{BoundSource, Limits, OtlpSource, SharedResources};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub struct Sidecar {
    pub address: Address,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

/// Passes every message as it is.
pub struct Identity;

impl Transform for Identity {
    fn process(&self, _: Format, message: Bytes, _: &Work) -> Result<MatchedMessage, BatchRefusal> {
        Ok(MatchedMessage { message: Rope::from(message), ..MatchedMessage::default() })
    }
}

impl Sidecar {
    /// Defaults everywhere, one OTLP sink.
    pub fn start(next_hop: &str) -> Sidecar {
        Sidecar::with(Limits::default(), Identity, [otlp(next_hop, Settings::default())])
    }

    pub fn with(limits: Limits, process: impl Transform, sinks: impl IntoIterator<Item = Arc<Sink>>) -> Sidecar {
        Sidecar::at(&loopback(), limits, process, sinks)
    }

    pub fn at(
        address: &Address,
        limits: Limits,
        process: impl Transform,
        sinks: impl IntoIterator<Item = Arc<Sink>>,
    ) -> Sidecar {
        Sidecar::serve(bind("test", address, limits, process, sinks))
    }

    /// Serves what a test has bound.
    pub fn serve(bound: BoundSource) -> Sidecar {
        let address = bound.local_address().clone();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            bound.serve(stopped).await.unwrap();
        });
        Sidecar { address, stop, served }
    }

    /// Begins to stop; the handle is ready when it has stopped.
    pub fn stop(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.served
    }
}

/// A source under a name of its own, so that its metrics are, too.
pub fn bind(
    name: &str,
    address: &Address,
    limits: Limits,
    process: impl Transform,
    sinks: impl IntoIterator<Item = Arc<Sink>>,
) -> BoundSource {
    let shared = SharedResources::start(&limits).unwrap();
    let deliver = Arc::new(Fanout::new(sinks));
    OtlpSource::bind(name, address, limits, &shared, Arc::new(process), deliver).unwrap()
}

/// Any free port of this host.
pub fn loopback() -> Address {
    Address::Tcp("127.0.0.1:0".parse().unwrap())
}

pub fn otlp(endpoint: &str, settings: Settings) -> Arc<Sink> {
    let sink = GrpcSink::otlp(Endpoint::parse(endpoint).unwrap(), settings);
    Arc::new(Sink::new("next", SinkBackend::Grpc(Box::new(sink))))
}
