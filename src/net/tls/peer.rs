//! What a client makes of the other side: the certificate itself may be the trust anchor, and a handshake that fails
//! says what to set.

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

/// Checks a chain up to an authority, or takes a certificate that is itself in the file of authorities: `openssl req
/// -x509` makes self-signed certificates that say that they are authorities, and such a certificate ends no chain.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    chains: Arc<WebPkiServerVerifier>,
    anchors: Vec<CertificateDer<'static>>,
}

impl PeerVerifier {
    /// `anchors` are the certificates of `tls.ca_file`; a system's authorities are none.
    pub(super) fn new(chains: Arc<WebPkiServerVerifier>, anchors: Vec<CertificateDer<'static>>) -> PeerVerifier {
        PeerVerifier { chains, anchors }
    }
}

/// A certificate that is trusted by itself: still of the right time, and of the right name.
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

/// An error of a connection with TLS, with what to set where that is known.
pub fn explain(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return io::Error::new(error.kind(), "the peer closed the connection without a word");
    }
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) else { return error };
    let remedy = match cause {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the peer does not speak TLS on this port: give an `http://` endpoint, or its port for TLS"
        }
        // What is an authority itself is at the end of no chain.
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "the peer's certificate is self-signed: set `tls.ca_file` to that certificate to trust it"
        }
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("UnsupportedCertVersion") =>
        {
            "the peer's certificate is of an old version without names: issue one with a subjectAltName"
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "no trusted authority signed its certificate: set `tls.ca_file` to the certificate of its authority"
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
        ) => "its certificate is out of date: renew the certificate, or check the clock of this host",
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the peer wants a certificate: set `tls.cert_file` and `tls.key_file`"
        }
        Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate) => {
            "the peer does not trust our certificate: set `tls.cert_file` to one that its authority signed"
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the peer speaks TLS, but not HTTP/2, which gRPC needs: give the port of its gRPC receiver"
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}; {remedy}"))
}
