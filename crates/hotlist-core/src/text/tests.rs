//! Tokens against a slow scan, by example, and against time.

mod oracle;

use proptest::prelude::*;

use super::*;
use crate::observable::email;

/// The tokens in the order of their places, and whether those were all. Without e-mail addresses outside ASCII
/// that have no canonical form.
fn found(text: &[u8]) -> (Vec<Token>, bool) {
    let mut all = Vec::new();
    let is_complete = tokens(text, &mut |token| all.push(token));
    let is_none = |raw: &[u8]| !raw.is_ascii() && email::canonical(raw, &mut Vec::new()).is_none();
    all.retain(|token| token.kind != TokenKind::Email || !is_none(&text[token.at.clone()]));
    sort(&mut all);
    (all, is_complete)
}

fn sort(all: &mut Vec<Token>) {
    all.sort_by_key(|token| (token.at.start, token.at.end, token.kind));
    all.dedup();
}

/// The texts of the tokens of a kind, of names only the known ones.
fn texts(kind: TokenKind, text: &str) -> Vec<&str> {
    let (all, _) = found(text.as_bytes());
    let of_kind = all.into_iter().filter(|token| token.kind == kind).map(|token| &text[token.at]);
    of_kind.filter(|token| kind != TokenKind::Domain || is_known_name(token.as_bytes())).collect()
}

#[test]
fn addresses_stand_alone_with_a_port_or_in_brackets() {
    for (text, expected) in [
        ("from 192.0.2.1 port 22", vec!["192.0.2.1"]),
        ("src=192.0.2.1:443,dst=198.51.100.7.", vec!["192.0.2.1", "198.51.100.7"]),
        ("(192.0.2.1)->[198.51.100.7]/53", vec!["192.0.2.1", "198.51.100.7"]),
        ("net 192.0.2.0/24", vec!["192.0.2.0"]),
        ("来自192.0.2.1的连接", vec!["192.0.2.1"]),
        ("1.2.3.4.5 v1.2.3.4 1.2.3.4-5 1.2.3.4_ 256.1.1.1 01.2.3.4 1.2.3.4x .1.2.3.4 @1.2.3.4 1.2.3.4é", vec![]),
        ("1.2.3.4..5", vec!["1.2.3.4"]),
        ("[2001:db8::1]:443 2001:db8::2/64 addr:fe80::1%eth0", vec!["2001:db8::1", "2001:db8::2", "fe80::1"]),
        ("2001:db8:0:0:0:0:0:1:8080", vec!["2001:db8:0:0:0:0:0:1"]),
        ("::ffff:192.0.2.1:443", vec!["::ffff:192.0.2.1", "192.0.2.1"]),
        ("at ::1: refused", vec!["::1"]),
        ("::1:50000", vec!["::1"]),
        ("12:34:56 00:1b:44:11:3a:b7 std::vec x::1 ::", vec![]),
    ] {
        assert_eq!(texts(TokenKind::Ip, text), expected, "{text}");
    }
}

#[test]
fn a_version_behind_a_word_and_a_slash_is_marked() {
    let is_version = |text: &str| {
        let (all, _) = found(text.as_bytes());
        all.into_iter().find(|token| token.kind == TokenKind::Ip).map(|token| token.is_version)
    };
    for (text, expected) in [
        ("Chrome/120.0.0.0 Safari", true),
        ("lib-2/1.2.3.4", true),
        ("http://192.0.2.1/", false),
        ("10.0.0.1/192.0.2.1", false),
        ("/192.0.2.1", false),
        ("word 192.0.2.1", false),
    ] {
        assert_eq!(is_version(text), Some(expected), "{text}");
    }
}

