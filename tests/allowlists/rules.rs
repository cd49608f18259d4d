//! The entries that a list holds: one test per rule, with what it must not hold.

use hotlist::observable::Kind;
use hotlist::observable::Kind::{Domain, Email, Ip, Md5, Name, Url, User};

use crate::common::{list, suppresses};

/// One case: type, entry, whether the feed is wide, indicator, the event's value, and whether the list holds it.
type Case<'a> = (&'a str, &'a str, bool, (Kind, &'a str), &'a str, bool);

fn check(cases: &[Case<'_>]) {
    for case @ (kind, entry, wide, indicator, value, expected) in cases {
        assert_eq!(suppresses(list(kind, &[], &[entry]), *wide, *indicator, value), *expected, "{case:?}");
    }
}

const EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// Guarantee: an entry of type `string` holds exactly its value, however both are spelt, and nothing near it.
#[test]
fn a_string_is_exact_in_canonical_form() {
    check(&[
        ("string", "D41D8CD98F00B204E9800998ECF8427E", false, (Md5, EMPTY), EMPTY, true),
        ("string", "::ffff:8.8.8.8", false, (Ip, "8.8.8.8"), "8.8.8.8", true),
        ("string", "8.8.8.8", false, (Ip, "8.8.8.4"), "8.8.8.4", false),
        ("string", "Bücher.example.", false, (Domain, "xn--bcher-kva.example"), "bücher.example", true),
        ("string", "example.com", false, (Domain, "www.example.com"), "www.example.com", false),
        ("string", "www.example.com", false, (Domain, "example.com"), "example.com", false),
        ("string", "HTTP://Example.com:80/a", false, (Url, "http://example.com/a"), "http://example.com/a", true),
        ("string", "http://example.com/a", false, (Url, "https://example.com/a"), "https://example.com/a", false),
        ("string", "http://example.com/a", false, (Url, "http://example.com/a/b"), "http://example.com/a/b", false),
        ("string", "A@Example.com", false, (Email, "a@example.com"), "Someone <a@example.com>", true),
        ("string", "Alice", false, (User, "alice"), "ALICE", true),
        ("string", "setup.exe", false, (Name, "Setup.exe"), "SETUP.EXE", true),
    ]);
}

/// Guarantee: a scheme is compared only when entry and value both have one.
#[test]
fn a_url_without_scheme_stands_for_any() {
    check(&[
        ("string", "example.com/a", false, (Url, "https://example.com/a"), "https://example.com/a", true),
        ("string", "https://example.com/a", false, (Url, "example.com/a"), "example.com/a", true),
        ("string", "https://example.com/a", false, (Url, "http://example.com/a"), "example.com/a", false),
    ]);
}

/// Guarantee: the whole user name of the event counts too, its account alone does not stand for every domain.
#[test]
fn a_user_name_counts_with_its_domain_too() {
    check(&[
        ("string", r"corp\backup", false, (User, "backup"), r"CORP\backup", true),
        ("string", r"corp\backup", false, (User, "backup"), r"LAB\backup", false),
        ("string", "backup", false, (User, "backup"), r"LAB\backup", true),
    ]);
}

/// Guarantee: an entry of type `hostname` holds its name and those below it at the boundary of a label.
#[test]
fn a_hostname_holds_what_is_below_it() {
    for entry in ["example.com", ".example.com", "*.example.com", "EXAMPLE.com."] {
        check(&[
            ("hostname", entry, false, (Domain, "example.com"), "example.com", true),
            ("hostname", entry, false, (Domain, "a.b.example.com"), "a.b.example.com", true),
            ("hostname", entry, false, (Domain, "notexample.com"), "notexample.com", false),
            ("hostname", entry, false, (Domain, "example.com.evil.org"), "example.com.evil.org", false),
        ]);
    }
    check(&[
        ("hostname", "lan", false, (Domain, "printer.lan"), "printer.lan", true),
        ("hostname", "192.0.2.1", false, (Ip, "192.0.2.1"), "192.0.2.1", true),
        ("hostname", "example.com", false, (Email, "a@example.com"), "a@example.com", false),
    ]);
}

/// Guarantee: an entry of type `cidr` holds its address, or every address of its network, and no other.
#[test]
fn a_cidr_holds_an_address_or_a_network() {
    check(&[
        ("cidr", "192.0.2.77/24", false, (Ip, "192.0.2.1"), "192.0.2.1", true),
        ("cidr", "192.0.2.0/24", false, (Ip, "192.0.3.0"), "192.0.3.0", false),
        ("cidr", "192.0.2.1", false, (Ip, "192.0.2.1"), "192.0.2.1:443", true),
        ("cidr", "192.0.2.1", false, (Ip, "192.0.2.2"), "192.0.2.2", false),
        ("cidr", "FE80::/10", false, (Ip, "fe80::1"), "fe80::1%eth0", true),
        ("cidr", "2001:db8::/32", false, (Ip, "2001:db9::"), "2001:db9::", false),
    ]);
}

/// Guarantee: what counts is the event's value. A network that contains an entry is not touched elsewhere, and one that
/// lies inside an entry is held with all of its addresses.
#[test]
fn an_indicator_that_contains_an_entry_is_not_suppressed_for_it() {
    check(&[
        ("cidr", "8.8.8.8", false, (Ip, "8.8.8.0/24"), "8.8.8.77", false),
        ("cidr", "8.8.8.8", false, (Ip, "8.8.8.0/24"), "8.8.8.8", true),
        ("cidr", "8.8.0.0/16", false, (Ip, "8.8.8.0/24"), "8.8.8.77", true),
        ("string", "example.com", true, (Domain, "example.com"), "www.example.com", false),
        ("string", "example.com", true, (Domain, "example.com"), "example.com", true),
        ("hostname", "example.com", true, (Domain, "evil.example.com"), "a.evil.example.com", true),
        ("hostname", "good.example.com", true, (Domain, "example.com"), "evil.example.com", false),
        ("hostname", "good.example.com", true, (Domain, "example.com"), "a.good.example.com", true),
    ]);
}

/// Guarantee: an entry that names a host never holds a URL that says more than scheme and host, whatever its type.
#[test]
fn a_host_never_holds_a_url_with_a_path() {
    for (kind, entry) in
        [("string", "example.com"), ("hostname", "example.com"), ("hostname", "com"), ("substring", "example.com")]
    {
        check(&[
            (kind, entry, false, (Url, "https://example.com/evil.exe"), "https://example.com/evil.exe", false),
            (kind, entry, false, (Url, "https://example.com/?q=1"), "https://example.com/?q=1", false),
            (kind, entry, false, (Url, "https://example.com:8443/"), "https://example.com:8443/", false),
            (kind, entry, false, (Url, "https://a@example.com/"), "https://a@example.com/", false),
            (kind, entry, true, (Url, "https://example.com/"), "https://example.com/evil.exe", false),
        ]);
        check(&[(kind, entry, false, (Url, "https://example.com"), "https://example.com/#top", true)]);
    }
    for (kind, entry) in
        [("string", "192.0.2.1"), ("hostname", "192.0.2.1"), ("cidr", "192.0.2.0/24"), ("substring", "192.0.2.1")]
    {
        check(&[
            (kind, entry, false, (Url, "http://192.0.2.1/evil.exe"), "http://192.0.2.1/evil.exe", false),
            (kind, entry, false, (Url, "http://192.0.2.1/"), "http://192.0.2.1/", true),
        ]);
    }
    check(&[(
        "substring",
        "example.com",
        false,
        (Url, "http://evil.org/?to=example.com"),
        "http://evil.org/?to=example.com",
        false,
    )]);
}

/// Guarantee: a part of a URL that is only a host is recognised as a host, in every spelling; a longer part covers URLs
/// with a path.
#[test]
fn a_substring_that_is_a_host_is_told_as_one() {
    let value = "https://www.example.com:8080/evil.exe?x=192.0.2.1";
    for entry in
        ["example.com", ".example.com", "example.com:8080", "www.example.com:8080/", "//www.example.com", "192.0.2.1"]
    {
        check(&[("substring", entry, false, (Url, value), value, false)]);
    }
    for entry in ["/evil.exe", "example.com:8080/evil", "evil.exe?x=", "?x"] {
        check(&[("substring", entry, false, (Url, value), value, true)]);
    }
}

/// Guarantee: an entry of type `substring` holds what it is a part of; one that is more than a host, also URLs.
#[test]
fn a_substring_is_a_part_of_the_value() {
    check(&[
        ("substring", "Mail.example", false, (Email, "x@webmail.example"), "X@WEBMAIL.example", true),
        ("substring", "mail.example", false, (Email, "x@mail.other"), "x@mail.other", false),
        ("substring", "bücher.example", false, (Domain, "www.bücher.example"), "www.bücher.example", true),
        ("substring", "example.com/ads/", false, (Url, "http://example.com/ads/1"), "http://example.com/ads/1", true),
        ("substring", "anl", false, (Domain, "anlyz.example"), "anlyz.example", true),
    ]);
}

/// Guarantee: an entry of type `regex` holds what it matches, with MISP's delimiters and flags.
#[test]
fn a_regular_expression_matches_the_value() {
    check(&[
        ("regex", r"/^(noc|abuse)\@.*\..*$/i", false, (Email, "abuse@example.org"), "ABUSE@example.org", true),
        ("regex", r"/^(noc|abuse)\@.*\..*$/i", false, (Email, "an-abuse@example.org"), "an-abuse@example.org", false),
        ("regex", r"/^ABUSE/", false, (Email, "abuse@example.org"), "abuse@example.org", false),
        ("regex", r"^https:\/\/cdn\.", false, (Url, "https://cdn.example/x"), "https://cdn.example/x", true),
    ]);
    // A value of an event may be as long as its author likes; a very long one is not tried.
    let long = format!("https://cdn.example/{}", "x".repeat(9000));
    check(&[("regex", r"^https:\/\/cdn\.", true, (Url, "https://cdn.example/"), &long, false)]);
}

/// Guarantee: `matching_attributes` limits a list to the kinds that they stand for; none are all.
#[test]
fn matching_attributes_limit_a_list_to_kinds() {
    let domain = (Domain, "example.com");
    for (attributes, held) in [
        (&["domain"][..], true),
        (&["hostname"], true),
        (&["domain|ip"], true),
        (&["btc", "Domain"], true),
        (&[], true),
        (&["ip-src", "ip-dst"], false),
        (&["url", "md5", "email-src"], false),
    ] {
        for kind in ["hostname", "substring"] {
            let list = list(kind, attributes, &["example.com"]);
            assert_eq!(suppresses(list, false, domain, "example.com"), held, "{kind} {attributes:?}");
        }
    }
    for (attributes, held) in [(&["md5"][..], true), (&["filename|md5"], true), (&["ssdeep", "md5"], true)] {
        assert_eq!(
            suppresses(list("string", attributes, &[EMPTY]), false, (Md5, EMPTY), EMPTY),
            held,
            "{attributes:?}"
        );
    }
    let hosts = || list("hostname", &["domain"], &["example.com"]);
    assert!(!suppresses(hosts(), false, (Url, "http://example.com/"), "http://example.com/"));
}
