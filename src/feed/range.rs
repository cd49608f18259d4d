//! Several addresses in one value: `a - b`, an address and its mask, `10.1.*`. Each becomes the least networks that hold
//! exactly these addresses.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Subnets};

use crate::observable::ip;

/// Between the ends of a range.
const DASHES: [&str; 4] = ["-", "\u{2013}", "\u{2014}", " to "];

/// The networks of a value that has no single address; `None` when it is not such a value.
pub(super) fn networks(text: &str) -> Option<Vec<IpNet>> {
    if !text.starts_with(|c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '[')) {
        return None;
    }
    if let Some((address, mask)) = text.split_once('/') {
        return masked(address, mask).map(|network| vec![network]);
    }
    if text.contains('*') {
        return wildcard(text).map(|network| vec![network]);
    }
    let dash = DASHES.iter().find(|dash| text.contains(**dash))?;
    let (from, to) = text.split_once(dash)?;
    let from = address(from)?;
    match (from, address(to)) {
        (from, Some(to)) => between(from, to),
        // `198.51.100.0-63`: the last number only.
        (IpAddr::V4(from), None) => {
            let last: u8 = digits(to.trim())?.parse().ok()?;
            let [a, b, c, _] = from.octets();
            between(from.into(), Ipv4Addr::new(a, b, c, last).into())
        }
        _ => None,
    }
}

/// The network of an address and a mask, `255.255.255.0` or `24`.
pub(super) fn masked(written: &str, mask: &str) -> Option<IpNet> {
    let address = address(written)?;
    let mask = mask.trim();
    let length = match mask.parse::<Ipv4Addr>() {
        // Routers also write which bits may differ: `0.0.0.255`.
        Ok(mask) if address.is_ipv4() && mask.octets()[0] == 0 => ipnet::ipv4_mask_to_prefix(!mask).ok()?,
        Ok(mask) if address.is_ipv4() => ipnet::ipv4_mask_to_prefix(mask).ok()?,
        Ok(_) => return None,
        Err(_) => digits(mask.strip_prefix('/').unwrap_or(mask))?.parse().ok()?,
    };
    IpNet::new(address, length).ok().map(|network| network.trunc())
}

/// Whether a word is the mask of a network, of either kind: no address of a list looks so.
pub(super) fn is_mask(word: &str) -> bool {
    word.parse::<Ipv4Addr>().is_ok_and(|mask| {
        let bits = if mask.octets()[0] == 0 { !mask } else { mask };
        mask != Ipv4Addr::UNSPECIFIED && bits.octets()[0] >= 128 && ipnet::ipv4_mask_to_prefix(bits).is_ok()
    })
}

/// The least networks from one address to another; `None` when they are of two families or in the wrong order.
pub(super) fn between(from: IpAddr, to: IpAddr) -> Option<Vec<IpNet>> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) if from <= to => {
            Some(Ipv4Subnets::new(from, to, 0).map(IpNet::V4).collect())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) if from <= to => {
            Some(Ipv6Subnets::new(from, to, 0).map(IpNet::V6).collect())
        }
        _ => None,
    }
}

/// An address of a feed, with the leading zeros that range files have (`001.009.000.000`).
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    ip::canonical(text.as_bytes()).or_else(|| {
        let padded = text.len() == 15 && text.split('.').all(|part| part.len() == 3 && digits(part).is_some());
        let part = |part: &str| part.parse::<u8>().ok();
        let octets: Vec<u8> = padded.then(|| text.split('.').map(part).collect::<Option<_>>())??;
        let octets: [u8; 4] = octets.try_into().ok()?;
        Some(Ipv4Addr::from(octets).into())
    })
}

/// `10.1.*`, `10.1.*.*`, `10.*`.
fn wildcard(text: &str) -> Option<IpNet> {
    let mut octets = [0; 4];
    let mut fixed = 0;
    for (at, part) in text.split('.').enumerate() {
        match part {
            "*" => continue,
            // A number behind a star is not a network.
            part if at == fixed => *octets.get_mut(at)? = digits(part)?.parse().ok()?,
            _ => return None,
        }
        fixed += 1;
    }
    let parts = text.split('.').count();
    let is_whole = (2..=4).contains(&parts) && text.ends_with('*') && (1..4).contains(&fixed);
    let length = u8::try_from(fixed * 8).ok()?;
    is_whole.then(|| Ipv4Net::new(Ipv4Addr::from(octets), length).ok().map(IpNet::V4))?
}

fn digits(text: &str) -> Option<&str> {
    ((1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        let found = networks(text).unwrap_or_default();
        found.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ranges_masks_and_wildcards_are_the_least_networks() {
        for (text, expected) in [
            ("198.51.100.0 - 198.51.100.63", "198.51.100.0/26"),
            ("198.51.100.1-198.51.100.4", "198.51.100.1/32 198.51.100.2/31 198.51.100.4/32"),
            ("198.51.100.0-63", "198.51.100.0/26"),
            ("198.51.100.0 \u{2013} 198.51.100.127", "198.51.100.0/25"),
            ("198.51.100.0 to 198.51.100.1", "198.51.100.0/31"),
            ("001.009.000.000 - 001.009.255.255", "1.9.0.0/16"),
            ("198.51.100.0 / 25", "198.51.100.0/25"),
            ("198.51.100.9/255.255.255.128", "198.51.100.0/25"),
            ("198.51.100.0/0.0.0.127", "198.51.100.0/25"),
            ("10.1.*", "10.1.0.0/16"),
            ("10.1.*.*", "10.1.0.0/16"),
            ("192.0.2.*", "192.0.2.0/24"),
            ("2001:db8::-2001:db8::ffff", "2001:db8::/112"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("198.51.100.9 - 198.51.100.1", ""),
            ("198.51.100.9/255.0.255.0", ""),
            ("10.*.1", ""),
            ("*.1", ""),
            ("192.0.2.1", ""),
            ("192.0.2.1/33", ""),
            ("evil-domain.com", ""),
            ("a-b", ""),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    proptest! {
        /// A range holds its ends and what lies between, and neither neighbour; arbitrary text does no harm.
        #[test]
        fn a_range_is_neither_widened_nor_narrowed(one: u32, other: u32, noise in "\\PC{0,30}") {
            let (from, to) = (one.min(other), one.max(other));
            let found = networks(&format!("{}-{}", Ipv4Addr::from(from), Ipv4Addr::from(to))).unwrap();
            let holds = |address: u32| found.iter().any(|network| network.contains(&IpAddr::from(Ipv4Addr::from(address))));
            prop_assert!(holds(from) && holds(to) && holds(from + (to - from) / 2));
            prop_assert!(from == 0 || !holds(from - 1));
            prop_assert!(to == u32::MAX || !holds(to + 1));
            let sizes: u64 = found.iter().map(|network| 1u64 << (32 - network.prefix_len())).sum();
            prop_assert_eq!(sizes, u64::from(to - from) + 1);
            networks(&noise);
        }
    }
}
