//! One value, every form in which it is looked up: the plan of [`Reading`], carried out.
//!
//! What a look-up does is the [`Forms`]'s business: the matcher finds hits, the sieve only takes note of hashes. Both
//! go through here, so that they cannot disagree on what is looked up.

use std::net::IpAddr;

use crate::intel::plan::Reading;
use crate::intel::snapshot::{MatchOptions, RangeValue, number_key, time_key};
use crate::intel::space::Space;
use crate::observable::malformed::{Malformed, is_placeholder};
use crate::observable::url::CanonicalUrl;
use crate::observable::{Kind, domain, email, hash, ip, number, path, text, time, url, user};

/// Receives the canonical forms of a value.
pub(super) trait Forms {
    /// A key of a name space.
    fn key(&mut self, space: Space, key: &[u8]);
    /// A parent of a domain whose own key was given before, for indicators that stand for the names below them.
    #[inline]
    fn parent(&mut self, space: Space, parent: &[u8]) {
        self.key(space, parent);
    }
    /// An address, for the networks that cover it; its key was given before.
    fn networks(&mut self, address: IpAddr);
    /// A number or an instant, for comparisons other than `=`.
    fn range(&mut self, value: RangeValue);
    /// The host of a URL that was not parsed yet. Whether it is worth parsing.
    fn url_host(&mut self, host: &[u8]) -> bool;
    /// A URL.
    fn url(&mut self, url: &CanonicalUrl);
    /// Whether keys of a name space are of any use. `false` spares the work of making them.
    fn wants(&self, space: Space) -> bool;
}

/// Reads `raw` as the field's `reading` says. `scratch` holds canonical forms that differ from `raw`. Gives why the value,
/// or part of it, is not of the field's kind.
#[inline]
pub(super) fn read(
    options: MatchOptions,
    reading: Reading,
    raw: &[u8],
    scratch: &mut Vec<u8>,
    forms: &mut impl Forms,
) -> Option<Malformed> {
    match reading {
        Reading::Ip => match ip::canonical(raw) {
            Some(found) => {
                address(found, forms);
                None
            }
            None => addresses(options, raw, forms),
        },
        Reading::Host => host(options, raw, scratch, forms),
        Reading::Url => of_url(options, raw, scratch, forms),
        Reading::Hash => match hash::canonical(raw, scratch) {
            Some((kind, digest)) => {
                of_hash(kind, digest, forms);
                None
            }
            None => hashes(raw, scratch, forms),
        },
        Reading::Email => email(raw, scratch, forms),
        Reading::EmailOrHost | Reading::Auto => {
            let has_address = memchr::memchr(b'@', raw).is_some() && email(raw, scratch, forms).is_none();
            host(options, raw, scratch, forms).filter(|_| !has_address)
        }
        Reading::User => user(options, raw, scratch, forms),
        Reading::UserDomain => {
            match user::canonical(raw, scratch) {
                Some(name) => forms.key(Space::User, name),
                None if raw.len() > user::LONGEST_INPUT => return Some(Malformed::TooLong),
                None => return None,
            }
            if !of_domain(options, raw, scratch, forms) {
                below(options, raw, scratch, forms);
            }
            None
        }
        Reading::EmailOrText => {
            if memchr::memchr(b'@', raw).is_some() {
                email(raw, scratch, forms);
            }
            within(options, raw, |raw| of_text(text::canonical(raw), forms))
        }
        Reading::Text => within(options, raw, |raw| of_text(text::canonical(raw), forms)),
        Reading::HttpVersion => {
            within(options, raw, |raw| of_text(text::canonical(raw).map(text::http_version), forms))
        }
        Reading::Name => of_name(options, Space::Name, raw, scratch, forms),
        Reading::DnsType => of_name(options, Space::DnsType, raw, scratch, forms),
        Reading::Path => within(options, raw, |raw| {
            if let Some(path) = path::canonical(raw, scratch) {
                forms.key(Space::Path, path);
            }
        }),
        Reading::Number => match number::parse(raw) {
            Some(number) => {
                forms.key(Space::Number, &number_key(number));
                forms.range(RangeValue::Number(number));
                None
            }
            None => malformed(raw, number::LONGEST_INPUT, Malformed::NotNumber),
        },
        Reading::Time => match time::parse(raw) {
            Some(instant) => {
                forms.key(Space::Time, &time_key(instant));
                forms.range(RangeValue::Time(instant));
                None
            }
            None => malformed(raw, time::LONGEST_INPUT, Malformed::NotTime),
        },
    }
}

