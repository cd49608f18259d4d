//! The reasons why a value is not of the kind of its field.

/// The reason that a value cannot be read, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Malformed {
    /// The value is longer than any value of its kind that is read.
    TooLong,
    /// The value is a list of more parts than are read.
    TooMany,
    /// The value is not an address, nor does it hold one.
    NotIp,
    /// The value is not a DNS name, an address or a URL.
    NotDomain,
    /// The value is not a URL, a host or a relative reference.
    NotUrl,
    /// The value is not a hash, nor a list of hashes.
    NotHash,
    /// The value holds no e-mail address.
    NotEmail,
    /// The value is not a finite number.
    NotNumber,
    /// The value is not an instant.
    NotTime,
}

impl Malformed {
    /// Every reason, in declaration order.
    pub const ALL: [Malformed; 9] = [
        Malformed::TooLong,
        Malformed::TooMany,
        Malformed::NotIp,
        Malformed::NotDomain,
        Malformed::NotUrl,
        Malformed::NotHash,
        Malformed::NotEmail,
        Malformed::NotNumber,
        Malformed::NotTime,
    ];

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Malformed::TooLong => "too_long",
            Malformed::TooMany => "too_many",
            Malformed::NotIp => "not_ip",
            Malformed::NotDomain => "not_domain",
            Malformed::NotUrl => "not_url",
            Malformed::NotHash => "not_hash",
            Malformed::NotEmail => "not_email",
            Malformed::NotNumber => "not_number",
            Malformed::NotTime => "not_time",
        }
    }

    /// The reason as a sentence.
    pub fn explain(self) -> &'static str {
        match self {
            Malformed::TooLong => "the value is longer than any value of this kind that is read",
            Malformed::TooMany => "the value has more parts than are read; those at its start were looked up",
            Malformed::NotIp => "the value, or a part of it, is not an address",
            Malformed::NotDomain => "the value is not a DNS name, an address or a URL",
            Malformed::NotUrl => "the value is not a URL, a host or a relative reference",
            Malformed::NotHash => "the value is not a hash, nor a list of hashes",
            Malformed::NotEmail => "the value holds no e-mail address",
            Malformed::NotNumber => "the value is not a finite number",
            Malformed::NotTime => "the value is not an instant",
        }
    }
}

/// The placeholders that senders write where they have no value, in lower case.
const PLACEHOLDERS: [&str; 14] =
    ["-", "--", "?", "*", "n/a", "na", "nil", "none", "null", "unknown", "undefined", "(empty)", "(none)", "<none>"];
const LONGEST_PLACEHOLDER: usize = 9;

/// Whether an *event* value stands for no value: it is empty, blank, or one of the words that senders use for that.
/// Such a value is not counted as malformed.
pub fn is_placeholder(value: &[u8]) -> bool {
    if value.len() > 4 * LONGEST_PLACEHOLDER {
        return false;
    }
    let value = value.trim_ascii();
    value.is_empty() || PLACEHOLDERS.iter().any(|known| value.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_no_value_are_placeholders() {
        for value in ["", " ", "-", "N/A", " null ", "(empty)"] {
            assert!(is_placeholder(value.as_bytes()), "{value}");
        }
        for value in ["x", "---", "192.0.2.1", &" ".repeat(100)] {
            assert!(!is_placeholder(value.as_bytes()), "{value}");
        }
        assert!(PLACEHOLDERS.iter().all(|word| word.len() <= LONGEST_PLACEHOLDER));
    }
}
