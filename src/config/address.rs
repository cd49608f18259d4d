//! Addresses to listen at and endpoints to send to: TCP or a Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// Why a text is not an address or an endpoint, said of the text that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an IP address and a port.
    #[error("is not an address; {}", ADDRESS_FORMS)]
    Address,
    /// A DNS name and a port. A listener is bound to an address.
    #[error("is a name, not an address to listen on; {}", ADDRESS_FORMS)]
    Name,
    /// An IP address alone.
    #[error("has no port; {}", ADDRESS_FORMS)]
    AddressPort,
    /// `unix:` without a path, or with a NUL in it.
    #[error("does not name a socket; give `unix:/path`")]
    Socket,
    /// The path of a Unix socket is longer than the kernel accepts.
    #[error("is longer than the {} bytes that a Unix socket's path may have; give a shorter path", MAX_SOCKET_PATH)]
    SocketLength,
    /// Not a URL, or of another scheme.
    #[error("is not an endpoint; give `https://host:port`, `http://host:port` or `unix:/path`")]
    Endpoint,
    /// A URL with a path, a query or a fragment.
    #[error(
        "has a path, which gRPC sets itself; give only `{scheme}://host:port`, and with `protocol: http` the path as `base_path`"
    )]
    EndpointPath {
        /// `http` or `https`.
        scheme: &'static str,
    },
    /// A URL with a user name or a password.
    #[error("has a user name, which gRPC does not use; give only `{scheme}://host:port`")]
    UserName {
        /// `http` or `https`.
        scheme: &'static str,
    },
    /// A URL without a port, or with port 0.
    #[error("has no port; give `{scheme}://host:port`, e.g. port 4317 for OTLP")]
    EndpointPort {
        /// `http` or `https`.
        scheme: &'static str,
    },
}

const ADDRESS_FORMS: &str = "give an IP address and a port, e.g. `127.0.0.1:14317`, or `unix:/path`";

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl Address {
    /// Reads `127.0.0.1:4317`, `[::1]:4317` or `unix:/run/hotlist.sock`. The error names the forms that can be given.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Address::Unix);
        }
        text.parse().map(Address::Tcp).map_err(|_| bad_address(text))
    }

    /// Whether only processes of this host can connect to it.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        }
    }

    /// Whether the system chooses the port.
    pub fn is_any_port(&self) -> bool {
        matches!(self, Address::Tcp(address) if address.port() == 0)
    }

    /// Whether both cannot be bound at the same time.
    pub(crate) fn collides(&self, other: &Address) -> bool {
        match (self, other) {
            (Address::Tcp(a), Address::Tcp(b)) => {
                // `[::]` takes connections of IPv4, too (ipv6(7), IPV6_V6ONLY).
                let covers = |a: &SocketAddr, b: &SocketAddr| a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4());
                let overlap = a.ip() == b.ip() || covers(a, b) || covers(b, a);
                a.port() != 0 && a.port() == b.port() && overlap
            }
            (Address::Unix(a), Address::Unix(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// As it is written in a configuration.
impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A next hop to send to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// HTTP/2 without TLS.
    Http {
        /// An IP address (IPv6 without brackets) or a DNS name, resolved at each connection.
        host: String,
        port: u16,
    },
    /// HTTP/2 over TLS.
    Https {
        /// An IP address (IPv6 without brackets) or a DNS name, resolved at each connection.
        host: String,
        port: u16,
    },
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Reads `https://host:port`, `http://host:port` or `unix:/run/next.sock`. The error names the forms that can be given.
    pub fn parse(text: &str) -> Result<Endpoint, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Endpoint::Unix);
        }
        let url = url::Url::parse(text).map_err(|_| AddressError::Endpoint)?;
        let scheme = match url.scheme() {
            "http" => "http",
            "https" => "https",
            _ => return Err(AddressError::Endpoint),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::EndpointPath { scheme });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::UserName { scheme });
        }
        // `Url` drops the port when it is HTTP's own, so it is looked for in what was written.
        let explicit = text.trim_end_matches('/').rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let (Some(host), Some(port @ 1..)) = (url.host(), explicit) else {
            return Err(AddressError::EndpointPort { scheme });
        };
        let host = match host {
            url::Host::Domain(name) => name.to_owned(),
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => address.to_string(),
        };
        Ok(if scheme == "https" { Endpoint::Https { host, port } } else { Endpoint::Http { host, port } })
    }

    /// Whether what is sent stays on this host, or is encrypted. A name other than `localhost` may be anywhere.
    pub fn is_private(&self) -> bool {
        match self {
            Endpoint::Http { host, .. } => {
                let local = |ip: std::net::IpAddr| ip.to_canonical().is_loopback();
                host == "localhost" || host.parse().is_ok_and(local)
            }
            Endpoint::Https { .. } | Endpoint::Unix(_) => true,
        }
    }

    /// Whether events sent here would arrive at `address`.
    pub(super) fn reaches(&self, address: &Address) -> bool {
        match (self, address) {
            (Endpoint::Http { host, port } | Endpoint::Https { host, port }, Address::Tcp(listen)) => {
                let host = if host == "localhost" { "127.0.0.1" } else { host };
                *port == listen.port()
                    && host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|ip| ip == listen.ip() || ip.is_loopback() && listen.ip().is_unspecified())
            }
            (Endpoint::Unix(path), Address::Unix(listen)) => path == listen,
            _ => false,
        }
    }
}

