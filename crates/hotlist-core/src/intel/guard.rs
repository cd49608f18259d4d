//! The import guard: indicators that would hit everywhere are refused before they reach a segment.
//!
//! Real feeds hold `127.0.0.1`, `8.8.8.8`, `.cc` and the hash of the empty file. One of them tags half of all events,
//! so every import except that of `scan` calls [`screen`] and lists the refused indicators.

mod common;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::indicator::{Indicator, Term, TermValue};
use super::pattern::program::Atoms;
use crate::observable::Kind;

/// The widest networks that an indicator may name, by prefix length.
const WIDEST_V4: u8 = 8;
/// The same for IPv6.
const WIDEST_V6: u8 = 19;

/// Public resolvers that almost every network talks to, as their operators publish them (Google, Cloudflare, Quad9,
/// OpenDNS, AdGuard, Level 3, Yandex, DNS.WATCH, CleanBrowsing, 114DNS, AliDNS, DNSPod).
const RESOLVERS: [IpAddr; 34] = [
    v4(8, 8, 8, 8),
    v4(8, 8, 4, 4),
    v4(1, 1, 1, 1),
    v4(1, 0, 0, 1),
    v4(1, 1, 1, 2),
    v4(1, 0, 0, 2),
    v4(1, 1, 1, 3),
    v4(1, 0, 0, 3),
    v4(9, 9, 9, 9),
    v4(9, 9, 9, 10),
    v4(149, 112, 112, 112),
    v4(208, 67, 222, 222),
    v4(208, 67, 220, 220),
    v4(94, 140, 14, 14),
    v4(94, 140, 15, 15),
    v4(4, 2, 2, 1),
    v4(4, 2, 2, 2),
    v4(4, 2, 2, 3),
    v4(4, 2, 2, 4),
    v4(77, 88, 8, 8),
    v4(77, 88, 8, 1),
    v4(84, 200, 69, 80),
    v4(84, 200, 70, 40),
    v4(185, 228, 168, 9),
    v4(114, 114, 114, 114),
    v4(223, 5, 5, 5),
    v4(119, 29, 29, 29),
    v6(0x2001, 0x4860, 0x4860, 0x8888),
    v6(0x2001, 0x4860, 0x4860, 0x8844),
    v6(0x2606, 0x4700, 0x4700, 0x1111),
    v6(0x2606, 0x4700, 0x4700, 0x1001),
    v6(0x2620, 0x00fe, 0, 0x00fe),
    v6(0x2620, 0x0119, 0, 0x0035),
    v6(0x2a10, 0x50c0, 0, 0x00ff),
];

/// Digests of the empty input.
const EMPTY_FILE: [&str; 5] = [
    "d41d8cd98f00b204e9800998ecf8427e",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
    "3::",
];

/// User names that stand on every machine, or stand for no name at all.
const PLACEHOLDER_USERS: [&str; 30] = [
    "-",
    "--",
    "?",
    ".",
    "*",
    "n/a",
    "na",
    "nil",
    "none",
    "null",
    "undefined",
    "unknown",
    "anonymous",
    "anonymous logon",
    "root",
    "admin",
    "administrator",
    "system",
    "nt authority\\system",
    "local service",
    "network service",
    "guest",
    "nobody",
    "user",
    "test",
    "default",
    "daemon",
    "www-data",
    "postgres",
    "ubuntu",
];

/// The reason that the guard refuses a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuardReason {
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// RFC 1918 and RFC 4193 addresses, and those shared by carriers (RFC 6598).
    Private,
    /// `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// `224.0.0.0/4`, `ff00::/8`, and the broadcast address.
    Multicast,
    /// `0.0.0.0/8`, `::`.
    Unspecified,
    /// A CIDR wider than /8, or /19 in IPv6.
    WideNetwork,
    /// A resolver that almost every network uses.
    PublicResolver,
    /// A name under which anybody may register (`co.uk`, `github.io`).
    PublicSuffix,
    /// A name without a dot.
    SingleLabel,
    /// The hash of the empty file.
    EmptyFile,
    /// A user name that means nobody in particular.
    PlaceholderUser,
    /// A lone number or time, or a lone text, name or expression that is short or common.
    Generic,
}

