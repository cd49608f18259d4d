//! A TCP port that no other process is given while what listens there is down.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// Bound and never listening: connections are refused until something that sets `SO_REUSEADDR` listens at the address,
/// and the system gives the port to nobody who asks for any.
pub struct HeldPort {
    _socket: TcpSocket,
    pub address: SocketAddr,
}

impl HeldPort {
    pub fn new() -> HeldPort {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        HeldPort { _socket: socket, address }
    }
}
