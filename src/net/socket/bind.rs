//! Binding: TCP, or a Unix socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio_util::either::Either;

use super::descriptors::Spare;
use super::stream::Plain;
use super::unix::{SocketFile, SocketOffer, remove_stale};
use crate::config::Address;

/// Length of the accept queue: Fluent Bit opens one connection per export.
const BACKLOG: u32 = 1024;

/// A bound socket. It accepts once it is served, and stays open until its last clone is dropped.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Arc<Socket>,
    pub(super) name: Arc<str>,
    pub(super) spare: Spare,
    address: Address,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    /// The file is dropped first: its inode is not reused while the socket is open, so it differs from the file of
    /// another process.
    Unix {
        file: Arc<SocketFile>,
        listener: UnixListener,
    },
}

impl Listener {
    /// Binds an address. Needs a tokio runtime. `name` is the listener's name in metrics and logs.
    ///
    /// # Errors
    /// The address cannot be bound, or there is no runtime.
    pub fn bind(name: &str, address: &Address) -> io::Result<Listener> {
        Listener::bind_beside(name, address, &[])
    }

    /// Binds an address whose port some of `others` listen on at overlapping addresses (`127.0.0.1` and `0.0.0.0`). The
    /// system passes a connection to the most specific of them.
    ///
    /// # Errors
    /// The address cannot be bound, for example because another process uses it.
    pub fn bind_beside(name: &str, address: &Address, others: &[&Listener]) -> io::Result<Listener> {
        tokio::runtime::Handle::try_current()
            .map_err(|_| io::Error::other("a listener needs a tokio runtime to bind"))?;
        let (socket, address) = match address {
            Address::Tcp(wanted) => {
                let overlapping: Vec<&TcpListener> = others
                    .iter()
                    .filter(|other| other.address.collides(address))
                    .filter_map(|other| other.tcp())
                    .collect();
                let listener = bind_tcp(*wanted, &overlapping)?;
                let local = listener.local_addr()?;
                (Socket::Tcp(listener), Address::Tcp(local))
            }
            Address::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                let file = Arc::new(SocketFile::bound(path));
                (Socket::Unix { file, listener }, Address::Unix(path.clone()))
            }
        };
        Ok(Listener { socket: Arc::new(socket), address, name: name.into(), spare: Spare::new(0) })
    }

    /// Reserves this many file descriptors, for connections that arrive when the process has no others left. One
    /// connection takes two: the system needs a free one even to report that no other connection waits (accept(2)).
    #[must_use]
    pub fn with_spare_descriptors(mut self, count: usize) -> Listener {
        self.spare = Spare::new(count);
        self
    }

    /// Returns a listener on the same socket under another name, to take over from this one: no connection is refused
    /// in between.
    #[must_use]
    pub fn named(&self, name: &str) -> Listener {
        Listener { name: name.into(), ..self.clone() }
    }

    fn tcp(&self) -> Option<&TcpListener> {
        match &*self.socket {
            Socket::Tcp(listener) => Some(listener),
            Socket::Unix { .. } => None,
        }
    }

    /// Returns the handle that lets another process take over the name of a Unix socket.
    pub fn offer(&self) -> Option<SocketOffer> {
        match &*self.socket {
            Socket::Tcp(_) => None,
            Socket::Unix { file, .. } => Some(SocketOffer(Arc::downgrade(file))),
        }
    }

    /// The name in metrics and logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address it listens on, with the port that the system chose if 0 was configured.
    pub fn local_address(&self) -> &Address {
        &self.address
    }
}

/// A clone shares the socket, and reserves no descriptors.
impl Clone for Listener {
    fn clone(&self) -> Listener {
        let (socket, name) = (Arc::clone(&self.socket), Arc::clone(&self.name));
        Listener { socket, name, spare: Spare::new(0), address: self.address.clone() }
    }
}

impl Socket {
    /// Accepts the next connection, and returns it with its peer.
    pub(super) async fn accept(&self) -> io::Result<(Plain, Option<SocketAddr>)> {
        match self {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // If the peer has disconnected already, reading from the connection reports it.
                let _ = stream.set_nodelay(true);
                Ok((Either::Left(stream), Some(peer)))
            }
            Socket::Unix { listener, .. } => Ok((Either::Right(listener.accept().await?.0), None)),
        }
    }
}

fn bind_tcp(address: SocketAddr, overlapping: &[&TcpListener]) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for connections of the previous process to time out.
    socket.set_reuseaddr(true)?;
    if overlapping.is_empty() {
        socket.bind(address)?;
        return socket.listen(BACKLOG);
    }
    // Linux binds overlapping addresses if all of them set this option (socket(7), SO_REUSEPORT), and checks it again
    // in listen(2). The option is set only until then: a second process must still be refused.
    let others = overlapping.iter().map(|listener| options_of(listener)).collect::<io::Result<Vec<TcpSocket>>>()?;
    let share = |shares| others.iter().try_for_each(|other| other.set_reuseport(shares));
    socket.set_reuseport(true)?;
    let listening = share(true).and_then(|()| socket.bind(address)).and_then(|()| socket.listen(BACKLOG));
    share(false)?;
    let listener = listening?;
    options_of(&listener)?.set_reuseport(false)?;
    Ok(listener)
}

/// Returns a second handle to a listening socket, by which its options can be set.
fn options_of(listener: &TcpListener) -> io::Result<TcpSocket> {
    let handle = listener.as_fd().try_clone_to_owned()?;
    Ok(TcpSocket::from_std_stream(std::net::TcpStream::from(handle)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a listener that has open connections, and one at all addresses of its port, in both orders. Guarantee:
    /// both accept connections, each listens alone once the other is gone, and no other process can bind the port at
    /// any time afterwards.
    #[tokio::test]
    async fn overlapping_addresses_of_one_process_are_bound_together() {
        let parse = |text: &str| Address::parse(text).unwrap();
        let first = Listener::bind("first", &parse("127.0.0.1:0")).unwrap();
        let Address::Tcp(at) = *first.local_address() else { panic!() };
        let _open = tokio::net::TcpStream::connect(at).await.unwrap();
        let _accepted = first.socket.accept().await.unwrap();
        let everywhere = parse(&format!("0.0.0.0:{}", at.port()));
        assert!(Listener::bind("other", &everywhere).is_err(), "another process");
        let second = Listener::bind_beside("second", &everywhere, &[&first]).unwrap();
        let refused = || [at.to_string(), everywhere.to_string()].map(|at| std::net::TcpListener::bind(at).is_err());
        assert_eq!(refused(), [true, true]);
        drop(first);
        let _open = tokio::net::TcpStream::connect(at).await.unwrap();
        let _accepted = second.socket.accept().await.unwrap();
        let third = Listener::bind_beside("third", &parse(&at.to_string()), &[&second]).unwrap();
        drop(second);
        let _open = tokio::net::TcpStream::connect(at).await.unwrap();
        third.socket.accept().await.unwrap();
        assert_eq!(refused(), [true, true]);
    }
}