impl GuardReason {
    /// A low-cardinality word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            GuardReason::Loopback => "loopback",
            GuardReason::Private => "private",
            GuardReason::LinkLocal => "link_local",
            GuardReason::Multicast => "multicast",
            GuardReason::Unspecified => "unspecified",
            GuardReason::WideNetwork => "wide_network",
            GuardReason::PublicResolver => "public_resolver",
            GuardReason::PublicSuffix => "public_suffix",
            GuardReason::SingleLabel => "single_label",
            GuardReason::EmptyFile => "empty_file",
            GuardReason::PlaceholderUser => "placeholder_user",
            GuardReason::Generic => "generic",
        }
    }
}

impl fmt::Display for GuardReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GuardReason::Loopback => "a loopback address: every host talks to itself",
            GuardReason::Private => "a private address: it is another host in every network",
            GuardReason::LinkLocal => "a link-local address: it is another host on every link",
            GuardReason::Multicast => "a multicast or broadcast address: not the address of a host",
            GuardReason::Unspecified => "the unspecified address: not the address of a host",
            GuardReason::WideNetwork => "a network wider than /8 (IPv6: /19)",
            GuardReason::PublicResolver => "a public DNS resolver that almost every network uses",
            GuardReason::PublicSuffix => "a public suffix: anybody may register a name below it",
            GuardReason::SingleLabel => "a name of a single label: it is another host in every network",
            GuardReason::EmptyFile => "the hash of the empty file",
            GuardReason::PlaceholderUser => "a user name that every system has, or that stands for none",
            GuardReason::Generic => {
                "a lone number or time, or a lone text, name or expression that is short or common: too many events have it"
            }
        })
    }
}

/// A term that the guard took out.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardRefusal {
    /// The value.
    pub value: TermValue,
    /// The reason.
    pub reason: GuardReason,
}

/// Takes the refused terms out of an indicator and returns them. Terms are alternatives, so the others stand without
/// them; an indicator that has no terms left must be dropped by the caller.
///
/// With a program only the terms count by which it is looked for, and a lone comparison is fine there, because it is not
/// alone. Alternatives of the program that need a refused term go as a whole.
///
/// Feeds that are allowed generic indicators, and `scan`, do not call this.
pub fn screen(indicator: &mut Indicator) -> Vec<GuardRefusal> {
    if indicator.program.is_some() {
        return screen_composite(indicator);
    }
    // Nearly every indicator passes whole, and then nothing is moved.
    if indicator.terms.iter().all(|term| refuse(&term.value).is_none()) {
        return Vec::new();
    }
    let mut refused = Vec::new();
    indicator.terms.retain_mut(|term| match refuse(&term.value) {
        None => true,
        Some(reason) => {
            refused.push(GuardRefusal { value: term.value.clone(), reason });
            false
        }
    });
    refused
}

/// The terms of an indicator that [`screen`] would refuse, each with its number and the reason.
pub fn reasons(indicator: &Indicator) -> impl Iterator<Item = (usize, &Term, GuardReason)> {
    let is_alone = indicator.program.is_none();
    indicator.terms.iter().enumerate().filter(|(number, _)| !indicator.is_part(*number)).filter_map(
        move |(number, term)| {
            let reason = refuse(&term.value).filter(|reason| is_alone || *reason != GuardReason::Generic)?;
            Some((number, term, reason))
        },
    )
}

