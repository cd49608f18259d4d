//! Certificates of nodes and servers, and connections with them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hotlist::config::ServerTls;
use hyper_util::rt::TokioIo;
use rcgen::{SanType, date_time_ymd};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::transport::Channel;
use tower::service_fn;

pub use crate::authority::{Authority, Identity};
use crate::authority::{Offer, expire};

impl Authority {
    /// With these URIs, and a DNS name that means nothing.
    pub fn client(&self, uris: &[&str]) -> Identity {
        self.sign_with(|params| params.subject_alt_names = names(uris))
    }

    pub fn expired(&self, uris: &[&str]) -> Identity {
        self.sign_with(|params| {
            params.subject_alt_names = names(uris);
            expire(params);
        })
    }

    /// Good for a few seconds from now on.
    pub fn short(&self, uris: &[&str], seconds: u64) -> Identity {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        self.sign_with(|params| {
            params.subject_alt_names = names(uris);
            params.not_after = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(seconds);
        })
    }

    /// Writes what a control plane needs, with this authority for its clients.
    pub fn files(&self, directory: &Path, server: &Identity) -> ServerTls {
        let [cert_file, key_file, client_ca_file] =
            [("server.pem", &server.pem), ("server.key", &server.key), ("ca.pem", &self.pem)]
                .map(|(name, content)| write(directory, name, content));
        ServerTls { cert_file, key_file, client_ca_file: Some(client_ca_file) }
    }
}

fn names(uris: &[&str]) -> Vec<SanType> {
    let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
    uris.chain([SanType::DnsName("n1.other.hotlist".try_into().unwrap())]).collect()
}

/// Replaces a file at once.
pub fn write(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    let next = directory.join(format!("{name}.next"));
    std::fs::write(&next, content).unwrap();
    std::fs::rename(next, &path).unwrap();
    path
}

/// A connection to this host that trusts an authority and shows a certificate, if any.
pub async fn connect(address: &str, trusts: &Authority, shows: Option<&Identity>) -> Result<Channel, String> {
    let (config, to) = (Offer { shows, ..Offer::new(trusts) }.config(), address.to_owned());
    let dial = service_fn(move |_| {
        let (config, to) = (Arc::clone(&config), to.clone());
        async move { handshake(config, &to).await.map(TokioIo::new) }
    });
    let channel = Channel::from_static("http://127.0.0.1").connect_with_connector(dial).await;
    channel.map_err(|error| format!("{error:?}"))
}

/// The same without HTTP/2.
pub async fn tls(address: &str, trusts: &Authority, shows: Option<&Identity>) -> io::Result<TlsStream<TcpStream>> {
    handshake(Offer { shows, ..Offer::new(trusts) }.config(), address).await
}

async fn handshake(config: Arc<ClientConfig>, address: &str) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(config).connect(name, TcpStream::connect(address).await?).await
}
