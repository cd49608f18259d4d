//! Certificates made for one test, and the two ends of TLS without the code under test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

/// A certificate authority.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Identity {
    pub pem: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority { pem: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    /// For this host's address.
    pub fn sign(&self) -> Identity {
        self.sign_with(|params| params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())])
    }

    pub fn sign_name(&self, name: &str) -> Identity {
        self.sign_with(|params| params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())])
    }

    pub fn sign_expired(&self) -> Identity {
        self.sign_with(|params| {
            params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
            expire(params);
        })
    }

    /// For a server and a client, but for what `change` changes.
    pub fn sign_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Identity { pem: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.pem)).unwrap();
        roots
    }
}

/// Makes a certificate that was valid in the year 2000 only.
pub fn expire(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
}

impl Identity {
    /// As `openssl req -x509` makes one: it signs itself, for an address or a name.
    pub fn self_signed(is_authority: bool, name: &str, expired: bool) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        if expired {
            expire(&mut params);
        }
        let key = KeyPair::generate().unwrap();
        Identity { pem: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// As a Kubernetes secret is mounted: the files are links into a directory behind a link that is swapped.
    pub fn mount(&self, directory: &Path) -> (PathBuf, PathBuf) {
        let version = tempfile::Builder::new().prefix("..version").tempdir_in(directory).unwrap().keep();
        std::fs::write(version.join("tls.crt"), &self.pem).unwrap();
        std::fs::write(version.join("tls.key"), &self.key).unwrap();
        let next = directory.join("..data_next");
        std::os::unix::fs::symlink(version.file_name().unwrap(), &next).unwrap();
        std::fs::rename(next, directory.join("..data")).unwrap();
        let files = ["tls.crt", "tls.key"].map(|name| {
            let file = directory.join(name);
            if !file.exists() {
                std::os::unix::fs::symlink(Path::new("..data").join(name), &file).unwrap();
            }
            file
        });
        files.into()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        certificate(&self.pem)
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// The client's end of a handshake.
pub struct Offer<'a> {
    pub trusts: &'a Authority,
    pub shows: Option<&'a Identity>,
    pub alpn: &'a [&'a [u8]],
    pub version: &'static SupportedProtocolVersion,
}

impl<'a> Offer<'a> {
    pub fn new(trusts: &'a Authority) -> Offer<'a> {
        Offer { trusts, shows: None, alpn: &[b"h2"], version: &TLS13 }
    }

    pub fn old(trusts: &'a Authority) -> Offer<'a> {
        Offer { version: &TLS12, ..Offer::new(trusts) }
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(self.trusts.roots());
        let mut config = match self.shows {
            Some(identity) => builder.with_client_auth_cert(vec![identity.der()], identity.key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

/// The server's end: its certificate, and the authority of the clients that it requires a certificate of.
pub fn server_config(identity: &Identity, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        Some(clients) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(vec![identity.der()], identity.key()).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
