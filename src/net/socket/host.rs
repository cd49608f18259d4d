//! The `Host` of HTTP/1 requests (RFC 9112, section 3.2). Proxies and servers that choose different ones of two hosts
//! disagree about where a request goes, so a request with more than one is refused.

use http::header::{self, HeaderMap};
use http::uri::Authority;
use http::{Request, Version};

/// The reason that a request gets 400 before any service sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostRefusal {
    /// HTTP/1.1 requires one.
    #[error("the request has no Host header; send exactly one")]
    Missing,
    /// More than one line.
    #[error("the request has more than one Host header; send exactly one")]
    Repeated,
    /// Neither a host with an optional port nor empty.
    #[error("the Host header is not a host name or address with an optional port; fix its value")]
    Malformed,
}

/// Checks the `Host` of a request. HTTP/1.0 does not require one, and HTTP/2 has `:authority`.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), HostRefusal> {
    match request.version() {
        Version::HTTP_11 => check_headers(request.headers()),
        Version::HTTP_10 | Version::HTTP_09 => match check_headers(request.headers()) {
            Err(HostRefusal::Missing) => Ok(()),
            checked => checked,
        },
        _ => Ok(()),
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), HostRefusal> {
    let mut values = headers.get_all(header::HOST).iter();
    let value = values.next().ok_or(HostRefusal::Missing)?.as_bytes();
    if values.next().is_some() {
        return Err(HostRefusal::Repeated);
    }
    // The value is empty when the target has no host.
    let is_host = value.is_empty() || (!value.contains(&b'@') && Authority::try_from(value).is_ok());
    if is_host { Ok(()) } else { Err(HostRefusal::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_required_from_http_1_1_on() {
        let request = |version: Version, hosts: &[&str]| {
            let mut request = Request::builder().version(version).uri("/");
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            check(&request.body(()).unwrap())
        };
        for (hosts, refused) in [
            (&["a.example"][..], None),
            (&["a.example:4318"], None),
            (&["[::1]:4318"], None),
            (&[""], None),
            (&[], Some(HostRefusal::Missing)),
            (&["a.example", "a.example"], Some(HostRefusal::Repeated)),
            (&["a b"], Some(HostRefusal::Malformed)),
            (&["a.example/x"], Some(HostRefusal::Malformed)),
            (&["user@a.example"], Some(HostRefusal::Malformed)),
        ] {
            assert_eq!(request(Version::HTTP_11, hosts).err(), refused, "{hosts:?}");
            assert_eq!(
                request(Version::HTTP_10, hosts).err(),
                refused.filter(|refused| *refused != HostRefusal::Missing)
            );
            assert_eq!(request(Version::HTTP_2, hosts), Ok(()));
        }
    }
}
