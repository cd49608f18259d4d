//! The keys of a token in a text: those of a value of its kind.

use std::net::IpAddr;

use super::{KeyPlan, KeySpace, KeyVisitor, MatchOptions, visit_keys};
use crate::intel::indicator::RangeValue;
use crate::observable::url::CanonicalUrl;
use crate::text::{Token, TokenKind};

impl KeyPlan {
    /// Returns the plan of a token.
    pub fn of_token(kind: TokenKind) -> KeyPlan {
        match kind {
            TokenKind::Ip => KeyPlan::Ip,
            TokenKind::Domain => KeyPlan::Host,
            TokenKind::Url => KeyPlan::Url,
            TokenKind::Hash => KeyPlan::Hash,
            TokenKind::Email => KeyPlan::Email,
        }
    }
}

/// Passes each key of a token of `text` to `visitor`.
#[inline]
pub fn visit_token(
    options: MatchOptions,
    text: &[u8],
    token: &Token,
    scratch: &mut Vec<u8>,
    visitor: &mut impl KeyVisitor,
) {
    // The host of a URL is a token of its own.
    let options = MatchOptions { url_hosts: false, ..options };
    let Some(raw) = text.get(token.at.clone()) else { return };
    let plan = KeyPlan::of_token(token.kind);
    // A token has the form of its kind, but it may be longer than what is read.
    let _ = match token.is_version {
        false => visit_keys(options, plan, raw, scratch, visitor),
        true => visit_keys(options, plan, raw, scratch, &mut WithoutNetworks(visitor)),
    };
}

/// Passes on every key, and no address for the networks that cover it.
struct WithoutNetworks<'v, V>(&'v mut V);

impl<V: KeyVisitor> KeyVisitor for WithoutNetworks<'_, V> {
    fn key(&mut self, space: KeySpace, key: &[u8]) {
        self.0.key(space, key);
    }

    fn parent(&mut self, space: KeySpace, parent: &[u8]) {
        self.0.parent(space, parent);
    }

    fn networks(&mut self, _: IpAddr) {}

    fn range(&mut self, value: RangeValue) {
        self.0.range(value);
    }

    fn url_host(&mut self, host: &[u8]) -> bool {
        self.0.url_host(host)
    }

    fn url(&mut self, url: &CanonicalUrl) {
        self.0.url(url);
    }

    fn wants(&self, space: KeySpace) -> bool {
        self.0.wants(space)
    }
}
