//! The canonical forms of indicators, held to the version that segments name: a form that changes under the same version
//! would make compiled indicators miss events.

// Says to clippy what cargo knows: helpers here are test code, too.
#![cfg(test)]

use std::fmt::Write as _;
use std::path::PathBuf;

use hotlist::intel::term;
use hotlist::observable::{CANONICAL_VERSION, Kind};
use sha2::{Digest, Sha256};

/// The SHA-256 of the list of forms of each version. One that was released never changes.
const LISTS: [(u16, &str); 2] = [
    (1, "4f663be743ad8dc11f979aa2ae78eddd3136671f8295ee986272ca60d4c2a555"),
    (2, "00d61680af2f0d3d5afa623474f734485437e1551958c0fc10007eef1e5b0369"),
];

/// Values of every kind, in spellings that normalisers read in their own ways.
const VALUES: &[(Kind, &[&str])] = &[
    (
        Kind::Ip,
        &[
            "192.0.2.1",
            " 192.0.2.1 ",
            "[192.0.2.1]",
            "192.0.2.1%0",
            "::ffff:192.0.2.1",
            "::192.0.2.1",
            "192.0.2.01",
            "2001:0DB8:0:0::1",
            "fe80::1%eth0",
            "192.0.2.77/24",
            "192.0.2.1/32",
            "::ffff:192.0.2.77/120",
            "2001:DB8::1/32",
            "192.0.2.1:443",
            "3221225985",
            "192.0.2.1, 192.0.2.2",
        ],
    ),
    (
        Kind::Domain,
        &[
            "Example.ORG",
            "example.org.",
            "*.example.org",
            "_dmarc.a-b.example",
            "localhost",
            "bücher.example",
            "BÜCHER。example",
            "bu\u{308}cher.example",
            "faß.example",
            "ev\u{ad}il.example",
            "ｅｖｉｌ.example",
            "xn--not-punycode-.example",
            "a b.example",
            "a..example",
            "example.org:80",
        ],
    ),
    (
        Kind::Url,
        &[
            "HTTP://Example.ORG",
            "http://example.org:80/a#top",
            "https://example.org.:443/A?b=C",
            "https://u:p@example.org:8443/x",
            "http://bücher.example/ü?ü",
            "http://0x7f.1/",
            "http://[2001:DB8::1]/",
            "http://example.org/%7e%2F/../b",
            "http://%65xample.org/",
            "http:\\\\example.org\\a",
            "http:/example.org",
            "hxxp://Evil.example/A#x",
            "http://a b.example/x",
            "example.org/a",
            "example.org",
            "//example.org/a",
            "view-source:http://example.org/",
            "localhost/x",
        ],
    ),
    (
        Kind::Md5,
        &[
            "ABABABABABABABABABABABABABABABAB",
            "abababababababababababababababababababab",
            "3:AXGBicFlgVNhBGcL6wCrFQEv:AXGHsNhxLsr2C",
            "MD5=abababababababababababababababab",
            "abc",
        ],
    ),
    (Kind::Email, &["Alice.B@Example.ORG", "ümit@Bücher.example", "Alice <a@b.example>", "a@b", "a@b.example."]),
    (Kind::User, &["Alice", "CORP\\Alice", "alice@corp.example", "STRAßE", "ΣΊΣΥΦΟΣ", " "]),
    (Kind::Text, &[" a  B ", "\u{3000}x\u{a0}"]),
    (Kind::Name, &["TCP", "STRAßE"]),
    (Kind::DnsType, &["TXT"]),
    (Kind::Path, &[r"C:\Windows\A.EXE", "C:/Temp", "/usr/bin/X"]),
    (Kind::Number, &["443", "443.0", "-1.5e3", "-0", "NaN"]),
    (Kind::Time, &["2023-11-14T22:13:20Z", "2023-11-14 22:13:20+02:00", "1700000000", "1700000000000", "soon"]),
];

fn forms() -> String {
    let mut list = String::new();
    for (kind, values) in VALUES {
        for written in *values {
            let form = match term::value(*kind, written) {
                Some(value) => format!("{}\t{:?}", value.kind(), value.to_string()),
                None => "refused".to_owned(),
            };
            writeln!(list, "{kind}\t{written:?}\t{form}").unwrap();
        }
    }
    list
}

/// Scenario: a normaliser is changed, so that the canonical form of an indicator is another.
/// Guarantee: it is noticed, unless `CANONICAL_VERSION` is raised and the new forms are listed.
#[test]
fn a_canonical_form_changes_only_with_its_version() {
    let path = format!("tests/canonical/v{CANONICAL_VERSION}.tsv");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let forms = forms();
    if std::env::var_os("HOTLIST_UPDATE").is_some() {
        std::fs::write(&path, &forms).unwrap();
    }
    let listed = std::fs::read_to_string(&path).unwrap_or_default();
    for (now, then) in forms.lines().zip(listed.lines()) {
        assert_eq!(now, then, "a canonical form changed: raise observable::CANONICAL_VERSION, then list the forms");
    }
    assert_eq!(forms.lines().count(), listed.lines().count(), "list the forms: HOTLIST_UPDATE=1 writes {path:?}");
    let digest = Sha256::digest(listed.as_bytes()).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let known = LISTS.iter().find(|(version, _)| *version == CANONICAL_VERSION).map(|(_, digest)| *digest);
    assert_eq!(known, Some(&*digest), "the list of version {CANONICAL_VERSION} is another: raise the version instead");
}

/// Every kind of hash is read by one normaliser, which `Kind::Md5` stands for.
#[test]
fn every_kind_is_listed() {
    let hashes = [Kind::Sha1, Kind::Sha256, Kind::Sha512, Kind::Ssdeep];
    let listed = |kind: &Kind| VALUES.iter().any(|(of, _)| of == kind) || hashes.contains(kind);
    assert!(Kind::ALL.iter().all(listed));
}
