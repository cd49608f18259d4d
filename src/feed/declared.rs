//! The words with which feeds say what a value is, from STIX, ECS, MISP, Zeek, OTX, ThreatFox and plain speech.

use crate::observable::Kind;

/// What a value is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    /// One kind.
    Of(Kind),
    /// A hash whose length tells which.
    Hash,
    /// A domain or an address.
    Host,
}

impl Declared {
    /// The word for it in messages.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Declared::Of(kind) => kind.as_str(),
            Declared::Hash => "hash",
            Declared::Host => "host",
        }
    }

    /// Whether it is a hash of some kind.
    pub(super) fn is_hash(self) -> bool {
        match self {
            Declared::Hash => true,
            Declared::Of(kind) => {
                matches!(kind, Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep)
            }
            Declared::Host => false,
        }
    }
}

/// What a word in a type column means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeWord {
    /// A type that can be looked for.
    Declared(Declared),
    /// A type that cannot.
    Unsupported,
    /// No type (`indicator`, `C2`, `phishing`): the value itself tells.
    Unknown,
}

/// The types that can be looked for. Words are lower case, letters and digits only.
const DECLARED: [(Declared, &[&str]); 11] = [
    (
        Declared::Of(Kind::Ip),
        &[
            "ip",
            "ips",
            "ipv4",
            "ipv6",
            "ipaddr",
            "ipaddress",
            "ipv4addr",
            "ipv6addr",
            "ipv4address",
            "ipv6address",
            "ipv4cidr",
            "ipv6cidr",
            "cidr",
            "subnet",
            "network",
            "netblock",
            "iprange",
            "ipport",
            "ipsrc",
            "ipdst",
            "ipsrcport",
            "ipdstport",
            "inteladdr",
            "intelsubnet",
        ],
    ),
    (
        Declared::Of(Kind::Domain),
        &["domain", "domains", "domainname", "hostname", "hostnameport", "fqdn", "inteldomain"],
    ),
    (Declared::Host, &["host"]),
    (Declared::Of(Kind::Url), &["url", "urls", "uri", "link", "intelurl"]),
    (Declared::Of(Kind::Md5), &["md5", "md5hash", "hashmd5", "filehashmd5", "filemd5"]),
    (Declared::Of(Kind::Sha1), &["sha1", "sha1hash", "hashsha1", "filehashsha1", "filesha1"]),
    (Declared::Of(Kind::Sha256), &["sha256", "sha256hash", "hashsha256", "filehashsha256", "filesha256"]),
    (Declared::Of(Kind::Sha512), &["sha512", "sha512hash", "hashsha512", "filehashsha512", "filesha512"]),
    (Declared::Of(Kind::Ssdeep), &["ssdeep", "ssdeephash"]),
    (
        Declared::Of(Kind::Email),
        &["email", "emails", "emailaddr", "emailaddress", "emailsrc", "emaildst", "intelemail"],
    ),
    (Declared::Of(Kind::User), &["user", "username", "useraccount", "account", "userid", "intelusername"]),
];

/// Any hash, apart from the table because a kind alone does not name it.
const ANY_HASH: [&str; 5] = ["hash", "filehash", "file", "sample", "intelfilehash"];

/// What feeds list and no field of an event holds as such. A word that contains one of these is such a type.
const UNSUPPORTED: [&str; 28] = [
    "filename",
    "filepath",
    "path",
    "registry",
    "regkey",
    "process",
    "mutex",
    "pdb",
    "package",
    "urlpattern",
    "yara",
    "btc",
    "bitcoin",
    "wallet",
    "description",
    "cve",
    "command",
    "service",
    "certificate",
    "thumbprint",
    "telegram",
    "ja3",
    "jarm",
    "imphash",
    "authentihash",
    "vhash",
    "tlsh",
    "useragent",
];

/// Reads a word of a type column.
pub(super) fn type_word(word: &str) -> TypeWord {
    let word: String = word.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    if ANY_HASH.contains(&word.as_str()) {
        return TypeWord::Declared(Declared::Hash);
    }
    match DECLARED.iter().find(|(_, words)| words.contains(&word.as_str())) {
        Some((declared, _)) => TypeWord::Declared(*declared),
        None if UNSUPPORTED.iter().any(|part| word.contains(part)) => TypeWord::Unsupported,
        None => TypeWord::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_every_vocabulary_are_known() {
        for (word, declared) in [
            ("ipv4-addr", Declared::Of(Kind::Ip)),
            ("ip:port", Declared::Of(Kind::Ip)),
            ("ip-dst", Declared::Of(Kind::Ip)),
            ("cidr", Declared::Of(Kind::Ip)),
            ("Domain", Declared::Of(Kind::Domain)),
            ("domain-name", Declared::Of(Kind::Domain)),
            ("hostname", Declared::Of(Kind::Domain)),
            ("Intel::DOMAIN", Declared::Of(Kind::Domain)),
            ("URL", Declared::Of(Kind::Url)),
            ("FileHash-SHA256", Declared::Of(Kind::Sha256)),
            ("sha256_hash", Declared::Of(Kind::Sha256)),
            ("md5", Declared::Of(Kind::Md5)),
            ("file", Declared::Hash),
            ("email-addr", Declared::Of(Kind::Email)),
            ("user-account", Declared::Of(Kind::User)),
        ] {
            assert_eq!(type_word(word), TypeWord::Declared(declared), "{word}");
        }
    }

    #[test]
    fn every_kind_of_a_plain_list_is_known_by_its_own_word() {
        for kind in Kind::ALL {
            let plain = !kind.is_generic_alone() && kind != Kind::Path;
            assert_eq!(type_word(kind.as_str()) == TypeWord::Declared(Declared::Of(kind)), plain, "{kind}");
        }
    }

    #[test]
    fn other_words_are_told_apart_from_unsupported_types() {
        for word in ["Filename", "registry-key", "File Path", "Bitcoin address", "user_agent"] {
            assert_eq!(type_word(word), TypeWord::Unsupported, "{word}");
        }
        for word in ["indicator", "C2", "phishing", ""] {
            assert_eq!(type_word(word), TypeWord::Unknown, "{word}");
        }
    }
}
