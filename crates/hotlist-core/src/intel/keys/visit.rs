//! The keys of one value of an event: the [`KeyPlan`] of its field, carried out.
//!
//! A [`KeyVisitor`] decides what happens to a key: the matcher finds hits, the sieve only records hashes. All
//! visitors get the same keys, so that they cannot disagree on what is looked up.

use std::net::IpAddr;
use std::ptr;

use super::{KeyPlan, KeySpace, KeyVisitor, MatchOptions, number_key, time_key};
use crate::intel::indicator::RangeValue;
use crate::observable::malformed::{Malformed, is_placeholder};
use crate::observable::{
    Kind, distinguished_name, domain, email, hash, host_list, ip, number, path, text, time, url, user,
};

/// Passes each key of the value `raw` at a field with this plan to `visitor`. `scratch` holds canonical forms that differ
/// from `raw`. Returns why the value, or part of it, is not of the field's kind.
#[inline]
pub fn visit_keys(
    options: MatchOptions,
    plan: KeyPlan,
    raw: &[u8],
    scratch: &mut Vec<u8>,
    visitor: &mut impl KeyVisitor,
) -> Option<Malformed> {
    match plan {
        KeyPlan::Ip => of_address(options, raw, visitor),
        KeyPlan::Host => host(options, raw, scratch, visitor),
        KeyPlan::Hash => of_digest(raw, scratch, visitor),
        plan => others(options, plan, raw, scratch, visitor),
    }
}

#[inline(never)]
fn of_address(options: MatchOptions, raw: &[u8], visitor: &mut impl KeyVisitor) -> Option<Malformed> {
    match ip::canonical(raw) {
        Some(found) => {
            address(found, visitor);
            None
        }
        None => addresses(options, raw, visitor),
    }
}

#[inline(never)]
fn of_digest(raw: &[u8], scratch: &mut Vec<u8>, visitor: &mut impl KeyVisitor) -> Option<Malformed> {
    match hash::canonical(raw, scratch) {
        Some((kind, digest)) => {
            of_hash(kind, digest, visitor);
            None
        }
        None => hashes(raw, scratch, visitor),
    }
}

/// Any plan; those that come before are the ones that most values have.
#[inline(never)]
fn others(
    options: MatchOptions,
    plan: KeyPlan,
    raw: &[u8],
    scratch: &mut Vec<u8>,
    visitor: &mut impl KeyVisitor,
) -> Option<Malformed> {
    match plan {
        KeyPlan::Ip => of_address(options, raw, visitor),
        KeyPlan::Host => host(options, raw, scratch, visitor),
        KeyPlan::Hash => of_digest(raw, scratch, visitor),
        KeyPlan::Url => of_url(options, raw, scratch, visitor),
        KeyPlan::Email => email(raw, scratch, visitor),
        KeyPlan::Auto => of_any(options, raw, scratch, visitor),
        KeyPlan::Any => {
            if !is_url(raw) {
                user(options, raw, scratch, visitor);
            }
            of_any(options, raw, scratch, visitor);
            None
        }
        KeyPlan::DistinguishedName => within(options, raw, |raw| of_distinguished_name(options, raw, scratch, visitor)),
        KeyPlan::Document | KeyPlan::UrlPart | KeyPlan::Nothing | KeyPlan::Tokens => None,
        KeyPlan::EmailOrHost => {
            let has_address = memchr::memchr(b'@', raw).is_some() && email(raw, scratch, visitor).is_none();
            host(options, raw, scratch, visitor).filter(|_| !has_address)
        }
        KeyPlan::User => user(options, raw, scratch, visitor),
        KeyPlan::UserDomain => {
            match user::canonical(raw, scratch) {
                Some(name) => visitor.key(KeySpace::User, name),
                None if raw.len() > user::LONGEST_INPUT => return Some(Malformed::TooLong),
                None => return None,
            }
            if !of_domain(options, raw, scratch, visitor) {
                below(options, raw, scratch, visitor);
            }
            None
        }
        KeyPlan::EmailOrText => {
            if memchr::memchr(b'@', raw).is_some() {
                email(raw, scratch, visitor);
            }
            within(options, raw, |raw| of_text(text::canonical(raw), visitor))
        }
        KeyPlan::Text => within(options, raw, |raw| of_text(text::canonical(raw), visitor)),
        KeyPlan::HttpVersion => {
            within(options, raw, |raw| of_text(text::canonical(raw).map(text::http_version), visitor))
        }
        KeyPlan::Name => of_name(options, KeySpace::Name, raw, scratch, visitor),
        KeyPlan::DnsType => of_name(options, KeySpace::DnsType, raw, scratch, visitor),
        KeyPlan::Path => within(options, raw, |raw| {
            if let Some(path) = path::canonical(raw, scratch) {
                visitor.key(KeySpace::Path, path);
            }
        }),
        KeyPlan::Number => match number::parse(raw) {
            Some(number) => {
                visitor.key(KeySpace::Number, &number_key(number));
                visitor.range(RangeValue::Number(number));
                None
            }
            None => malformed(raw, number::LONGEST_INPUT, Malformed::NotNumber),
        },
        KeyPlan::Time => match time::parse(raw) {
            Some(instant) => {
                visitor.key(KeySpace::Time, &time_key(instant));
                visitor.range(RangeValue::Time(instant));
                None
            }
            None => malformed(raw, time::LONGEST_INPUT, Malformed::NotTime),
        },
    }
}