/// As it is written in a configuration.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Endpoint::Http { host, port } => ("http", host, port),
            Endpoint::Https { host, port } => ("https", host, port),
            Endpoint::Unix(path) => return write!(f, "unix:{}", path.display()),
        };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn bad_address(text: &str) -> AddressError {
    match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && host.parse::<std::net::IpAddr>().is_err() => {
            AddressError::Name
        }
        None if text.parse::<std::net::IpAddr>().is_ok() => AddressError::AddressPort,
        _ => AddressError::Address,
    }
}

/// The longest path that the kernel takes for a Unix socket (`sun_path` of unix(7), less the closing NUL).
const MAX_SOCKET_PATH: usize = 107;

fn socket_path(path: &str) -> Result<PathBuf, AddressError> {
    if path.is_empty() || path.contains('\0') {
        return Err(AddressError::Socket);
    }
    if path.len() > MAX_SOCKET_PATH {
        return Err(AddressError::SocketLength);
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ip_with_a_port_or_a_socket() {
        for good in ["127.0.0.1:4317", "[::1]:0", "0.0.0.0:1", "unix:/run/a.sock", "unix:relative"] {
            assert_eq!(Address::parse(good).unwrap().to_string(), good);
        }
        let refused = |text: &str| Address::parse(text).unwrap_err();
        assert_eq!(refused("localhost:4317"), AddressError::Name);
        assert_eq!(refused("127.0.0.1"), AddressError::AddressPort);
        assert_eq!(refused("127.0.0.1:99999"), AddressError::Address);
        assert_eq!(refused("unix:"), AddressError::Socket);
        assert_eq!(refused("unix:/a\0b"), AddressError::Socket);
        assert_eq!(refused(&format!("unix:/{}", "x".repeat(107))), AddressError::SocketLength);
        assert!(Address::parse(&format!("unix:/{}", "x".repeat(106))).is_ok());
    }

    #[test]
    fn an_endpoint_is_an_http_url_with_a_port_and_no_path() {
        for good in
            ["http://127.0.0.1:24317", "http://next:80", "http://[::1]:4317", "https://next:443", "unix:/run/n.sock"]
        {
            assert_eq!(Endpoint::parse(good).unwrap().to_string(), good);
        }
        assert_eq!(Endpoint::parse("http://Next:1/").unwrap().to_string(), "http://next:1");
        let refused = |text: &str| Endpoint::parse(text).unwrap_err();
        for bad in ["127.0.0.1:4317", "http://", "grpc://a:1"] {
            assert_eq!(refused(bad), AddressError::Endpoint, "{bad}");
        }
        let (http, https) = ("http", "https");
        assert_eq!(refused("http://a:1/v1/logs"), AddressError::EndpointPath { scheme: http });
        assert_eq!(refused("http://u:p@a:1"), AddressError::UserName { scheme: http });
        for bad in ["http://a", "http://[::1]", "http://a:0"] {
            assert_eq!(refused(bad), AddressError::EndpointPort { scheme: http }, "{bad}");
        }
        assert_eq!(refused("https://a"), AddressError::EndpointPort { scheme: https });
        // The remedy repeats the scheme that was given.
        assert!(refused("https://a").to_string().contains("`https://host:port`"));
        assert_eq!(refused("unix:"), AddressError::Socket);
    }

    #[test]
    fn what_leaves_the_host_is_known() {
        let local = |text: &str| Address::parse(text).unwrap().is_local();
        assert!(local("127.0.0.1:1") && local("[::1]:1") && local("[::ffff:127.0.0.1]:1") && local("unix:/a"));
        assert!(!local("0.0.0.0:1") && !local("[::]:1") && !local("10.0.0.1:1"));
        let private = |text: &str| Endpoint::parse(text).unwrap().is_private();
        assert!(private("http://localhost:1") && private("http://[::1]:1") && private("https://far:1"));
        assert!(!private("http://far:1") && !private("http://10.0.0.1:1"));
    }

    #[test]
    fn addresses_collide_when_the_system_could_not_bind_both() {
        let collide = |a: &str, b: &str| Address::parse(a).unwrap().collides(&Address::parse(b).unwrap());
        assert!(collide("127.0.0.1:1", "127.0.0.1:1"));
        assert!(collide("0.0.0.0:1", "127.0.0.1:1"));
        assert!(collide("unix:/a", "unix:/a"));
        assert!(!collide("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!collide("127.0.0.2:1", "127.0.0.1:1"));
        assert!(collide("[::]:1", "127.0.0.1:1") && collide("0.0.0.0:1", "[::]:1") && collide("[::]:1", "[::1]:1"));
        assert!(!collide("0.0.0.0:1", "[::1]:1"));
        assert!(!collide("unix:/a", "127.0.0.1:1"));
    }

    #[test]
    fn an_endpoint_reaches_the_source_that_listens_there() {
        let reach = |to: &str, at: &str| Endpoint::parse(to).unwrap().reaches(&Address::parse(at).unwrap());
        assert!(reach("http://localhost:1", "127.0.0.1:1"));
        assert!(reach("http://127.0.0.1:1", "0.0.0.0:1"));
        assert!(reach("unix:/a", "unix:/a"));
        assert!(!reach("http://127.0.0.1:2", "127.0.0.1:1"));
        assert!(!reach("http://10.0.0.9:1", "0.0.0.0:1"));
    }
}
