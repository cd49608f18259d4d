//! Networks: every CIDR that covers an address.
//!
//! `ipnet` parses and masks but has no index, so there is one exact set per prefix length that occurs. Before any of
//! them is asked, a bitmap over the first bits of the address tells whether any network starts there at all: most
//! addresses of most events are rejected by one load.

use std::net::IpAddr;

use ipnet::IpNet;

use super::exact::{ExactBuilder, ExactSet, Posting};
use super::space::{KeyHasher, Space};

/// Bits of the bitmap: one for each value of the first 16 bits (IPv4), or of 16 bits mixed from the first 32 (IPv6).
const BITMAP_BITS: usize = 1 << 16;

/// Networks under construction.
#[derive(Debug, Default)]
pub struct NetworksBuilder {
    networks: Vec<(IpNet, Posting)>,
}

impl NetworksBuilder {
    /// Adds a network; its host bits are masked.
    pub fn insert(&mut self, network: IpNet, posting: Posting) {
        self.networks.push((network.trunc(), posting));
    }

    /// Indexes the networks.
    pub fn build(self, hasher: &KeyHasher) -> Networks {
        let mut v4 = Family::new(32);
        let mut v6 = Family::new(128);
        for (network, posting) in self.networks {
            let (family, space) = match network {
                IpNet::V4(_) => (&mut v4, Space::Ipv4),
                IpNet::V6(_) => (&mut v6, Space::Ipv6),
            };
            let bits = to_bits(network.network());
            let hash = hasher.hash(space, &key(bits, network.prefix_len()));
            family.mark(bits, network.prefix_len());
            family.builders[usize::from(network.prefix_len())].get_or_insert_default().insert(
                hash,
                &key(bits, network.prefix_len()),
                posting,
            );
        }
        Networks { v4: v4.build(), v6: v6.build() }
    }
}

/// Every network of a snapshot.
#[derive(Debug)]
pub struct Networks {
    v4: Index,
    v6: Index,
}

impl Networks {
    /// Calls `found` with every network that covers the address, the widest first, and its postings.
    #[inline]
    pub fn covering(&self, hasher: &KeyHasher, address: IpAddr, mut found: impl FnMut(IpNet, &[Posting])) {
        let (index, space) = match address {
            IpAddr::V4(_) => (&self.v4, Space::Ipv4),
            IpAddr::V6(_) => (&self.v6, Space::Ipv6),
        };
        if index.sets.is_empty() {
            return;
        }
        let bits = to_bits(address);
        if !index.may_cover(bits) {
            return;
        }
        for (prefix, set) in &index.sets {
            let masked = mask(bits, *prefix);
            let key = key(masked, *prefix);
            let postings = set.get(hasher.hash(space, &key), &key);
            if !postings.is_empty()
                && let Ok(network) = IpNet::new(address, *prefix)
            {
                found(network.trunc(), postings);
            }
        }
    }

    /// Whether a network may cover the address; `false` is certain.
    #[inline]
    pub fn may_cover(&self, address: IpAddr) -> bool {
        let index = match address {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        !index.sets.is_empty() && index.may_cover(to_bits(address))
    }

    /// Number of distinct networks.
    pub fn len(&self) -> usize {
        [&self.v4, &self.v6].iter().flat_map(|index| index.sets.iter()).map(|(_, set)| set.len()).sum()
    }

    /// Every network with its postings.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, &[Posting])> {
        self.v4.iter(true).chain(self.v6.iter(false))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.v4.sets.is_empty() && self.v6.sets.is_empty()
    }
}

#[derive(Debug)]
struct Index {
    /// By prefix length, the widest networks first.
    sets: Vec<(u8, ExactSet)>,
    starts: Vec<u64>,
    shift_to_start: fn(u128) -> usize,
}

impl Index {
    fn iter(&self, v4: bool) -> impl Iterator<Item = (IpNet, &[Posting])> {
        self.sets.iter().flat_map(move |(prefix, set)| {
            set.iter().filter_map(move |(key, postings)| Some((network_of(key, *prefix, v4)?, postings)))
        })
    }

    #[inline]
    fn may_cover(&self, bits: u128) -> bool {
        let at = (self.shift_to_start)(bits);
        self.starts[at / 64] & (1 << (at % 64)) != 0
    }
}

struct Family {
    builders: Vec<Option<ExactBuilder>>,
    starts: Vec<u64>,
    start_bits: u8,
    start: fn(u128) -> usize,
}

impl Family {
    fn new(width: u8) -> Family {
        Family {
            builders: (0..=width).map(|_| None).collect(),
            starts: vec![0; BITMAP_BITS / 64],
            start_bits: if width == 32 { 16 } else { 32 },
            start: if width == 32 { start_v4 } else { start_v6 },
        }
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

    fn build(self) -> Index {
        let sets = self.builders.into_iter().enumerate();
        let sets = sets.filter_map(|(prefix, builder)| Some((prefix as u8, builder?.build()))).collect();
        Index { sets, starts: self.starts, shift_to_start: self.start }
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

fn mask(bits: u128, prefix: u8) -> u128 {
    match prefix {
        0 => 0,
        prefix => bits & (u128::MAX << (128 - u32::from(prefix))),
    }
}

/// The masked bits with the prefix length, so that one hash serves networks of all lengths.
fn key(bits: u128, prefix: u8) -> [u8; 17] {
    let mut key = [0; 17];
    key[..16].copy_from_slice(&bits.to_be_bytes());
    key[16] = prefix;
    key
}

/// The network of a key.
fn network_of(key: &[u8], prefix: u8, v4: bool) -> Option<IpNet> {
    let bits = u128::from_be_bytes(key.get(..16)?.try_into().ok()?);
    let address = if v4 { IpAddr::V4(((bits >> 96) as u32).into()) } else { IpAddr::V6(bits.into()) };
    IpNet::new(address, prefix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        /// Exactly the networks that `ipnet` says contain the address are found, whatever their width.
        #[test]
        fn finds_what_a_scan_finds(networks in proptest::collection::vec(network(), 0..40), probes in proptest::collection::vec(network(), 1..40)) {
            let hasher = KeyHasher::new(1);
            let mut builder = NetworksBuilder::default();
            for (number, network) in networks.iter().enumerate() {
                builder.insert(*network, Posting { indicator: number as u32, target: 0, scheme: 0 });
            }
            let index = builder.build(&hasher);
            for address in probes.iter().map(|probe| probe.addr()) {
                let mut found = Vec::new();
                index.covering(&hasher, address, |network, postings| {
                    found.extend(postings.iter().map(|posting| (network, posting.indicator)));
                });
                found.sort();
                let mut expected: Vec<_> = networks.iter().enumerate().filter(|(_, network)| network.contains(&address))
                    .map(|(number, network)| (network.trunc(), number as u32)).collect();
                expected.sort();
                prop_assert_eq!(found, expected);
            }
            let mut listed: Vec<_> = index.iter()
                .flat_map(|(network, postings)| postings.iter().map(move |posting| (network, posting.indicator))).collect();
            let mut given: Vec<_> =
                networks.iter().enumerate().map(|(number, network)| (network.trunc(), number as u32)).collect();
            listed.sort();
            given.sort();
            prop_assert_eq!(listed, given);
        }
    }
}
