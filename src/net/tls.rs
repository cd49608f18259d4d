//! TLS with certificates that can be renewed without a restart.
//!
//! Before a handshake the files are checked, at most once per second, and loaded again if they changed. Files that
//! cannot be loaded are logged and counted, and the previous ones stay in use. A handshake uses the files of one
//! moment, and an open connection keeps those that it began with.

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

/// The protocols that a gRPC peer offers (RFC 7301, RFC 9113 section 3.2).
pub const HTTP_2: Protocols = &[b"h2"];
/// The protocols that an HTTP/1 peer offers.
pub const HTTP_1: Protocols = &[b"http/1.1"];
/// The protocols of a peer that speaks both, the preferred one first.
pub const HTTP: Protocols = &[b"h2", b"http/1.1"];

/// Returns the validity of each certificate of a PEM file, as seconds since 1970, in the order of the file.
///
/// # Errors
/// The file cannot be read, or has no certificate.
pub fn validities(path: &std::path::Path) -> Result<Vec<(i64, i64)>, TlsError> {
    files::validities(path)
}

/// Names of protocols in the handshake.
pub type Protocols = &'static [&'static [u8]];

/// The reason that the files cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: cannot read the file: {cause}; give the path of a PEM file that this process may read")]
    Read {
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
    /// A file is not a valid PEM file.
    #[error("{path}: not a valid PEM file: {cause}; give a file with `-----BEGIN …-----` lines")]
    Pem {
        path: PathBuf,
        /// The error of the parser.
        cause: String,
    },
    /// A file has no item of the required type.
    #[error("{path}: no {wanted} in this file; give a PEM file that has one")]
    Missing {
        path: PathBuf,
        /// The required item.
        wanted: &'static str,
    },
    /// The contents cannot be used, alone or together.
    #[error("{path}: cannot use this file: {cause}; {remedy}")]
    Unusable {
        /// The file at fault.
        path: PathBuf,
        cause: String,
        remedy: &'static str,
    },
    /// There is no certificate authority to verify a peer with.
    #[error("the system has no root certificates: {0}; install them (`ca-certificates`), or set `tls.ca_file`")]
    NoRoots(String),
    /// The name cannot be in a certificate.
    #[error(
        "`{0}` is not a DNS name or IP address; set `tls.server_name` to the name in the certificate of the other side"
    )]
    ServerName(String),
    /// The library refuses its settings.
    #[error("the TLS library refused its settings: {0}; this is a bug in Hotlist: report it")]
    Library(#[from] rustls::Error),
}

/// The listening side.
#[derive(Debug)]
pub struct Acceptor(Arc<Reloaded<ServerConfig>>);

/// The connecting side.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<Reloaded<ClientConfig>>,
    name: ServerName<'static>,
}

impl Acceptor {
    /// Loads the files. `protocols` are offered to peers that negotiate; a peer that does not negotiate may use any of
    /// them. `of` names the owner of the files in the log.
    ///
    /// # Errors
    /// The files cannot be used.
    pub fn load(of: &str, settings: &ServerTls, protocols: Protocols) -> Result<Acceptor, TlsError> {
        let mut paths = vec![settings.cert_file.clone(), settings.key_file.clone()];
        paths.extend(settings.client_ca_file.clone());
        let settings = settings.clone();
        let load = move || server_config(&settings, protocols);
        Ok(Acceptor(Reloaded::start(of, paths, Box::new(load))?))
    }

    /// Performs the handshake with the current content of the files.
    ///
    /// # Errors
    /// The peer disconnected, or the two sides cannot agree; the text states the cause.
    pub async fn accept<S>(&self, stream: S) -> io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.0.current().await).accept(stream).await
    }
}

impl Connector {
    /// Loads the files. `host` is the name that the certificate of the other side must contain, unless the settings
    /// give another name. `of` names the owner of the files in the log.
    ///
    /// # Errors
    /// The files cannot be used, or the name cannot be in a certificate.
    pub fn load(of: &str, settings: &ClientTls, host: &str) -> Result<Connector, TlsError> {
        Connector::load_for(of, settings, host, HTTP_2)
    }

    /// Like [`Connector::load`], offering other protocols than HTTP/2.
    ///
    /// # Errors
    /// The same as [`Connector::load`].
    pub fn load_for(of: &str, settings: &ClientTls, host: &str, protocols: Protocols) -> Result<Connector, TlsError> {
        let name = settings.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name))?;
        let paths = [&settings.ca_file, &settings.cert_file, &settings.key_file].into_iter().flatten().cloned();
        let paths = paths.collect();
        let settings = settings.clone();
        let load = move || client_config(&settings, protocols);
        Ok(Connector { config: Reloaded::start(of, paths, Box::new(load))?, name })
    }

    /// Performs the handshake with the current content of the files.
    ///
    /// # Errors
    /// The peer disconnected, or the two sides cannot agree; the text states the cause.
    pub async fn connect<S>(&self, stream: S) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsConnector::from(self.config.current().await).connect(self.name.clone(), stream).await.map_err(explain)
    }
}

/// The cryptography provider of this process, independent of any default that another library installs.
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
                remedy: "give the certificates of certificate authorities",
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
                remedy: "give the certificates of certificate authorities",
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
