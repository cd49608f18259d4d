//! Access to pages that are only for this host: programs on this host may request them, pages of other sites in its browser
//! may not.
//!
//! A web page can send requests to loopback, and a name that it controls can resolve to loopback (DNS rebinding), so that
//! the browser lets it read the responses. Both are detected by headers that a page cannot set: `Host` has the page's own
//! name, `Origin` and `Sec-Fetch-Site` show where a request comes from.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, Uri, header};

use crate::escape::Escaped;

/// `Sec-Fetch-Site` (W3C Fetch Metadata): the relation of the requesting page to this server.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The reason that a request is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OriginRefusal {
    /// The host name does not belong to this host.
    #[error("the host `{host}` is not this host; use `localhost`, a loopback address or the Unix socket", host = Escaped(.0))]
    Host(String),
    /// The host name is missing or given more than once.
    #[error("the request must have exactly one `Host`; use `localhost`, a loopback address or the Unix socket")]
    NoHost,
    /// The request comes from a page of another site.
    #[error("pages of {origin} may not request this; use a program such as curl", origin = Escaped(.0))]
    Origin(String),
}

/// Accepts a request that names this host, and whose `Origin`, if any, is this server.
pub(super) fn check(headers: &HeaderMap, uri: &Uri) -> Result<(), OriginRefusal> {
    let host = single(headers, &header::HOST).ok_or(OriginRefusal::NoHost)?;
    // The request target in absolute form takes precedence (RFC 9112 section 3.2.2).
    for host in [Some(host.as_str()), uri.authority().map(|authority| authority.as_str())].into_iter().flatten() {
        if !is_this_host(host) {
            return Err(OriginRefusal::Host(host.to_owned()));
        }
    }
    if headers.contains_key(header::ORIGIN) {
        let origin = single(headers, &header::ORIGIN).unwrap_or_else(|| "several origins".to_owned());
        let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if own.is_none_or(|own| !own.eq_ignore_ascii_case(&host)) {
            return Err(OriginRefusal::Origin(origin));
        }
    }
    // `none`: the user typed the address.
    match headers.get_all(SEC_FETCH_SITE).iter().find(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")) {
        Some(site) => {
            Err(OriginRefusal::Origin(format!("another site ({})", String::from_utf8_lossy(site.as_bytes()))))
        }
        None => Ok(()),
    }
}

/// Returns the value of a header that occurs exactly once.
fn single(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Returns whether a host, with or without a port, is a loopback name or address.
fn is_this_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) => (name, port),
            None => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = port.strip_prefix(':').map_or(port.is_empty(), |port| port.parse::<u16>().is_ok());
    let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    port && (name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// Checks a request with these headers.
    fn checked(headers: &[(&'static str, &str)]) -> Result<(), OriginRefusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        check(&map, &Uri::from_static("/config"))
    }

    /// Every host with every origin and every site: only requests of this host's programs and own pages pass.
    #[test]
    fn only_programs_of_this_host_and_its_own_pages_pass() {
        let own = [
            "localhost",
            "LOCALHOST:9465",
            "127.0.0.1:9465",
            "127.1.2.3",
            "[::1]:9465",
            "[::1]",
            "[::ffff:127.0.0.1]:1",
        ];
        let foreign = [
            "evil.example",
            "evil.example:9465",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9465",
            "evil.localhost",
            "10.0.0.1:9465",
            "[2001:db8::1]:9465",
            "0.0.0.0:9465",
            "",
            ":9465",
            "127.0.0.1:port",
            "user@localhost",
            "[::1",
            "2130706433",
            "localhost:9465, evil.example",
            "localhost.",
        ];
        let sites = [None, Some("none"), Some("same-origin"), Some("same-site"), Some("cross-site"), Some("x")];
        for host in own.into_iter().chain(foreign) {
            let its_own = format!("http://{host}");
            let secure = format!("https://{host}");
            let origins = [
                None,
                Some(its_own.as_str()),
                Some(secure.as_str()),
                Some("https://evil.example"),
                Some("http://evil.example:9465"),
                Some("http://localhost:3000"),
                Some("null"),
                Some(""),
            ];
            for (which, origin) in origins.iter().enumerate() {
                for site in sites {
                    let mut headers = vec![("host", host)];
                    headers.extend(origin.map(|origin| ("origin", origin)));
                    headers.extend(site.map(|site| ("sec-fetch-site", site)));
                    let passes =
                        own.contains(&host) && which < 3 && matches!(site, None | Some("none" | "same-origin"));
                    assert_eq!(checked(&headers).is_ok(), passes, "{headers:?}: {:?}", checked(&headers));
                }
            }
        }
    }

    #[test]
    fn what_is_missing_or_given_twice_is_refused() {
        assert_eq!(checked(&[]), Err(OriginRefusal::NoHost));
        assert_eq!(checked(&[("host", "localhost"), ("host", "evil.example")]), Err(OriginRefusal::NoHost));
        let origin = "http://localhost";
        let twice = checked(&[("host", "localhost"), ("origin", origin), ("origin", origin)]);
        assert_eq!(twice, Err(OriginRefusal::Origin("several origins".to_owned())));
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost"));
        let absolute = check(&headers, &Uri::from_static("http://evil.example/config"));
        assert_eq!(absolute, Err(OriginRefusal::Host("evil.example".to_owned())));
        assert_eq!(check(&headers, &Uri::from_static("http://localhost/config")), Ok(()));
    }

    proptest! {
        /// Guarantee: only a loopback address or `localhost` passes, whatever surrounds it.
        #[test]
        fn no_other_name_passes(host in "[a-z0-9.:@\\[\\]%-]{0,24}") {
            if is_this_host(&host) {
                let name = host.trim_start_matches('[').split(']').next().unwrap();
                let name = if name.matches(':').count() == 1 { name.split(':').next().unwrap() } else { name };
                prop_assert!(name == "localhost" || name.parse::<IpAddr>().unwrap().is_loopback(), "{}", host);
            }
        }
    }
}
