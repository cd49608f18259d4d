//! Addresses in *event* values that are not written as one plain address: lists, other spellings, and IPv4 addresses
//! inside IPv6 ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ::url::Host;

use super::{LONGEST_INPUT, canonical, event_address};
use crate::observable::malformed::{Malformed, is_placeholder};
use crate::observable::{domain, text};

/// The most addresses that are read from one value. Lists of forwarding proxies have a few.
const MOST_ADDRESSES: usize = 64;

/// The separators of the addresses of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separators {
    /// Commas and semicolons. At fields of names, a blank separates words: `printer 192.0.2.7` is not a list.
    Commas,
    /// Commas, semicolons and blanks.
    CommasAndBlanks,
}

/// Hands over the address that an *event* value is, in whatever spelling, or each address of a list. Gives why not all
/// of the value is read. The caller bounds the value's length.
pub fn event_addresses(value: &[u8], separators: Separators, found: &mut dyn FnMut(IpAddr)) -> Option<Malformed> {
    if let Some(address) = one(value) {
        found(address);
        return None;
    }
    let blanks = separators == Separators::CommasAndBlanks;
    let mut parts = value.split(|byte| match byte {
        b',' | b';' => true,
        b' ' | b'\t' | b'\n' | b'\r' => blanks,
        _ => false,
    });
    let mut malformed = None;
    for part in parts.by_ref().filter(|part| !part.is_empty()).take(MOST_ADDRESSES) {
        match one(part) {
            Some(address) => found(address),
            None if is_placeholder(part) => {}
            None => malformed = Some(Malformed::NotIp),
        }
    }
    if parts.any(|part| !part.is_empty()) { Some(Malformed::TooMany) } else { malformed }
}

fn one(value: &[u8]) -> Option<IpAddr> {
    event_address(value).or_else(|| spelled(value)).or_else(|| spelled(domain::event_host(value)?))
}

/// The address behind a spelling that is not canonical: a trailing dot, a prefix of the full length, decimal octets with
/// leading zeros, and the forms of the WHATWG URL standard (one integer, hexadecimal, octal, short, other digits). A
/// dotted quad of at most three digits each is read as decimal, whatever zeros lead.
pub fn spelled(value: &[u8]) -> Option<IpAddr> {
    if value.len() > LONGEST_INPUT {
        return None;
    }
    let value = text::trimmed(value);
    let value = value.strip_suffix(b".").unwrap_or(value);
    if let Some(address) = value.strip_suffix(b"/128") {
        return canonical(address).filter(IpAddr::is_ipv6);
    }
    let value = value.strip_suffix(b"/32").unwrap_or(value);
    if let Some(address) = canonical(value).filter(IpAddr::is_ipv4).or_else(|| padded(value)) {
        return Some(address);
    }
    // Names and small integers are parsed needlessly, so they are left out first.
    let is_small = value.len() < 8 && !value.contains(&b'.') && value.iter().all(u8::is_ascii_digit);
    let may_be = value.first().is_some_and(|byte| byte.is_ascii_digit() || !byte.is_ascii());
    let text = std::str::from_utf8(value).ok().filter(|_| may_be && !is_small)?;
    match Host::parse(text).ok()? {
        Host::Ipv4(address) if address.octets()[0] != 0 => Some(address.into()),
        _ => None,
    }
}

/// Four decimal octets of at most three digits.
fn padded(value: &[u8]) -> Option<IpAddr> {
    let mut octets = [0u8; 4];
    let mut parts = value.split(|byte| *byte == b'.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| (1..=3).contains(&part.len()))?;
        let number = part
            .iter()
            .try_fold(0u16, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u16::from(byte - b'0')))?;
        *octet = u8::try_from(number).ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets).into())
}

/// The IPv4 address inside an IPv6 one that stands for it: IPv4-compatible (RFC 4291, section 2.5.5.1), behind the
/// prefix of NAT64 (RFC 6052, section 2.1) or of 6to4 (RFC 3056, section 2).
pub fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        // `::` and `::1` are addresses of their own, and so is what would be below 1.0.0.0.
        [0, 0, 0, 0, 0, 0, high, low] if high > 0xff => Some(of(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: &str) -> (Vec<String>, Option<Malformed>) {
        let mut all = Vec::new();
        let malformed = event_addresses(value.as_bytes(), Separators::CommasAndBlanks, &mut |address| {
            all.push(address.to_string())
        });
        (all, malformed)
    }

    #[test]
    fn other_spellings_of_an_address_are_read() {
        for value in [
            "203.0.113.7",
            "203.000.113.007",
            "203.0.113.7.",
            "203.0.113.7/32",
            "3405803783",
            "0xcb007107",
            "0313.0.0161.07",
            "203.0.28935",
            "２０３.0.113.7",
            "203。0。113。7",
            "http://3405803783/x",
            "203.0.113.007:80",
        ] {
            assert_eq!(read(value), (vec!["203.0.113.7".to_owned()], None), "{value}");
        }
        assert_eq!(read("010.0.0.1").0, ["10.0.0.1"]);
        assert_eq!(read("2001:db8::1/128").0, ["2001:db8::1"]);
        for value in ["443", "1", "a.b", "300.1.1.1", "0.0.0.0x", "2001:db8::/64", &"1".repeat(LONGEST_INPUT + 1)] {
            assert_eq!(read(value), (Vec::new(), Some(Malformed::NotIp)), "{value}");
        }
    }

    #[test]
    fn each_address_of_a_list_is_read() {
        assert_eq!(read("203.0.113.7, 10.0.0.1"), (vec!["203.0.113.7".to_owned(), "10.0.0.1".to_owned()], None));
        assert_eq!(read("unknown, 203.0.113.7:80;[2001:db8::1]").0, ["203.0.113.7", "2001:db8::1"]);
        assert_eq!(read("203.0.113.7, x"), (vec!["203.0.113.7".to_owned()], Some(Malformed::NotIp)));
        let many = "192.0.2.1,".repeat(MOST_ADDRESSES + 1);
        let (found, malformed) = read(&many);
        assert_eq!((found.len(), malformed), (MOST_ADDRESSES, Some(Malformed::TooMany)));
    }

    #[test]
    fn an_address_inside_another_is_known() {
        let v4 = |text: &str| embedded_v4(text.parse().unwrap()).map(|address| address.to_string());
        for text in ["::203.0.113.7", "64:ff9b::cb00:7107", "2002:cb00:7107::1"] {
            assert_eq!(v4(text).as_deref(), Some("203.0.113.7"), "{text}");
        }
        for text in ["::", "::1", "2001:db8::cb00:7107", "64:ff9b:1::1"] {
            assert_eq!(v4(text), None, "{text}");
        }
    }

    proptest! {
        /// Zeros in front of an octet change nothing, and arbitrary bytes do no harm.
        #[test]
        fn leading_zeros_are_decimal(quad in any::<[u8; 4]>(), noise in proptest::collection::vec(any::<u8>(), 0..100)) {
            let [a, b, c, d] = quad;
            prop_assert_eq!(spelled(format!("{a:03}.{b:02}.{c}.{d:03}").as_bytes()), Some(Ipv4Addr::from(quad).into()));
            event_addresses(&noise, Separators::CommasAndBlanks, &mut |_| {});
        }
    }
}