/// Why a value that was not read is malformed: its length, or its kind; `None` for one that stands for no value.
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
#[inline]
fn host(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) -> Option<Malformed> {
    if let Some(found) = ip::canonical(raw) {
        address(found, forms);
        return None;
    }
    if of_host_name(options, raw, scratch, forms) {
        return None;
    }
    other_host(options, raw, scratch, forms)
}

/// What is neither an address nor a name: a URL, `host:port`, a list of addresses, or a name with octets in it that no
/// host has.
#[inline(never)]
fn other_host(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) -> Option<Malformed> {
    if raw.len() > options.max_url_bytes {
        below(options, raw, scratch, forms);
        return Some(Malformed::TooLong);
    }
    let inner = domain::event_host(raw);
    // Whatever stands before it, a listed name at the end counts: a DNS label may hold `/`, `:` and `@`.
    if inner.is_none_or(|inner| inner.len() < raw.len()) {
        below(options, raw, scratch, forms);
    }
    inside(options, raw, inner, scratch, forms)
}

/// The host inside a value, or a list of addresses.
fn inside(
    options: MatchOptions,
    raw: &[u8],
    inner: Option<&[u8]>,
    scratch: &mut Vec<u8>,
    forms: &mut impl Forms,
) -> Option<Malformed> {
    if let Some(host) = inner {
        if let Some(found) = ip::canonical(host) {
            address(found, forms);
            return None;
        }
        if of_host_name(options, host, scratch, forms) {
            return None;
        }
        below(options, host, scratch, forms);
    }
    let reason = ip::event_addresses(raw, ip::Separators::Commas, &mut |found| address(found, forms))?;
    match reason {
        Malformed::NotIp => (!is_placeholder(raw)).then_some(Malformed::NotDomain),
        reason => Some(reason),
    }
}

/// Whether `raw` is a domain; if so it was looked up.
#[inline]
fn of_domain(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) -> bool {
    match domain::canonical(raw, scratch) {
        Some(found) => {
            name(options, found, forms);
            true
        }
        None => false,
    }
}

#[inline]
fn name(options: MatchOptions, name: &[u8], forms: &mut impl Forms) {
    forms.key(Space::Domain, name);
    for parents in parents_of(options) {
        if forms.wants(*parents) {
            for parent in domain::parents(name) {
                forms.parent(*parents, parent);
            }
        }
    }
}

/// Whether `raw` is the name of a host; if so it was looked up.
#[inline]
fn of_host_name(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) -> bool {
    let Some(found) = domain::canonical(raw, scratch) else { return false };
    name(options, found, forms);
    // No top-level domain ends in a digit, but for a few in A-label form.
    if found.last().is_some_and(u8::is_ascii_digit) {
        numeric_name(found, forms);
    }
    true
}

/// A name whose last label is a number is an address in another spelling, such as `203.000.113.007`.
#[cold]
fn numeric_name(name: &[u8], forms: &mut impl Forms) {
    if memchr::memchr(b'.', name).is_some()
        && let Some(found) = ip::spelled(name)
    {
        address(found, forms);
    }
}

/// Where names whose subdomains count are looked up. With the global flag every domain counts as a parent, so the exact
/// set is asked, too; wildcards are only in the other.
#[inline]
fn parents_of(options: MatchOptions) -> &'static [Space] {
    if options.subdomains { &[Space::Domain, Space::DomainSuffix] } else { &[Space::DomainSuffix] }
}

/// The names at the end of a value that is not a name.
#[inline(never)]
fn below(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) {
    let parents = parents_of(options);
    if parents.iter().any(|space| forms.wants(*space))
        && let Some(tail) = domain::tail(raw, scratch)
    {
        for parents in parents {
            if !forms.wants(*parents) {
                continue;
            }
            forms.key(*parents, tail);
            for parent in domain::parents(tail) {
                forms.key(*parents, parent);
            }
        }
    }
}

#[inline]
fn address(address: IpAddr, forms: &mut impl Forms) {
    match address {
        IpAddr::V4(v4) => forms.key(Space::Ipv4, &v4.octets()),
        IpAddr::V6(v6) => {
            forms.key(Space::Ipv6, &v6.octets());
            if let Some(v4) = ip::embedded_v4(v6) {
                forms.key(Space::Ipv4, &v4.octets());
                forms.networks(v4.into());
            }
        }
    }
    forms.networks(address);
}