/// A hash, a URL, an e-mail address or a host, as the value decides.
#[inline(never)]
fn of_any(
    options: MatchOptions,
    raw: &[u8],
    scratch: &mut Vec<u8>,
    visitor: &mut impl KeyVisitor,
) -> Option<Malformed> {
    if let Some((kind, digest)) = hash::canonical(raw, scratch) {
        of_hash(kind, digest, visitor);
        return None;
    }
    if is_url(raw) {
        of_url(options, raw, scratch, visitor);
        return host(options, raw, scratch, visitor);
    }
    let has_address = memchr::memchr(b'@', raw).is_some() && email(raw, scratch, visitor).is_none();
    host(options, raw, scratch, visitor).filter(|_| !has_address)
}

/// Whether a value that may be anything is a URL: it has a scheme.
fn is_url(raw: &[u8]) -> bool {
    memchr::memmem::find(raw.get(..64).unwrap_or(raw), b"://").is_some()
}

/// The whole name as text, and what its attributes name.
#[inline(never)]
fn of_distinguished_name(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, visitor: &mut impl KeyVisitor) {
    of_text(text::canonical(raw), visitor);
    let mut value_scratch = Vec::new();
    distinguished_name::attributes(raw, scratch, |kind, value| {
        if distinguished_name::is_email(kind) || memchr::memchr(b'@', value).is_some() {
            email(value, &mut value_scratch, visitor);
        } else if distinguished_name::is_common_name(kind) {
            host(options, value, &mut value_scratch, visitor);
        }
    });
}

/// The reason that a value that was not read is malformed: its length, or its kind; `None` for one that stands for no
/// value.
#[cold]
fn malformed(raw: &[u8], longest: usize, otherwise: Malformed) -> Option<Malformed> {
    match raw.len() > longest {
        true => Some(Malformed::TooLong),
        false => (!is_placeholder(raw)).then_some(otherwise),
    }
}

/// Reads free text unless it is too long.
fn within(options: MatchOptions, raw: &[u8], read: impl FnOnce(&[u8])) -> Option<Malformed> {
    if raw.len() > options.max_text_bytes {
        return Some(Malformed::TooLong);
    }
    read(raw);
    None
}

/// An address, a domain, or the host of what stands where one should.
#[inline(never)]
fn host(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, visitor: &mut impl KeyVisitor) -> Option<Malformed> {
    if let Some(found) = ip::canonical(raw) {
        address(found, visitor);
        return None;
    }
    if of_host_name(options, raw, scratch, visitor) {
        return None;
    }
    other_host(options, raw, scratch, visitor)
}

/// A value that is neither an address nor a name: a URL, `host:port`, a list of addresses, or a name with octets in it
/// that no host has.
#[inline(never)]
fn other_host(
    options: MatchOptions,
    raw: &[u8],
    scratch: &mut Vec<u8>,
    visitor: &mut impl KeyVisitor,
) -> Option<Malformed> {
    if raw.len() > options.max_url_bytes {
        below(options, raw, scratch, visitor);
        return Some(Malformed::TooLong);
    }
    let raw = text::trimmed(raw);
    // Whatever stands before it, a listed name at the end counts: a DNS label may hold `/`, `:` and `@`.
    below(options, raw, scratch, visitor);
    // The whole value is no host, as was found out before.
    let inner = domain::event_host(raw).filter(|inner| inner.len() < raw.len());
    inside(options, raw, inner, scratch, visitor)
}

