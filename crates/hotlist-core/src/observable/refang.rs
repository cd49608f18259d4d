//! Undoes the defanging that keeps indicators in reports from being clicked: `hxxp`, `[.]`, `(dot)`, `[at]`, `[:]`.
//!
//! For indicators only: in an event `hxxp://` is what the log says.

use std::borrow::Cow;

/// The text as it was before defanging. Text that was not defanged is borrowed.
pub fn refang(text: &str) -> Cow<'_, str> {
    let plain = memchr::memchr3(b'[', b'(', b'{', text.as_bytes()).is_none() && !text.contains("\\.");
    let text = if plain { Cow::Borrowed(text) } else { Cow::Owned(refang_marks(&text.replace("\\.", "."))) };
    match refang_scheme(&text) {
        Some(whole) => Cow::Owned(whole),
        None => text,
    }
}

/// Replaces the bracketed marks.
fn refang_marks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find(['[', '(', '{']) {
        let (before, bracketed) = rest.split_at(open);
        out.push_str(before);
        match mark(bracketed) {
            Some((meaning, length)) => {
                out.push_str(meaning);
                rest = &bracketed[length..];
            }
            None => {
                out.push_str(&bracketed[..1]);
                rest = &bracketed[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// What the brackets at the start of the text stand for, and how long they are.
fn mark(text: &str) -> Option<(&'static str, usize)> {
    let close = match text.as_bytes().first()? {
        b'[' => ']',
        b'(' => ')',
        _ => '}',
    };
    let end = text.find(close)?;
    let inner = &text[1..end];
    let word = inner.trim();
    let square = close == ']';
    let is = |written: &str| word.eq_ignore_ascii_case(written);
    let meaning = match inner {
        _ if is(".") || is("dot") => ".",
        _ if (square && (is("@") || is("at"))) || (close == ')' && is("at")) => "@",
        ":" if square => ":",
        "://" if square => "://",
        "/" if square => "/",
        _ => return None,
    };
    Some((meaning, end + 1))
}

/// The text with its defanged scheme mended, `None` when there is nothing to mend.
fn refang_scheme(text: &str) -> Option<String> {
    let start = text.trim_start();
    let colon = start.find(":/")?;
    let (scheme, rest) = start.split_at(colon);
    let lower = scheme.to_ascii_lowercase();
    let mended = match lower.as_str() {
        "hxxp" | "http" | "h**p" => "http",
        "hxxps" | "https" | "h**ps" => "https",
        "ftp" => "ftp",
        "fxp" if rest.starts_with("://") => "ftp",
        _ => return None,
    };
    let one_slash = rest.strip_prefix(":/").filter(|after| !after.is_empty() && !after.starts_with('/'));
    let rest = one_slash.map_or_else(|| Cow::Borrowed(rest), |after| Cow::Owned(format!("://{after}")));
    let whole = format!("{mended}{rest}");
    (whole != text).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_style_of_defanging_is_undone() {
        for (written, meant) in [
            ("hxxp://evil[.]example/a", "http://evil.example/a"),
            ("hXXps[:]//evil(.)example", "https://evil.example"),
            ("hxxps[://]evil[.]example[/]x", "https://evil.example/x"),
            ("h**p://evil{.}example", "http://evil.example"),
            ("http:/evil.example", "http://evil.example"),
            ("fxp://evil.example", "ftp://evil.example"),
            ("HTTP://Evil.example", "http://Evil.example"),
            ("192[.]0[.]2[.]1", "192.0.2.1"),
            ("192.0.2\\.1", "192.0.2.1"),
            ("a[at]b[ dot ]example", "a@b.example"),
            ("a(at)b(DOT)example", "a@b.example"),
            ("a[@]b.example", "a@b.example"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("wss://evil.example/[x]", "wss://evil.example/[x]"),
            ("[", "["),
            ("hxxp:", "hxxp:"),
        ] {
            assert_eq!(refang(written), meant, "{written}");
        }
    }

    #[test]
    fn what_was_not_defanged_is_borrowed() {
        for text in ["http://evil.example/a", "evil.example", ""] {
            assert!(matches!(refang(text), Cow::Borrowed(_)), "{text}");
        }
    }

    proptest! {
        /// Arbitrary text does no harm, and a defanged name comes back.
        #[test]
        fn a_defanged_name_comes_back(name in "[a-z]{1,8}\\.[a-z]{1,8}\\.example", noise in "\\PC{0,24}") {
            let defanged = name.replace('.', "[.]");
            prop_assert_eq!(refang(&defanged), name);
            refang(&noise);
        }
    }
}
