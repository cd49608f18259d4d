//! The operator's client of a control plane: lists and removes nodes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Uri};
use tower::service_fn;

use crate::config::Endpoint;
use crate::escape::Escaped;
use crate::net::dial;
use crate::net::tls::Connector;
use crate::proto::control::v1::operator_client::OperatorClient;
use crate::proto::control::v1::{ListNodesRequest, RemoveNodeRequest};

pub use crate::proto::control::v1::{Canary, Instance, NodeStatus, RemoveNodeResponse, Slot, SlotStatus, Statistics};

/// The time limit for connecting, and for the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for a response.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The maximum size of a response in bytes.
const MAX_ANSWER: usize = 256 << 20;

/// The reason that a call failed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The connection failed.
    #[error(
        "no connection to {endpoint}: {cause}; check that the control plane is running and accepts this certificate"
    )]
    Connect { endpoint: Endpoint, cause: String },
    /// The control plane refused the call.
    #[error("{endpoint} refused: {}", Escaped(.status))]
    Refused {
        endpoint: Endpoint,
        /// The status, whose message says how to fix the cause.
        status: String,
    },
}

/// A connection to a control plane.
#[derive(Clone, Debug)]
pub struct Operator {
    endpoint: Endpoint,
    client: OperatorClient<Channel>,
}

impl Operator {
    /// Connects to a control plane. `tls` is for an `https` endpoint.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn connect(endpoint: &Endpoint, tls: Option<Connector>) -> Result<Operator, OperatorError> {
        let channel = connect(endpoint, tls).await?;
        let client = OperatorClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        Ok(Operator { endpoint: endpoint.clone(), client })
    }

    /// Lists the nodes of a tenant, or of all tenants when `tenant` is empty.
    ///
    /// # Errors
    /// The call failed.
    pub async fn list_nodes(&mut self, tenant: &str) -> Result<Vec<NodeStatus>, OperatorError> {
        let answer = self.client.list_nodes(ListNodesRequest { tenant: tenant.to_owned() }).await;
        Ok(answer.map_err(|status| self.refused(&status))?.into_inner().nodes)
    }

    /// Removes a disconnected node, and with `alerts` its alerts. An empty tenant means a node without a tenant.
    ///
    /// # Errors
    /// The node was not removed.
    pub async fn remove_node(
        &mut self,
        tenant: &str,
        name: &str,
        alerts: bool,
    ) -> Result<RemoveNodeResponse, OperatorError> {
        let request = RemoveNodeRequest { tenant: tenant.to_owned(), name: name.to_owned(), alerts };
        let answer = self.client.remove_node(request).await;
        Ok(answer.map_err(|status| self.refused(&status))?.into_inner())
    }

    fn refused(&self, status: &tonic::Status) -> OperatorError {
        let code = crate::net::grpc::Code::from_number(status.code() as u32);
        OperatorError::Refused { endpoint: self.endpoint.clone(), status: format!("{code}: {}", status.message()) }
    }
}

/// Connects a channel to an endpoint.
///
/// # Errors
/// The connection failed.
pub async fn connect(endpoint: &Endpoint, tls: Option<Connector>) -> Result<Channel, OperatorError> {
    let failed = |error: tonic::transport::Error| {
        let mut cause = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            cause = error.to_string();
            source = error.source();
        }
        OperatorError::Connect { endpoint: endpoint.clone(), cause }
    };
    // The connection goes to the endpoint; this is only the authority in the requests.
    let authority = match endpoint {
        Endpoint::Http { host, port } | Endpoint::Https { host, port } if host.contains(':') => {
            format!("[{host}]:{port}")
        }
        Endpoint::Http { host, port } | Endpoint::Https { host, port } => format!("{host}:{port}"),
        Endpoint::Unix(_) => "localhost".to_owned(),
    };
    let channel = Channel::from_shared(format!("http://{authority}").into_bytes());
    let channel = channel.unwrap_or_else(|_| Channel::from_static("http://localhost")).timeout(ANSWER_TIMEOUT);
    let (to, tls) = (endpoint.clone(), tls.map(Arc::new));
    let connect = move |_: Uri| {
        let (endpoint, tls) = (to.clone(), tls.clone());
        async move {
            let stream = dial::open(&endpoint, tls.as_deref(), CONNECT_TIMEOUT).await;
            stream.map(TokioIo::new).map_err(io::Error::from)
        }
    };
    channel.connect_with_connector(service_fn(connect)).await.map_err(failed)
}
