//! Outgoing connections: to any address of a name (Happy Eyeballs) or to a Unix socket, with or without TLS.
//!
//! A name may have several addresses, some of them dead: a node that is down, a family that is not routed. So each
//! connection resolves the name again and tries its addresses as RFC 8305 says: in the order of the resolver,
//! alternating the families, the next one after a failure or a short pause, while the earlier attempts continue. Sinks,
//! the control client and the command line connect through this module.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::config::Endpoint;
use crate::net::tls;

/// Longest and shortest pause before the next address is tried (RFC 8305 section 5).
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(10));

/// The byte stream of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The reason that a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No address accepts the connection, or the name has no address.
    #[error(transparent)]
    Connect(io::Error),
    /// The TLS handshake failed.
    #[error(transparent)]
    Tls(io::Error),
}

impl From<DialError> for io::Error {
    fn from(error: DialError) -> io::Error {
        match error {
            DialError::Connect(cause) | DialError::Tls(cause) => cause,
        }
    }
}

/// Opens a connection. `within` bounds each step: connecting, and the TLS handshake. `tls` is required for an `https`
/// endpoint only.
///
/// # Errors
/// The connection failed; the text lists the addresses that were tried.
pub async fn open(
    endpoint: &Endpoint,
    tls: Option<&tls::Connector>,
    within: Duration,
) -> Result<Box<dyn Stream>, DialError> {
    let connect = |host, port| async move { tcp(host, port, within).await.map_err(DialError::Connect) };
    match endpoint {
        Endpoint::Http { host, port } => Ok(Box::new(connect(host, *port).await?)),
        Endpoint::Https { host, port } => {
            let tls = tls.ok_or_else(|| DialError::Tls(io::Error::other("an https endpoint needs TLS settings")))?;
            let stream = connect(host, *port).await?;
            let late = |_| {
                let text = format!(
                    "the TLS handshake took longer than {within:?}: check that the peer speaks TLS on this port"
                );
                DialError::Tls(io::Error::new(io::ErrorKind::TimedOut, text))
            };
            let stream = timeout(within, tls.connect(stream)).await.map_err(late)?;
            Ok(Box::new(stream.map_err(DialError::Tls)?))
        }
        Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(DialError::Connect)?)),
    }
}

/// Connects to the first address of a name that answers.
///
/// # Errors
/// The name has no address, or no address answers in time.
pub async fn tcp(host: &str, port: u16, within: Duration) -> io::Result<TcpStream> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("resolving {host} took longer than {within:?}"));
    let deadline = Instant::now() + within;
    let found = timeout_at(deadline, lookup_host((host, port))).await.map_err(|_| late())??;
    let stream = first(alternate(found.collect()), within).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Alternates the address families, starting with that of the first address (RFC 8305 section 4).
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, two): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut one, mut two) = (one.into_iter(), two.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [one.next(), two.next()];
        if pair == [None, None] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

/// Connects to the first of these addresses that accepts.
async fn first(addresses: Vec<SocketAddr>, within: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + within;
    let pause = (within / (addresses.len() as u32 + 1)).clamp(PAUSE.1, PAUSE.0);
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failures: Vec<(SocketAddr, io::Error)> = Vec::new();
    let mut silent: Vec<SocketAddr> = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            silent.push(address);
            attempts.push(async move { (address, TcpStream::connect(address).await) });
        }
        if attempts.is_empty() {
            return Err(nobody(failures, &silent, within));
        }
        let more = waiting.len() > 0;
        tokio::select! {
            biased;
            Some((address, result)) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    silent.retain(|other| *other != address);
                    failures.push((address, error));
                }
            },
            () = sleep(pause), if more => {}
            () = tokio::time::sleep_until(deadline) => return Err(nobody(failures, &silent, within)),
        }
    }
}

/// Builds the error for the case that no address accepted.
fn nobody(mut failures: Vec<(SocketAddr, io::Error)>, silent: &[SocketAddr], within: Duration) -> io::Error {
    if let (1, []) = (failures.len(), silent)
        && let Some((_, only)) = failures.pop()
    {
        return only;
    }
    let kind = match (silent, failures.last()) {
        ([], Some((_, error))) => error.kind(),
        ([], None) => return io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
        _ => io::ErrorKind::TimedOut,
    };
    let failed = failures.iter().map(|(address, error)| format!("{address}: {error}"));
    let timed_out = silent.iter().map(|address| format!("{address}: no answer within {within:?}"));
    io::Error::new(kind, failed.chain(timed_out).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// An address that refuses connections.
    async fn refusing() -> SocketAddr {
        listener().await.1
    }

    /// An address that never answers, because its accept queue is full, as long as the second value lives.
    async fn black_hole() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut fill = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            fill.push(stream.unwrap());
            assert!(fill.len() < 64, "this host takes every connection");
        }
        (address, (listener, fill))
    }

    /// Guarantee: the order of the resolver is kept within a family, and the families alternate.
    #[test]
    fn families_take_turns() {
        let read = |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let found = read(&["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1", "127.0.0.2:1"]);
        let turns = read(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "[::3]:1"]);
        assert_eq!(alternate(found), turns);
        assert_eq!(alternate(Vec::new()), Vec::new());
    }

    /// Scenario: addresses that refuse and addresses that never answer come before a good one, in each order.
    /// Guarantee: the good one is reached long before the time limit.
    #[tokio::test(start_paused = true)]
    async fn dead_addresses_do_not_hide_a_live_one() {
        let (_live, good) = listener().await;
        let (hole, _full) = black_hole().await;
        let refused = refusing().await;
        let within = Duration::from_secs(20);
        for order in [
            vec![good],
            vec![refused, good],
            vec![hole, good],
            vec![hole, refused, good],
            vec![refused, hole, good],
            vec![hole, hole, hole, hole, good],
            vec![good, hole, refused],
        ] {
            let start = Instant::now();
            let stream = first(order.clone(), within).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good, "{order:?}");
            assert!(start.elapsed() < within / 4, "{order:?}: {:?}", start.elapsed());
        }
    }

    /// Guarantee: each address is tried even if there are many and little time.
    #[tokio::test(start_paused = true)]
    async fn little_time_is_shared() {
        let (_live, good) = listener().await;
        let (hole, _full) = black_hole().await;
        let mut addresses = vec![hole; 9];
        addresses.push(good);
        let stream = first(addresses, Duration::from_secs(1)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
    }

    /// Guarantee: if no address answers, the error lists each address with its reason; a single reason is not repeated.
    #[tokio::test(start_paused = true)]
    async fn every_address_is_named() {
        let (hole, _full) = black_hole().await;
        let refused = refusing().await;
        let error = first(vec![refused, hole], Duration::from_millis(200)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let text = error.to_string();
        assert!(text.contains(&format!("{refused}: ")) && text.contains("refused"), "{text}");
        assert!(text.contains(&format!("{hole}: no answer within 200ms")), "{text}");
        let only = first(vec![refused], Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(only.kind(), io::ErrorKind::ConnectionRefused);
        let none = first(Vec::new(), Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(none.to_string(), "the name has no address");
    }

    /// Guarantee: a name with an address of each family reaches the one that listens.
    #[tokio::test]
    async fn a_name_of_two_families() {
        let (_live, good) = listener().await;
        let stream = tcp("localhost", good.port(), Duration::from_secs(5)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().port(), good.port());
    }
}
