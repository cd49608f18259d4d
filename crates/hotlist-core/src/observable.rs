//! Observables: the kinds of values that can be matched, and one normaliser per kind.
//!
//! The same normalisers serve events and indicators, so that both sides meet in one canonical form. Only *event*
//! values are split or widened (a host out of `host:port`, an address out of `Name <a@b>`); that is the matcher's
//! business and uses the `event_…` functions here.
//!
//! The sender of events chooses their values, so each normaliser refuses values beyond a length before it reads them. The
//! limits are next to each normaliser, with their source. Those of URLs and free text are the caller's.

pub mod distinguished_name;
pub mod domain;
mod eight;
pub mod email;
pub mod hash;
pub mod host_list;
pub mod ip;
pub mod malformed;
pub mod number;
pub mod path;
pub mod refang;
pub mod text;
pub mod time;
pub mod url;
pub mod user;

use std::fmt;

/// The version of the canonical forms. A segment holds keys in canonical form, so one that was compiled under another
/// version is refused: its keys would not meet those of events. Raise it with every change of a canonical form of an
/// indicator; `tests/canonical.rs` holds each form to its version.
pub const CANONICAL_VERSION: u16 = 2;

pub use malformed::Malformed;

/// The kind of an observable or of an indicator's term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// An IPv4 or IPv6 address, or a network in CIDR notation.
    Ip,
    /// A DNS name in lower-case A-labels.
    Domain,
    /// A URL as the WHATWG URL standard serialises it, without fragment.
    Url,
    /// MD5, 32 hex digits.
    Md5,
    /// SHA-1, 40 hex digits.
    Sha1,
    /// SHA-256, 64 hex digits.
    Sha256,
    /// SHA-512, 128 hex digits.
    Sha512,
    /// A context-triggered piecewise hash (`ssdeep`), kept as it is.
    Ssdeep,
    /// An e-mail address.
    Email,
    /// A user or account name, case-folded.
    User,
    /// Free text, compared as it is. CTI rules only.
    Text,
    /// A name compared without case (`TCP` = `tcp`). CTI rules only.
    Name,
    /// A DNS record type, compared without case. CTI rules only.
    DnsType,
    /// A file system path. CTI rules only.
    Path,
    /// A number. CTI rules only.
    Number,
    /// An instant. CTI rules only.
    Time,
}

impl Kind {
    /// Every kind, in declaration order.
    pub const ALL: [Kind; 16] = [
        Kind::Ip,
        Kind::Domain,
        Kind::Url,
        Kind::Md5,
        Kind::Sha1,
        Kind::Sha256,
        Kind::Sha512,
        Kind::Ssdeep,
        Kind::Email,
        Kind::User,
        Kind::Text,
        Kind::Name,
        Kind::DnsType,
        Kind::Path,
        Kind::Number,
        Kind::Time,
    ];

    /// The lower-case word used in configuration, output and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Ip => "ip",
            Kind::Domain => "domain",
            Kind::Url => "url",
            Kind::Md5 => "md5",
            Kind::Sha1 => "sha1",
            Kind::Sha256 => "sha256",
            Kind::Sha512 => "sha512",
            Kind::Ssdeep => "ssdeep",
            Kind::Email => "email",
            Kind::User => "user",
            Kind::Text => "text",
            Kind::Name => "name",
            Kind::DnsType => "dns-type",
            Kind::Path => "path",
            Kind::Number => "number",
            Kind::Time => "time",
        }
    }

    /// The inverse of [`Kind::as_str`].
    pub fn parse(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Whether a lone comparison of this kind is too generic to be an indicator (import guard, `docs/feeds.md`).
    pub fn is_generic_alone(self) -> bool {
        matches!(self, Kind::Text | Kind::Name | Kind::DnsType | Kind::Number | Kind::Time)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
