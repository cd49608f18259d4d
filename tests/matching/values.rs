//! How values of events meet indicators: subdomains, URLs, values that cross kinds, and the wider kinds.

use hotlist::intel::indicator::{Comparison, Indicator, Target, Term, TermValue};
use hotlist::intel::pattern;
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::observable::Kind;
use serde_json::{Value, json};

use crate::common::{EXACT, detector, indicator, judge, of_terms, table};

/// The names of what hits when `value` stands at `field`, in the order of the walk.
fn found(options: MatchOptions, feed: &Feed, indicators: &[Indicator], field: &str, value: Value) -> Vec<String> {
    let detector = detector(&table(), options, None, vec![(feed.clone(), indicators.to_vec())]);
    judge(&detector, &json!({ field: value })).hits.into_iter().map(|hit| hit.name.into()).collect()
}

/// Asserts what hits at a field for a list of values, exact options and a plain feed.
fn exact(kind: Kind, written: &str, field: &str, cases: &[(&str, bool)]) {
    for (value, hits) in cases {
        let names = found(EXACT, &Feed::named("feed"), &[indicator(kind, written)], field, json!(value));
        assert_eq!(!names.is_empty(), *hits, "{written} against {value:?} at {field}: {names:?}");
        assert!(names.len() <= 1, "{written} against {value:?} at {field}: {names:?}");
    }
}

const SUBDOMAINS: MatchOptions = MatchOptions { subdomains: true, ..MatchOptions::EXACT };
const URL_HOSTS: MatchOptions = MatchOptions { url_hosts: true, ..MatchOptions::EXACT };

/// Scenario: a name, names below it, names that only end alike, under each of the three ways to opt in.
/// Guarantee: without one only the name itself; with one also what is below it, at a label boundary.
#[test]
fn subdomains_match_by_indicator_by_feed_or_by_flag() {
    let plain = indicator(Kind::Domain, "evil.example");
    let starred = indicator(Kind::Domain, "*.evil.example");
    let feed = Feed::named("feed");
    let opted = Feed { subdomains: true, ..Feed::named("feed") };
    for (options, feed, indicator, below) in [
        (EXACT, &feed, &plain, false),
        (EXACT, &feed, &starred, true),
        (EXACT, &opted, &plain, true),
        (SUBDOMAINS, &feed, &plain, true),
        (SUBDOMAINS, &opted, &starred, true),
    ] {
        for (name, hits) in [
            ("evil.example", true),
            ("EVIL.example.", true),
            ("a.evil.example", below),
            ("a.b.c.evil.example", below),
            ("notevil.example", false),
            ("a.notevil.example", false),
            ("evil.example.org", false),
            ("example", false),
        ] {
            // A wildcard is the names below it, and not the name itself.
            let is_starred = std::ptr::eq(indicator, &starred);
            let hits = hits && !(is_starred && name.len() <= "EVIL.example.".len() && !name.starts_with("a."));
            let names = found(options, feed, std::slice::from_ref(indicator), "dns.question.name", json!(name));
            assert_eq!(names, vec!["evil.example"; usize::from(hits)], "{name} {options:?} {feed:?}");
        }
    }
}

/// Scenario: indicators of one label and of two, with every way to opt in to subdomains.
/// Guarantee: the walk up stops at two labels: a single label matches itself only.
#[test]
fn the_walk_up_stops_at_two_labels() {
    let indicators = [indicator(Kind::Domain, "example"), indicator(Kind::Domain, "evil.example")];
    let feed = Feed { subdomains: true, ..Feed::named("feed") };
    let names = |name: &str| found(SUBDOMAINS, &feed, &indicators, "dns.question.name", json!(name));
    assert_eq!(names("a.evil.example"), ["evil.example"]);
    assert_eq!(names("good.example"), [""; 0]);
    assert_eq!(names("example"), ["example"]);
}

/// Scenario: one feed opts in to subdomains, the other does not, for the same name.
/// Guarantee: a name below it hits for the feed that opted in only.
#[test]
fn opting_in_is_the_feeds_own_affair() {
    let same = || vec![indicator(Kind::Domain, "evil.example")];
    let opted = Feed { subdomains: true, ..Feed::named("opted") };
    let detector = detector(&table(), EXACT, None, vec![(Feed::named("exact"), same()), (opted, same())]);
    let verdict = judge(&detector, &json!({ "dns.question.name": "a.evil.example" }));
    let feeds: Vec<&str> =
        verdict.hits.iter().map(|hit| detector.snapshot.feed_of(hit.posting.indicator).name.as_str()).collect();
    assert_eq!(feeds, ["opted"]);
}

