//! TLS to the control plane, both sides with certificates.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use hotlist::config::{ClientTls, Endpoint};
use hotlist::intel::manifest::Mode;
use hotlist::provider::control::Settings;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::server::Connected;

use super::common::{Running, bare, settings};
use super::plane::Plane;
use super::recorder::Recorder;
use crate::authority::{Authority, Identity, server_config};

/// A connection after its handshake.
struct Secured(TlsStream<TcpStream>);

impl Connected for Secured {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A control plane that shows `own` and accepts only clients with a certificate of `clients`.
async fn plane(own: &Identity, clients: &Authority) -> Plane {
    let acceptor = TlsAcceptor::from(server_config(own, Some(clients)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (secured, incoming) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await
                && secured.send(Ok(Secured(stream))).is_err()
            {
                return;
            }
        }
    });
    Plane::serve(address, UnboundedReceiverStream::new(incoming))
}

fn tls(directory: &Path, plane: &Plane, authority: &Authority, own: Option<&Identity>) -> Settings {
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let tls = ClientTls {
        ca_file: Some(file("ca.pem", &authority.pem)),
        cert_file: own.map(|own| file("own.pem", &own.pem)),
        key_file: own.map(|own| file("own.key", &own.key)),
        server_name: None,
    };
    let endpoint = Endpoint::parse(&format!("https://{}", plane.address)).unwrap();
    Settings { endpoint, tls: Some(tls), ..settings(directory, plane.address) }
}

/// Guarantee: both sides see the certificates that they trust, or there is no stream; a renewed one is used without a
/// restart.
#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_the_right_certificates_talks() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mut plane = plane(&ours.sign(), &ours).await;

    // The control plane's certificate is of somebody else's authority.
    let settings = tls(directory.path(), &plane, &theirs, Some(&ours.sign()));
    let mut node = Running::start(settings, &Recorder::new());
    let status = node.until("it is told", |status| status.cause.is_some()).await;
    assert!(status.to_string().contains("certificate"), "{status}");
    node.stop().await;

    // Ours is, until it is replaced.
    let settings = tls(directory.path(), &plane, &ours, Some(&theirs.sign()));
    let recorder = Recorder::new();
    let mut node = Running::start(settings, &recorder);
    node.until("it is told", |status| status.cause.is_some()).await;
    assert!(!node.status.borrow().is_connected);
    tls(directory.path(), &plane, &ours, Some(&ours.sign()));
    let (mut stream, _) = plane.greeted().await;
    stream.push(Mode::Serve, 1, "n", &bare(1));
    assert_eq!(stream.request().await.version, 1);
    node.stop().await;

    // None at all is not enough.
    let settings = tls(directory.path(), &plane, &ours, None);
    let mut node = Running::start(settings, &Recorder::new());
    node.until("it is told", |status| status.cause.is_some()).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_stop_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let plane = plane(&authority.sign(), &authority).await;
    let settings = tls(directory.path(), &plane, &authority, None);
    std::fs::write(directory.path().join("ca.pem"), "no PEM").unwrap();
    let error = Running::try_start(settings, &Recorder::new()).err().unwrap().to_string();
    assert!(error.contains("intel.control.tls") && error.contains("ca.pem"), "{error}");
}
