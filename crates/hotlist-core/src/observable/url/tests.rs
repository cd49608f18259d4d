//! Unit and property tests of the URL normaliser.

use super::*;
use proptest::prelude::*;

fn url(value: &str) -> Option<String> {
    canonical(value.as_bytes()).map(|url| url.to_string())
}

#[test]
fn scheme_and_host_are_lowered_default_port_and_fragment_dropped() {
    for (value, form) in [
        ("HTTP://Example.ORG", "http://example.org/"),
        ("http://example.org:80/a#top", "http://example.org/a"),
        ("https://example.org.:443/A?b=C", "https://example.org/A?b=C"),
        ("https://example.org:8443/", "https://example.org:8443/"),
        (" http://u:p@example.org/x ", "http://u:p@example.org/x"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://[2001:DB8::1]/", "http://[2001:db8::1]/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("hxxp://Evil.example/A#x", "hxxp://evil.example/A"),
        ("hxxps://Evil.example?x", "hxxps://evil.example/?x"),
        ("http://a b.example/x", "http://a b.example/x"),
        ("http://ex^ample.org:80?x", "http://ex^ample.org/?x"),
    ] {
        assert_eq!(url(value).as_deref(), Some(form), "{value}");
    }
    assert_eq!(canonical(b"http://example.org/\xe9").unwrap().as_str(), "http://example.org/%E9");
}

#[test]
fn without_a_scheme_only_a_plausible_host_counts() {
    for (value, form) in [
        ("Example.ORG", "example.org/"),
        ("example.org:80/a", "example.org/a"),
        ("example.org:8080?x#y", "example.org:8080/?x"),
        ("192.0.2.1/a", "192.0.2.1/a"),
        ("abc.onion/x", "abc.onion/x"),
    ] {
        assert_eq!(url(value).as_deref(), Some(form), "{value}");
        assert_eq!(canonical(value.as_bytes()).unwrap().scheme(), None);
    }
    for value in [
        "",
        "/a/b",
        "a.exe",
        "localhost/x",
        r"C:\a",
        "u@example.org/a",
        "example.org:x",
        "a b.com/",
        "mailto:a@b.org",
        "://",
    ] {
        assert_eq!(url(value), None, "{value}");
    }
}

#[test]
fn host_scheme_and_rest_are_parts_of_the_text() {
    let parts = |value: &str| {
        let url = canonical(value.as_bytes()).unwrap();
        (url.scheme().map(str::to_owned), url.host().to_owned(), url.rest().to_owned())
    };
    let expect = |scheme: Option<&str>, host: &str, rest: &str| (scheme.map(str::to_owned), host.into(), rest.into());
    assert_eq!(parts("http://u:p@h.example:81/a@b"), expect(Some("http"), "h.example", "u:p@h.example:81/a@b"));
    assert_eq!(parts("http://[::1]:81/"), expect(Some("http"), "[::1]", "[::1]:81/"));
    assert_eq!(parts("example.org:81"), expect(None, "example.org", "example.org:81/"));
}

#[test]
fn path_prefixes_go_up_by_segments_and_leave_the_query_out() {
    let prefixes =
        |value: &str| canonical(value.as_bytes()).unwrap().path_prefixes().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(prefixes("http://h.org/a/b?q=/x"), ["h.org/a/b", "h.org/a/", "h.org/a", "h.org/"]);
    assert_eq!(prefixes("http://h.org/a/"), ["h.org/a/", "h.org/a", "h.org/"]);
    assert_eq!(prefixes("http://h.org"), ["h.org/"]);
    assert_eq!(prefixes("https://h.org:1?x"), ["h.org:1/"]);
}

#[test]
fn an_event_value_is_read_as_a_browser_reads_it() {
    let form =
        |value: &str| event_url(value.as_bytes()).map(|url| (url.scheme().map(str::to_owned), url.rest().into()));
    let https = Some((Some("https".to_owned()), "evil.example/x".to_owned()));
    for value in [
        "https://evil.example/x",
        "https:evil.example/x",
        "https:/evil.example/x",
        "https:///evil.example/x",
        "https:\\\\evil.example\\x",
        "ht\ttps://ev\nil.example/x",
        "\u{1}https://evil.example/x",
        "https://%65vil.example/x",
        "view-source:https://evil.example/x",
        "BLOB:https://evil.example/x",
        "https://ｅvil。example/x",
    ] {
        assert_eq!(form(value), https, "{value}");
    }
    for value in ["//evil.example/x", "\\\\evil.example\\x", "evil.example/x"] {
        assert_eq!(form(value), Some((None, "evil.example/x".to_owned())), "{value}");
    }
    for value in ["http://3405803783/", "http:0xcb007107", "http://0313.0.28935/", "http://203.0.113.7."] {
        assert_eq!(form(value), Some((Some("http".to_owned()), "203.0.113.7/".to_owned())), "{value}");
    }
    for value in ["", "/x", "javascript:alert(1)", "blob:x", "nothing"] {
        assert_eq!(form(value), None, "{value}");
    }
}

#[test]
fn a_reference_without_a_host_is_known() {
    for value in ["", "*", "/index.html?x", "?x", "./a", "data:text/plain,x", "mailto:a@b.example", "javascript:x"] {
        assert!(is_reference(value.as_bytes()), "{value}");
    }
    for value in ["//evil.example", "http://evil.example", "nothing", "http://[", "a b", "blob:https://evil.example"] {
        assert!(!is_reference(value.as_bytes()), "{value}");
    }
}

#[test]
fn the_quick_host_is_what_is_written_and_leaves_other_authorities_to_the_parser() {
    for (value, host) in [
        ("http://Example.org./x%20", "Example.org."),
        ("https://u:p@example.org:1?x", "example.org"),
        ("example.org/x", "example.org"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("hxxp://evil.example", "evil.example"),
    ] {
        assert_eq!(raw_host(value.as_bytes()), Some(host.as_bytes()), "{value}");
    }
    for value in [
        "http://ex%61mple.org/",
        "http://bücher.example/",
        "http://a\\b/",
        "http://a\tb/",
        "http://127.1/",
        "http://[::1]/",
        "/x",
        "http:///a",
        "http://a../",
        "http:/evil.example/",
        "HTTPS:80/x",
        "example.org:/",
        "example.org:123456",
    ] {
        assert_eq!(raw_host(value.as_bytes()), None, "{value}");
    }
}

/// Text that is often nearly a URL.
fn nearly_urls() -> impl Strategy<Value = String> {
    let scheme = prop::sample::select(vec![
        "",
        "http://",
        "HTTPS://",
        "hxxp://",
        "wss://",
        "http:/",
        "https:",
        "http:///",
        "http:\\",
        "//",
        "\\\\",
        "view-source:http://",
        "blob:https:/",
        "\u{1}http://",
        "ht\ttp://",
    ]);
    let authority = prop_oneof![
        "[a-zA-Z0-9.@:%_\\\\\t ü。\\[\\]-]{0,12}",
        "([a-z]{1,2}@)?(xn--)?[a-zA-Z0-9-]{1,5}\\.(com|ORG|net\\.|0x1|7)(:(80|443|081|99999))?",
        "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.?",
    ];
    let rest = "([/?#\\\\][a-zA-Z0-9./?#%@ \\\\é\"'<>^|{}-]{0,10})?";
    (scheme, authority, rest).prop_map(|(scheme, authority, rest)| format!("{scheme}{authority}{rest}"))
}

proptest! {
    // More than by default, and as many as `PROPTEST_CASES` asks for.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)))]

    /// A canonical URL is its own canonical form.
    #[test]
    fn canonical_twice_is_canonical(value in nearly_urls()) {
        if let Some(once) = canonical(value.as_bytes()) {
            prop_assert_eq!(canonical(once.as_str().as_bytes()), Some(once));
        }
    }

    /// Law of [`raw_host`]: it never names another host than the parser does.
    #[test]
    fn the_quick_host_is_the_parsed_host(value in nearly_urls()) {
        if let (Some(host), Some(parsed)) = (raw_host(value.as_bytes()), event_url(value.as_bytes())) {
            let lower = host.to_ascii_lowercase();
            prop_assert_eq!(lower.strip_suffix(b".").unwrap_or(&lower), parsed.host().as_bytes());
        }
    }

    /// Every URL has a host, and its prefixes are prefixes that get shorter.
    #[test]
    fn parts_are_consistent(value in nearly_urls()) {
        if let Some(url) = canonical(value.as_bytes()) {
            prop_assert!(!url.host().is_empty());
            let mut length = usize::MAX;
            for prefix in url.path_prefixes() {
                prop_assert!(url.rest().starts_with(prefix) && prefix.len() < length);
                length = prefix.len();
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(noise in proptest::collection::vec(any::<u8>(), 0..40)) {
        for value in [noise.clone(), [b"http://", noise.as_slice()].concat()] {
            if let Some(url) = canonical(&value) {
                prop_assert!(!url.host().is_empty() && url.path_prefixes().count() > 0);
            }
            event_url(&value);
            is_reference(&value);
            raw_host(&value);
        }
    }
}
