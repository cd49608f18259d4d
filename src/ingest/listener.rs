//! The socket of a source: bound eagerly, so that a bad address fails the start, and served until told to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::{Limits, OtlpSource};
use crate::config::Address;

/// Connections that wait to be accepted: Fluent Bit opens one an export.
const BACKLOG: u32 = 1024;

/// The server broke down.
#[derive(Debug, thiserror::Error)]
#[error("the source at {address} stopped: {cause}")]
pub struct ServeError {
    address: Address,
    cause: tonic::transport::Error,
}

/// A bound source that does not accept yet.
pub struct Bound {
    socket: Socket,
    address: Address,
    limits: Limits,
    routes: Routes,
    name: String,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Bound {
    pub(super) fn bind(name: &str, address: &Address, limits: Limits, source: OtlpSource) -> io::Result<Bound> {
        tokio::runtime::Handle::try_current()
            .map_err(|_| io::Error::other("a source needs a tokio runtime to bind"))?;
        let in_context =
            |cause: io::Error| io::Error::new(cause.kind(), format!("a source cannot listen at {address}: {cause}"));
        let (socket, address) = match address {
            Address::Tcp(wanted) => {
                let listener = bind_tcp(*wanted).map_err(in_context)?;
                let local = listener.local_addr()?;
                (Socket::Tcp(listener), Address::Tcp(local))
            }
            Address::Unix(path) => {
                remove_stale(path).map_err(in_context)?;
                let listener = UnixListener::bind(path).map_err(in_context)?;
                (Socket::Unix(listener, SocketFile(path.clone())), Address::Unix(path.clone()))
            }
        };
        Ok(Bound { socket, address, limits, routes: Routes::new(source), name: name.to_owned() })
    }

    /// Where it listens; the port that the system chose when 0 was asked for.
    pub fn local_address(&self) -> &Address {
        &self.address
    }

    /// Serves more beside the source on the same socket (health, reflection).
    #[must_use]
    pub fn with_services(mut self, add: impl FnOnce(Routes) -> Routes) -> Bound {
        self.routes = add(self.routes);
        self
    }

    /// Accepts and answers until `shutdown` is ready, then stops accepting, tells clients to go (GOAWAY), finishes
    /// what is in flight and returns. Whoever cannot wait so long drops the future.
    ///
    /// # Errors
    /// The server broke down.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Bound { socket, address, limits, routes, name } = self;
        let router = Server::builder()
            .initial_stream_window_size(limits.stream_window)
            .initial_connection_window_size(limits.connection_window)
            .max_frame_size(limits.max_frame_bytes)
            .max_concurrent_streams(limits.max_concurrent_streams)
            .add_routes(routes);
        tracing::info!(source = name, %address, "source is listening");
        let served = match socket {
            Socket::Tcp(listener) => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                router.serve_with_incoming_shutdown(incoming, shutdown).await
            }
            Socket::Unix(listener, _file) => {
                router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown).await
            }
        };
        served.map_err(|cause| ServeError { address, cause })
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for connections of the last run to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Removes the socket of a run that was killed. A live socket, or a file that is none, is left alone and refused.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists and is not a socket: remove it, or choose another path",
        ));
    }
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens there: stop it, or choose another path",
        ));
    }
    std::fs::remove_file(path)
}

/// Removes the socket's file at the end, as its connections can no longer be accepted.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "the socket's file could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener as StdUnixListener;

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        assert!(remove_stale(&path).is_ok(), "nothing there");

        let live = StdUnixListener::bind(&path).unwrap();
        assert_eq!(remove_stale(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(path.exists(), "a killed process leaves its file");
        remove_stale(&path).unwrap();
        assert!(!path.exists());

        std::fs::write(&path, "precious").unwrap();
        assert_eq!(remove_stale(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(path.exists());
    }
}