fn screen_composite(indicator: &mut Indicator) -> Vec<GuardRefusal> {
    let found: Vec<_> =
        reasons(indicator).map(|(number, term, reason)| (number as u8, term.value.clone(), reason)).collect();
    if found.is_empty() {
        return Vec::new();
    }
    let Some(program) = indicator.program.take() else { return Vec::new() };
    let left = program.without(Atoms::from_numbers(found.iter().map(|(atom, ..)| *atom)));
    let left = left.and_then(|left| left.compact(&indicator.terms, program.keys()));
    (indicator.terms, indicator.program) =
        left.map_or_else(Default::default, |(terms, program)| (terms, program.map(Box::new)));
    let mut refused: Vec<GuardRefusal> =
        found.into_iter().map(|(_, value, reason)| GuardRefusal { value, reason }).collect();
    // The rest may be a plain list, and is checked as one.
    if indicator.program.is_none() {
        refused.append(&mut screen(indicator));
    }
    refused
}

/// The reason to refuse a single value; `None` if it is fine.
pub fn refuse(value: &TermValue) -> Option<GuardReason> {
    match value {
        TermValue::Address(address) => refuse_address(*address),
        TermValue::Network(network) => refuse_network(network),
        TermValue::Domain { name, .. } => refuse_domain(name),
        TermValue::Hash { digest, .. } => EMPTY_FILE.contains(&digest.as_ref()).then_some(GuardReason::EmptyFile),
        TermValue::User(name) => PLACEHOLDER_USERS.contains(&name.as_ref()).then_some(GuardReason::PlaceholderUser),
        TermValue::Text(text) => common::is_common(text).then_some(GuardReason::Generic),
        TermValue::Name { kind: Kind::Name, name } => common::is_common(name).then_some(GuardReason::Generic),
        TermValue::Expression(expression) => common::is_common_expression(expression).then_some(GuardReason::Generic),
        other => other.kind().is_generic_alone().then_some(GuardReason::Generic),
    }
}

fn refuse_address(address: IpAddr) -> Option<GuardReason> {
    if RESOLVERS.contains(&address) {
        return Some(GuardReason::PublicResolver);
    }
    match address {
        IpAddr::V4(address) => refuse_v4(address),
        IpAddr::V6(address) => refuse_v6(address),
    }
}

fn refuse_v4(address: Ipv4Addr) -> Option<GuardReason> {
    let [first, second, ..] = address.octets();
    if first == 0 {
        Some(GuardReason::Unspecified)
    } else if address.is_loopback() {
        Some(GuardReason::Loopback)
    } else if address.is_private() || (first == 100 && second & 0xc0 == 64) {
        Some(GuardReason::Private)
    } else if address.is_link_local() {
        Some(GuardReason::LinkLocal)
    } else if address.is_multicast() || address.is_broadcast() {
        Some(GuardReason::Multicast)
    } else {
        None
    }
}

fn refuse_v6(address: Ipv6Addr) -> Option<GuardReason> {
    if address.is_unspecified() {
        Some(GuardReason::Unspecified)
    } else if address.is_loopback() {
        Some(GuardReason::Loopback)
    } else if address.is_unique_local() {
        Some(GuardReason::Private)
    } else if address.is_unicast_link_local() {
        Some(GuardReason::LinkLocal)
    } else if address.is_multicast() {
        Some(GuardReason::Multicast)
    } else {
        None
    }
}

/// A network is refused when all of it is, that is when its first address and its last are, for the same reason: the
/// ranges above are whole networks themselves. One that merely contains a resolver stays.
fn refuse_network(network: &IpNet) -> Option<GuardReason> {
    let widest = if network.addr().is_ipv4() { WIDEST_V4 } else { WIDEST_V6 };
    if network.prefix_len() < widest {
        return Some(GuardReason::WideNetwork);
    }
    let reason = |address: IpAddr| match address {
        IpAddr::V4(address) => refuse_v4(address),
        IpAddr::V6(address) => refuse_v6(address),
    };
    let first = reason(network.network());
    first.filter(|_| first == reason(network.broadcast()))
}

