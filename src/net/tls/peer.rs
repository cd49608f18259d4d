//! Verification of the other side: its certificate may itself be the trust anchor, and the error of a failed handshake
//! states which setting to change.

use std::io;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, Error, InvalidMessage, SignatureScheme,
};
use x509_parser::parse_x509_certificate;

/// Verifies a chain up to an authority, or accepts a certificate that is itself in `tls.ca_file`: `openssl req -x509`
/// makes self-signed certificates that are marked as authorities, which cannot end a chain.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    chains: Arc<WebPkiServerVerifier>,
    anchors: Vec<CertificateDer<'static>>,
}

impl PeerVerifier {
    /// Creates a verifier. `anchors` are the certificates of `tls.ca_file`; the system's authorities are not among
    /// them.
    pub(super) fn new(chains: Arc<WebPkiServerVerifier>, anchors: Vec<CertificateDer<'static>>) -> PeerVerifier {
        PeerVerifier { chains, anchors }
    }
}

/// Checks the validity and the name of a certificate that is trusted by itself.
fn check_anchor(certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let (validity, now) = (parsed.validity(), now.as_secs());
    if i64::try_from(now).is_ok_and(|now| now > validity.not_after.timestamp()) {
        return Err(CertificateError::Expired.into());
    }
    if i64::try_from(now).is_ok_and(|now| now < validity.not_before.timestamp()) {
        return Err(CertificateError::NotValidYet.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(_) if self.anchors.contains(end_entity) => {
                check_anchor(end_entity, server_name, now).map(|()| ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Adds to an error of a TLS connection which setting to change, where that is known.
pub fn explain(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return io::Error::new(error.kind(), "the peer closed the connection without sending anything");
    }
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) else { return error };
    let remedy = match cause {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the peer does not speak TLS on this port: use an `http://` endpoint, or the peer's TLS port"
        }
        // A certificate that is marked as an authority is not accepted at the end of a chain.
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "the peer's certificate is self-signed: set `tls.ca_file` to that certificate to trust it"
        }
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("UnsupportedCertVersion") =>
        {
            "the peer's certificate has an old X.509 version without names: issue one with a subjectAltName"
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "no trusted authority signed the peer's certificate: set `tls.ca_file` to the certificate of its authority"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            "its certificate is for another name: set `tls.server_name` to the name in the certificate, or connect to it \
             by that name"
        }
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => {
            "the peer's certificate is expired or not valid yet: renew the certificate, or check the clock of this host"
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the peer requires a client certificate: set `tls.cert_file` and `tls.key_file`"
        }
        Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate) => {
            "the peer does not trust our certificate: set `tls.cert_file` to one that its authority signed"
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the peer speaks TLS, but not HTTP/2, which gRPC needs: use the port of its gRPC receiver"
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}; {remedy}"))
}
