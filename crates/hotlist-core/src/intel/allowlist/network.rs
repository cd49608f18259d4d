//! Networks that cover an address. Networks nest or are apart, so those inside others are left out, and what remains is
//! in order: the last one that starts at or before an address covers it, or none does.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The widest networks of a list.
#[derive(Debug)]
pub(super) struct Networks {
    v4: Box<[Ipv4Net]>,
    v6: Box<[Ipv6Net]>,
}

impl Networks {
    pub(super) fn new(networks: Vec<IpNet>) -> Networks {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network.trunc() {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => v6.push(network),
            }
        }
        // A wider network stands before those inside it.
        v4.sort_unstable_by_key(|network| (network.network(), network.prefix_len()));
        v4.dedup_by(|inner, outer| outer.contains(&*inner));
        v6.sort_unstable_by_key(|network| (network.network(), network.prefix_len()));
        v6.dedup_by(|inner, outer| outer.contains(&*inner));
        Networks { v4: v4.into(), v6: v6.into() }
    }

    /// The widest network that covers the address.
    pub(super) fn covering(&self, address: IpAddr) -> Option<IpNet> {
        match address {
            IpAddr::V4(address) => {
                let after = self.v4.partition_point(|network| network.network() <= address);
                let last = self.v4[..after].last()?;
                last.contains(&address).then_some(IpNet::V4(*last))
            }
            IpAddr::V6(address) => {
                let after = self.v6.partition_point(|network| network.network() <= address);
                let last = self.v6[..after].last()?;
                last.contains(&address).then_some(IpNet::V6(*last))
            }
        }
    }
}
