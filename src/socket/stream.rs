//! The bytes of a connection: over TCP or a Unix socket, with or without TLS, and with its first bytes put back after
//! they were looked at.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// Without TLS.
pub(super) type Plain = Either<TcpStream, UnixStream>;
/// With or without TLS.
pub(super) type Secured = Either<Plain, Box<TlsStream<Plain>>>;

/// An open connection, ready for the first byte of its protocol.
pub struct Stream {
    /// What was read and not yet given out.
    preface: &'static [u8],
    inner: Secured,
}

/// Why there is no connection to speak on.
#[derive(Debug)]
pub(super) enum Unfit {
    /// The first bytes are others.
    Preface,
    /// The peer is gone.
    Gone,
}

impl Stream {
    /// Waits until the peer has sent exactly `preface`. They are still there to be read.
    pub(super) async fn expect(mut inner: Secured, preface: &'static [u8]) -> Result<Stream, Unfit> {
        let mut found = 0;
        let mut buffer = [0; 32];
        while found < preface.len() {
            let room = (preface.len() - found).min(buffer.len());
            let read = inner.read(&mut buffer[..room]).await.map_err(|_| Unfit::Gone)?;
            if read == 0 {
                return Err(Unfit::Gone);
            }
            if buffer[..read] != preface[found..found + read] {
                return Err(Unfit::Preface);
            }
            found += read;
        }
        Ok(Stream { preface, inner })
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
        Pin::new(&mut self.inner).poll_read(context, into)
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
