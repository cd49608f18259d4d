//! Unit and property tests of the pattern compiler.

mod composite;

use super::*;
use proptest::prelude::*;

fn table() -> FieldTable {
    FieldTable::embedded(true).unwrap()
}

fn shown(pattern: &str) -> Vec<String> {
    let terms = compile(pattern, &table()).unwrap_or_else(|error| panic!("{pattern}: {error}")).terms;
    let target = |term: &Term| match &term.target {
        Target::Kind => String::new(),
        Target::StixPath(path) => format!(" at {path}"),
    };
    terms.iter().map(|term| format!("{} {}{}", term.value.kind(), term.value, target(term))).collect()
}

fn refused(pattern: &str) -> String {
    match compile(pattern, &table()) {
        Err(PatternError::Unsupported { construct, .. }) => construct,
        other => panic!("{pattern}: {other:?}"),
    }
}

/// A value that a field of this kind may hold.
fn sample(kind: Kind) -> &'static str {
    match kind {
        Kind::Ip => "'192.0.2.1'",
        Kind::Domain => "'example.org'",
        Kind::Url => "'http://example.org/'",
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep => "'0123456789abcdef0123456789ABCDEF'",
        Kind::Email => "'a@b.example'",
        Kind::Number => "443",
        Kind::Time => "t'2024-01-31T00:00:00Z'",
        _ => "'x'",
    }
}

#[test]
fn every_path_of_every_row_of_the_table_compiles_to_a_term_that_the_row_wants() {
    let table = table();
    for (_, field) in table.iter() {
        for path in &field.stix_paths {
            let pattern = match path.split_once('&') {
                Some((directory, name)) => format!("[{name} = 'a.exe' AND {directory} = 'C:\\\\X']"),
                None => {
                    let own = OWN_PATHS.iter().find(|(own, _)| own == path).map(|(_, kind)| *kind);
                    // A field of one kind says what values the path has.
                    let of_one_kind = table.iter().find_map(|(_, other)| match other.kind {
                        FieldKind::Of(kind) if other.stix_paths.contains(path) => Some(kind),
                        _ => None,
                    });
                    let kind = own.or(of_one_kind).unwrap_or(match field.kind {
                        FieldKind::Of(kind) => kind,
                        FieldKind::Hash => Kind::Md5,
                        FieldKind::Auto => Kind::Text,
                        _ => continue,
                    });
                    format!("[{path} = {}]", sample(kind))
                }
            };
            let terms =
                compile(&pattern, &table).unwrap_or_else(|error| panic!("{}: {pattern}: {error}", field.name)).terms;
            match &terms[0].target {
                Target::Kind => assert!(!path.contains('&'), "{pattern}"),
                Target::StixPath(target) => {
                    assert_eq!(**target, **path, "{}", field.name);
                    assert!(!table.by_stix_path(target).is_empty());
                }
            }
        }
    }
}

#[test]
fn a_kinds_own_path_targets_the_kind_and_another_path_its_fields() {
    assert_eq!(shown("[ipv4-addr:value='192.0.2.1']"), ["ip 192.0.2.1"]);
    assert_eq!(shown("[domain-name:value = '*.Evil.example']"), ["domain evil.example"]);
    assert_eq!(shown("[url:value = 'HTTP://Evil.example']"), ["url http://evil.example/"]);
    assert_eq!(
        shown("[network-traffic:dst_ref.value = '192.0.2.1']"),
        ["ip 192.0.2.1 at network-traffic:dst_ref.value"]
    );
    assert_eq!(shown("[email-addr:display_name = 'Al Ice']"), ["text Al Ice at email-addr:display_name"]);
    assert_eq!(shown("[user-account:user_id == 'Alice' ]"), ["user alice at user-account:user_id"]);
    assert_eq!(
        shown("[network-traffic:extensions.'http-request-ext'.request_version = 'HTTP/1.1']"),
        ["text 1.1 at network-traffic:extensions.'http-request-ext'.request_version"]
    );
}

