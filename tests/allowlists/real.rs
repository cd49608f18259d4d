//! Lists, indicators and events that other people wrote.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hotlist::config::{AllowlistFiles, Intel};
use hotlist::detect::Detector;
use hotlist::feed::allowlist::{self, AllowlistError};
use hotlist::intel::allowlist::{Action, Allowlist, Allowlists, Subject};
use hotlist::matcher::Hit;
use hotlist::observable::{Kind, ip};
use hotlist::policy::{Policy, Suppression};
use serde_json::Value;

use crate::common::{detector, indicator, judge};
use crate::shared::shared;

fn load(path: PathBuf) -> (std::sync::Arc<Allowlists>, Vec<AllowlistError>) {
    let allowlists = vec![AllowlistFiles::new(path.to_str().unwrap().to_owned())];
    allowlist::load(&Intel { allowlists, ..Intel::default() })
}

/// Guarantee: every list loads; every entry is used or listed with a reason that holds for it.
#[test]
#[ignore = "needs ../shared"]
fn every_list_loads_and_what_is_not_used_is_named() {
    let directory = shared("data/allowlists");
    let (allowlists, errors) = load(directory.join("*.json"));
    let lists: BTreeMap<&str, &Allowlist> = allowlists.lists().iter().map(|list| (list.name(), list)).collect();
    let (mut files, mut unusable) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for error in &errors {
        match error {
            AllowlistError::Entry { list, excerpt, reason, .. } => {
                *unusable.entry(list).or_default() += 1;
                let holds = match reason.as_str() {
                    "is not a host name" => excerpt.contains(['/', ',', '\\']),
                    reason if reason.starts_with("is more than one value") => excerpt.starts_with('.'),
                    reason if reason.starts_with("is not a value of the kinds") => excerpt.contains(".."),
                    _ => false,
                };
                assert!(holds, "{error}");
            }
            AllowlistError::File { path, .. } => files.push(path.file_name().unwrap().to_str().unwrap()),
            AllowlistError::Path { .. } => panic!("{error}"),
        }
    }
    // It says where the lists are from and is none itself.
    assert_eq!(files, ["sources.json"]);
    let mut read = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let written: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let Some(name) = written["name"].as_str() else { continue };
        let used = lists[name].len();
        assert_eq!(
            used + unusable.get(name).copied().unwrap_or(0),
            written["list"].as_array().unwrap().len(),
            "{name}"
        );
        read += 1;
    }
    assert_eq!(read, lists.len());
    assert!(read >= 40, "only {read} lists");
    assert!(errors.len() < 250, "{} entries are not used", errors.len());
}

/// Guarantee: without a configured action the lists of shared infrastructure annotate, and only those.
#[test]
#[ignore = "needs ../shared"]
fn shared_infrastructure_annotates() {
    let directory = shared("data/allowlists");
    for (file, action) in [
        ("akamai", Action::Annotate),
        ("amazon-aws", Action::Annotate),
        ("cloudflare", Action::Annotate),
        ("disposable-email", Action::Annotate),
        ("dynamic-dns", Action::Annotate),
        ("fastly", Action::Annotate),
        ("google-gcp", Action::Annotate),
        ("icloud-private-relay", Action::Annotate),
        ("microsoft-azure", Action::Annotate),
        ("sinkholes", Action::Annotate),
        ("empty-hashes", Action::Suppress),
        ("google", Action::Suppress),
        ("public-dns-v4", Action::Suppress),
        ("rfc1918", Action::Suppress),
        ("tranco10k", Action::Suppress),
        ("url-shortener", Action::Suppress),
    ] {
        let (allowlists, _) = load(directory.join(format!("{file}.json")));
        assert_eq!(allowlists.lists()[0].action(), action, "{file}");
    }
}

/// Guarantee: each of these values is held by the list that says so, and the neighbour is not.
#[test]
#[ignore = "needs ../shared"]
fn real_lists_hold_what_they_say() {
    let directory = shared("data/allowlists");
    for (file, kind, held, free) in [
        ("public-dns-v4", Kind::Ip, "8.8.8.8", "8.8.8.9"),
        ("rfc1918", Kind::Ip, "172.31.255.255", "172.32.0.0"),
        ("ipv6-linklocal", Kind::Ip, "fe80::1", "fec0::1"),
        ("cloudflare", Kind::Ip, "103.21.244.1", "103.21.243.1"),
        ("dynamic-dns", Kind::Domain, "home.0000004.xyz", "x0000004.xyz"),
        ("google", Kind::Domain, "google.com", "evil.google.com"),
        ("tlds", Kind::Domain, "aarp", "x.aarp"),
        ("disposable-email", Kind::Email, "x@0-mail.com", "x@example.org"),
        ("common-contact-emails", Kind::Email, "abuse@example.org", "xabuse@example.org"),
        ("empty-hashes", Kind::Md5, "d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf8427f"),
        ("url-shortener", Kind::Url, "http://1url.com/", "http://1url.com/x"),
        ("automated-malware-analysis", Kind::Domain, "www.virustotal.com", "virustotal.org"),
    ] {
        let (allowlists, _) = load(directory.join(format!("{file}.json")));
        let find = |value: &str| allowlists.lists()[0].find(&Subject::new(kind, value.as_bytes(), value));
        assert!(find(held).is_some(), "{file} should hold {held}");
        assert_eq!(find(free), None, "{file} should not hold {free}");
    }
}

/// Scenario: real events, and 1.1.1.1 as an indicator, which real feeds have and which makes most of the true matches.
/// Guarantee: the list of public resolvers suppresses each of those matches; a network round it stays a hit for its
/// other addresses.
#[test]
#[ignore = "needs ../shared"]
fn a_public_resolver_in_a_feed_floods_nobody() {
    let (list, events) = (shared("data/allowlists/public-dns-v4.json"), shared("data/events"));
    let (allowlists, errors) = load(list);
    assert!(errors.is_empty(), "{errors:?}");
    let policy = Policy { allowlists, only_allowlists: true, ..Policy::default() };
    let detector = detector(policy, false, vec![indicator(Kind::Ip, "1.1.1.1"), indicator(Kind::Ip, "1.1.1.0/24")]);
    let without = Detector { policy: None, ..detector.clone() };
    let (mut suppressed, mut kept) = (0, 0);
    let mut open = vec![events];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines().filter(|line| line.contains("1.1.1.")) {
            let event = serde_json::from_str(line).unwrap();
            let verdict = judge(&detector, &event);
            assert!(verdict.suppressed.iter().all(|(_, reason)| *reason == Suppression::Allowlist));
            let is_resolver = |hit: &Hit| ip::event_address(&hit.value) == ip::canonical(b"1.1.1.1");
            let (expected, others): (Vec<Hit>, Vec<Hit>) =
                judge(&without, &event).hits.into_iter().partition(is_resolver);
            let dropped: Vec<Hit> = verdict.suppressed.into_iter().map(|(hit, _)| hit).collect();
            assert_eq!((&dropped, &verdict.hits), (&expected, &others), "{line}");
            suppressed += dropped.len();
            kept += others.len();
        }
    }
    // Each such value meets the address and the network.
    assert!(suppressed >= 2 * 446, "{suppressed}");
    assert_eq!(kept, 0, "no other address of the network is in these events");
}
