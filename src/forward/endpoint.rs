//! Where a network sink sends: `http://host:port` or `unix:/path`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::{Authority, Scheme, Uri};

/// The port of OTLP/gRPC (OTLP specification, "OTLP/gRPC Default Port").
const DEFAULT_PORT: u16 = 4317;

/// The address of a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A host, by name or address, over plain TCP (HTTP/2 with prior knowledge).
    Tcp {
        /// As it goes into `:authority`.
        authority: Authority,
        /// The name or address to connect to, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// Text that is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no endpoint ({reason}): write http://host:port or unix:/path")]
pub struct BadEndpoint {
    text: String,
    reason: &'static str,
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Endpoint, BadEndpoint> {
        let bad = |reason| BadEndpoint { text: text.to_owned(), reason };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(bad("the path is missing")) } else { Ok(Endpoint::Unix(path.into())) };
        }
        let uri: Uri = text.parse().map_err(|_| bad("it is no URI"))?;
        if uri.scheme() == Some(&Scheme::HTTPS) {
            return Err(bad("TLS to the next hop is not supported"));
        }
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(bad("the scheme is not http"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(bad("gRPC takes no path"));
        }
        let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(bad("gRPC takes no user"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        // `Authority::port` is `None` for a port out of range too, which must not become the default.
        let port = match authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':')) {
            Some(port) => port.parse().map_err(|_| bad("the port is no number below 65536"))?,
            None => DEFAULT_PORT,
        };
        Ok(Endpoint::Tcp { authority: authority.clone(), host: host.to_owned(), port })
    }
}

impl Endpoint {
    /// What goes into `:authority`; a Unix socket has no name of its own, gRPC uses `localhost` there.
    pub fn authority(&self) -> Authority {
        match self {
            Endpoint::Tcp { authority, .. } => authority.clone(),
            Endpoint::Unix(_) => Authority::from_static("localhost"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port, .. } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Endpoint::Tcp { host, port, .. } => write!(f, "http://{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_read_and_show() {
        for (text, shown) in [
            ("http://collector:4320", "http://collector:4320"),
            ("http://collector", "http://collector:4317"),
            ("http://[::1]:9/", "http://[::1]:9"),
            ("unix:/run/otel.sock", "unix:/run/otel.sock"),
            ("unix:///run/otel.sock", "unix:/run/otel.sock"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        for (text, reason) in [
            ("https://collector:4317", "TLS"),
            ("collector:4317", "scheme"),
            ("http://collector:4317/v1/logs", "path"),
            ("http://user@collector:4317", "user"),
            ("http://collector:99999", "port"),
            ("unix:", "path"),
            ("", "URI"),
        ] {
            let message = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
    }
}
