//! The types of MISP attributes, and the kinds of ours that they stand for.

use crate::observable::Kind;

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    pub(super) const ALL: Kinds = Kinds(u16::MAX);

    pub(super) const NONE: Kinds = Kinds(0);

    pub(super) fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }

    pub(super) fn with(self, kind: Kind) -> Kinds {
        Kinds(self.0 | (1 << kind as u16))
    }

    pub(super) fn union(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }

    /// The kinds that a list with these `matching_attributes` is about. None at all means every kind. A type of two
    /// parts (`domain|ip`) is about both.
    pub(super) fn of_attributes(attributes: &[String]) -> Kinds {
        if attributes.is_empty() {
            return Kinds::ALL;
        }
        let mut kinds = Kinds::NONE;
        for part in attributes.iter().flat_map(|attribute| attribute.split('|')) {
            let part = part.trim().to_ascii_lowercase();
            for (_, kind) in ATTRIBUTES.iter().filter(|(attribute, _)| *attribute == part) {
                kinds = kinds.with(*kind);
            }
        }
        kinds
    }
}

/// Attribute types (MISP core format, "attribute type") and kinds. Types that are missing here have no values in events.
const ATTRIBUTES: &[(&str, Kind)] = &[
    ("ip", Kind::Ip),
    ("ip-src", Kind::Ip),
    ("ip-dst", Kind::Ip),
    ("domain", Kind::Domain),
    ("hostname", Kind::Domain),
    ("url", Kind::Url),
    ("uri", Kind::Url),
    ("link", Kind::Url),
    ("md5", Kind::Md5),
    ("imphash", Kind::Md5),
    ("ja3-fingerprint-md5", Kind::Md5),
    ("hassh-md5", Kind::Md5),
    ("hasshserver-md5", Kind::Md5),
    ("x509-fingerprint-md5", Kind::Md5),
    ("sha1", Kind::Sha1),
    ("x509-fingerprint-sha1", Kind::Sha1),
    ("sha256", Kind::Sha256),
    ("x509-fingerprint-sha256", Kind::Sha256),
    ("authentihash", Kind::Sha256),
    ("sha512", Kind::Sha512),
    ("ssdeep", Kind::Ssdeep),
    ("email", Kind::Email),
    ("email-src", Kind::Email),
    ("email-dst", Kind::Email),
    ("email-reply-to", Kind::Email),
    ("target-email", Kind::Email),
    ("whois-registrant-email", Kind::Email),
    ("dns-soa-email", Kind::Email),
    ("eppn", Kind::Email),
    ("target-user", Kind::User),
    ("github-username", Kind::User),
    ("filename", Kind::Name),
    ("filename", Kind::Path),
    ("user-agent", Kind::Text),
    ("text", Kind::Text),
    ("other", Kind::Text),
    ("port", Kind::Number),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(attributes: &[&str]) -> Vec<Kind> {
        let attributes: Vec<String> = attributes.iter().map(|attribute| attribute.to_string()).collect();
        Kinds::of_attributes(&attributes).iter().collect()
    }

    #[test]
    fn attributes_become_kinds_and_none_are_all() {
        assert_eq!(kinds(&["ip-src", "ip-dst|port"]), [Kind::Ip, Kind::Number]);
        assert_eq!(kinds(&["domain|ip", "hostname"]), [Kind::Ip, Kind::Domain]);
        assert_eq!(kinds(&["filename|sha256"]), [Kind::Sha256, Kind::Name, Kind::Path]);
        assert_eq!(kinds(&[]), Kind::ALL);
        assert!(kinds(&["sha224", "btc"]).is_empty());
    }
}