#[test]
fn every_spelling_of_a_hash_path_is_the_hash_that_the_value_is() {
    let (md5, sha256) = ("AB".repeat(16), "AB".repeat(32));
    for path in ["file:hashes[*]", "file:hashes.MD5", "file:hashes.md5", "file:hashes.'MD5'", "file:hashes.\"MD5\""] {
        assert_eq!(shown(&format!("[{path}='{md5}']")), [format!("md5 {}", md5.to_lowercase())], "{path}");
    }
    for path in ["file:hashes.'SHA-256'", "file:hashes.SHA256", "file:hashes.SHA-256", "file:hashes.sha_256"] {
        let compiled = compile(&format!("[{path} = '{sha256}']"), &table());
        assert_eq!(compiled.is_ok(), !path.contains('_'), "{path}");
    }
    assert_eq!(shown(&format!("[file:hashes.MD5 = '{sha256}']")), [format!("sha256 {}", sha256.to_lowercase())]);
}

#[test]
fn alternatives_of_every_form_become_terms() {
    let both = ["ip 192.0.2.1", "domain evil.example"];
    for pattern in [
        "[ipv4-addr:value = '192.0.2.1' OR domain-name:value = 'evil.example']",
        "[ipv4-addr:value = '192.0.2.1'] OR [domain-name:value = 'evil.example']",
        "([(ipv4-addr:value = '192.0.2.1')] OR ([domain-name:value='evil.example']))",
        "[ipv4-addr:value IN ('192.0.2.1') or domain-name:value = 'evil.example']",
    ] {
        assert_eq!(shown(pattern), both, "{pattern}");
    }
    assert_eq!(shown("[domain-name:value IN ('a.example','b.example')]"), ["domain a.example", "domain b.example"]);
}

#[test]
fn networks_compile_from_equality_and_from_issubset() {
    for pattern in ["[ipv4-addr:value = '192.0.2.9/24']", "[ipv4-addr:value ISSUBSET '192.0.2.0/24']"] {
        assert_eq!(shown(pattern), ["ip 192.0.2.0/24"], "{pattern}");
        assert!(matches!(compile(pattern, &table()).unwrap().terms[0].value, TermValue::Network(_)));
    }
    assert_eq!(refused("[domain-name:value ISSUBSET 'a.example']"), "ISSUBSET of `domain-name:value`");
}

#[test]
fn numbers_and_times_compare_by_order_and_nothing_else_does() {
    let order = |pattern: &str| match compile(pattern, &table()).unwrap().terms.remove(0).value {
        TermValue::Number { comparison, .. } | TermValue::Time { comparison, .. } => comparison,
        other => panic!("{other:?}"),
    };
    assert_eq!(order("[file:size > 10]"), Comparison::Greater);
    assert_eq!(order("[file:size <= -1.5]"), Comparison::LessOrEqual);
    assert_eq!(order("[process:created_time >= t'2024-01-31T00:00:00Z']"), Comparison::GreaterOrEqual);
    assert_eq!(order("[network-traffic:dst_port IN (80, 443)]"), Comparison::Equal);
    assert_eq!(refused("[file:name < 'x']"), "an order comparison of `file:name`");
}

#[test]
fn directory_and_name_are_one_path_joined_as_the_directory_is_written() {
    let at = "at file:parent_directory_ref.path&file:name";
    assert_eq!(
        shown(r"[file:parent_directory_ref.path = 'C:\\Windows' AND file:name = 'A.exe']"),
        [format!(r"path c:\windows\a.exe {at}")]
    );
    assert_eq!(
        shown("[(file:name = 'x' AND file:parent_directory_ref.path = '/usr/bin/') OR file:name = 'Y']"),
        [format!("path /usr/bin/x {at}"), "name y at file:name".to_owned()]
    );
    assert_eq!(shown("[file:name = 'a' AND process:cwd = '/']").len(), 2);
    assert_eq!(shown("[file:name = 'a'] AND [file:parent_directory_ref.path = '/']").len(), 1);
}