/// Scenario: URL indicators with and without a scheme against URLs with, without and with another scheme.
/// Guarantee: schemes are compared when both sides have one, and `http` is not `https`.
#[test]
fn urls_without_a_scheme_meet_any_scheme() {
    exact(
        Kind::Url,
        "evil.com/a?b",
        "url.full",
        &[
            ("http://evil.com/a?b", true),
            ("https://EVIL.com:443/a?b#c", true),
            ("evil.com/a?b", true),
            ("https://evil.com/A?b", false),
            ("https://evil.com/a", false),
            ("https://evil.com:8443/a?b", false),
        ],
    );
    exact(
        Kind::Url,
        "http://evil.com/a",
        "url.original",
        &[
            ("http://evil.com/a", true),
            ("http://evil.com:80/a", true),
            ("evil.com/a", true),
            ("https://evil.com/a", false),
            ("wss://evil.com/a", false),
            ("http://evil.com/a/", false),
            ("http://www.evil.com/a", false),
            ("/a", false),
        ],
    );
    // A host in a URL field stands for the URL without path.
    exact(
        Kind::Url,
        "http://evil.com/",
        "url.full",
        &[("evil.com", true), ("http://evil.com", true), ("evil.com/a", false)],
    );
}

/// Scenario: a feed that opts in to prefixes, and one that does not.
/// Guarantee: longer paths hit at a segment's boundary only, whatever the query, and only for the feed that opted in.
#[test]
fn url_prefixes_end_at_a_segment() {
    let prefix = Feed { url_prefix: true, ..Feed::named("feed") };
    let found_by = |feed: &Feed, url: &str, value: &str| {
        !found(EXACT, feed, &[indicator(Kind::Url, url)], "url.full", json!(value)).is_empty()
    };
    for (url, value, hits) in [
        ("http://evil.com/a", "http://evil.com/a/b?c", true),
        ("http://evil.com/a", "http://evil.com/a?c", true),
        ("http://evil.com/a/", "http://evil.com/a/b", true),
        ("evil.com/a", "https://evil.com/a/b", true),
        ("http://evil.com/", "http://evil.com/any/where", true),
        ("http://evil.com/a", "https://evil.com/a/b", false),
        ("http://evil.com/a", "http://evil.com/ab", false),
        ("http://evil.com/a", "http://evil.com/", false),
        ("http://evil.com/a", "http://evil.com.example/a/b", false),
    ] {
        assert_eq!(found_by(&prefix, url, value), hits, "{url} against {value}");
        assert!(!found_by(&Feed::named("feed"), url, value), "{url} against {value} without opting in");
    }
}

/// Scenario: hosts of URLs, with `url_hosts` and without.
/// Guarantee: the host hits as domain or address only when asked for.
#[test]
fn urls_yield_their_host_only_when_asked() {
    let indicators = [
        indicator(Kind::Domain, "evil.example"),
        indicator(Kind::Ip, "203.0.113.0/24"),
        indicator(Kind::Ip, "2001:db8::7"),
    ];
    for (value, name) in [
        ("https://user:p@EVIL.example:8443/a?b", "evil.example"),
        ("http://203.0.113.9/x", "203.0.113.0/24"),
        ("http://[2001:DB8::7]:80/x", "2001:db8::7"),
        ("evil.example", "evil.example"),
    ] {
        let at = |options| found(options, &Feed::named("feed"), &indicators, "url.original", json!(value));
        assert_eq!(at(EXACT), [""; 0], "{value}");
        assert_eq!(at(URL_HOSTS), [name], "{value}");
    }
    let host = |value: &str| found(URL_HOSTS, &Feed::named("feed"), &indicators, "url.full", json!(value));
    assert_eq!(
        (host("http://EVIL.example."), host("http://EVIL.example..")),
        (vec!["evil.example".to_owned()], vec![])
    );
    let both = MatchOptions { subdomains: true, url_hosts: true, ..MatchOptions::EXACT };
    let below = found(both, &Feed::named("feed"), &indicators, "url.full", json!("ftp://a.evil.example/"));
    assert_eq!(below, ["evil.example"]);
}

