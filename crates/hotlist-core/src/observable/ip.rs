//! Addresses and networks.
//!
//! Accepts what RFC 4291 and the dotted quad without leading zeros allow, plus what logs add: brackets, a `%zone`, and
//! IPv4 written as IPv4-mapped IPv6, which counts as IPv4.

mod event;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{domain, text};

pub use event::{Separators, embedded_v4, event_addresses, spelled};

/// The meaning of an indicator in address notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressOrNetwork {
    /// One address; a full-length prefix is one too.
    Address(IpAddr),
    /// A network of more than one address, host bits masked.
    Network(IpNet),
}

/// The longest text of an IPv6 address: eight groups of four digits, the last two as a dotted quad.
const LONGEST: usize = 45;
/// Longer input is never read as one address: the longest text, brackets, and a zone of 15 octets (`IFNAMSIZ` of Linux).
pub const LONGEST_INPUT: usize = 64;

/// One address, trimmed, without brackets and `%zone`; IPv4-mapped IPv6 becomes IPv4.
#[inline]
pub fn canonical(value: &[u8]) -> Option<IpAddr> {
    match value.first()? {
        b'0'..=b'9' => v4(value).map(IpAddr::V4).or_else(|| in_full(value)),
        // Most names.
        b'g'..=b'z' => None,
        _ => in_full(value),
    }
}

#[inline(never)]
fn in_full(value: &[u8]) -> Option<IpAddr> {
    if value.len() > LONGEST_INPUT {
        return None;
    }
    let mut value = text::trimmed(value);
    if let [b'[', inner @ .., b']'] = value {
        value = inner;
    }
    match value.first()? {
        b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b':' => {}
        _ => return None,
    }
    if let Some(address) = v4(value) {
        return Some(IpAddr::V4(address));
    }
    // A group of an IPv6 address has four digits at most, and a zone may stand behind one of either version.
    let has_group = value.iter().take(5).any(|byte| *byte == b':');
    if !has_group && !value.first()?.is_ascii_digit() {
        return None;
    }
    if let Some(zone) = memchr::memchr(b'%', value) {
        value = &value[..zone];
        if let Some(address) = v4(value) {
            return Some(IpAddr::V4(address));
        }
    }
    if has_group { v6(value) } else { None }
}

/// The address that an *event* value carries: an address, `v4:port`, `[v6]:port`, or a URL whose host is an address.
pub fn event_address(value: &[u8]) -> Option<IpAddr> {
    canonical(value).or_else(|| canonical(domain::event_host(value)?))
}

/// The address or network that an *indicator* names, `address` or `address/length`. Networks of IPv4-mapped addresses
/// become IPv4 networks, since events are compared as IPv4.
pub fn network(value: &str) -> Option<AddressOrNetwork> {
    if value.len() > LONGEST_INPUT {
        return None;
    }
    let value = value.trim();
    let Some((address, length)) = value.split_once('/') else {
        return canonical(value.as_bytes()).map(AddressOrNetwork::Address);
    };
    if length.is_empty() || length.len() > 3 || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length: u8 = length.parse().ok()?;
    let network = match address.parse::<IpAddr>().ok()? {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) if (96..=128).contains(&length) => IpNet::new(v4.into(), length - 96).ok()?,
            _ => IpNet::new(v6.into(), length).ok()?,
        },
        v4 => IpNet::new(v4, length).ok()?,
    };
    Some(match network.prefix_len() == network.max_prefix_len() {
        true => AddressOrNetwork::Address(network.addr()),
        false => AddressOrNetwork::Network(network.trunc()),
    })
}

/// A dotted quad of decimal octets without leading zeros.
#[inline]
fn v4(value: &[u8]) -> Option<Ipv4Addr> {
    let digit = |at: usize| value.get(at).map_or(u32::MAX, |byte| u32::from(byte.wrapping_sub(b'0')));
    let (mut octets, mut at) = ([0u8; 4], 0);
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            if value.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let first = digit(at);
        if first > 9 {
            return None;
        }
        at += 1;
        let (mut number, second) = (first, digit(at));
        if second <= 9 {
            if first == 0 {
                return None;
            }
            number = 10 * number + second;
            at += 1;
            let third = digit(at);
            if third <= 9 {
                number = 10 * number + third;
                at += 1;
            }
        }
        *octet = u8::try_from(number).ok()?;
    }
    (at == value.len()).then(|| Ipv4Addr::from(octets))
}