#[test]
fn what_is_not_supported_is_refused_by_name_and_as_a_whole() {
    for (pattern, construct) in [
        ("[domain-name:value LIKE '%ev_l%']", "LIKE of `domain-name:value` (…at least 4 bytes"),
        ("[ipv4-addr:value MATCHES '^198[.]']", "MATCHES of `ipv4-addr:value` (…kind ip"),
        ("[file:name MATCHES 'evil(?=x)']", "MATCHES of `file:name` (…look-around"),
        ("[ipv4-addr:value ISSUPERSET '192.0.2.0/24']", "ISSUPERSET of `ipv4-addr:value`"),
        ("[EXISTS ipv4-addr:value]", "EXISTS"),
        ("[NOT EXISTS ipv4-addr:value]", "EXISTS"),
        ("([file:name = 'a'] FOLLOWEDBY [file:name = 'b']) WITHIN 5 SECONDS", "the qualifier WITHIN"),
        ("[mutex:name = 'x']", "the object path `mutex:name`"),
        ("[file:hashes.'SHA-224' = 'x']", "the object path `file:hashes.SHA-224`"),
        ("[network-traffic:protocols[0] = 'tcp']", "the object path `network-traffic:protocols[0]`"),
        ("[file:name = 'a'] FOLLOWEDBY [file:name = 'b']", "FOLLOWEDBY between observations"),
        ("[file:name = 'a'] WITHIN 5 SECONDS", "the qualifier WITHIN"),
        ("[file:name = 'a'] REPEATS 5 TIMES", "the qualifier REPEATS"),
        ("[file:name = 'a'] START t'2024-01-01T00:00:00Z' STOP t'2024-01-02T00:00:00Z'", "the qualifier START"),
        ("[file:name = h'ff']", "a hex literal"),
        ("[file:name = true]", "a boolean literal"),
        ("[ipv4-addr:value = '192.0.2.1' AND mutex:name = 'x']", "the object path `mutex:name`"),
        ("[mutex:name = 'y' OR (file:name = 'a' AND mutex:name = 'x')]", "the object path `mutex:name`"),
    ] {
        // The construct as a whole, or up to the reason and a part of that.
        let refused = refused(pattern);
        let is_named = match construct.split_once('…') {
            Some((construct, reason)) => refused.strip_prefix(construct).is_some_and(|rest| rest.contains(reason)),
            None => refused == construct,
        };
        assert!(is_named, "{pattern}: {refused}");
    }
    assert!(refused(&format!("{}file:name = 'a'", "(".repeat(99))).starts_with("nesting"));
}

