//! Checks that the peers of a configuration answer, without changing anything.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::wiring;
use crate::config::{self, ClientTls, Endpoint, SinkKind};
use crate::controlplane::operator;
use crate::net::tls::Connector;
use crate::pipeline::Batch;
use crate::sink::grpc;

/// The time limit per peer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerAnswer {
    /// The peer's clock to the second, if the response has a `Date` (RFC 9110 section 6.6.1).
    pub time: Option<Timestamp>,
}

/// Sends the next hop of a sink a request without events, which an OTLP receiver answers with success (OTLP
/// specification, "OTLP/gRPC Response"), or calls the health service of a Vector. `None` if the sink has no next hop.
///
/// # Errors
/// The next hop does not answer, or refuses; the text has the cause.
pub async fn sink(sink: &config::Sink) -> Option<Result<PeerAnswer, String>> {
    let settings = match &sink.kind {
        SinkKind::Otlp(settings) | SinkKind::Vector(settings) => settings,
        SinkKind::Ndjson(_) | SinkKind::Blackhole => return None,
    };
    Some(ask(sink, settings).await)
}

async fn ask(sink: &config::Sink, settings: &config::GrpcSink) -> Result<PeerAnswer, String> {
    let headers = Arc::new(wiring::headers(settings).map_err(|error| format!("headers: {error}"))?);
    let of = grpc::Settings { headers, deadline: settings.timeout.min(PATIENCE), ..grpc::Settings::default() };
    let is_vector = matches!(sink.kind, SinkKind::Vector(_));
    let made = wiring::network_sink(sink, settings, of).map_err(|error| error.to_string())?;
    match is_vector {
        true => made.check_health(&sink.id).await,
        false => made.offer(&sink.id, &Batch::default()).await.map(drop),
    }
    .map_err(|refusal| refusal.to_string())?;
    // The next hop answered: a missing time is not an error.
    Ok(greet(&settings.endpoint, settings.tls.as_ref()).await.unwrap_or_default())
}

/// Connects to the control plane.
///
/// # Errors
/// The connection failed; the text has the cause.
pub async fn control(control: &config::Control) -> Result<PeerAnswer, String> {
    greet(&control.endpoint, control.tls.as_ref()).await
}

/// Calls the health service of a gRPC server. Any status is an answer.
async fn greet(endpoint: &Endpoint, tls: Option<&ClientTls>) -> Result<PeerAnswer, String> {
    let connector = match endpoint {
        Endpoint::Https { host, .. } => {
            let tls = tls.cloned().unwrap_or_default();
            Some(Connector::load("tls", &tls, host).map_err(|error| error.to_string())?)
        }
        Endpoint::Http { .. } | Endpoint::Unix(_) => None,
    };
    let asked = async {
        let channel = operator::connect(endpoint, connector).await.map_err(|error| error.to_string())?;
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        let metadata = match &answer {
            Ok(answer) => answer.metadata(),
            Err(status) => status.metadata(),
        };
        let date = metadata.get("date").and_then(|date| date.to_str().ok());
        let time = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp());
        Ok(PeerAnswer { time })
    };
    let answered = tokio::time::timeout(PATIENCE, asked).await;
    answered.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}