#[test]
fn names_need_a_known_root_and_stand_alone() {
    for (text, expected) in [
        ("query[A] www.Evil.com. from x", vec!["www.Evil.com"]),
        ("evil.com:443 <evil.net>, 'evil.org';", vec!["evil.com", "evil.net", "evil.org"]),
        ("http://evil.com/a?u=evil.net", vec!["evil.com", "evil.net"]),
        ("https://user:pw@evil.com/x", vec!["evil.com"]),
        ("setup.exe kernel.log a.b 1.5 5.4.0-42-generic v1.com-x", vec![]),
        ("alice@evil.com .evil.com evil.com_ _evil-.com", vec!["_evil-.com"]),
        ("evil.com...", vec!["evil.com"]),
        ("bücher.example “evil.com”", vec!["bücher.example", "evil.com"]),
        ("x.xn--p1ai", vec!["x.xn--p1ai"]),
    ] {
        assert_eq!(texts(TokenKind::Domain, text), expected, "{text}");
    }
}

#[test]
fn urls_end_before_what_stands_around_them() {
    for (text, expected) in [
        ("GET http://evil.com/a.b?c=d#e HTTP/1.1", vec!["http://evil.com/a.b?c=d#e"]),
        ("see <https://evil.com/>, \"ftp://a.b/c\".", vec!["https://evil.com/", "ftp://a.b/c"]),
        ("(http://evil.com/a).", vec!["http://evil.com/a"]),
        ("http://evil.com/a_(b)", vec!["http://evil.com/a_(b", "http://evil.com/a_(b)"]),
        ("['http://a.b/c','http://a.b/d']", vec!["http://a.b/c", "http://a.b/c','http://a.b/d", "http://a.b/d"]),
        ("http://[2001:db8::1]:80/x]", vec!["http://[2001:db8::1]:80/x", "http://[2001:db8::1]:80/x]"]),
        ("_http://a.b/ .http://a.b/ 1http://a.b/ http:///x git+https://a.b/", vec!["https://a.b/"]),
    ] {
        assert_eq!(texts(TokenKind::Url, text), expected, "{text}");
    }
}

#[test]
fn hashes_and_mail_addresses_stand_alone() {
    let (md5, sha256) = ("d41d8cd98f00b204e9800998ecf8427e", "ab".repeat(32));
    let line = format!("MD5={md5},SHA256={sha256}; x{md5} {md5}-1 {md5}.exe {md5}0 {md5}.");
    assert_eq!(texts(TokenKind::Hash, &line), [md5, &sha256, md5]);
    for (text, expected) in [
        ("from=<alice@evil.com>, to=bob.b@evil.net.", vec!["alice@evil.com", "bob.b@evil.net"]),
        ("CN=x,emailAddress=alice@evil.com", vec!["alice@evil.com"]),
        ("alice+tag@evil.com", vec!["alice+tag@evil.com", "tag@evil.com"]),
        ("a@b @b.com a@ .a@b.com a@b.com@c.com é@b.com", vec!["a@b.com", "é@b.com"]),
    ] {
        assert_eq!(texts(TokenKind::Email, text), expected, "{text}");
    }
}

/// Pieces that tokens are made of, and that stand around them.
const PIECES: [&str; 64] = [
    "a",
    "f",
    "x",
    "1",
    "9",
    "0",
    "-",
    "_",
    ".",
    ".",
    ".",
    ":",
    ":",
    ":",
    "@",
    "@",
    "/",
    "//",
    "://",
    " ",
    " ",
    ",",
    "'",
    "(",
    ")",
    "[",
    "]",
    "+",
    "%",
    "?",
    "#",
    "é",
    "中",
    "”",
    "\u{1e00}",
    "http",
    "https://",
    "ftp://",
    "com",
    ".com",
    ".org",
    "evil.com",
    "b.co.uk",
    "192.0.2.1",
    "10.0.0",
    "::",
    "fe80",
    "2001:db8:",
    "::ffff:",
    "1:2:3:4:5:6:7",
    "xn--p1ai",
    "exe",
    "\"",
    "<",
    ">",
    "=",
    ";",
    "!",
    "d41d8cd98f00b204",
    "e9800998ecf8427e",
    "E9800998ECF8427E",
    "Chrome/",
    "65535",
    "256",
];