#[inline(never)]
fn addresses(options: MatchOptions, raw: &[u8], forms: &mut impl Forms) -> Option<Malformed> {
    if raw.len() > options.max_url_bytes {
        return Some(Malformed::TooLong);
    }
    let reason = ip::event_addresses(raw, ip::Separators::CommasAndBlanks, &mut |found| address(found, forms))?;
    (reason != Malformed::NotIp || !is_placeholder(raw)).then_some(reason)
}

#[inline]
fn of_hash(kind: Kind, digest: &[u8], forms: &mut impl Forms) {
    if let Some(space) = Space::of_hash(kind) {
        forms.key(space, digest);
    }
}

#[inline(never)]
fn hashes(raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) -> Option<Malformed> {
    let reason = hash::event_hashes(raw, scratch, &mut |kind, digest| of_hash(kind, digest, forms))?;
    (!is_placeholder(raw)).then_some(reason)
}

fn email(raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) -> Option<Malformed> {
    let reason = email::event_addresses(raw, scratch, &mut |address| forms.key(Space::Email, address))?;
    (!is_placeholder(raw)).then_some(reason)
}

#[inline]
fn user(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) -> Option<Malformed> {
    let Some(name) = user::canonical(raw, scratch) else {
        return (raw.len() > user::LONGEST_INPUT).then_some(Malformed::TooLong);
    };
    forms.key(Space::User, name);
    let account = user::account(name);
    if let Some(account) = account {
        forms.key(Space::User, account);
    }
    if memchr::memchr(b'@', raw).is_some() {
        if options.user_principals
            && let Some(principal) = user::principal(account.unwrap_or(name))
        {
            forms.key(Space::User, principal);
        }
        email(raw, scratch, forms);
    }
    None
}

fn of_text(text: Option<&[u8]>, forms: &mut impl Forms) {
    if let Some(text) = text {
        forms.key(Space::Text, text);
    }
}

fn of_name(
    options: MatchOptions,
    space: Space,
    raw: &[u8],
    scratch: &mut Vec<u8>,
    forms: &mut impl Forms,
) -> Option<Malformed> {
    within(options, raw, |raw| {
        if let Some(name) = text::name(raw, scratch) {
            forms.key(space, name);
        }
    })
}

#[inline]
fn of_url(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) -> Option<Malformed> {
    if raw.len() > options.max_url_bytes {
        long_url(options, raw, scratch, forms);
        return Some(Malformed::TooLong);
    }
    let Some(host) = url::raw_host(raw) else { return odd_url(options, raw, scratch, forms) };
    if options.url_hosts {
        plain_host(options, host, scratch, forms);
    }
    if !forms.wants(Space::Url) {
        return None;
    }
    // Parsing costs more than looking up: only when some URL indicator has this host.
    scratch.clear();
    scratch.extend(host.iter().map(u8::to_ascii_lowercase));
    if !forms.url_host(scratch.strip_suffix(b".").unwrap_or(scratch)) {
        return None;
    }
    forms.url(&url::event_url(raw)?);
    None
}

fn plain_host(options: MatchOptions, host: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) {
    // A name drops its trailing dot by itself, and no second one.
    if let Some(found) = ip::canonical(host.strip_suffix(b".").unwrap_or(host)) {
        address(found, forms);
    } else if !of_host_name(options, host, scratch, forms) {
        below(options, host, scratch, forms);
    }
}

/// A URL whose host is not written plainly.
#[inline(never)]
fn odd_url(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) -> Option<Malformed> {
    if url::is_reference(raw) {
        return None;
    }
    if let Some(url) = url::event_url(raw) {
        if options.url_hosts {
            plain_host(options, url.host().as_bytes(), scratch, forms);
        }
        if forms.wants(Space::Url) {
            forms.url(&url);
        }
        return None;
    }
    let inner = domain::event_host(raw);
    if options.url_hosts {
        // Not the names at its end: those belong to its path.
        let reason = inside(options, raw, inner, scratch, forms)?;
        return Some(if reason == Malformed::NotDomain { Malformed::NotUrl } else { reason });
    }
    (inner.is_none() && !is_placeholder(raw)).then_some(Malformed::NotUrl)
}

/// A URL beyond the limit: only its host is looked up, from the part within.
#[cold]
fn long_url(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) {
    let head = &raw[..options.max_url_bytes];
    // The authority ends before the last of these, or not within.
    let end = head.iter().rposition(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).unwrap_or(0);
    if options.url_hosts
        && let Some(url) = url::event_url(&head[..end])
    {
        plain_host(options, url.host().as_bytes(), scratch, forms);
    }
}
