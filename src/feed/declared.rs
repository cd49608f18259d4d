//! The words with which feeds say what a value is: a table, `types.txt`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::observable::Kind;

/// The declared type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    Of(Kind),
    /// A hash, of the kind that its length has.
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

/// The meaning of a word in a type column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeWord {
    /// A type that can be looked for.
    Declared(Declared),
    /// A digest that is not the hash of a file, though it may look like one.
    Digest,
    /// Another type that cannot be looked for.
    Unsupported,
    /// No type (`indicator`, `C2`, `phishing`): the value decides.
    Unknown,
}

impl TypeWord {
    /// Whether it is a type that no field of an event holds as such.
    pub(super) fn is_unsupported(self) -> bool {
        matches!(self, TypeWord::Digest | TypeWord::Unsupported)
    }
}

static WORDS: LazyLock<HashMap<String, TypeWord>> = LazyLock::new(|| words(include_str!("types.txt")));

/// Reads the table. What is not understood there is left out; a test holds that nothing is.
fn words(table: &str) -> HashMap<String, TypeWord> {
    let mut words = HashMap::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let Some((kind, list)) = line.split_once(": ") else { continue };
        let Some(meaning) = meaning(kind) else { continue };
        words.extend(list.split(',').map(|word| (squeezed(word), meaning)));
    }
    words
}

fn meaning(kind: &str) -> Option<TypeWord> {
    Some(match kind {
        "digest" => TypeWord::Digest,
        "other" => TypeWord::Unsupported,
        "hash" => TypeWord::Declared(Declared::Hash),
        "host" => TypeWord::Declared(Declared::Host),
        kind => TypeWord::Declared(Declared::Of(Kind::ALL.into_iter().find(|known| known.as_str() == kind)?)),
    })
}

/// A word as the tables of words compare it: letters and digits only, in lower case.
pub(super) fn squeezed(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Reads a word of a type column.
pub(super) fn type_word(word: &str) -> TypeWord {
    WORDS.get(&squeezed(word)).copied().unwrap_or(TypeWord::Unknown)
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
            ("IpAddress", Declared::Of(Kind::Ip)),
            ("Domain", Declared::Of(Kind::Domain)),
            ("domain-name", Declared::Of(Kind::Domain)),
            ("DomainName", Declared::Of(Kind::Domain)),
            ("hostname", Declared::Of(Kind::Domain)),
            ("Intel::DOMAIN", Declared::Of(Kind::Domain)),
            ("URL", Declared::Of(Kind::Url)),
            ("FileHash-SHA256", Declared::Of(Kind::Sha256)),
            ("sha256_hash", Declared::Of(Kind::Sha256)),
            ("hash_md5", Declared::Of(Kind::Md5)),
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
    fn words_are_compared_whole_and_digests_are_no_file_hashes() {
        for word in ["Filename", "registry-key", "File Path", "Bitcoin address", "user_agent", "mobile-application-id"]
        {
            assert_eq!(type_word(word), TypeWord::Unsupported, "{word}");
        }
        for word in ["imphash", "x509-fingerprint-sha1", "sha3-256", "SHA512/256", "JA3", "CertificateThumbprint"] {
            assert_eq!(type_word(word), TypeWord::Digest, "{word}");
        }
        for word in
            ["indicator", "C2", "phishing", "", "Command and Control", "Phishing Service", "Windows service DLL"]
        {
            assert_eq!(type_word(word), TypeWord::Unknown, "{word}");
        }
    }

    #[test]
    fn each_line_of_the_table_is_understood_and_no_word_means_two_things() {
        let mut known: HashMap<String, TypeWord> = HashMap::new();
        for line in include_str!("types.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (kind, list) = line.split_once(": ").unwrap();
            let meaning = meaning(kind).unwrap_or_else(|| panic!("{kind}"));
            for word in list.split(',') {
                let word = squeezed(word);
                assert!(!word.is_empty(), "{line}");
                assert!(known.insert(word.clone(), meaning).is_none_or(|before| before == meaning), "{word}");
            }
        }
    }
}
