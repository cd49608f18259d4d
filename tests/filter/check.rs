//! Check: single values through the same matcher, policy and allowlists.

use std::sync::Arc;

use hotlist::intel::allowlist::{self, Action, Allowlists};
use hotlist::intel::indicator::{Context, Indicator};
use hotlist::observable::Kind;
use hotlist::policy::Policy;
use hotlist::proto::filter::v1::{CheckRequest, CheckResponse, Value};
use hotlist::source::Limits;
use jiff::Timestamp;
use serde_json::json;
use tonic::{Code, Status};

use crate::common::{Judge, Server, Sinks, detector, indicator};

const MD5: &str = "0123456789abcdef0123456789abcdef";
const SHA256: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// One indicator of each kind, a network, one for command and control, one that is over, and one that is allowed.
fn server() -> Server {
    let c2 = Context { kill_chain_phases: vec!["command-and-control".into()], ..Context::default() };
    let past = Some("2001-01-01T00:00:00Z".parse::<Timestamp>().unwrap());
    let indicators = vec![
        indicator(Kind::Ip, "198.51.100.23"),
        indicator(Kind::Ip, "203.0.113.0/24"),
        Indicator { context: Arc::new(c2), ..indicator(Kind::Ip, "192.0.2.66") },
        Indicator { valid_until: past, ..indicator(Kind::Ip, "192.0.2.67") },
        indicator(Kind::Domain, "evil.example"),
        indicator(Kind::Domain, "fine.example"),
        indicator(Kind::Url, "http://evil.example/a"),
        indicator(Kind::Md5, MD5),
        indicator(Kind::Sha256, SHA256),
        indicator(Kind::Email, "mallory@evil.example"),
        indicator(Kind::User, "mallory"),
        indicator(Kind::Path, r"C:\evil.exe"),
        indicator(Kind::Name, "evil.exe"),
        indicator(Kind::Text, "evil text"),
        indicator(Kind::Number, "4711"),
        indicator(Kind::Time, "2024-01-01T00:00:00Z"),
    ];
    let list =
        json!({ "name": "fine", "type": "hostname", "matching_attributes": ["domain"], "list": ["fine.example"] });
    let list = allowlist::read(list.to_string().as_bytes(), "").unwrap().list.with_action(Action::Suppress);
    let policy = Policy { allowlists: Arc::new(Allowlists::new(vec![list])), ..Policy::default() };
    Server::start(Limits::default(), 8, Judge(detector(policy, indicators)), &Sinks::open())
}

async fn ask(server: &Server, values: &[(&str, &str)]) -> Result<CheckResponse, Status> {
    let value = |(kind, value): &(&str, &str)| Value { kind: (*kind).into(), value: (*value).into() };
    let values = values.iter().map(value).collect();
    server.client().await.check(CheckRequest { values }).await.map(tonic::Response::into_inner)
}

/// Guarantee: each kind is looked up in its canonical form, however it is written, and the match says what is known.
#[tokio::test]
async fn a_value_of_each_kind_is_known() {
    let server = server();
    let (md5, sha256) = (MD5.to_uppercase(), SHA256.to_uppercase());
    let cases = [
        ("ip", "::ffff:198.51.100.23", "198.51.100.23", "ip", "destination.ip"),
        ("ip", "203.0.113.9", "203.0.113.0/24", "ip", "destination.ip"),
        ("ip", "192.0.2.66", "192.0.2.66", "ip", "destination.ip"),
        ("domain", "EVIL.example.", "evil.example", "domain", "dns.question.name"),
        ("url", "HTTP://evil.example:80/a#x", "http://evil.example/a", "url", "url.full"),
        ("hash", &md5, MD5, "md5", "file.hash.md5"),
        ("md5", MD5, MD5, "md5", "file.hash.md5"),
        ("sha256", &sha256, SHA256, "sha256", "file.hash.sha256"),
        ("email", "M <Mallory@Evil.example>", "mallory@evil.example", "email", "email.from.address"),
        ("user", r"CORP\Mallory", "mallory", "user", "user.name"),
        ("path", r"c:\EVIL.exe", r"c:\evil.exe", "path", "file.path"),
        ("name", "Evil.EXE", "evil.exe", "name", "process.name"),
    ];
    let asked: Vec<(&str, &str)> = cases.iter().map(|case| (case.0, case.1)).collect();
    let answer = ask(&server, &asked).await.unwrap();
    assert_eq!((&*answer.snapshot, answer.results.len()), ("7", cases.len()));
    for (result, case) in answer.results.iter().zip(cases) {
        assert_eq!((result.error.as_str(), result.matches.len()), ("", 1), "{case:?}: {result:?}");
        let known = &result.matches[0];
        assert_eq!((known.indicator.as_str(), known.kind.as_str()), (case.2, case.3), "{case:?}");
        assert_eq!((known.feed.as_str(), known.id.is_empty()), ("planted", false));
        let enrichment: serde_json::Value = serde_json::from_slice(&known.enrichment).unwrap();
        assert_eq!(enrichment["matched"]["field"], case.4);
        assert_eq!(enrichment["matched"]["atomic"], case.1);
        assert_eq!(enrichment["matched"]["id"], known.id.as_str());
        assert_eq!(enrichment["hotlist"]["snapshot"], "7");
    }
}

