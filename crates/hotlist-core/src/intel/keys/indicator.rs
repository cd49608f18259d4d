//! The keys by which an indicator is found.

use std::net::IpAddr;

use super::{KeySpace, TableId, network_key, number_key, time_key};
use crate::intel::term::{Comparison, NameScope, TermValue};
use crate::observable::Kind;

/// The statements of a feed about all its indicators that give them more keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndicatorOptions {
    /// Domains cover their subdomains too.
    pub subdomains: bool,
    /// URLs cover longer paths too.
    pub url_prefix: bool,
}

/// Calls `each` with each key by which an indicator's value is found: first its own, then the one by which names below a
/// domain or longer paths of a URL find it. A wildcard (`*.evil.com`) has only the latter, and a comparison other than `=`
/// has none.
pub fn indicator_keys(value: &TermValue, options: IndicatorOptions, mut each: impl FnMut(TableId, &[u8])) {
    let mut key = |space, key: &[u8]| each(TableId::Space(space), key);
    match value {
        TermValue::Address(IpAddr::V4(v4)) => key(KeySpace::Ipv4, &v4.octets()),
        TermValue::Address(IpAddr::V6(v6)) => key(KeySpace::Ipv6, &v6.octets()),
        TermValue::Network(network) => network_key(*network, each),
        TermValue::Domain { name, scope } => {
            if *scope != NameScope::Below {
                key(KeySpace::Domain, name.as_bytes());
            }
            if scope.has_below() || options.subdomains {
                key(KeySpace::DomainSuffix, name.as_bytes());
            }
        }
        TermValue::Url(url) => {
            key(KeySpace::Url, url.rest().as_bytes());
            if options.url_prefix {
                key(KeySpace::UrlPrefix, url.rest().as_bytes());
            }
        }
        TermValue::Hash { kind, digest } => {
            KeySpace::of_kind(*kind).iter().for_each(|space| key(*space, digest.as_bytes()));
        }
        TermValue::Email(address) => key(KeySpace::Email, address.as_bytes()),
        TermValue::User(name) => key(KeySpace::User, name.as_bytes()),
        TermValue::Text(text) => key(KeySpace::Text, text.as_bytes()),
        TermValue::Name { kind: Kind::DnsType, name } => key(KeySpace::DnsType, name.as_bytes()),
        TermValue::Name { name, .. } => key(KeySpace::Name, name.as_bytes()),
        TermValue::Path(path) => key(KeySpace::Path, path.as_bytes()),
        TermValue::Number { comparison: Comparison::Equal, value } => key(KeySpace::Number, &number_key(*value)),
        TermValue::Time { comparison: Comparison::Equal, value } => key(KeySpace::Time, &time_key(*value)),
        TermValue::Expression(expression) => key(KeySpace::Expression, &expression.key()),
        TermValue::Number { .. } | TermValue::Time { .. } => {}
    }
}

/// Whether [`indicator_keys`] gives this key.
pub fn has_key(value: &TermValue, options: IndicatorOptions, table: TableId, key: &[u8]) -> bool {
    let mut is_there = false;
    indicator_keys(value, options, |its_table, its_key| is_there |= its_table == table && its_key == key);
    is_there
}

/// Whether the schemes of an indicator's and an event's URL allow a match: a URL without a scheme matches any.
pub fn schemes_agree(indicator: Option<&str>, event: Option<&str>) -> bool {
    indicator.zip(event).is_none_or(|(indicator, event)| indicator == event)
}
