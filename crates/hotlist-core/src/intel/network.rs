//! Networks: every CIDR that covers an address.
//!
//! `ipnet` parses and masks but has no index, so there is one table per prefix length that occurs. Before any of them is
//! asked, a bitmap over the first bits of the address shows whether any network starts there at all: most addresses of
//! most events are rejected by one load.

use std::net::IpAddr;

use ipnet::IpNet;

use super::keys::{TableId, network_key};

/// Bits of the bitmap: one for each value of the first 16 bits (IPv4), or of 16 bits mixed from the first 32 (IPv6).
const BITMAP_BITS: usize = 1 << 16;

/// The lengths of the networks in a table, to know where the networks that cover an address can be.
#[derive(Clone, Debug)]
pub struct Networks {
    v4: Index,
    v6: Index,
    len: usize,
}

impl Default for Networks {
    fn default() -> Networks {
        Networks { v4: Index::new(16, start_v4), v6: Index::new(32, start_v6), len: 0 }
    }
}

impl Networks {
    /// Records the networks of a table, by their keys: addresses without host bits.
    pub fn insert<'k>(&mut self, table: TableId, keys: impl Iterator<Item = &'k [u8]>) {
        let (index, prefix) = match table {
            TableId::Networks4(prefix) => (&mut self.v4, prefix),
            TableId::Networks6(prefix) => (&mut self.v6, prefix),
            TableId::Space(_) => return,
        };
        if let Err(place) = index.prefixes.binary_search(&prefix) {
            index.prefixes.insert(place, prefix);
        }
        if index.starts.is_empty() {
            index.starts = vec![0; BITMAP_BITS / 64];
        }
        for key in keys {
            index.mark(key_bits(key), prefix);
            self.len += 1;
        }
    }

    /// Calls `look` with every network that may cover the address, the widest first: with its table and its key there.
    #[inline]
    pub fn covering(&self, address: IpAddr, mut look: impl FnMut(IpNet, TableId, &[u8])) {
        if !self.may_cover(address) {
            return;
        }
        let index = self.index(address);
        for prefix in &index.prefixes {
            let Ok(network) = IpNet::new(address, *prefix) else { continue };
            network_key(network, |table, key| look(network.trunc(), table, key));
        }
    }

    /// Whether a network may cover the address; `false` is certain.
    #[inline]
    pub fn may_cover(&self, address: IpAddr) -> bool {
        self.index(address).may_cover(to_bits(address))
    }

    fn index(&self, address: IpAddr) -> &Index {
        match address {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        }
    }

    /// Number of networks; one that several segments have counts for each.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[derive(Clone, Debug)]
struct Index {
    /// Prefix lengths that occur, the widest networks first.
    prefixes: Vec<u8>,
    /// Empty while there are no networks.
    starts: Vec<u64>,
    start_bits: u8,
    start: fn(u128) -> usize,
}

impl Index {
    fn new(start_bits: u8, start: fn(u128) -> usize) -> Index {
        Index { prefixes: Vec::new(), starts: Vec::new(), start_bits, start }
    }

    #[inline]
    fn may_cover(&self, bits: u128) -> bool {
        let at = (self.start)(bits);
        self.starts.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    /// Marks where the network starts; one wider than the bitmap's grain marks everything that it covers.
    fn mark(&mut self, bits: u128, prefix: u8) {
        if prefix >= self.start_bits {
            let at = (self.start)(bits);
            self.starts[at / 64] |= 1 << (at % 64);
        } else if self.start_bits == 16 {
            let first = (self.start)(bits);
            for at in first..first + (1 << (16 - prefix)) {
                self.starts[at / 64] |= 1 << (at % 64);
            }
        } else {
            // An IPv6 network wider than /32 is rare: give up the short cut rather than enumerate.
            self.starts.fill(u64::MAX);
        }
    }
}

/// The first 16 bits.
fn start_v4(bits: u128) -> usize {
    (bits >> 112) as usize
}

/// 16 bits mixed from the first 32.
fn start_v6(bits: u128) -> usize {
    ((bits >> 96) as u32).wrapping_mul(0x9e37_79b9) as usize >> 16
}

/// The address's bits, left-aligned in 128, so that both families are masked alike.
fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The same of a key, whose bytes are the address.
fn key_bits(key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(key).for_each(|(byte, key)| *byte = *key);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn network() -> impl Strategy<Value = IpNet> {
        // Few distinct leading bits, so that networks nest and addresses fall into them.
        let v4 = (0u32..4, any::<u16>(), 0u8..=31).prop_map(|(high, low, prefix)| {
            IpNet::new(IpAddr::V4(((high << 30) | u32::from(low)).into()), prefix).unwrap()
        });
        let v6 = (0u128..4, any::<u16>(), 0u8..=127).prop_map(|(high, low, prefix)| {
            IpNet::new(IpAddr::V6(((high << 126) | u128::from(low)).into()), prefix).unwrap()
        });
        prop_oneof![v4, v6]
    }

    fn key(network: IpNet) -> (TableId, Vec<u8>) {
        network_key(network, |table, key| (table, key.to_vec()))
    }

    proptest! {
        /// Exactly the networks that `ipnet` says contain the address are looked for and there, whatever their width.
        #[test]
        fn finds_what_a_scan_finds(networks in proptest::collection::vec(network(), 0..40), probes in proptest::collection::vec(network(), 1..40)) {
            let mut tables: BTreeMap<TableId, BTreeSet<Vec<u8>>> = BTreeMap::new();
            for network in &networks {
                let (table, key) = key(*network);
                tables.entry(table).or_default().insert(key);
            }
            let mut index = Networks::default();
            for (table, keys) in &tables {
                index.insert(*table, keys.iter().map(Vec::as_slice));
            }
            for address in probes.iter().map(|probe| probe.addr()) {
                let mut found = Vec::new();
                index.covering(address, |network, table, key| {
                    if tables.get(&table).is_some_and(|keys| keys.contains(key)) {
                        found.push(network);
                    }
                });
                let mut expected: Vec<_> = networks.iter().filter(|network| network.contains(&address)).map(IpNet::trunc).collect();
                expected.sort_by_key(IpNet::prefix_len);
                expected.dedup();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