/// Guarantee: text, numbers and instants are looked for at every field of their kind.
#[tokio::test]
async fn values_without_a_field_of_their_own_are_known() {
    let asked =
        [("text", "evil text"), ("number", "4711"), ("number", "4711.0"), ("time", "2024-01-01T01:00:00+01:00")];
    for (asked, result) in asked.iter().zip(ask(&server(), &asked).await.unwrap().results) {
        assert_eq!((result.error.as_str(), result.matches.len()), ("", 1), "{asked:?}: {result:?}");
    }
}

/// Guarantee: what policy or an allowlist drops in an event is not known here either, nor is what nobody looks for.
#[tokio::test]
async fn what_policy_drops_is_not_known() {
    let asked = [("ip", "192.0.2.67"), ("domain", "fine.example"), ("ip", "192.0.2.1"), ("domain", "www.evil.example")];
    let answer = ask(&server(), &asked).await.unwrap();
    assert!(answer.results.iter().all(|result| result.matches.is_empty() && result.error.is_empty()), "{answer:?}");
}

/// Guarantee: an unknown kind is answered with the known ones, a value that is not of its kind is reported, and neither
/// affects the other values.
#[tokio::test]
async fn what_cannot_be_looked_up_says_why() {
    let long = "x".repeat(5000);
    let asked = [
        ("ipv4", "198.51.100.23"),
        ("ip", "198.51.100"),
        ("hash", "123"),
        ("md5", SHA256),
        ("email", "nobody"),
        ("number", "much"),
        ("time", "noon"),
        ("domain", ""),
        ("url", ""),
        ("", ""),
        (&long, ""),
        ("ip", "198.51.100.23"),
    ];
    let results = ask(&server(), &asked).await.unwrap().results;
    let errors: Vec<&str> = results.iter().map(|result| result.error.as_str()).collect();
    let kinds = "dns-type, domain, email, hash, ip, md5, name, number, path, sha1, sha256, sha512, ssdeep, text, time, url, user";
    assert!(errors[0].starts_with("\"ipv4\" ") && errors[0].ends_with(kinds), "{}", errors[0]);
    assert!(errors[1].starts_with("\"198.51.100\" ") && errors[1].ends_with("kind ip"), "{}", errors[1]);
    assert!(errors[2].starts_with("\"123\" ") && errors[2].ends_with("kind hash"), "{}", errors[2]);
    assert!(errors[..11].iter().all(|error| !error.is_empty() && error.len() < 300), "{errors:#?}");
    assert_eq!((errors[11], results[11].matches.len()), ("", 1));
}

/// Guarantee: a call has at most 1,000 values.
#[tokio::test]
async fn the_values_of_a_call_are_bounded() {
    let server = server();
    let results = ask(&server, &[("ip", "198.51.100.23"); 1000]).await.unwrap().results;
    assert!(results.len() == 1000 && results.iter().all(|result| result.matches.len() == 1));
    let status = ask(&server, &[("ip", "198.51.100.23"); 1001]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(["1001", "1000", "several calls"].iter().all(|part| status.message().contains(part)), "{status}");
}