/// Scenario: addresses where domains should stand, ports, schemes, zones and brackets around hosts.
/// Guarantee: the value decides what it is, and one value gives one hit.
#[test]
fn values_cross_kinds() {
    for field in ["dns.question.name", "source.domain", "related.hosts", "url.domain", "dns.answers.data"] {
        exact(
            Kind::Ip,
            "203.0.113.7",
            field,
            &[
                ("203.0.113.7", true),
                ("[203.0.113.7]", true),
                ("203.0.113.7:443", true),
                ("::ffff:203.0.113.7", true),
                ("203.0.113.70", false),
            ],
        );
        exact(
            Kind::Ip,
            "2001:db8::7",
            field,
            &[
                ("2001:DB8:0:0:0:0:0:7", true),
                ("[2001:db8::7]", true),
                ("[2001:db8::7]:443", true),
                ("2001:db8::7%eth0", true),
            ],
        );
        exact(
            Kind::Domain,
            "evil.example",
            field,
            &[
                ("evil.example:443", true),
                ("https://evil.example/a", true),
                ("https://user@evil.example:1/a", true),
                (" Evil.Example. ", true),
                ("user@evil.example", false),
                ("a.evil.example", false),
                ("evil_example", false),
            ],
        );
    }
    exact(Kind::Domain, "xn--bcher-kva.example", "url.domain", &[("BÜCHER.example", true), ("bucher.example", false)]);
    exact(
        Kind::Ip,
        "203.0.113.0/24",
        "source.ip",
        &[
            ("203.0.113.255", true),
            ("203.0.113.1:80", true),
            ("203.0.114.0", false),
            ("::ffff:203.0.113.5", true),
            ("evil.example", false),
        ],
    );
    exact(Kind::Domain, "evil.example", "user.domain", &[("EVIL.example", true), ("evil.example:443", false)]);
    exact(
        Kind::Domain,
        "evil.example",
        "file.x509.alternative_names",
        &[("evil.example", true), ("a@evil.example", false)],
    );
}

/// Scenario: networks that nest around one address.
/// Guarantee: every covering one hits, and the address itself.
#[test]
fn every_covering_network_hits() {
    let indicators: Vec<_> =
        ["203.0.113.7", "203.0.113.0/28", "203.0.113.9/24", "203.0.0.0/16", "203.0.113.8/29", "203.0.114.0/24"]
            .map(|written| indicator(Kind::Ip, written))
            .into();
    let mut names = found(EXACT, &Feed::named("feed"), &indicators, "source.ip", json!("203.0.113.7"));
    names.sort();
    assert_eq!(names, ["203.0.0.0/16", "203.0.113.0/24", "203.0.113.0/28", "203.0.113.7"]);
}

/// Scenario: account names with domains, mail addresses as users, display forms of mail addresses.
/// Guarantee: what follows the last backslash counts, though not in `user.domain`; an address counts wherever it stands;
/// what precedes the last `@` counts when asked for.
#[test]
fn users_and_mail_addresses_are_unwrapped() {
    for field in ["user.name", "related.user"] {
        exact(
            Kind::User,
            "mallory",
            field,
            &[
                ("Mallory", true),
                (r"CORP\mallory", true),
                (r"CORP\SUB\Mallory ", true),
                (r"mallory\bob", false),
                ("mallory@x.example", false),
            ],
        );
        exact(Kind::Email, "mallory@evil.example", field, &[("Mallory@EVIL.example", true), (r"CORP\x", false)]);
    }
    let principals = MatchOptions { user_principals: true, ..EXACT };
    for (field, value, hits) in [
        ("user.name", "Mallory@x.example", true),
        ("related.user", r"CORP\mallory@x.example", true),
        ("user.name", "m@mallory", false),
        ("user.domain", "mallory@x.example", false),
    ] {
        let names = found(principals, &Feed::named("feed"), &[indicator(Kind::User, "mallory")], field, json!(value));
        assert_eq!(names, vec!["mallory"; usize::from(hits)], "{field} = {value}");
    }
    exact(Kind::User, r"corp\mallory", "user.name", &[(r"CORP\Mallory", true), ("mallory", false)]);
    exact(Kind::User, "mallory", "user.domain", &[("MALLORY", true), (r"corp\mallory", false)]);
    for field in ["email.from", "email.to.address", "user.email", "tls.client.x509.alternative_names"] {
        exact(
            Kind::Email,
            "mallory@evil.example",
            field,
            &[
                ("Mallory <Mallory@evil.example>", true),
                ("mailto:mallory@evil.example", true),
                ("a@b.example, mallory@evil.example", true),
                ("<mallory@evil.example", true),
                ("xmallory@evil.example", false),
                ("mallory@evil.example.org", false),
            ],
        );
    }
}

/// Scenario: hashes of every length in fields of every name, in upper case.
/// Guarantee: the length decides, not the field's name.
#[test]
fn the_length_tells_which_hash_it_is() {
    for (kind, length) in [(Kind::Md5, 32), (Kind::Sha1, 40), (Kind::Sha256, 64), (Kind::Sha512, 128)] {
        let digest = "ab".repeat(length / 2);
        for field in ["file.hash.md5", "process.hash.sha256", "process.parent.hash.ssdeep", "related.hash"] {
            exact(
                kind,
                &digest,
                field,
                &[(&digest.to_uppercase(), true), (&digest[1..], false), (&digest.replace('a', "c"), false)],
            );
        }
    }
    let fuzzy = "3:AXGBicFlgVNhBGcL6wCrFQEv:AXGHsNhxLsr2C";
    exact(Kind::Ssdeep, fuzzy, "file.hash.md5", &[(fuzzy, true), (&fuzzy.to_lowercase(), false)]);
}

