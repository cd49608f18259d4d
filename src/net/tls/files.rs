//! Reads PEM files: certificate chains, keys and certificate authorities.

use std::io;
use std::path::Path;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::{Error, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;
use crate::file_timeout::within;

/// Reads all certificates of a file, in its order.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let read: Result<Vec<_>, Error> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = read.map_err(|error| refuse(path, "certificate", error))?;
    if certificates.is_empty() {
        return Err(TlsError::Missing { path: path.to_owned(), wanted: "certificate" });
    }
    Ok(certificates)
}

/// Reads the validity of each certificate of a file, in its order.
pub(super) fn validities(path: &Path) -> Result<Vec<(i64, i64)>, TlsError> {
    let bounds = |certificate: CertificateDer<'static>| {
        let parsed = x509_parser::parse_x509_certificate(&certificate);
        let (_, parsed) = parsed.map_err(|error| TlsError::Unusable {
            path: path.to_owned(),
            cause: error.to_string(),
            remedy: "give an X.509 certificate",
        })?;
        let validity = parsed.validity();
        Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
    };
    certificates(path)?.into_iter().map(bounds).collect()
}

/// Reads the first private key of a file: PKCS #8, PKCS #1 or SEC 1, not encrypted.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| refuse(path, "private key", error))
}

/// Reads the certificate authorities of a file.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::Unusable {
            path: path.to_owned(),
            cause: error.to_string(),
            remedy: "give the certificates of certificate authorities",
        })?;
    }
    Ok(roots)
}

/// Reads the certificate authorities that the system trusts.
pub(super) fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // The system's store may hold old certificates that cannot be parsed; the others are used.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots(if errors.is_empty() { "there are none".into() } else { errors.join(", ") }));
    }
    Ok(roots)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    within(path, |path| std::fs::read(path)).map_err(|cause| TlsError::Read { path: path.to_owned(), cause })
}

fn refuse(path: &Path, wanted: &'static str, error: Error) -> TlsError {
    let path = path.to_owned();
    match error {
        Error::Io(cause) => TlsError::Read { path, cause },
        Error::NoItemsFound => TlsError::Missing { path, wanted },
        other => TlsError::Pem { path, cause: io::Error::other(other).to_string() },
    }
}
