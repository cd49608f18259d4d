//! User and account names, compared without case.

use super::text;

/// The name, trimmed and case-folded (full Unicode folding: `ß` becomes `ss`); bytes that are not UTF-8 stay. `None`
/// when nothing is left.
#[inline]
pub fn canonical<'a>(value: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    text::name(value, scratch)
}

/// The account of a canonical `DOMAIN\account`: what follows the last backslash. For *event* values only, and not for
/// `user.domain`.
pub fn account(canonical: &[u8]) -> Option<&[u8]> {
    let backslash = memchr::memrchr(b'\\', canonical)?;
    canonical.get(backslash + 1..).filter(|account| !account.is_empty())
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
}