fn v6(value: &[u8]) -> Option<IpAddr> {
    // A group has at most four digits: most values that are not an address have no colon behind so many.
    if value.len() > LONGEST || !value.iter().take(5).any(|byte| *byte == b':') {
        return None;
    }
    let address: Ipv6Addr = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn every_spelling_of_an_address_becomes_the_same_address() {
        for value in ["192.0.2.1", " 192.0.2.1\n", "[192.0.2.1]", "::ffff:192.0.2.1", "::FFFF:C000:201", "192.0.2.1%0"]
        {
            assert_eq!(canonical(value.as_bytes()), address("192.0.2.1"), "{value}");
        }
        for value in ["2001:db8::1", "2001:0DB8:0:0:0:0:0:1", "[2001:db8::1]", "2001:db8::1%eth0", "[2001:db8::1%1]"] {
            assert_eq!(canonical(value.as_bytes()), address("2001:db8::1"), "{value}");
        }
        for value in [
            "",
            ".",
            "192.0.2",
            "192.0.2.01",
            "192.0.2.256",
            "192.0.2.1.",
            "1.2.3.4:5",
            "3232235777",
            "::1::",
            "[",
            "%",
            "g::",
        ] {
            assert_eq!(canonical(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn an_event_value_may_carry_a_port_or_be_a_url() {
        for value in
            ["192.0.2.1:443", "http://192.0.2.1/a", "https://u:p@192.0.2.1:8443/", "192.0.2.1/x", "ftp://192.0.2.1./"]
        {
            assert_eq!(event_address(value.as_bytes()), address("192.0.2.1"), "{value}");
        }
        for value in ["[2001:db8::1]:443", "http://[2001:DB8::1]:80/a", "[2001:db8::1]/"] {
            assert_eq!(event_address(value.as_bytes()), address("2001:db8::1"), "{value}");
        }
        for value in ["u@192.0.2.1", "192.0.2.1:x", "192.0.2.1:123456", "a.b"] {
            assert_eq!(event_address(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn networks_are_masked_and_full_length_ones_are_addresses() {
        let network_of = |text: &str| Some(AddressOrNetwork::Network(text.parse().unwrap()));
        assert_eq!(network("192.0.2.77/24"), network_of("192.0.2.0/24"));
        assert_eq!(network("::ffff:192.0.2.77/120"), network_of("192.0.2.0/24"));
        assert_eq!(network("2001:DB8::1/32"), network_of("2001:db8::/32"));
        assert_eq!(network("192.0.2.1/32"), address("192.0.2.1").map(AddressOrNetwork::Address));
        assert_eq!(network("[2001:db8::1]"), address("2001:db8::1").map(AddressOrNetwork::Address));
        for text in ["192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+8", "192.0.2.0/255.255.255.0", "192.0.2/24", "a/8"] {
            assert_eq!(network(text), None, "{text}");
        }
    }

    proptest! {
        /// The byte-wise dotted quad reader accepts exactly what the standard library accepts.
        #[test]
        fn the_fast_v4_path_agrees_with_the_standard_library(value in "[0-9.]{5,16}", quad in any::<[u8; 4]>()) {
            prop_assert_eq!(v4(value.as_bytes()), value.parse().ok());
            let plain = Ipv4Addr::from(quad);
            prop_assert_eq!(v4(plain.to_string().as_bytes()), Some(plain));
        }

        /// A text that is refused by its first bytes is not an address, with a zone or without.
        #[test]
        fn the_short_way_to_no_address_agrees_with_the_standard_library(value in "[0-9a-f]{0,5}[:.%g]?[0-9a-f:.%]{0,12}", blank in "[ \\n]?") {
            let bare = value.split('%').next().unwrap_or_default();
            let expected = bare.parse::<IpAddr>().ok().map(|address| address.to_canonical());
            prop_assert_eq!(canonical(value.as_bytes()), expected);
            prop_assert_eq!(canonical(format!("{blank}{value}{blank}").as_bytes()), expected);
        }

        /// An address written out is read back, arbitrary bytes do no harm.
        #[test]
        fn canonical_text_is_read_back(bytes in any::<[u8; 16]>(), noise in proptest::collection::vec(any::<u8>(), 0..50)) {
            let v6 = Ipv6Addr::from(bytes);
            let first = canonical(v6.to_string().as_bytes());
            prop_assert!(first.is_some());
            let again = first.and_then(|address| canonical(address.to_string().as_bytes()));
            prop_assert_eq!(first, again);
            event_address(&noise);
        }
    }
}
