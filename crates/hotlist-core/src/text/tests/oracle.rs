//! The tokens of a text by a slow scan: every part of it is compared with regular expressions.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::super::{Token, TokenKind};
use crate::observable::{domain, email};

/// A character of a word outside ASCII, and any character of a word.
const WIDE: &str = r"[\x{80}-\x{dff}\x{1e00}-\x{1fff}&&[\p{Alphabetic}\p{N}]]";
const WORD: &str = r"(?:[A-Za-z0-9_-]|WIDE)";

fn regex(pattern: &str) -> Regex {
    Regex::new(&pattern.replace("WORD", WORD).replace("WIDE", WIDE)).unwrap()
}

struct Rules {
    before: Regex,
    behind: Regex,
    quad: Regex,
    name: Regex,
    hash: Regex,
    email: Regex,
    long_email: Regex,
    before_long_email: Regex,
    groups: Regex,
    scheme: Regex,
    url: Regex,
    word_and_slash: Regex,
    words: Regex,
    host: Regex,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules {
    before: regex(r"(?:WORD|[.@])$"),
    behind: regex(r"^(?:WORD|\.WORD)"),
    quad: regex(r"^[0-9]+(?:\.[0-9]+){3}$"),
    name: regex(r"^WORD+(?:\.WORD+)*\.(?:[A-Za-z]{2,24}|(?i:xn--)WORD+|WORD*WIDEWORD*)$"),
    hash: regex(r"^(?:[0-9A-Fa-f]{32}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}|[0-9A-Fa-f]{128})$"),
    email: regex(r"^WORD(?:WORD|\.)*@WORD+(?:\.WORD+)+$"),
    long_email: regex(r"^WORD(?:WORD|[.+%&~])*[+%&~]WORD(?:WORD|\.)*@WORD+(?:\.WORD+)+$"),
    before_long_email: regex(r"(?:WORD|@)[.+%&~]*$"),
    groups: regex(r"[0-9A-Fa-f:]+"),
    scheme: regex(r"(?:^|(?-u:[^A-Za-z0-9.-]))([A-Za-z][A-Za-z0-9.-]{0,31})$"),
    url: regex(r#"^(?:[!#-;=?-\]_a-z~&&[^\\]]|WORD)+"#),
    word_and_slash: regex(r"[A-Za-z][A-Za-z0-9_.-]*/$"),
    words: regex(r"^(?:WORD|\.)+$"),
    host: regex(r"^(?:WORD|\[)"),
});

/// The tokens of a text, in the order of their places.
pub(super) fn tokens(text: &[u8]) -> Vec<Token> {
    let mut all = Vec::new();
    for start in 0..text.len() {
        for end in start + 1..=text.len() {
            all.extend(part(text, start, end).map(|kind| token(text, kind, start, end)));
        }
    }
    RULES.groups.find_iter(text).for_each(|found| ipv6(text, found.start(), found.end(), &mut all));
    for colon in 0..text.len() {
        if text[colon..].starts_with(b"://") {
            url(text, colon, &mut all);
        }
    }
    super::sort(&mut all);
    all
}

fn token(text: &[u8], kind: TokenKind, start: usize, end: usize) -> Token {
    // Of the word before the slash so much is read.
    let before = &text[start.saturating_sub(33)..start];
    let is_version = kind == TokenKind::Ip && RULES.word_and_slash.is_match(before);
    Token { at: start..end, kind, is_version }
}

fn may_begin(text: &[u8], start: usize) -> bool {
    !RULES.before.is_match(&text[..start])
}

fn may_end(text: &[u8], end: usize) -> bool {
    !RULES.behind.is_match(&text[end..])
}

/// The kind of a part of a text, if it is bounded.
fn part(text: &[u8], start: usize, end: usize) -> Option<TokenKind> {
    let part = &text[start..end];
    if RULES.long_email.is_match(part)
        && !RULES.before_long_email.is_match(&text[..start])
        && may_end(text, end)
        && is_email(part)
    {
        return Some(TokenKind::Email);
    }
    let kind = kind(part)?;
    (may_begin(text, start) && may_end(text, end)).then_some(kind)
}

fn kind(part: &[u8]) -> Option<TokenKind> {
    if is_quad(part) {
        Some(TokenKind::Ip)
    } else if RULES.hash.is_match(part) {
        Some(TokenKind::Hash)
    } else if RULES.email.is_match(part) && is_email(part) {
        Some(TokenKind::Email)
    } else if is_name(part) {
        Some(TokenKind::Domain)
    } else {
        None
    }
}

fn is_quad(part: &[u8]) -> bool {
    RULES.quad.is_match(part) && std::str::from_utf8(part).is_ok_and(|part| part.parse::<Ipv4Addr>().is_ok())
}

fn is_name(part: &[u8]) -> bool {
    // A name with other characters than those of ASCII may have any root: it is mapped first.
    let is_wide =
        part.contains(&b'.') && !part.is_ascii() && part.split(|byte| *byte == b'.').all(|label| !label.is_empty());
    (RULES.name.is_match(part) || is_wide && RULES.words.is_match(part))
        && domain::canonical(part, &mut Vec::new()).is_some()
}

fn is_email(part: &[u8]) -> bool {
    part.len() <= email::LONGEST_ADDRESS && email::canonical(part, &mut Vec::new()).is_some()
}

/// The addresses in the groups and colons from `start` to `end`, without the groups that belong to words around.
fn ipv6(text: &[u8], start: usize, end: usize, all: &mut Vec<Token>) {
    let mut groups: Vec<&[u8]> = text[start..end].split(|byte| *byte == b':').collect();
    let mut start = start;
    if !may_begin(text, start) {
        start += groups.remove(0).len() + 1;
    }
    if groups.is_empty() {
        return;
    }
    if !may_end(text, end) {
        let last = groups.pop().unwrap_or_default();
        let from = end - last.len();
        let length = text[from..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
        let quad = (1..=length)
            .map(|length| &text[from..from + length])
            .find(|quad| is_quad(quad) && may_end(text, from + quad.len()));
        groups.extend(quad);
    }
    if let [b"", second, ..] = groups[..]
        && !second.is_empty()
    {
        groups.remove(0);
        start += 1;
    }
    if let [.., before, b""] = groups[..]
        && !before.is_empty()
    {
        groups.pop();
    }
    let mut add = |groups: &[&[u8]]| {
        let address = groups.join(&b':');
        let is_address = std::str::from_utf8(&address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok());
        if is_address && address != b"::" && may_begin(text, start) {
            all.push(token(text, TokenKind::Ip, start, start + address.len()));
        }
    };
    add(&groups);
    if let [without @ .., port] = &groups[..]
        && (1..=5).contains(&port.len())
        && port.iter().all(u8::is_ascii_digit)
        && without.last().is_some_and(|last| !last.is_empty())
    {
        add(without);
    }
}

fn url(text: &[u8], colon: usize, all: &mut Vec<Token>) {
    let Some(scheme) = RULES.scheme.captures(&text[..colon]).and_then(|found| found.get(1)) else { return };
    let (start, host) = (scheme.start(), colon + 3);
    if !may_begin(text, start) {
        return;
    }
    let behind = RULES.url.find(&text[host..]).map_or(&b""[..], |found| found.as_bytes());
    let authority = behind.split(|byte| b"/?#".contains(byte)).next().unwrap_or_default();
    if let Some(user) = authority.iter().rposition(|byte| *byte == b'@') {
        let from = host + user + 1;
        let ends = (from + 1..=text.len()).filter(|end| may_end(text, *end));
        for end in ends {
            let kind = kind(&text[from..end]).filter(|kind| matches!(kind, TokenKind::Ip | TokenKind::Domain));
            all.extend(kind.map(|kind| token(text, kind, from, end)));
        }
    }
    if !RULES.host.is_match(behind) {
        return;
    }
    let whole = &text[start..host + behind.len()];
    let bracket = match behind.starts_with(b"[") {
        true => behind.iter().position(|byte| *byte == b']').map_or(0, |close| close + 1),
        false => 0,
    };
    let stop = behind[bracket..].iter().position(|byte| b"',;)]".contains(byte)).map(|stop| bracket + stop);
    let shorter = stop.map(|stop| &text[start..host + stop]);
    for url in [Some(whole), shorter].into_iter().flatten() {
        let mut end = url.len();
        while let Some(last) = url[..end].last() {
            let is_around = match last {
                b')' => !url.contains(&b'('),
                b']' => !url.contains(&b'['),
                last => b".,;:!?'*".contains(last),
            };
            if !is_around {
                break;
            }
            end -= 1;
        }
        if start + end > host {
            all.push(token(text, TokenKind::Url, start, start + end));
        }
    }
}