/// Lines as programs write them.
const LINES: [&str; 8] = [
    "Nov 30 11:25:06 web-1 sshd[812]: Failed password for root from 203.0.113.7 port 50022 ssh2",
    "<134>1 2026-11-30T11:25:06Z fw1 fw 1 - - src=203.0.113.7:443 dst=[2001:db8::1]:53 url=http://evil.com/a,b",
    "203.0.113.7 - - [30/Nov/2026:11:25:06 +0000] \"GET http://evil.com/x?y=1 HTTP/1.1\" 200 1 \"-\" \"Chrome/120.0.0.0\"",
    "Hashes: SHA1=da39a3ee5e6b4b0d3255bfef95601890afd80709,MD5=D41D8CD98F00B204E9800998ECF8427E",
    "postfix: from=<alice+x@evil.com>, relay=mx.evil.com[203.0.113.7]:25, status=sent (250 2.0.0 ok)",
    "java.net.ConnectException: /2001:db8:0:0:0:0:0:1:8080 at com.example.Main.run(Main.java:10)",
    "query[AAAA] www.bücher.example. from ::ffff:203.0.113.7, answer 2001:db8::1",
    "redirect https://user:pw@evil.com:8443/a?to=https://evil.net/b; see 'http://evil.org/'.",
];

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..14)
        .prop_map(|pieces| pieces.concat().into_bytes())
}

fn letters() -> impl Strategy<Value = Vec<u8>> {
    let one = prop_oneof!["[a1.:@]{1,4}", "[af0:.]{1,6}", "[-_.@:/a1 \u{e9}]{1,4}", "[0-9.]{7,15}", "[0-9a-f:]{2,20}"];
    proptest::collection::vec(one, 0..5).prop_map(|parts| parts.concat().into_bytes())
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), proptest::sample::select(&PIECES[..]), 0..4usize);
    (proptest::sample::select(&LINES[..]), proptest::collection::vec(edit, 0..5)).prop_map(|(line, edits)| {
        let mut line = line.as_bytes().to_vec();
        for (at, piece, removed) in edits {
            let at = at.index(line.len());
            let end = (at + removed).min(line.len());
            line.splice(at..end, piece.bytes());
        }
        line
    })
}

proptest! {
    /// The tokens are those of the slow scan, in texts of awkward pieces and letters, in lines with mistakes, and in bytes
    /// that are not text.
    #[test]
    fn tokens_are_those_of_a_slow_scan(text in prop_oneof![pieces(), letters(), mutated()], noise in proptest::collection::vec(any::<u8>(), 0..3), at in any::<prop::sample::Index>()) {
        let mut text = text;
        let at = at.index(text.len() + 1);
        text.splice(at..at, noise);
        let (all, is_complete) = found(&text);
        prop_assert!(is_complete);
        let expected = oracle::tokens(&text);
        let show = |one: &[Token], other: &[Token]| {
            let only = one.iter().filter(|token| !other.contains(token));
            only.map(|token| format!("{token:?} {:?}", text[token.at.clone()].escape_ascii().to_string())).collect::<Vec<_>>()
        };
        let (extra, missing) = (show(&all, &expected), show(&expected, &all));
        prop_assert!(all == expected, "extra {extra:?}, missing {missing:?} in {}", text.escape_ascii());
    }
}

/// Scenario: URLs that begin inside other URLs, a few and thousands. Guarantee: of a few each is a token; of thousands the
/// outermost are, and the scan reports that it left others out.
#[test]
fn only_so_many_urls_begin_inside_others() {
    let nested = |count: usize| "http://a.example/".repeat(count);
    let (all, is_complete) = found(nested(16).as_bytes());
    assert_eq!((all.iter().filter(|token| token.kind == TokenKind::Url).count(), is_complete), (16, true));
    let (all, is_complete) = found(nested(5000).as_bytes());
    assert!(!is_complete);
    let bytes = all.iter().filter(|token| token.kind == TokenKind::Url).map(|token| token.at.len()).sum::<usize>();
    assert!(bytes <= 16 * 5000 * 17);
    assert_eq!(all.iter().filter(|token| token.kind == TokenKind::Domain).count(), 5000);
}
