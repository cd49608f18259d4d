//! User and account names, compared without case.

use super::text;

/// Longer input is never read as a name: a `userPrincipalName` has at most 1,024 characters (MS-ADA3), each of at most
/// 4 bytes.
pub const LONGEST_INPUT: usize = 4 * 1024;

/// The name, trimmed and case-folded (full Unicode folding: `ß` becomes `ss`); bytes that are not UTF-8 stay. `None`
/// when nothing is left, or the value is too long.
#[inline]
pub fn canonical<'a>(value: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    if value.len() > LONGEST_INPUT {
        return None;
    }
    text::name(value, scratch)
}

/// The account of a canonical `DOMAIN\account`: what follows the last backslash. For *event* values only, and not for
/// `user.domain`.
pub fn account(canonical: &[u8]) -> Option<&[u8]> {
    let backslash = memchr::memrchr(b'\\', canonical)?;
    canonical.get(backslash + 1..).filter(|account| !account.is_empty())
}

/// The account of a canonical `account@domain` (a user principal name): what precedes the last `@`. For *event* values
/// only, and not for `user.domain`.
pub fn principal(canonical: &[u8]) -> Option<&[u8]> {
    let at = memchr::memrchr(b'@', canonical)?;
    (at > 0 && at + 1 < canonical.len()).then(|| &canonical[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_as_unicode_says() {
        let mut scratch = Vec::new();
        for (value, folded) in [
            ("Administrator\n", "administrator"),
            ("STRAßE", "strasse"),
            ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
            ("ıI", "ıi"),
            ("host$", "host$"),
        ] {
            assert_eq!(canonical(value.as_bytes(), &mut scratch), Some(folded.as_bytes()), "{value}");
        }
        assert_eq!(canonical(b" \t", &mut scratch), None);
        assert_eq!(canonical(b"A\xffB", &mut scratch), Some(&b"a\xffb"[..]));
    }

    #[test]
    fn an_account_follows_the_last_backslash() {
        assert_eq!(account(br"corp\sales\alice"), Some(&b"alice"[..]));
        assert_eq!(account(b"alice"), None);
        assert_eq!(account(br"corp\"), None);
    }

    #[test]
    fn the_account_of_a_principal_name_precedes_the_last_at_sign() {
        assert_eq!(principal(b"alice@corp.example"), Some(&b"alice"[..]));
        assert_eq!(principal(b"a@b@corp.example"), Some(&b"a@b"[..]));
        for name in [&b"alice"[..], b"@corp.example", b"alice@"] {
            assert_eq!(principal(name), None);
        }
    }

    #[test]
    fn a_name_beyond_the_bound_is_not_read() {
        assert_eq!(canonical(&b"a".repeat(LONGEST_INPUT + 1), &mut Vec::new()), None);
    }
}
