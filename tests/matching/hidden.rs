//! Values that somebody wrote so that a listed one is not found in them: each hits, or is counted.

use bytes::Bytes;
use hotlist::detect::{Detector, Report};
use hotlist::encoding::Format;
use hotlist::encoding::wire::put_bytes;
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::observable::{Kind, Malformed};
use hotlist::pipeline::Work;
use jiff::Timestamp;
use proptest::prelude::*;

use crate::common::{detector, indicator, table};

const BOTH: MatchOptions =
    MatchOptions { subdomains: true, url_hosts: true, user_principals: true, ..MatchOptions::EXACT };

/// Listed: `evil.example.org`, 203.0.113.7, a URL, two hashes, a user and an e-mail address.
fn listed(options: MatchOptions, feed: Feed) -> Detector {
    let indicators = vec![
        indicator(Kind::Domain, "evil.example.org"),
        indicator(Kind::Domain, "xn--bcher-kva.example.org"),
        indicator(Kind::Ip, "203.0.113.7"),
        indicator(Kind::Ip, "2001:db8::7"),
        indicator(Kind::Url, "https://evil.example.org/gate.php"),
        indicator(Kind::Md5, &"ab".repeat(16)),
        indicator(Kind::Sha256, &"cd".repeat(32)),
        indicator(Kind::User, "mallory"),
        indicator(Kind::Email, "m@evil.example.org"),
    ];
    detector(&table(), options, None, vec![(feed, indicators)])
}

/// A batch of one record with one attribute, whose value is these bytes.
fn send(detector: &Detector, field: &str, value: &[u8]) -> Report {
    let (mut any, mut attribute, mut record) = (Vec::new(), Vec::new(), Vec::new());
    put_bytes(&mut any, 1, value);
    put_bytes(&mut attribute, 1, field.as_bytes());
    put_bytes(&mut attribute, 2, &any);
    put_bytes(&mut record, 6, &attribute);
    let request = [2, 2, 1].iter().fold(record, |inner, number| {
        let mut outer = Vec::new();
        put_bytes(&mut outer, *number, &inner);
        outer
    });
    detector.batch(Format::Otlp, Bytes::from(request), Timestamp::UNIX_EPOCH, &Work::default()).unwrap().1
}

fn hits(detector: &Detector, field: &str, value: &[u8]) -> bool {
    send(detector, field, value).hits.total() > 0
}

fn reason(detector: &Detector, field: &str, value: &[u8]) -> Option<Malformed> {
    let report = send(detector, field, value);
    let id = detector.snapshot.table().id(field);
    let mut counted = report.malformed.iter();
    let (at, reason, count) = counted.next()?;
    assert_eq!((Some(at), count, counted.next()), (id, 1, None));
    Some(reason)
}

proptest! {
    /// Scenario: any octets stand below a listed name, as a tunnel writes them.
    /// Guarantee: the listed name hits, whether its feed or the configuration asks for names below it; what is not a name
    /// is counted. Without either it does not hit.
    #[test]
    fn nothing_below_a_listed_name_hides_it(below in proptest::collection::vec(any::<u8>(), 0..300)) {
        // An e-mail address is not a name.
        prop_assume!(!below.contains(&b'@') || below.iter().any(|byte| !byte.is_ascii_graphic()));
        let value = [&below, &b".evil.example.org"[..]].concat();
        let feed = Feed { subdomains: true, ..Feed::named("f") };
        for detector in [listed(BOTH, Feed::named("f")), listed(MatchOptions::EXACT, feed)] {
            for field in ["dns.question.name", "url.domain", "related.hosts"] {
                prop_assert!(hits(&detector, field, &value), "{}", field);
            }
        }
        // What precedes may make a URL of it.
        if !below.iter().any(|byte| matches!(byte, b'/' | b'@' | b':')) {
            let exact = listed(MatchOptions::EXACT, Feed::named("f"));
            prop_assert!(!hits(&exact, "dns.question.name", &value));
        }
    }
}

