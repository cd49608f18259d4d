//! A client of a running sidecar's admin listener.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::args::ClientTlsArgs;
use super::tls;
use crate::config::{Address, Endpoint};
use crate::net::dial;
use crate::net::tls::{Connector, HTTP_1};

/// The time limit for the head of a response.
const PATIENCE: Duration = Duration::from_secs(5);

/// The reason that a sidecar did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// The address is not valid.
    #[error(
        "--admin {given}: is not an admin address; give the sidecar's `admin.address`: `http://127.0.0.1:9465`, `https://127.0.0.1:9465` with `admin.tls`, or `unix:/path`"
    )]
    Url { given: String },
    /// The connection failed or there was no response.
    #[error(
        "{endpoint}: {cause}; is the sidecar running, is this its `admin.address`, and is it `https://` exactly if `admin.tls` is set?"
    )]
    Connect { endpoint: Endpoint, cause: String },
    /// The response has an error status.
    #[error("{endpoint} returns {status} for {path}: {text}")]
    Refused {
        endpoint: Endpoint,
        status: u16,
        path: String,
        /// The beginning of the body.
        text: String,
    },
}

/// Requests pages of one admin listener.
pub(super) struct AdminClient {
    endpoint: Endpoint,
    connector: Option<Connector>,
}

impl AdminClient {
    /// Parses the address and loads the files for TLS.
    pub(super) fn new(given: &str, tls: &ClientTlsArgs) -> anyhow::Result<AdminClient> {
        let endpoint = endpoint(given)?;
        let connector = tls::connector("admin", tls, &endpoint, HTTP_1)?;
        Ok(AdminClient { endpoint, connector })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Requests a path, and returns the body as a stream.
    pub(super) async fn get(&self, path: &str) -> Result<Incoming, AdminError> {
        let endpoint = &self.endpoint;
        let failed = |cause: String| AdminError::Connect { endpoint: endpoint.clone(), cause };
        let asked = tokio::time::timeout(PATIENCE, ask(endpoint, self.connector.as_ref(), path)).await;
        let answer = asked.unwrap_or_else(|_| Err("no answer".to_owned())).map_err(failed)?;
        let status = answer.status().as_u16();
        if status != 200 {
            let text = read(answer.into_body()).await;
            return Err(AdminError::Refused { endpoint: endpoint.clone(), status, path: path.to_owned(), text });
        }
        Ok(answer.into_body())
    }
}

/// Parses `http://host:port`, `https://host:port`, `host:port` or `unix:/path`.
fn endpoint(given: &str) -> Result<Endpoint, AdminError> {
    let whole =
        if given.contains("://") || given.starts_with("unix:") { given.to_owned() } else { format!("http://{given}") };
    Endpoint::parse(&whole).map_err(|_| AdminError::Url { given: given.to_owned() })
}

async fn ask(
    endpoint: &Endpoint,
    connector: Option<&Connector>,
    path: &str,
) -> Result<hyper::Response<Incoming>, String> {
    let host = match endpoint {
        Endpoint::Http { host, port } | Endpoint::Https { host, port } if host.contains(':') => {
            format!("[{host}]:{port}")
        }
        Endpoint::Http { host, port } | Endpoint::Https { host, port } => format!("{host}:{port}"),
        Endpoint::Unix(_) => "localhost".to_owned(),
    };
    let stream = dial::open(endpoint, connector, PATIENCE).await.map_err(|error| error.to_string())?;
    let (mut send, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // The connection ends with the response.
    tokio::spawn(connection);
    let request = Request::get(path).header("host", host).body(Empty::<Bytes>::new());
    send.send_request(request.map_err(|error| error.to_string())?).await.map_err(|error| error.to_string())
}

/// Reads the beginning of a short response.
async fn read(body: Incoming) -> String {
    use http_body_util::{BodyExt, Limited};
    let collected = Limited::new(body, 4096).collect().await;
    collected.map_or_else(|_| String::new(), |all| String::from_utf8_lossy(&all.to_bytes()).trim().to_owned())
}

/// Returns whether a Hotlist answers at an admin address.
pub(super) async fn is_alive(address: &Address) -> bool {
    let endpoint = match address {
        Address::Tcp(address) if address.ip().is_unspecified() => {
            Endpoint::Http { host: "127.0.0.1".to_owned(), port: address.port() }
        }
        Address::Tcp(address) => Endpoint::Http { host: address.ip().to_string(), port: address.port() },
        Address::Unix(path) => Endpoint::Unix(path.clone()),
    };
    match (AdminClient { endpoint, connector: None }).get("/livez").await {
        Ok(body) => read(body).await == "ok",
        Err(_) => false,
    }
}