fn compiled(pattern: &str) -> Vec<Indicator> {
    vec![of_terms(pattern::compile(pattern, &table()).unwrap().terms)]
}

/// Scenario: patterns on the wider fields, and values as loggers write them.
/// Guarantee: names ignore case, text does not, Windows paths do, others do not, `HTTP/` is no part of a version.
#[test]
fn the_wider_kinds_compare_as_they_should() {
    const REQUEST: &str = "network-traffic:extensions.'http-request-ext'";
    for (pattern, field, cases) in [
        (
            format!("[{REQUEST}.request_version = 'HTTP/1.1']"),
            "http.version",
            [("1.1", true), ("http/1.1", true), ("1.10", false)],
        ),
        (
            format!("[{REQUEST}.request_method = 'post']"),
            "http.request.method",
            [("POST", true), (" post ", true), ("PUT", false)],
        ),
        (
            format!("[{REQUEST}.request_value = '/Gate.php']"),
            "url.path",
            [("/Gate.php", true), ("/gate.php", false), ("/Gate.php?x", false)],
        ),
        (
            "[network-traffic:protocols[*] = 'tcp']".into(),
            "network.transport",
            [("TCP", true), ("tcp", true), ("udp", false)],
        ),
        (
            "[domain-name:x_query_type = 'TXT']".into(),
            "dns.question.type",
            [("txt", true), ("TXT", true), ("A", false)],
        ),
        (
            r"[process:cwd = 'C:\\Temp\\X']".into(),
            "process.working_directory",
            [(r"c:\temp\x", true), (r"C:\Temp\X", true), (r"c:\temp", false)],
        ),
        (
            "[process:cwd = '/opt/X']".into(),
            "process.working_directory",
            [("/opt/X", true), (" /opt/X", true), ("/opt/x", false)],
        ),
        ("[file:name = 'Evil.EXE']".into(), "file.name", [("evil.exe", true), ("EVIL.exe", true), ("evil", false)]),
    ] {
        for (value, hits) in cases {
            let names = found(EXACT, &Feed::named("feed"), &compiled(&pattern), field, json!(value));
            assert_eq!(!names.is_empty(), hits, "{pattern} against {value:?}: {names:?}");
        }
    }
}

/// Scenario: every comparison of numbers and of instants, at its bound and just off it, numbers as numbers and as text.
/// Guarantee: each holds exactly where arithmetic says so.
#[test]
fn numbers_and_instants_compare_by_every_operator() {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
    for (comparison, holds) in [
        (Less, [true, false, false]),
        (LessOrEqual, [true, true, false]),
        (Equal, [false, true, false]),
        (GreaterOrEqual, [false, true, true]),
        (Greater, [false, false, true]),
    ] {
        let at =
            |path: &str, value: TermValue| vec![of_terms(vec![Term { value, target: Target::StixPath(path.into()) }])];
        let number = at("network-traffic:dst_port", TermValue::Number { comparison, value: 443.0 });
        let bound = "2024-01-31T12:00:00Z".parse().unwrap();
        let time = at("process:created_time", TermValue::Time { comparison, value: bound });
        let feed = Feed::named("feed");
        let numbers = [json!(442), json!(443), json!(444)];
        let texts = [json!(" 442.999"), json!("443.0"), json!("443.001")];
        let times = [json!("2024-01-31T11:59:59.999Z"), json!("2024-01-31T13:00:00+01:00"), json!(1_706_702_401)];
        for at in 0..3 {
            let hits = |indicators: &[Indicator], field: &str, value: &Value| {
                !found(EXACT, &feed, indicators, field, value.clone()).is_empty()
            };
            assert_eq!(hits(&number, "destination.port", &numbers[at]), holds[at], "{comparison:?} {}", numbers[at]);
            assert_eq!(hits(&number, "destination.port", &texts[at]), holds[at], "{comparison:?} {}", texts[at]);
            assert!(!hits(&number, "source.port", &numbers[at]), "another path");
            assert_eq!(hits(&time, "process.start", &times[at]), holds[at], "{comparison:?} {}", times[at]);
        }
    }
    for malformed in [json!("NaN"), json!("inf"), json!(true), json!({}), json!("")] {
        let number = of_terms(vec![Term {
            value: TermValue::Number { comparison: Less, value: 443.0 },
            target: Target::StixPath("network-traffic:dst_port".into()),
        }]);
        let names = found(EXACT, &Feed::named("feed"), &[number], "destination.port", malformed.clone());
        assert!(names.is_empty(), "{malformed}: {names:?}");
    }
}