/// Scenario: listed values in spellings that tools, resolvers and browsers read as the same value. Guarantee: each
/// hits.
#[test]
fn disguised_values_hit() {
    let detector = listed(BOTH, Feed::named("f"));
    let long = ["a".repeat(64), "b".repeat(200), "c.".repeat(4_000)];
    let below: Vec<String> = long.iter().map(|below| format!("{below}.evil.example.org")).collect();
    let names = [
        "evil.example.org",
        "EVIL.example.org.",
        "evil.example.org..",
        ".evil.example.org",
        "evil。example．org｡",
        "ev\u{200b}il.example.org",
        "ev\u{ad}il.example.org",
        "\u{feff}evil.example.org",
        "ｅｖｉｌ.example.org",
        "*.evil.example.org",
        "a b.evil.example.org",
        "a/b.evil.example.org",
        "a:b.evil.example.org",
        "http://x/b.evil.example.org",
        "q+/=.evil.example.org",
        r"\001\.evil.example.org",
        "a!b.evil.example.org:53",
        "x..evil.example.org",
        "bu\u{308}cher.example.org",
        "hxxp://evil.example.org/",
        &below[0],
        &below[1],
        &below[2],
    ];
    let addresses = [
        "203.000.113.007",
        "::ffff:203.0.113.7",
        "::203.0.113.7",
        "64:ff9b::cb00:7107",
        "2002:cb00:7107::1",
        "3405803783",
        "0xcb007107",
        "0313.0.0161.07",
        "203.0.28935",
        "203.0.113.7:80",
        "203.0.113.7.",
        "10.0.0.1, 203.0.113.7",
        "203.0.113.7/32",
        "2001:db8::7/128",
        "２０３.0.113.7",
        "203。0。113。7",
        "http://203.0.113.7/x",
    ];
    let urls = [
        "https://%65vil.example.org/x",
        "https:\\\\evil.example.org\\x",
        "https://ev\til.example.org/x",
        "https:evil.example.org/x",
        "https:/evil.example.org/x",
        "//evil.example.org/x",
        "https://u:p@evil.example.org:8443/x",
        "https://evil.example.org./x",
        "http://3405803783/",
        "http://0xcb.0.113.7/",
        "view-source:https://evil.example.org/x",
        "blob:https://evil.example.org/x",
        "\u{1}https://evil.example.org/x",
        r"\\evil.example.org\share",
        "https://a+b.evil.example.org/",
        "https://evil.example.org:99999/",
    ];
    let hashes = [
        format!("SHA1={},MD5={},IMPHASH={}", "0".repeat(40), "AB".repeat(16), "0".repeat(32)),
        format!("sha256:{}", "cd".repeat(32)),
    ];
    let users = ["mallory@corp.example", r"CORP\Mallory", r"CORP\mallory@corp.example", "m@evil.example.org"];
    let hashes: Vec<&str> = hashes.iter().map(String::as_str).collect();
    for (fields, values) in [
        (&["dns.question.name", "url.domain"][..], &names[..]),
        (&["destination.ip", "related.ip"][..], &addresses[..]),
        (&["url.full", "url.original"][..], &urls[..]),
        (&["file.hash.md5", "related.hash"][..], &hashes[..]),
        (&["user.name"][..], &users[..]),
    ] {
        for (field, value) in fields.iter().flat_map(|field| values.iter().map(move |value| (field, value))) {
            assert!(hits(&detector, field, value.as_bytes()), "{field} = {value:?}");
        }
    }
    // A URL indicator is looked up under the same reading as the host.
    let only_urls = listed(MatchOptions::EXACT, Feed::named("f"));
    for url in
        ["https:evil.example.org/gate.php", "https://%65vil.example.org/%67ate.php", "//evil.example.org/gate.php"]
    {
        let report = send(&only_urls, "url.full", url.as_bytes());
        let is_hit = report.hits.iter().any(|((_, kind), _)| *kind == Kind::Url);
        assert!(is_hit, "{url}");
    }
    let int = serde_json::json!({ "destination.ip": 3_405_803_783_u32 });
    assert_eq!(crate::common::send(&detector, &int).hits.len(), 1);
}

/// Scenario: values that are read as something else than what is listed, or as nothing.
/// Guarantee: those that are not of their field's kind are counted by field and reason; those that stand for no value are
/// not.
#[test]
fn what_does_not_hit_is_counted() {
    let detector = listed(BOTH, Feed::named("f"));
    for (field, value, expected) in [
        ("dns.question.name", "evil[.]example[.]org", Malformed::NotDomain),
        ("dns.question.name", r"evil\046example.org", Malformed::NotDomain),
        ("dns.question.name", "(4)evil(7)example(3)org(0)", Malformed::NotDomain),
        ("dns.question.name", "\"evil.example.org\"", Malformed::NotDomain),
        ("dns.question.name", "%65vil.example.org", Malformed::NotDomain),
        ("dns.question.name", "evil..example.org", Malformed::NotDomain),
        ("dns.question.name", "evil.example.org\0", Malformed::NotDomain),
        ("destination.ip", "evil.example.org", Malformed::NotIp),
        ("destination.ip", "443", Malformed::NotIp),
        ("url.full", "evil example", Malformed::NotUrl),
        ("file.hash.md5", "abc", Malformed::NotHash),
        ("email.from.address", "nobody", Malformed::NotEmail),
    ] {
        assert!(!hits(&detector, field, value.as_bytes()), "{field} = {value:?}");
        assert_eq!(reason(&detector, field, value.as_bytes()), Some(expected), "{field} = {value:?}");
    }
    for field in ["dns.question.name", "destination.ip", "url.full", "file.hash.md5", "email.from.address", "user.name"]
    {
        for value in ["", " ", "-", "N/A", "unknown"] {
            assert_eq!(reason(&detector, field, value.as_bytes()), None, "{field} = {value:?}");
        }
    }
    for (field, value) in [("url.original", "/index.html?x=1"), ("url.full", "data:,x"), ("user.name", "a b\\c@d")] {
        assert_eq!(reason(&detector, field, value.as_bytes()), None, "{field} = {value:?}");
    }
}

/// Scenario: a value longer than any of its kind.
/// Guarantee: it is counted as too long, and what may still be read of it is: the name at its end, the host at its start.
#[test]
fn what_is_too_long_is_counted() {
    let detector = listed(BOTH, Feed::named("f"));
    let long = "a/".repeat(100_000);
    for field in ["dns.question.name", "destination.ip", "url.full", "file.hash.md5", "email.from.address", "user.name"]
    {
        assert_eq!(reason(&detector, field, long.as_bytes()), Some(Malformed::TooLong), "{field}");
    }
    for (field, value) in [
        ("dns.question.name", format!("{long}.evil.example.org")),
        ("url.full", format!("https://evil.example.org/{long}")),
    ] {
        assert!(hits(&detector, field, value.as_bytes()), "{field}");
        assert_eq!(reason(&detector, field, value.as_bytes()), Some(Malformed::TooLong), "{field}");
    }
    let none = MatchOptions { max_url_bytes: 10, ..BOTH };
    assert_eq!(reason(&listed(none, Feed::named("f")), "url.full", b"http://a.example/"), Some(Malformed::TooLong));
}
