//! The bytes of a connection: over TCP or a Unix socket, with or without TLS, with its first bytes restored after they
//! were checked.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::authority::AuthorityRewriter;

/// Without TLS.
pub(super) type Plain = Either<TcpStream, UnixStream>;
/// With or without TLS.
pub(super) type Secured = Either<Plain, Box<TlsStream<Plain>>>;

/// The first bytes of a protocol, at most 32 of them.
pub type Preface = &'static [u8];

/// Length of the longest preface in bytes.
pub(super) const LONGEST: usize = 32;

/// An open connection whose next byte is the first of its protocol.
pub struct Stream {
    /// The first bytes that were read already and not returned yet.
    preface: Preface,
    inner: Secured,
    /// For HTTP/2 over a Unix socket.
    authorities: Option<AuthorityRewriter>,
}

/// The reason that a connection cannot be used.
#[derive(Debug)]
pub(super) enum PrefaceError {
    /// The first bytes are not a known preface.
    Preface,
    /// The peer disconnected.
    Gone,
}

impl Stream {
    /// Waits until the peer has sent exactly one of `prefaces`, of which none begins with another, and returns it. Its
    /// bytes can still be read from the stream.
    pub(super) async fn expect(mut inner: Secured, prefaces: &[Preface]) -> Result<(Stream, Preface), PrefaceError> {
        let mut found = 0;
        let mut buffer = [0; LONGEST];
        loop {
            let possible = prefaces.iter().filter(|preface| preface.starts_with(&buffer[..found]));
            let preface = *possible.min_by_key(|preface| preface.len()).ok_or(PrefaceError::Preface)?;
            if preface.len() == found {
                let is_unix = matches!(inner, Either::Left(Either::Right(_)));
                let authorities = (is_unix && preface.starts_with(b"PRI ")).then(AuthorityRewriter::default);
                return Ok((Stream { preface, inner, authorities }, preface));
            }
            // At most as many bytes as every preface that still matches has.
            let room = buffer.get_mut(found..preface.len()).ok_or(PrefaceError::Preface)?;
            let read = inner.read(room).await.map_err(|_| PrefaceError::Gone)?;
            if read == 0 {
                return Err(PrefaceError::Gone);
            }
            found += read;
        }
    }

    /// The address of the peer; `None` on a Unix socket.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        let plain = match &self.inner {
            Either::Left(plain) => plain,
            Either::Right(tls) => tls.get_ref().0,
        };
        match plain {
            Either::Left(tcp) => tcp.peer_addr().ok(),
            Either::Right(_) => None,
        }
    }

    /// The certificate of the peer, in DER. It was verified in the handshake.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        match &self.inner {
            Either::Left(_) => None,
            Either::Right(tls) => tls.get_ref().1.peer_certificates()?.first().map(|certificate| certificate.as_ref()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.preface.is_empty() {
            let (now, later) = self.preface.split_at(into.remaining().min(self.preface.len()));
            into.put_slice(now);
            self.preface = later;
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_read(context, into);
        if let Some(authorities) = &mut this.authorities {
            authorities.rewrite(into.filled_mut().get_mut(before..).unwrap_or_default());
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
