//! Composite patterns: found when one event fulfils all of them, and never on a half.

use std::collections::BTreeSet;

use hotlist::detect::Detector;
use hotlist::encoding::otlp::request_of;
use hotlist::enrich;
use hotlist::intel::indicator::Indicator;
use hotlist::intel::pattern::{self, PatternError};
use hotlist::intel::snapshot::{Feed, MatchOptions, Origin};
use hotlist::observable::Kind;
use hotlist::policy::{Policy, Suppression};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::common::{EXACT, detector, indicator, instant, judge, of_terms, send_each_way, send_request};
use crate::segments::{table, through_bytes};

/// The indicator of a pattern.
pub fn compiled(pattern: &str) -> Result<Indicator, PatternError> {
    let compiled = pattern::compile(pattern, &table())?;
    Ok(Indicator { program: compiled.program.map(Box::new), ..of_terms(compiled.terms) })
}

fn indicator_for(pattern: &str) -> Indicator {
    compiled(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

fn with(indicators: Vec<Indicator>) -> Detector {
    detector(&table(), EXACT, None, vec![(Feed::named("feed"), indicators)])
}

/// The numbers of the indicators that hit, in a document alone and in each way in which it can come.
fn hits(detector: &Detector, document: &Value) -> BTreeSet<u32> {
    let alone: BTreeSet<u32> = judge(detector, document).hits.iter().map(|hit| hit.posting.indicator).collect();
    for (way, sent) in send_each_way(detector, document) {
        let found: BTreeSet<u32> = sent.hits.iter().map(|hit| hit.posting.indicator).collect();
        assert_eq!(found, alone, "{way}: {document}");
        assert_eq!(sent.is_same, found.is_empty(), "{way}: {document}");
        assert_eq!(sent.report.malformed_records, 0, "{way}: {document}");
    }
    alone
}

/// Which of the documents a pattern is found in; the same when its segment went through bytes.
#[track_caller]
fn holds(pattern: &str, documents: &[(Value, bool)]) {
    let feeds = vec![(Feed::named("feed"), vec![indicator_for(pattern)])];
    let built = with(vec![indicator_for(pattern)]);
    let opened = through_bytes(EXACT, &feeds);
    for (document, expected) in documents {
        for detector in [&built, &opened] {
            assert_eq!(!hits(detector, document).is_empty(), *expected, "{pattern} in {document}");
        }
    }
}

#[test]
fn and_holds_only_when_all_of_it_is_in_one_event() {
    let pattern =
        "[domain-name:value = 'evil.example' AND network-traffic:dst_port = 4444 AND user-account:user_id = 'mallory']";
    let whole = json!({
        "dns": { "question": { "name": "EVIL.example." } }, "destination": { "port": 4444 }, "user.name": "Mallory",
    });
    holds(
        pattern,
        &[
            (whole, true),
            (json!({ "url.domain": "evil.example", "destination.port": "4444", "user": { "name": "mallory" } }), true),
            (json!({ "url.domain": "evil.example", "destination.port": 4444 }), false),
            (json!({ "url.domain": "evil.example", "user.name": "mallory" }), false),
            (json!({ "url.domain": "evil.example" }), false),
            (json!({ "destination.port": 4444, "user.name": "mallory" }), false),
            (json!({ "url.domain": "evil.example", "source.port": 4444, "user.name": "mallory" }), false),
            (json!({ "url.domain": "evil.example", "destination.port": 4445, "user.name": "mallory" }), false),
        ],
    );
}

/// Halves in two events of one batch do not match, and a whole in a third event is found in its own record.
#[test]
fn halves_in_two_events_of_a_batch_are_nothing() {
    let detector =
        with(vec![indicator_for("[domain-name:value = 'evil.example' AND network-traffic:dst_port = 4444]")]);
    let one = json!({ "dns.question.name": "evil.example" });
    let other = json!({ "destination.port": 4444, "source.ip": "192.0.2.1" });
    let both = json!({ "dns.question.name": "evil.example", "destination.port": 4444 });
    let send = |documents: &[&Value]| {
        let request = request_of(documents.iter().map(|document| (0, *document)));
        let sent = send_request(&detector, request, Timestamp::UNIX_EPOCH);
        let places: Vec<usize> = sent.batch.hits.iter().map(|tagged| tagged.place).collect();
        (places, sent.hits.len(), sent.is_same)
    };
    assert_eq!(send(&[&one, &other, &one]), (vec![], 0, true));
    assert_eq!(send(&[&one, &both, &other]), (vec![1], 1, false));
}

#[test]
fn or_within_and_wants_one_of_them() {
    holds(
        "[(url:value = 'http://evil.example/a' OR domain-name:value = 'evil.example') AND (network-traffic:dst_port = 8080 OR network-traffic:dst_port > 60000)]",
        &[
            (json!({ "url.full": "http://evil.example/a", "destination.port": 8080 }), true),
            (json!({ "dns.question.name": "evil.example", "destination.port": 60001 }), true),
            (json!({ "dns.question.name": "evil.example", "destination.port": 60000 }), false),
            (json!({ "url.full": "http://evil.example/b", "destination.port": 8080 }), false),
            (json!({ "destination.port": [8080, 60001] }), false),
        ],
    );
    holds(
        "[file:name = 'a.exe' AND file:size = 3] OR [ipv4-addr:value = '192.0.2.1']",
        &[
            (json!({ "source.ip": "192.0.2.1" }), true),
            (json!({ "file": { "name": "A.exe", "size": 3 } }), true),
            (json!({ "file": { "name": "a.exe", "size": 4 } }), false),
            (json!({ "file": { "name": "a.exe", "size": 4 }, "destination": { "ip": "192.0.2.1" } }), true),
        ],
    );
}

/// The value there and other: it holds; no value at all, or the value itself: it does not.
#[test]
fn not_wants_another_value_and_none_that_is_it() {
    for not in [
        "network-traffic:dst_port != 443",
        "network-traffic:dst_port NOT = 443",
        "network-traffic:dst_port NOT IN (443, 8443)",
    ] {
        holds(
            &format!("[domain-name:value = 'evil.example' AND {not}]"),
            &[
                (json!({ "dns.question.name": "evil.example", "destination.port": 80 }), true),
                (json!({ "dns.question.name": "evil.example" }), false),
                (json!({ "dns.question.name": "evil.example", "destination.port": 443 }), false),
                (json!({ "dns.question.name": "evil.example", "destination.port": [80, "443"] }), false),
                (json!({ "dns.question.name": "evil.example", "destination.port": null }), false),
                (json!({ "dns.question.name": "evil.example", "destination.port": [] }), false),
                (json!({ "dns.question.name": "evil.example", "source.port": 80 }), false),
            ],
        );
    }
    holds(
        "[ipv4-addr:value = '203.0.113.7' AND domain-name:value != 'good.example']",
        &[
            (json!({ "source.ip": "203.0.113.7", "dns.question.name": "other.example" }), true),
            (json!({ "source.ip": "203.0.113.7", "dns.question.name": "good.example" }), false),
            (json!({ "source.ip": "203.0.113.7" }), false),
        ],
    );
}

#[test]
fn networks_numbers_and_times_keep_their_order() {
    holds(
        "[ipv4-addr:value ISSUBSET '198.51.100.0/24' AND ipv4-addr:value NOT ISSUBSET '203.0.113.0/24' AND domain-name:value = 'evil.example']",
        &[
            (json!({ "dns.question.name": "evil.example", "source.ip": "198.51.100.77" }), true),
            (json!({ "dns.question.name": "evil.example", "source.ip": ["198.51.100.77", "203.0.113.1"] }), false),
            (json!({ "dns.question.name": "evil.example", "source.ip": "192.0.2.1" }), false),
        ],
    );
    // Both of them networks, so that the network itself is the key.
    holds(
        "[ipv4-addr:value ISSUBSET '198.51.100.0/24' AND network-traffic:dst_port <= 1024]",
        &[
            (json!({ "source.ip": "198.51.100.77", "destination.port": 1024 }), true),
            (json!({ "source.ip": "198.51.100.77", "destination.port": 1024.5 }), false),
            (json!({ "source.ip": "198.51.101.77", "destination.port": 22 }), false),
        ],
    );
    // Numbers are all that there is: comparisons are the keys.
    holds(
        "[file:size > 1000 AND file:size < 2000 AND process:pid >= 7]",
        &[
            (json!({ "file.size": 1500, "process.pid": "7" }), true),
            (json!({ "file.size": 1000, "process.pid": 7 }), false),
            (json!({ "file.size": 1500, "process.pid": 6.9 }), false),
            (json!({ "file.size": 1500 }), false),
        ],
    );
    holds(
        "[process:command_line = 'run me' AND process:created_time >= t'2024-01-31T00:00:00Z']",
        &[
            (json!({ "process": { "command_line": "run me", "start": "2024-01-31T00:00:00.000Z" } }), true),
            (json!({ "process": { "command_line": "run me", "start": "2024-01-30T23:59:59.999Z" } }), false),
        ],
    );
}

#[test]
fn urls_domains_and_paths_are_compared_as_they_are_alone() {
    holds(
        "[url:value = 'https://evil.example/a?b' AND process:cwd = 'C:\\\\Tools']",
        &[
            (json!({ "url.full": "HTTPS://Evil.example:443/a?b#c", "process.working_directory": r"c:\TOOLS" }), true),
            (json!({ "url.full": "http://evil.example/a?b", "process.working_directory": r"c:\tools" }), false),
            (json!({ "url.full": "https://evil.example/a", "process.working_directory": r"c:\tools" }), false),
            (json!({ "url.full": "https://evil.example/a?b", "process.working_directory": r"c:\tools\x" }), false),
        ],
    );
    holds(
        "[domain-name:value = '*.evil.example' AND file:name = 'a.exe']",
        &[
            (json!({ "dns.question.name": "x.y.evil.example", "file.name": "a.exe" }), true),
            (json!({ "dns.question.name": "evil.example", "file.name": "a.exe" }), false),
            (json!({ "dns.question.name": "notevil.example", "file.name": "a.exe" }), false),
        ],
    );
    holds(
        r"[file:name = 'A.exe' AND file:parent_directory_ref.path = 'C:\\X' AND file:size > 3]",
        &[
            (json!({ "file": { "path": r"c:\x\a.EXE", "size": 4 } }), true),
            (json!({ "file": { "path": r"c:\x\a.exe", "size": 3 } }), false),
            (json!({ "file": { "name": "a.exe", "directory": r"c:\x", "size": 4 } }), false),
        ],
    );
}

/// What the feed or the options say of domains and URLs is said of those in patterns, too.
#[test]
fn names_below_and_longer_paths_count_in_patterns_where_they_count_alone() {
    let feed = Feed { subdomains: true, url_prefix: true, ..Feed::named("feed") };
    let domain = indicator_for("[domain-name:value = 'evil.example' AND file:name = 'a.exe']");
    let url = indicator_for("[url:value = 'http://evil.example/a' AND file:name = 'b.exe']");
    let part =
        indicator_for("[file:hashes.MD5 = '0123456789abcdef0123456789abcdef' AND url:value = 'http://evil.example/a']");
    let feeds = vec![(feed, vec![domain, url, part])];
    let all = json!({
        "dns.question.name": "x.evil.example", "file.name": ["a.exe", "b.exe"],
        "url.full": "http://evil.example/a/b?c", "file.hash.md5": "0123456789ABCDEF0123456789abcdef",
    });
    for detector in [detector(&table(), EXACT, None, feeds.clone()), through_bytes(EXACT, &feeds)] {
        assert_eq!(hits(&detector, &all), BTreeSet::from([0, 1, 2]));
    }
    let plain = vec![(Feed::named("feed"), feeds[0].1.clone())];
    assert_eq!(hits(&detector(&table(), EXACT, None, plain.clone()), &all), BTreeSet::new());
    let subdomains = MatchOptions { subdomains: true, ..EXACT };
    assert_eq!(hits(&detector(&table(), subdomains, None, plain), &all), BTreeSet::from([0]));
}

/// Parts have no keys: nobody else looks for their kind, or reads their fields.
#[test]
fn parts_that_nobody_else_looks_for_are_read_all_the_same() {
    let detector = with(vec![indicator_for(
        "[file:hashes.MD5 = '0123456789abcdef0123456789abcdef' AND process:command_line = 'x' AND email-addr:value = 'a@b.example' AND url:value = 'http://c.example/']",
    )]);
    let snapshot = &detector.snapshot;
    for (field, is_wanted) in
        [("file.hash.md5", true), ("process.command_line", false), ("email.from", false), ("url.full", false)]
    {
        assert_eq!(snapshot.wanted().contains(snapshot.table().id(field).unwrap()), is_wanted, "{field}");
    }
    let mut document = json!({
        "file": { "hash": { "md5": "0123456789abcdef0123456789abcdef" } }, "process.command_line": "x",
        "email": { "from": ["other@b.example", "A <a@b.example>"] }, "url.original": "http://c.example",
    });
    assert_eq!(hits(&detector, &document), BTreeSet::from([0]));
    document["email"] = json!({ "from": "other@b.example" });
    assert_eq!(hits(&detector, &document), BTreeSet::new());
}

#[test]
fn arrays_and_nested_documents_are_one_event() {
    holds(
        "[ipv4-addr:value = '203.0.113.7' AND ipv4-addr:value = '203.0.113.8' AND network-traffic:protocols[*] = 'tcp']",
        &[
            (
                json!({ "related": { "ip": ["203.0.113.8", ["203.0.113.7"]] }, "network": [{ "transport": "TCP" }] }),
                true,
            ),
            (
                json!({ "source.ip": "203.0.113.7", "destination.ip": "203.0.113.8", "network.transport": ["udp", "tcp"] }),
                true,
            ),
            (json!({ "related": { "ip": ["203.0.113.7", "203.0.113.7"] }, "network.transport": "tcp" }), false),
        ],
    );
}

/// Several in one event, together with the plain indicators of the same values.
#[test]
fn each_of_several_is_judged_for_itself_and_plain_ones_are_found_alone() {
    let detector = with(vec![
        indicator_for("[domain-name:value = 'evil.example' AND network-traffic:dst_port = 4444]"),
        indicator_for("[domain-name:value = 'evil.example' AND network-traffic:dst_port != 4444]"),
        indicator(Kind::Domain, "evil.example"),
        indicator_for("[domain-name:value = 'evil.example' AND user-account:user_id = 'mallory']"),
        indicator_for("[domain-name:value = 'evil.example' OR network-traffic:dst_port = 1]"),
    ]);
    for (document, found) in [
        (json!({ "dns.question.name": "evil.example" }), vec![2, 4]),
        (json!({ "dns.question.name": "evil.example", "destination.port": 4444 }), vec![0, 2, 4]),
        (json!({ "dns.question.name": "evil.example", "destination.port": 1 }), vec![1, 2, 4]),
        (
            json!({ "dns.question.name": "evil.example", "destination.port": 4444, "user.name": "mallory" }),
            vec![0, 2, 3, 4],
        ),
        (json!({ "destination.port": 4444, "user.name": "mallory" }), vec![]),
    ] {
        assert_eq!(hits(&detector, &document), found.into_iter().collect(), "{document}");
    }
    let document = json!({ "dns.question.name": "evil.example", "destination.port": 4444, "user.name": "mallory" });
    let verdict = judge(&detector, &document);
    // Alternatives go by their first value, as the plain one does.
    let others = verdict.hits.iter().filter(|hit| hit.posting.indicator != 4);
    let ids: BTreeSet<String> = others.map(|hit| enrich::indicator_id(&detector.snapshot, hit)).collect();
    assert_eq!(ids.len(), 3, "patterns that share a term have ids of their own, and so has the plain one: {ids:?}");
}

/// Patterns that are not fulfilled are counted apart from hits that policy drops, and policy then evaluates the
/// fulfilled ones.
#[test]
fn policy_judges_what_is_fulfilled() {
    let pattern = "[domain-name:value = 'evil.example' AND file:name = 'a.exe']";
    let whole =
        json!({ "@timestamp": "2024-06-01T00:00:00Z", "dns.question.name": "evil.example", "file.name": "a.exe" });
    let half = json!({ "@timestamp": "2024-06-01T00:00:00Z", "dns.question.name": "evil.example" });
    let expired = Indicator { valid_until: Some(instant("2020-01-01T00:00:00Z")), ..indicator_for(pattern) };
    let revoked = Indicator { revoked: true, ..indicator_for(pattern) };
    let by_name = indicator_for("[file:name = 'a.exe' AND network-traffic:dst_port = 1]");
    let collection = Feed { origin: Origin::Collection, ..Feed::named("feed") };
    for (feed, indicator, document, reason) in [
        (Feed::named("feed"), expired, &whole, Some(Suppression::Expired)),
        (Feed::named("feed"), revoked, &whole, Some(Suppression::Revoked)),
        (collection.clone(), indicator_for(pattern), &whole, None),
        (collection, by_name, &json!({ "file.name": "a.exe", "destination.port": 1 }), Some(Suppression::Column)),
    ] {
        // The events arrive at the epoch; their own time counts.
        let policy = Policy { max_clock_skew: std::time::Duration::MAX, ..Policy::default() };
        let detector = detector(&table(), EXACT, Some(policy), vec![(feed, vec![indicator])]);
        let verdict = judge(&detector, document);
        let reasons: Vec<_> = verdict.suppressed.iter().map(|(_, reason)| *reason).collect();
        assert_eq!((verdict.hits.len(), reasons), (usize::from(reason.is_none()), reason.into_iter().collect()));
        assert_eq!(verdict.unfulfilled, []);
        let verdict = judge(&detector, &half);
        assert_eq!((verdict.hits.len(), verdict.suppressed.len()), (0, 0));
        for (way, sent) in send_each_way(&detector, &half) {
            assert!(sent.hits.is_empty() && sent.report.suppressions.is_empty() && sent.is_same, "{way}");
        }
    }
    let detector = with(vec![indicator_for(pattern)]);
    let verdict = judge(&detector, &half);
    assert_eq!(verdict.unfulfilled.len(), 1);
    assert_eq!(&*verdict.unfulfilled[0].name, "evil.example");
    assert_eq!(judge(&detector, &whole).unfulfilled, []);
}
