//! The tables that keys are in, and which of their keys the prefilter holds.

use ipnet::IpNet;

use super::KeySpace;
use crate::observable::{Kind, url};

/// A table of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableId {
    /// The keys of a name space.
    Space(KeySpace),
    /// IPv4 networks of a prefix length.
    Networks4(u8),
    /// IPv6 networks of a prefix length.
    Networks6(u8),
}

impl TableId {
    /// The kind of the value that has a key.
    pub fn kind_of(self, key: &[u8]) -> Kind {
        match self {
            TableId::Space(KeySpace::Expression) => {
                key.first().and_then(|kind| Kind::ALL.get(usize::from(*kind))).copied().unwrap_or(Kind::Text)
            }
            TableId::Space(space) => space.kind(),
            TableId::Networks4(_) | TableId::Networks6(_) => Kind::Ip,
        }
    }
}

/// Calls `with` with the table of a network and its key there, the address without host bits.
#[inline]
pub fn network_key<R>(network: IpNet, with: impl FnOnce(TableId, &[u8]) -> R) -> R {
    match network.trunc() {
        IpNet::V4(v4) => with(TableId::Networks4(v4.prefix_len()), &v4.network().octets()),
        IpNet::V6(v6) => with(TableId::Networks6(v6.prefix_len()), &v6.network().octets()),
    }
}

/// Calls `each` with what the prefilter holds for a key of an exact set: the key, and the host of a URL, by which the
/// sieve decides whether to parse an event's URL. Networks and expressions have an index of their own.
pub fn prefilter_keys(table: TableId, key: &[u8], mut each: impl FnMut(KeySpace, &[u8])) {
    let TableId::Space(space) = table else { return };
    if space == KeySpace::Expression {
        return;
    }
    each(space, key);
    if space == KeySpace::Url {
        let host = std::str::from_utf8(key).map(url::host_of_rest).unwrap_or_default();
        each(KeySpace::UrlHost, host.as_bytes());
    }
}

/// Returns how many keys [`prefilter_keys`] gives for each key of a table.
pub fn prefilter_key_count(table: TableId) -> usize {
    match table {
        TableId::Space(KeySpace::Url) => 2,
        TableId::Space(KeySpace::Expression) | TableId::Networks4(_) | TableId::Networks6(_) => 0,
        TableId::Space(_) => 1,
    }
}