#[test]
fn errors_say_where() {
    let position = |pattern: &str| match compile(pattern, &table()).unwrap_err() {
        PatternError::Syntax { position, .. }
        | PatternError::Unsupported { position, .. }
        | PatternError::Value { position, .. } => position,
    };
    assert_eq!(position("file:name = 'a'"), 1);
    assert_eq!(position("[file:name = 'ä' x]"), 18);
    assert_eq!(position("[file:name = 'a"), 14);
    assert_eq!(position("[ipv4-addr:value = 'x']"), 20);
    assert_eq!(position("[file:name = 'a'"), 17);
    assert_eq!(position(""), 1);
    for (pattern, at) in [
        ("[file:size = ]", 14),
        ("[file.size = 1280]", 6),
        ("[file:name MATCHES /a/]", 20),
        ("[file:name = 'a'] WITHIN ]", 26),
        ("[file:name = 'a'] WITHIN 5 HOURS", 28),
        ("[file:name = 'a'] WITHIN -5 SECONDS", 26),
        ("[file:name = 'a'] REPEATS 1.5 TIMES", 27),
        ("[file:name = 'a'] WITHIN 5 SECONDS WITHIN 6 SECONDS", 36),
        ("[file:name ISSUBSET ]", 21),
        ("[x:detected = t'2457-73-22T32:81:84.1Z']", 15),
        ("[x:detected = t'2024-01-15T12:30:45']", 15),
        ("[x:detected = t'2024-01-15T24:00:00Z']", 15),
        ("[x:detected = t'2024-01-15T12:30:45.Z']", 15),
        ("[x:detected = t'2024-01-00T12:30:45Z']", 15),
        ("[artifact:payload_bin = b'====']", 25),
        ("[file:name = h'f']", 14),
        ("[file:name = 'a'] START 'x' STOP", 33),
        ("[NOT file:name = 'a']", 6),
        ("[file:name = 'a'] FOLLOWEDBY", 29),
        ("[EXISTS]", 8),
        ("[file:name = 'a'] within 2 seconds", 19),
        ("[file:name = 'a'] followedby [file:name = 'b']", 19),
    ] {
        let error = compile(pattern, &table()).unwrap_err();
        assert!(matches!(error, PatternError::Syntax { position, .. } if position == at), "{pattern}: {error}");
    }
    // A day that no month has is a fault of the value.
    let error = compile("[file:ctime = t'2024-02-30T12:00:00Z']", &table()).unwrap_err();
    assert!(matches!(error, PatternError::Value { .. }), "{error}");
    let error = compile("[ipv4-addr:value = '1.2.3']", &table()).unwrap_err();
    assert!(matches!(error, PatternError::Value { position: 20, .. }), "{error}");
    let error = error.to_string();
    assert!(["`1.2.3`", "kind ip", "`ipv4-addr:value`"].iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn an_alternative_that_can_never_match_is_left_out_and_told() {
    let compiled = compile("[domain-name:value = 'domain x' OR ipv4-addr:value = '192.0.2.1']", &table()).unwrap();
    assert_eq!(compiled.terms.len(), 1);
    assert!(matches!(compiled.left_out.as_slice(), [PatternError::Value { position: 22, .. }]), "{compiled:?}");
    assert!(compile("[domain-name:value = 'a b' OR ipv4-addr:value = '1.2.3']", &table()).is_err());
}

/// Guarantee: an alternative that cannot be evaluated costs itself, wherever the `OR` is; what an `AND` joins goes as a
/// whole.
#[test]
fn an_alternative_that_is_not_supported_is_left_out_and_named() {
    for (pattern, terms, left) in [
        ("[ipv4-addr:value = '192.0.2.1' OR mutex:name = 'x']", 1, 1),
        ("[ipv4-addr:value = '192.0.2.1'] OR [mutex:name = 'x']", 1, 1),
        ("[ipv4-addr:value = '192.0.2.1'] OR ([file:name = 'a'] FOLLOWEDBY [file:name = 'b'])", 1, 1),
        ("[ipv4-addr:value = '192.0.2.1'] OR [file:name = 'a'] WITHIN 5 SECONDS", 1, 1),
        ("[ipv4-addr:value = '192.0.2.1' OR (file:name = 'a' AND mutex:name = 'x')]", 1, 1),
        ("[(ipv4-addr:value = '192.0.2.1' OR mutex:name = 'x') AND file:size = 5]", 2, 1),
        ("[url:value MATCHES 'a.+b' OR domain-name:value LIKE '%.evil.example']", 1, 1),
    ] {
        let compiled = compile(pattern, &table()).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert_eq!((compiled.terms.len(), compiled.left_out.len()), (terms, left), "{pattern}");
    }
}

#[test]
fn the_type_of_a_reference_is_told_by_its_value() {
    let at = "at network-traffic:dst_ref.value";
    let pattern = "[network-traffic:dst_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '192.0.2.1/32']";
    assert_eq!(shown(pattern), [format!("ip 192.0.2.1 {at}")]);
    assert_eq!(
        refused("[network-traffic:dst_ref.type = 'ipv4-addr']"),
        "the object path `network-traffic:dst_ref.type`"
    );
    let other = "[network-traffic:src_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '192.0.2.1']";
    assert_eq!(refused(other), "the object path `network-traffic:src_ref.type`");
}

#[test]
fn an_end_of_a_connection_is_an_address_or_a_name() {
    assert_eq!(
        shown("[network-traffic:dst_ref.value = 'C2.evil.example']"),
        ["domain c2.evil.example at destination.domain"]
    );
    assert_eq!(
        shown("[network-traffic:src_ref.value = '2001:db8::1']"),
        ["ip 2001:db8::1 at network-traffic:src_ref.value"]
    );
    let both = "[network-traffic:dst_ref.type = 'domain-name' AND network-traffic:dst_ref.value = 'a.example' AND network-traffic:dst_port = 443]";
    assert_eq!(shown(both), ["domain a.example at destination.domain", "number 443 at network-traffic:dst_port"]);
}

/// Guarantee: the hashes of a certificate are fingerprints of certificates, and never hashes of files.
#[test]
fn hashes_of_certificates_are_fingerprints() {
    let table = FieldTable::shipped().unwrap();
    let digest = "ab".repeat(32);
    for algorithm in ["'SHA-256'", "SHA256", "\"SHA-256\""] {
        let terms = compile(&format!("[x509-certificate:hashes.{algorithm} = '{digest}']"), &table).unwrap().terms;
        let [Term { value: TermValue::Hash { kind: Kind::Sha256, .. }, target: Target::StixPath(path) }] = &*terms
        else {
            panic!("{terms:?}")
        };
        let fields = table.by_stix_path(path);
        let names: Vec<&str> = fields.iter().map(|field| table.get(*field).name.as_str()).collect();
        assert!(names.contains(&"tls.server.hash.sha256") && !names.contains(&"file.hash.sha256"), "{names:?}");
    }
    let error = compile("[x509-certificate:hashes.SSDEEP = '3:a:b']", &table).unwrap_err();
    assert!(matches!(error, PatternError::Unsupported { .. }), "{error}");
}

#[test]
fn paths_of_stix_2_0_mean_what_they_became() {
    assert_eq!(shown("[process:name = 'Evil.exe']"), ["name evil.exe at process:image_ref.name"]);
    assert_eq!(shown("[file:created = t'2014-01-13T07:03:17Z']"), ["time 2014-01-13T07:03:17Z at file:ctime"]);
}

#[test]
fn expressions_that_mean_values_are_alternatives() {
    assert_eq!(
        shown(r"[domain-name:value MATCHES '^(evil|bad)\.example$' AND file:size = 5]"),
        ["domain evil.example", "domain bad.example", "number 5 at file:size"]
    );
    assert_eq!(shown("[ipv4-addr:value LIKE '198.51.100.%']"), ["ip 198.51.100.0/24"]);
    let compiled =
        compile(r"[domain-name:value NOT MATCHES '(^|\.)good\.example$' AND file:size = 5]", &table()).unwrap();
    assert!(compiled.program.is_some() && compiled.terms.len() == 2);
}

#[test]
fn other_expressions_are_evaluated() {
    assert_eq!(shown("[domain-name:value LIKE '%evil%']"), ["domain LIKE '%evil%'"]);
    assert_eq!(
        shown("[file:name MATCHES '^Final Report.+[.]exe$']"),
        ["name MATCHES '^Final Report.+[.]exe$' at file:name"]
    );
    // By an exact value rather than by an expression, where both must be there.
    let both = "[domain-name:value LIKE '%evil%' AND file:name = 'evil-loader.exe']";
    let program = compile(both, &table()).unwrap().program.unwrap();
    assert_eq!(program.keys().iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn what_a_name_resolves_to_is_looked_for_in_answers() {
    let pattern = "[domain-name:value = 'evil.example' AND domain-name:resolves_to_refs[*].value = '192.0.2.1']";
    assert_eq!(shown(pattern), ["domain evil.example", "ip 192.0.2.1 at domain-name:resolves_to_refs[*].value"]);
    let name = "[domain-name:resolves_to_refs[*].value = 'c2.evil.example']";
    assert_eq!(shown(name), ["domain c2.evil.example at domain-name:resolves_to_refs[*].value"]);
}

#[test]
fn escapes_in_literals_are_undone() {
    assert_eq!(
        shown(r"[process:command_line = 'a \'b\' C:\\x D:\y']"),
        [r"text a 'b' C:\x D:\y at process:command_line"]
    );
}

proptest! {
    /// Arbitrary text, and text made of the grammar's own pieces, does no harm.
    #[test]
    fn arbitrary_patterns_do_no_harm(
        noise in "\\PC{0,30}",
        pieces in proptest::collection::vec(
            proptest::sample::select(vec!["[", "]", "(", ")", "file:name", "'x'", " = ", " AND ", " OR ", "NOT ", "!=", "t'", "5", ".", ":", "IN", ",", "\\", "*"]),
            0..12,
        ),
    ) {
        let table = table();
        for pattern in [noise, pieces.concat()] {
            if let Ok(Compiled { terms, program, .. }) = compile(&pattern, &table) {
                prop_assert!(!terms.is_empty());
                prop_assert!(program.is_none_or(|program| program.atoms() == terms.len()));
            }
        }
    }
}
