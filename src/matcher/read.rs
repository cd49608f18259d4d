//! One value, every form in which it is looked up: the plan of [`Reading`], carried out.
//!
//! What a look-up does is the [`Forms`]'s business: the matcher finds hits, the sieve only takes note of hashes. Both
//! go through here, so that they cannot disagree on what is looked up.

use std::net::IpAddr;

use crate::intel::plan::Reading;
use crate::intel::snapshot::{MatchOptions, RangeValue, number_key, time_key};
use crate::intel::space::Space;
use crate::observable::url::CanonicalUrl;
use crate::observable::{domain, email, hash, ip, path, text, time, url, user};

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

/// Reads `raw` as the field's `reading` says. `scratch` holds canonical forms that differ from `raw`.
#[inline]
pub(super) fn read(options: MatchOptions, reading: Reading, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) {
    match reading {
        Reading::Ip => {
            if let Some(found) = ip::event_address(raw) {
                address(found, forms);
            }
        }
        Reading::Host => host(options, raw, scratch, forms),
        Reading::Url => of_url(options, raw, scratch, forms),
        Reading::Hash => {
            if let Some((kind, digest)) = hash::canonical(raw, scratch)
                && let Some(space) = Space::of_hash(kind)
            {
                forms.key(space, digest);
            }
        }
        Reading::Email => email(raw, scratch, forms),
        Reading::EmailOrHost => {
            email(raw, scratch, forms);
            host(options, raw, scratch, forms);
        }
        Reading::User => {
            if let Some(name) = user::canonical(raw, scratch) {
                forms.key(Space::User, name);
                if let Some(account) = user::account(name) {
                    forms.key(Space::User, account);
                }
            }
            if memchr::memchr(b'@', raw).is_some() {
                email(raw, scratch, forms);
            }
        }
        Reading::UserDomain => {
            if let Some(name) = user::canonical(raw, scratch) {
                forms.key(Space::User, name);
            }
            of_domain(options, raw, scratch, forms);
        }
        Reading::Auto => {
            if memchr::memchr(b'@', raw).is_some() {
                email(raw, scratch, forms);
            }
            host(options, raw, scratch, forms);
        }
        Reading::EmailOrText => {
            if memchr::memchr(b'@', raw).is_some() {
                email(raw, scratch, forms);
            }
            of_text(text::canonical(raw), forms);
        }
        Reading::Text => of_text(text::canonical(raw), forms),
        Reading::HttpVersion => of_text(text::canonical(raw).map(text::http_version), forms),
        Reading::Name => {
            if let Some(name) = text::name(raw, scratch) {
                forms.key(Space::Name, name);
            }
        }
        Reading::DnsType => {
            if let Some(name) = text::name(raw, scratch) {
                forms.key(Space::DnsType, name);
            }
        }
        Reading::Path => {
            if let Some(path) = path::canonical(raw, scratch) {
                forms.key(Space::Path, path);
            }
        }
        Reading::Number => {
            let number = std::str::from_utf8(raw).ok().and_then(|text| text.trim().parse::<f64>().ok());
            if let Some(number) = number.filter(|number| number.is_finite()) {
                forms.key(Space::Number, &number_key(number));
                forms.range(RangeValue::Number(number));
            }
        }
        Reading::Time => {
            if let Some(instant) = time::parse(raw) {
                forms.key(Space::Time, &time_key(instant));
                forms.range(RangeValue::Time(instant));
            }
        }
    }
}

/// An address, a domain, or the host of what stands where one should.
fn host(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) {
    if let Some(found) = ip::canonical(raw) {
        return address(found, forms);
    }
    if of_domain(options, raw, scratch, forms) {
        return;
    }
    if let Some(host) = domain::event_host(raw) {
        if let Some(found) = ip::canonical(host) {
            address(found, forms);
        } else if let Some(found) = domain::canonical(host, scratch) {
            name(options, found, forms);
        }
    }
}

/// Whether `raw` is a domain; if so it was looked up.
fn of_domain(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) -> bool {
    match domain::canonical(raw, scratch) {
        Some(found) => {
            name(options, found, forms);
            true
        }
        None => false,
    }
}

fn name(options: MatchOptions, name: &[u8], forms: &mut impl Forms) {
    forms.key(Space::Domain, name);
    // With the global flag every domain counts as a parent, so the exact set itself is asked.
    let parents = if options.subdomains { Space::Domain } else { Space::DomainSuffix };
    if forms.wants(parents) {
        for parent in domain::parents(name) {
            forms.parent(parents, parent);
        }
    }
}

fn address(address: IpAddr, forms: &mut impl Forms) {
    match address {
        IpAddr::V4(v4) => forms.key(Space::Ipv4, &v4.octets()),
        IpAddr::V6(v6) => forms.key(Space::Ipv6, &v6.octets()),
    }
    forms.networks(address);
}

fn email(raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) {
    email::event_addresses(raw, scratch, &mut |address| forms.key(Space::Email, address));
}

fn of_text(text: Option<&[u8]>, forms: &mut impl Forms) {
    if let Some(text) = text {
        forms.key(Space::Text, text);
    }
}

fn of_url(options: MatchOptions, raw: &[u8], scratch: &mut Vec<u8>, forms: &mut impl Forms) {
    if options.url_hosts {
        host(options, raw, scratch, forms);
    }
    if !forms.wants(Space::Url) {
        return;
    }
    // Parsing costs more than looking up: only when some URL indicator has this host.
    if let Some(host) = url::raw_host(raw) {
        scratch.clear();
        scratch.extend(host.iter().map(u8::to_ascii_lowercase));
        if !forms.url_host(scratch.strip_suffix(b".").unwrap_or(scratch)) {
            return;
        }
    }
    if let Some(canonical) = url::canonical(raw) {
        forms.url(&canonical);
    }
}
