//! Undoes the defanging that keeps indicators in reports from being clicked: `hxxp`, `meow`, `[.]`, `(dot)`, `[at]`, `[:]`.
//!
//! For indicators only: in an event `hxxp://` is what the log says, unless `match.text_refang` is on; `text::Refanged` reads
//! the forms that are clear in text.

use std::borrow::Cow;

/// The text as it was before defanging. Text that was not defanged is borrowed.
pub fn refang(text: &str) -> Cow<'_, str> {
    let plain = memchr::memchr3(b'[', b'(', b'{', text.as_bytes()).is_none()
        && memchr::memchr3(b'<', b'\\', b']', text.as_bytes()).is_none();
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
    while let Some(open) = rest.find(['[', '(', '{', '<']) {
        let (before, bracketed) = rest.split_at(open);
        out.push_str(before);
        match mark(bracketed).or_else(|| half_mark(before, bracketed)) {
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

/// The meaning of the brackets at the start of the text, and their length.
fn mark(text: &str) -> Option<(&'static str, usize)> {
    let close = match text.as_bytes().first()? {
        b'[' => ']',
        b'(' => ')',
        b'<' => '>',
        _ => '}',
    };
    let end = text.find(close)?;
    let inner = &text[1..end];
    let word = inner.trim();
    let is = |written: &str| word.eq_ignore_ascii_case(written);
    let meaning = match word {
        _ if is(".") || is("dot") || is("punkt") || is("punto") || is("point") || is("d") => ".",
        _ if is("@") || is("at") => "@",
        ":" => ":",
        "://" => "://",
        "//" => "//",
        "/" | "\\" => "/",
        _ if is("http") => "http",
        _ if is("https") => "https",
        _ => return None,
    };
    Some((meaning, end + 1))
}

/// A dot behind a bracket that is not closed (`evil[.example`), within a name.
fn half_mark(before: &str, bracketed: &str) -> Option<(&'static str, usize)> {
    let follows_name = before.ends_with(|c: char| c.is_alphanumeric());
    let rest = bracketed.strip_prefix("[.").filter(|rest| rest.starts_with(|c: char| c.is_alphanumeric()))?;
    (follows_name && !rest.contains(']')).then_some((".", 2))
}

/// The text with its defanged scheme fixed, `None` when there is nothing to fix.
fn refang_scheme(text: &str) -> Option<String> {
    let start = text.trim_start();
    let colon = start.find(':').filter(|at| *at <= LONGEST_SCHEME)?;
    let (scheme, rest) = start.split_at(colon);
    let slashes = rest.bytes().skip(1).take_while(|byte| matches!(byte, b'/' | b'\\')).count();
    let after = rest.get(1 + slashes..).filter(|after| slashes > 0 && !after.is_empty())?;
    let mended = meant_scheme(&scheme.to_ascii_lowercase())?;
    // A browser takes any slashes for two.
    let is_usual = rest.starts_with("://") && slashes == 2;
    let rest = if is_usual { Cow::Borrowed(rest) } else { Cow::Owned(format!("://{}", after.trim_start())) };
    let whole = format!("{mended}{rest}");
    (whole != text).then_some(whole)
}

/// Longer words before a colon are not a scheme that is fixed.
const LONGEST_SCHEME: usize = 12;

/// The scheme that is meant by a defanged one in lower case; itself for those that are not defanged.
fn meant_scheme(scheme: &str) -> Option<&'static str> {
    match scheme {
        "http" | "meow" | "ttp" | "htp" | "nttp" | "hp" | "httpx" | "h" => return Some("http"),
        "https" | "meows" | "ttps" | "htps" | "nttps" | "hps" | "httpsx" => return Some("https"),
        "ftp" | "fxp" | "fxxp" | "fqp" | "f*p" | "f_p" => return Some("ftp"),
        "ftps" | "fxps" => return Some("ftps"),
        _ => {}
    }
    // `hxxp`, `h**p`, `hxtp`, `htxp`, `h--p`, `hqqp`, `hzzps` …: two marks or letters stand for `tt`.
    let (body, secure) = match scheme.strip_suffix("ps") {
        Some(body) => (body, true),
        None => (scheme.strip_suffix('p')?, false),
    };
    let between = body.strip_prefix('h')?;
    let is_mark = |byte: u8| {
        matches!(byte, b't' | b'x' | b'*' | b'_' | b'-' | b'#' | b'q' | b'z' | b'k' | b'y' | b'^' | b'?' | b'+')
    };
    let fits = (1..=3).contains(&between.len()) && between.bytes().all(is_mark);
    fits.then_some(if secure { "https" } else { "http" })
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
            ("a{@}b.example", "a@b.example"),
            ("a<at>b<.>example", "a@b.example"),
            ("meow://evil.example/x", "http://evil.example/x"),
            ("hxtps://evil.example/x", "https://evil.example/x"),
            ("h__p://evil.example", "http://evil.example"),
            ("http:\\\\evil.example\\x", "http://evil.example\\x"),
            ("hxxp:///evil.example", "http://evil.example"),
            ("evil[.example", "evil.example"),
            ("smtp://evil.example", "smtp://evil.example"),
            ("hdfs://evil.example", "hdfs://evil.example"),
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
