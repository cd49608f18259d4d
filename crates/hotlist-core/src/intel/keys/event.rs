//! Every key of one value of an event, and the bounded prefixes of its URL.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{KeyPlan, KeySpace, KeyVisitor, MatchOptions, TableId, network_key, visit_keys};
use crate::intel::indicator::RangeValue;
use crate::observable::Malformed;
use crate::observable::url::CanonicalUrl;

/// One key of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKey<'k> {
    /// The table in which indicators with this key are.
    pub table: TableId,
    /// The canonical bytes.
    pub key: &'k [u8],
    /// The scheme of the event's URL, which must agree with the indicator's ([`schemes_agree`](super::schemes_agree));
    /// `None` if it has none, and for other kinds.
    pub scheme: Option<&'k str>,
}

/// Calls `each` with every key of the value `raw` at a field with this plan, whatever indicators there are; the same key
/// may come twice. Returns why the value, or part of it, is not of the field's kind.
pub fn event_keys(
    options: MatchOptions,
    plan: KeyPlan,
    raw: &[u8],
    scratch: &mut Vec<u8>,
    each: impl FnMut(EventKey<'_>),
) -> Option<Malformed> {
    visit_keys(options, plan, raw, scratch, &mut EveryKey(each))
}

/// Calls `each` with the prefixes of a URL by which indicators for longer paths are looked up, and returns whether those
/// were all: of a URL with very many segments the longest are left out, except for the whole.
pub fn url_prefixes(url: &CanonicalUrl, mut each: impl FnMut(&str)) -> bool {
    let whole = url.path_prefixes().next().map_or(0, str::len);
    let longest = longest_prefix(url);
    let mut is_complete = true;
    for prefix in url.path_prefixes() {
        if prefix.len() <= longest || prefix.len() == whole {
            each(prefix);
        } else {
            is_complete = false;
        }
    }
    is_complete
}

/// The bound on the total length of the prefixes of one URL, in bytes per byte of the URL: the work of looking all of them
/// up grows with the square of its length. Every prefix of a URL of up to 64 segments fits, and of a longer one the
/// shorter prefixes.
const PREFIX_BYTES: usize = 128;

/// The longest prefix of a URL for which all shorter ones have at most [`PREFIX_BYTES`] for each byte of the URL.
fn longest_prefix(url: &CanonicalUrl) -> usize {
    let rest = url.rest().as_bytes();
    let budget = rest.len().saturating_mul(PREFIX_BYTES);
    let mut bytes = 0;
    for slash in memchr::memchr_iter(b'/', rest) {
        // With and without the slash.
        bytes += 2 * slash + 1;
        if bytes > budget {
            return slash;
        }
    }
    rest.len()
}

/// Passes on every key.
struct EveryKey<F>(F);

impl<F: FnMut(EventKey<'_>)> KeyVisitor for EveryKey<F> {
    fn key(&mut self, space: KeySpace, key: &[u8]) {
        (self.0)(EventKey { table: TableId::Space(space), key, scheme: None });
    }

    fn networks(&mut self, address: IpAddr) {
        let widths = if address.is_ipv4() { 0..=31 } else { 0..=127 };
        for network in widths.filter_map(|width| IpNet::new(address, width).ok()) {
            network_key(network, |table, key| (self.0)(EventKey { table, key, scheme: None }));
        }
    }

    fn range(&mut self, _: RangeValue) {}

    fn url_host(&mut self, _: &[u8]) -> bool {
        true
    }

    fn url(&mut self, url: &CanonicalUrl) {
        let mut key = |space, key: &str| {
            (self.0)(EventKey { table: TableId::Space(space), key: key.as_bytes(), scheme: url.scheme() });
        };
        key(KeySpace::Url, url.rest());
        url_prefixes(url, |prefix| key(KeySpace::UrlPrefix, prefix));
    }

    fn wants(&self, _: KeySpace) -> bool {
        true
    }
}