/// The host inside a value, or a list of addresses.
fn inside(
    options: MatchOptions,
    raw: &[u8],
    inner: Option<&[u8]>,
    scratch: &mut Vec<u8>,
    visitor: &mut impl KeyVisitor,
) -> Option<Malformed> {
    if let Some(host) = inner {
        if let Some(found) = ip::canonical(host) {
            address(found, visitor);
            return None;
        }
        if of_host_name(options, host, scratch, visitor) {
            return None;
        }
        below(options, host, scratch, visitor);
    }
    let reason = ip::event_addresses(raw, ip::Separators::Commas, &mut |found| address(found, visitor))?;
    match reason {
        Malformed::NotIp if is_placeholder(raw) => None,
        Malformed::NotIp => host_list::event_hosts(raw, &mut |part| {
            let host = domain::event_host(part).unwrap_or(part);
            // What is known to be no host is not read again: a name outside ASCII takes long.
            let is_known = ptr::eq(host, raw) || inner.is_some_and(|inner| ptr::eq(host, inner));
            !is_known && of_listed_host(options, host, scratch, visitor)
        }),
        reason => Some(reason),
    }
}

/// Whether the host in a part of a list is an address or the name of a host; if so it was looked up.
fn of_listed_host(options: MatchOptions, host: &[u8], scratch: &mut Vec<u8>, visitor: &mut impl KeyVisitor) -> bool {
    match ip::canonical(host) {
        Some(found) => {
            address(found, visitor);
            true
        }
        None => memchr::memchr(b'.', host).is_some() && of_host_name(options, host, scratch, visitor),
    }
}

/// Whether `raw` is a domain; if so it was looked up.
#[inline]
fn of_domain(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, visitor: &mut impl KeyVisitor) -> bool {
    match domain::canonical(raw, scratch) {
        Some(found) => {
            name(options, found, visitor);
            true
        }
        None => false,
    }
}

#[inline]
fn name(options: MatchOptions, name: &[u8], visitor: &mut impl KeyVisitor) {
    visitor.key(KeySpace::Domain, name);
    for parents in parents_of(options) {
        if visitor.wants(*parents) {
            for parent in domain::parents(name) {
                visitor.parent(*parents, parent);
            }
        }
    }
}

/// Whether `raw` is the name of a host; if so it was looked up.
#[inline]
fn of_host_name(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, visitor: &mut impl KeyVisitor) -> bool {
    let Some(found) = domain::canonical(raw, scratch) else { return false };
    name(options, found, visitor);
    // No top-level domain ends in a digit, but for a few in A-label form.
    if found.last().is_some_and(u8::is_ascii_digit) {
        numeric_name(found, visitor);
    }
    true
}

/// A name whose last label is a number is an address in another spelling, such as `203.000.113.007`.
#[cold]
fn numeric_name(name: &[u8], visitor: &mut impl KeyVisitor) {
    if memchr::memchr(b'.', name).is_some()
        && let Some(found) = ip::spelled(name)
    {
        address(found, visitor);
    }
}

/// Where names whose subdomains count are looked up. With the global flag every domain counts as a parent, so the exact
/// set is asked, too; wildcards are only in the other.
#[inline]
fn parents_of(options: MatchOptions) -> &'static [KeySpace] {
    if options.subdomains { &[KeySpace::Domain, KeySpace::DomainSuffix] } else { &[KeySpace::DomainSuffix] }
}

/// The names at the end of a value that is not a name.
#[inline(never)]
fn below(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, visitor: &mut impl KeyVisitor) {
    let parents = parents_of(options);
    if parents.iter().any(|space| visitor.wants(*space))
        && let Some(tail) = domain::tail(raw, scratch)
    {
        for parents in parents {
            if !visitor.wants(*parents) {
                continue;
            }
            visitor.key(*parents, tail);
            for parent in domain::parents(tail) {
                visitor.key(*parents, parent);
            }
        }
    }
}

#[inline]
fn address(address: IpAddr, visitor: &mut impl KeyVisitor) {
    match address {
        IpAddr::V4(v4) => visitor.key(KeySpace::Ipv4, &v4.octets()),
        IpAddr::V6(v6) => {
            visitor.key(KeySpace::Ipv6, &v6.octets());
            if let Some(v4) = ip::embedded_v4(v6) {
                visitor.key(KeySpace::Ipv4, &v4.octets());
                visitor.networks(v4.into());
            }
        }
    }
    visitor.networks(address);
}

#[inline(never)]
fn addresses(options: MatchOptions, raw: &[u8], visitor: &mut impl KeyVisitor) -> Option<Malformed> {
    if raw.len() > options.max_url_bytes {
        return Some(Malformed::TooLong);
    }
    let reason = ip::event_addresses(raw, ip::Separators::CommasAndBlanks, &mut |found| address(found, visitor))?;
    (reason != Malformed::NotIp || !is_placeholder(raw)).then_some(reason)
}

#[inline]
fn of_hash(kind: Kind, digest: &[u8], visitor: &mut impl KeyVisitor) {
    for space in KeySpace::of_kind(kind) {
        visitor.key(*space, digest);
    }
}

