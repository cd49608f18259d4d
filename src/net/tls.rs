//! TLS from files that may change while the process runs: certificates are renewed without a restart.
//!
//! Before a handshake the files are looked at, at most once in a while; what changed is loaded. What cannot be loaded
//! is logged and counted, and those before it stay in use. A handshake sees the files of one moment, and a connection
//! that is open goes on with those that it began with.

mod files;
mod peer;
mod reload;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::config::{ClientTls, ServerTls};
use peer::PeerVerifier;
pub use peer::explain;
use reload::Reloaded;

/// What a gRPC peer offers (RFC 7301, RFC 9113 section 3.2).
pub const HTTP_2: Protocols = &[b"h2"];
/// What an HTTP/1 peer offers.
pub const HTTP_1: Protocols = &[b"http/1.1"];
/// What a peer offers that speaks both, the one that it prefers first.
pub const HTTP: Protocols = &[b"h2", b"http/1.1"];

/// From when until when each certificate of a PEM file is valid, in seconds since 1970, in the order of the file.
///
/// # Errors
/// The file cannot be read, or has no certificate.
pub fn validities(path: &std::path::Path) -> Result<Vec<(i64, i64)>, TlsError> {
    files::validities(path)
}

/// Names of protocols in the handshake.
pub type Protocols = &'static [&'static [u8]];

/// Why TLS cannot be had from the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: cannot be read: {cause}; give the path of a PEM file that this process may read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A file is no PEM file, or a broken one.
    #[error("{path}: is not good PEM: {cause}; give a file with `-----BEGIN …-----` lines")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A file has nothing of what is looked for.
    #[error("{path}: has no {wanted}; give a PEM file with one")]
    Missing {
        /// The file.
        path: PathBuf,
        /// What is looked for.
        wanted: &'static str,
    },
    /// The parts cannot be used, or not together.
    #[error("{path}: cannot be used: {cause}; {remedy}")]
    Unusable {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong.
        cause: String,
        /// What to do.
        remedy: &'static str,
    },
    /// There is no authority to check a peer with.
    #[error("the system has no root certificates: {0}; install them (`ca-certificates`), or set `tls.ca_file`")]
    NoRoots(String),
    /// The name cannot stand in a certificate.
    #[error(
        "`{0}` is no DNS name or IP address; set `tls.server_name` to the name in the certificate of the other side"
    )]
    ServerName(String),
    /// The library refuses its settings.
    #[error("the TLS library refused its settings: {0}; this is a fault of the program")]
    Library(#[from] rustls::Error),
}

/// The listening side.
#[derive(Debug)]
pub struct Acceptor(Arc<Reloaded<ServerConfig>>);

/// The side that connects.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<Reloaded<ClientConfig>>,
    name: ServerName<'static>,
}

impl Acceptor {
    /// Loads the files. `protocols` are offered to peers that ask for one; a peer that does not ask is taken at its word.
    /// `of` says in the log whose files they are.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn load(of: &str, settings: &ServerTls, protocols: Protocols) -> Result<Acceptor, TlsError> {
        let mut paths = vec![settings.cert_file.clone(), settings.key_file.clone()];
        paths.extend(settings.client_ca_file.clone());
        let settings = settings.clone();
        let load = move || server_config(&settings, protocols);
        Ok(Acceptor(Reloaded::start(of, paths, Box::new(load))?))
    }

    /// Shakes hands with what the files hold now.
    ///
    /// # Errors
    /// The peer is gone, or the two cannot agree; the text says about what.
    pub async fn accept<S>(&self, stream: S) -> io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.0.current().await).accept(stream).await
    }
}

impl Connector {
    /// Loads the files. `host` is what the certificate of the other side must name, unless the settings say another name.
    /// `of` says in the log whose files they are.
    ///
    /// # Errors
    /// They cannot be used, or the name cannot stand in a certificate.
    pub fn load(of: &str, settings: &ClientTls, host: &str) -> Result<Connector, TlsError> {
        Connector::load_for(of, settings, host, HTTP_2)
    }

    /// The same, offering other protocols than HTTP/2.
    ///
    /// # Errors
    /// As [`Connector::load`].
    pub fn load_for(of: &str, settings: &ClientTls, host: &str, protocols: Protocols) -> Result<Connector, TlsError> {
        let name = settings.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name))?;
        let paths = [&settings.ca_file, &settings.cert_file, &settings.key_file].into_iter().flatten().cloned();
        let paths = paths.collect();
        let settings = settings.clone();
        let load = move || client_config(&settings, protocols);
        Ok(Connector { config: Reloaded::start(of, paths, Box::new(load))?, name })
    }

    /// Shakes hands with what the files hold now.
    ///
    /// # Errors
    /// The peer is gone, or the two cannot agree; the text says about what.
    pub async fn connect<S>(&self, stream: S) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsConnector::from(self.config.current().await).connect(self.name.clone(), stream).await.map_err(explain)
    }
}

/// The same cryptography everywhere, whatever else in the process brings its own.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn names(protocols: Protocols) -> Vec<Vec<u8>> {
    protocols.iter().map(|name| name.to_vec()).collect()
}

const KEY_REMEDY: &str = "give the key that belongs to the certificate, and the whole chain below the root";

fn server_config(settings: &ServerTls, protocols: Protocols) -> Result<ServerConfig, TlsError> {
    let chain = files::certificates(&settings.cert_file)?;
    let key = files::key(&settings.key_file)?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &settings.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(files::roots(path)?), provider());
            builder.with_client_cert_verifier(verifier.build().map_err(|error| TlsError::Unusable {
                path: path.clone(),
                cause: error.to_string(),
                remedy: "give the certificates of authorities",
            })?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| TlsError::Unusable {
        path: settings.cert_file.clone(),
        cause: error.to_string(),
        remedy: KEY_REMEDY,
    })?;
    config.alpn_protocols = names(protocols);
    Ok(config)
}

fn client_config(settings: &ClientTls, protocols: Protocols) -> Result<ClientConfig, TlsError> {
    let (roots, anchors) = match &settings.ca_file {
        Some(path) => (files::roots(path)?, files::certificates(path)?),
        None => (files::system_roots()?, Vec::new()),
    };
    let path = || settings.ca_file.clone().unwrap_or_default();
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|error| {
            TlsError::Unusable {
                path: path(),
                cause: error.to_string(),
                remedy: "give the certificates of authorities",
            }
        })?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PeerVerifier::new(verifier, anchors)));
    let mut config = match (&settings.cert_file, &settings.key_file) {
        (Some(certificate), Some(key)) => {
            builder.with_client_auth_cert(files::certificates(certificate)?, files::key(key)?).map_err(|error| {
                TlsError::Unusable { path: certificate.clone(), cause: error.to_string(), remedy: KEY_REMEDY }
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = names(protocols);
    Ok(config)
}