fn refuse_domain(name: &str) -> Option<GuardReason> {
    if !name.contains('.') {
        return Some(GuardReason::SingleLabel);
    }
    let is_suffix = psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.as_bytes() == name.as_bytes());
    is_suffix.then_some(GuardReason::PublicSuffix)
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// An IPv6 address of three leading groups and a last one.
const fn v6(a: u16, b: u16, c: u16, last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, last))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::intel::indicator::NameScope;
    use crate::intel::indicator::{Comparison, Context, Target};
    use crate::observable::Kind;

    fn address(text: &str) -> TermValue {
        TermValue::Address(text.parse().unwrap())
    }

    fn domain(name: &str) -> TermValue {
        TermValue::Domain { name: name.into(), scope: NameScope::Exact }
    }

    #[test]
    fn what_hits_everywhere_is_refused_with_its_reason() {
        let network = |text: &str| TermValue::Network(text.parse().unwrap());
        let hash = |kind, digest: &str| TermValue::Hash { kind, digest: digest.into() };
        for (value, reason) in [
            (address("127.0.0.1"), GuardReason::Loopback),
            (address("::1"), GuardReason::Loopback),
            (address("10.1.2.3"), GuardReason::Private),
            (address("100.64.0.1"), GuardReason::Private),
            (address("fd00::1"), GuardReason::Private),
            (address("169.254.1.1"), GuardReason::LinkLocal),
            (address("fe80::1"), GuardReason::LinkLocal),
            (address("224.0.0.251"), GuardReason::Multicast),
            (address("255.255.255.255"), GuardReason::Multicast),
            (address("0.0.0.0"), GuardReason::Unspecified),
            (address("::"), GuardReason::Unspecified),
            (address("8.8.8.8"), GuardReason::PublicResolver),
            (address("2620:fe::fe"), GuardReason::PublicResolver),
            (network("96.0.0.0/7"), GuardReason::WideNetwork),
            (network("2000::/18"), GuardReason::WideNetwork),
            (network("192.168.1.0/24"), GuardReason::Private),
            (network("0.0.0.0/24"), GuardReason::Unspecified),
            (domain("co.uk"), GuardReason::PublicSuffix),
            (domain("github.io"), GuardReason::PublicSuffix),
            (domain("localhost"), GuardReason::SingleLabel),
            (domain("cc"), GuardReason::SingleLabel),
            (hash(Kind::Md5, "d41d8cd98f00b204e9800998ecf8427e"), GuardReason::EmptyFile),
            (TermValue::User("admin".into()), GuardReason::PlaceholderUser),
            (TermValue::User("-".into()), GuardReason::PlaceholderUser),
            (TermValue::Number { comparison: Comparison::Equal, value: 443.0 }, GuardReason::Generic),
            (TermValue::Text("GET".into()), GuardReason::Generic),
            (TermValue::Name { kind: Kind::Name, name: "tcp".into() }, GuardReason::Generic),
            (TermValue::Name { kind: Kind::Name, name: "svchost.exe".into() }, GuardReason::Generic),
            (TermValue::Text("Mozilla/5.0".into()), GuardReason::Generic),
            (TermValue::Name { kind: Kind::DnsType, name: "longtype1".into() }, GuardReason::Generic),
        ] {
            assert_eq!(refuse(&value), Some(reason), "{value}");
        }
    }

    #[test]
    fn real_indicators_pass() {
        let network = |text: &str| TermValue::Network(text.parse().unwrap());
        for value in [
            address("203.0.113.9"),
            address("100.128.0.1"),
            address("2001:db8::1"),
            network("8.8.8.0/24"),
            network("45.0.0.0/8"),
            network("2a00::/19"),
            domain("evil.com"),
            domain("evil.github.io"),
            domain("abcdefghijklmnop.onion"),
            domain("evil.bit"),
            TermValue::User("svc-evil".into()),
            TermValue::Path("c:\\evil.exe".into()),
            TermValue::Text("HKEY_CURRENT_USER\\Software\\Evil".into()),
            TermValue::Name { kind: Kind::Name, name: "evil-loader.exe".into() },
        ] {
            assert_eq!(refuse(&value), None, "{value}");
        }
    }

    #[test]
    fn only_the_refused_terms_of_an_indicator_go() {
        let term = |value| Term { value, target: Target::Kind };
        let mut indicator = Indicator {
            id: None,
            terms: vec![term(address("127.0.0.1")), term(address("203.0.113.9"))],
            context: Arc::new(Context::default()),
            program: None,
            valid_from: None,
            valid_until: None,
            revoked: false,
            port: None,
            line: 1,
        };
        let refused = screen(&mut indicator);
        assert_eq!(refused, [GuardRefusal { value: address("127.0.0.1"), reason: GuardReason::Loopback }]);
        assert_eq!(indicator.terms, [term(address("203.0.113.9"))]);
        assert!(screen(&mut indicator).is_empty());
    }

    fn composite(pattern: &str) -> Indicator {
        let table = crate::schema::FieldTable::embedded(true).unwrap();
        let compiled = crate::intel::pattern::compile(pattern, &table).unwrap();
        Indicator {
            id: None,
            terms: compiled.terms,
            program: compiled.program.map(Box::new),
            context: Arc::new(Context::default()),
            valid_from: None,
            valid_until: None,
            revoked: false,
            port: None,
            line: 1,
        }
    }

    #[test]
    fn a_comparison_is_fine_beside_others_and_a_generic_key_is_not() {
        for pattern in [
            "[network-traffic:dst_port = 443 AND network-traffic:protocols[*] = 'tcp']",
            "[ipv4-addr:value = '203.0.113.9' AND ipv4-addr:value = '127.0.0.1']",
            "[ipv4-addr:value = '203.0.113.9' AND ipv4-addr:value != '127.0.0.1']",
        ] {
            let mut indicator = composite(pattern);
            let before = indicator.clone();
            assert_eq!(screen(&mut indicator), [], "{pattern}");
            assert_eq!(indicator, before, "{pattern}");
        }
        let mut resolver = composite("[ipv4-addr:value = '8.8.8.8' AND network-traffic:dst_port = 443]");
        let refused = [GuardRefusal { value: address("8.8.8.8"), reason: GuardReason::PublicResolver }];
        assert_eq!(screen(&mut resolver), refused);
        assert!(resolver.terms.is_empty() && resolver.program.is_none());
    }

    #[test]
    fn of_alternatives_only_those_with_a_generic_key_go_and_the_rest_is_judged_again() {
        let resolver = "[ipv4-addr:value = '8.8.8.8' AND network-traffic:dst_port = 443]";
        let mut plain = composite(&format!("{resolver} OR [domain-name:value IN ('evil.com', 'localhost')]"));
        assert_eq!(screen(&mut plain).len(), 2);
        assert_eq!(
            (plain.terms, plain.program),
            (vec![Term { value: domain("evil.com"), target: Target::Kind }], None)
        );
        let mut left = composite(&format!("{resolver} OR [domain-name:value = 'evil.com' AND file:size > 1]"));
        assert_eq!(screen(&mut left).len(), 1);
        let shown = left.program.as_ref().unwrap().shown(&left.terms).to_string();
        assert_eq!(shown, "domain evil.com AND number > 1 at file:size");
        assert_eq!(left.keys().map(|term| term.value.to_string()).collect::<Vec<_>>(), ["evil.com"]);
        assert!(left.is_part(1) && !left.is_part(0));
    }

    #[test]
    fn the_empty_file_digests_are_those_of_the_empty_input() {
        use sha2::Digest;
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert!(EMPTY_FILE.contains(&hex(&sha2::Sha256::digest([])).as_str()));
        assert!(EMPTY_FILE.contains(&hex(&sha2::Sha512::digest([])).as_str()));
    }
}