#[inline(never)]
fn hashes(raw: &[u8], scratch: &mut Vec<u8>, visitor: &mut impl KeyVisitor) -> Option<Malformed> {
    let reason = hash::event_hashes(raw, scratch, &mut |kind, digest| of_hash(kind, digest, visitor))?;
    (!is_placeholder(raw)).then_some(reason)
}

fn email(raw: &[u8], scratch: &mut Vec<u8>, visitor: &mut impl KeyVisitor) -> Option<Malformed> {
    let reason = email::event_addresses(raw, scratch, &mut |address| visitor.key(KeySpace::Email, address))?;
    (!is_placeholder(raw)).then_some(reason)
}

#[inline]
fn user(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, visitor: &mut impl KeyVisitor) -> Option<Malformed> {
    let Some(name) = user::canonical(raw, scratch) else {
        return (raw.len() > user::LONGEST_INPUT).then_some(Malformed::TooLong);
    };
    visitor.key(KeySpace::User, name);
    let account = user::account(name);
    if let Some(account) = account {
        visitor.key(KeySpace::User, account);
    }
    if memchr::memchr(b'@', raw).is_some() {
        if options.user_principals
            && let Some(principal) = user::principal(account.unwrap_or(name))
        {
            visitor.key(KeySpace::User, principal);
        }
        email(raw, scratch, visitor);
    }
    None
}

fn of_text(text: Option<&[u8]>, visitor: &mut impl KeyVisitor) {
    if let Some(text) = text {
        visitor.key(KeySpace::Text, text);
    }
}

fn of_name(
    options: MatchOptions,
    space: KeySpace,
    raw: &[u8],
    scratch: &mut Vec<u8>,
    visitor: &mut impl KeyVisitor,
) -> Option<Malformed> {
    within(options, raw, |raw| {
        if let Some(name) = text::name(raw, scratch) {
            visitor.key(space, name);
        }
    })
}

#[inline]
fn of_url(
    options: MatchOptions,
    raw: &[u8],
    scratch: &mut Vec<u8>,
    visitor: &mut impl KeyVisitor,
) -> Option<Malformed> {
    if raw.len() > options.max_url_bytes {
        long_url(options, raw, scratch, visitor);
        return Some(Malformed::TooLong);
    }
    let Some(host) = url::raw_host(raw) else { return other_url(options, raw, scratch, visitor) };
    if options.url_hosts {
        plain_host(options, host, scratch, visitor);
    }
    if !visitor.wants(KeySpace::Url) {
        return None;
    }
    // Parsing costs more than looking up: only when some URL indicator has this host.
    scratch.clear();
    scratch.extend(host.iter().map(u8::to_ascii_lowercase));
    if !visitor.url_host(scratch.strip_suffix(b".").unwrap_or(scratch)) {
        return None;
    }
    visitor.url(&url::event_url(raw)?);
    None
}

fn plain_host(options: MatchOptions, host: &[u8], scratch: &mut Vec<u8>, visitor: &mut impl KeyVisitor) {
    // A name drops its trailing dot by itself, and no second one.
    if let Some(found) = ip::canonical(host.strip_suffix(b".").unwrap_or(host)) {
        address(found, visitor);
    } else if !of_host_name(options, host, scratch, visitor) {
        below(options, host, scratch, visitor);
    }
}

/// A URL whose host is not written plainly.
#[inline(never)]
fn other_url(
    options: MatchOptions,
    raw: &[u8],
    scratch: &mut Vec<u8>,
    visitor: &mut impl KeyVisitor,
) -> Option<Malformed> {
    if url::is_reference(raw) {
        return None;
    }
    if let Some(url) = url::event_url(raw) {
        if options.url_hosts {
            plain_host(options, url.host().as_bytes(), scratch, visitor);
        }
        if visitor.wants(KeySpace::Url) {
            visitor.url(&url);
        }
        return None;
    }
    let inner = domain::event_host(raw);
    if options.url_hosts {
        // Not the names at its end: those belong to its path.
        let reason = inside(options, raw, inner, scratch, visitor)?;
        return Some(if reason == Malformed::NotDomain { Malformed::NotUrl } else { reason });
    }
    (inner.is_none() && !is_placeholder(raw)).then_some(Malformed::NotUrl)
}

/// A URL beyond the limit: only its host is looked up, from the part within.
#[cold]
fn long_url(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, visitor: &mut impl KeyVisitor) {
    let head = &raw[..options.max_url_bytes];
    // The authority ends before the last of these, or not within.
    let end = head.iter().rposition(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).unwrap_or(0);
    if options.url_hosts
        && let Some(url) = url::event_url(&head[..end])
    {
        plain_host(options, url.host().as_bytes(), scratch, visitor);
    }
}
