//! Random feeds and events that meet: values that indicators hold, and what logs make of them.

use hotlist::intel::indicator::{Comparison, Indicator, Target, TermValue};
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::observable::Kind;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::indicator;

pub struct Case {
    pub options: MatchOptions,
    pub feeds: Vec<(Feed, Vec<Indicator>)>,
    pub event: Vec<(&'static str, Value)>,
}

pub const DOMAINS: [&str; 7] =
    ["evil.com", "a.evil.com", "b.a.evil.com", "notevil.com", "*.evil.com", "com", "xn--bcher-kva.com"];
pub const ADDRESSES: [&str; 9] = [
    "203.0.113.7",
    "203.0.113.8",
    "203.0.113.0/24",
    "203.0.113.0/29",
    "203.0.0.0/15",
    "2001:db8::7",
    "2001:db8::/32",
    "2001:db8::/127",
    "0.0.0.0/0",
];
pub const URLS: [&str; 8] = [
    "http://evil.com/",
    "https://evil.com/a",
    "evil.com/a",
    "evil.com/a/b?q",
    "http://203.0.113.7/a/",
    "http://[2001:db8::7]/a",
    "ftp://u@evil.com:2121/a",
    "hxxp://evil.com/a",
];
const MAILS: [&str; 3] = ["m@evil.com", "n@a.evil.com", "M.N@evil.com"];
const NAMES: [&str; 5] = ["m", "evil.com", r"corp\m", "m@evil.com", "tcp"];

/// Values of events: what indicators hold, and everything that logs make of it.
pub fn value() -> impl Strategy<Value = Value> {
    let host = prop_oneof![
        prop::sample::select(DOMAINS.to_vec()).prop_map(|name| name.trim_start_matches("*.").to_owned()),
        prop::sample::select(vec![
            "203.0.113.7",
            "203.0.113.9",
            "203.1.2.3",
            "::ffff:203.0.113.7",
            "[2001:db8::7]",
            "2001:DB8:0::1",
            "8.8.8.8",
            "bücher.com",
            "z.evil.com",
            "EVIL.com.",
            "203.000.113.007",
            "3405803783",
            "0xcb.0.113.7",
            "::203.0.113.7",
            "64:ff9b::cb00:7107",
            "a+b.evil.com",
            "x..a.evil.com",
            "%65vil.com",
            "ev\til.com",
            "evil。com",
        ])
        .prop_map(str::to_owned),
    ];
    let dressed = (
        prop::sample::select(vec![
            "",
            "",
            "",
            "http://",
            "HTTPS://",
            "ftp://u@",
            "hxxp://",
            "//",
            "m@",
            "M <m@",
            " ",
            r"corp\",
            "http:",
            "https:/",
            r"http:\\",
            "view-source:http://",
            "\u{1}http://",
            "8.8.8.8, ",
            "a b.",
            "x/y.",
        ]),
        host,
        prop::sample::select(vec![
            "", "", "", "/", "/a", "/a/b?q", ":80", ":2121/a", ":443/a", "/a/", ">", ".", "?q", "#f", " ", "/%61",
            "\\a",
        ]),
        any::<bool>(),
    )
        .prop_map(|(before, host, after, upper)| {
            let text = format!("{before}{host}{after}");
            if upper { text.to_uppercase() } else { text }
        });
    prop_oneof![
        6 => dressed.prop_map(Value::from),
        2 => prop::sample::select([&URLS[..], &MAILS, &NAMES].concat()).prop_map(Value::from),
        1 => prop::sample::select(vec![
            "0A".repeat(16), "1b".repeat(20), "HTTP/1.1".into(), "1.1".into(), "TCP".into(), r"C:\X\Run".into(),
            "c:/x/run".into(), format!("SHA1={},MD5={}", "1b".repeat(20), "0a".repeat(16)), "sha1:1b".into(), "443".into(), "2024-01-31".into(), "1706659200".into(), "Mail <x@y>, m@evil.com".into(),
        ]).prop_map(Value::from),
        1 => prop::sample::select(vec![json!(443), json!(443.5), json!(-1), json!(1_706_659_200), json!(0.0)]),
    ]
}

fn wider() -> impl Strategy<Value = Indicator> {
    let comparison = prop::sample::select(vec![
        Comparison::Equal,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ]);
    let kinds = vec![
        (Kind::Number, "443", "network-traffic:dst_port"),
        (Kind::Time, "2024-01-31", "process:created_time"),
        (Kind::Text, "1.1", "network-traffic:extensions.'http-request-ext'.request_version"),
        (Kind::Text, "1.1", "process:command_line"),
        (Kind::Name, "tcp", "network-traffic:protocols[*]"),
        (Kind::DnsType, "tcp", "domain-name:x_query_type"),
        (Kind::Path, r"c:\x\run", "process:cwd"),
        (Kind::Ip, "203.0.113.7", "network-traffic:dst_ref.value"),
        (Kind::Email, "m@evil.com", "email-message:from_ref.value"),
    ];
    (prop::sample::select(kinds), comparison).prop_map(|((kind, written, path), wanted)| {
        let mut found = indicator(kind, written);
        for term in &mut found.terms {
            term.target = Target::StixPath(path.into());
            if let TermValue::Number { comparison, .. } | TermValue::Time { comparison, .. } = &mut term.value {
                *comparison = wanted;
            }
        }
        found
    })
}

fn indicators() -> impl Strategy<Value = Vec<Indicator>> {
    let of = |kind: Kind, values: Vec<&'static str>| {
        prop::sample::select(values).prop_map(move |written| indicator(kind, written))
    };
    let hash = prop::sample::select(vec!["0a".repeat(16), "1b".repeat(20)]).prop_map(|hex| indicator(Kind::Md5, &hex));
    let any = prop_oneof![
        3 => of(Kind::Domain, DOMAINS.to_vec()),
        3 => of(Kind::Ip, ADDRESSES.to_vec()),
        3 => of(Kind::Url, URLS.to_vec()),
        1 => of(Kind::Email, MAILS.to_vec()),
        1 => of(Kind::User, NAMES.to_vec()),
        1 => hash,
        3 => wider(),
    ];
    // Some indicators have two values.
    let joined = (any, prop::option::weighted(0.2, of(Kind::Domain, DOMAINS.to_vec()))).prop_map(|(mut one, other)| {
        one.terms.extend(other.into_iter().flat_map(|other| other.terms));
        one
    });
    prop::collection::vec(joined, 0..16)
}

pub fn feed() -> impl Strategy<Value = (Feed, Vec<Indicator>)> {
    (any::<(bool, bool)>(), indicators()).prop_map(|((subdomains, url_prefix), indicators)| {
        (Feed { subdomains, url_prefix, ..Feed::named("feed") }, indicators)
    })
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?} {:?}", self.options, self.event)?;
        for (feed, indicators) in &self.feeds {
            let terms: Vec<_> = indicators.iter().map(|indicator| &indicator.terms).collect();
            writeln!(f, "subdomains {} prefix {}: {terms:?}", feed.subdomains, feed.url_prefix)?;
        }
        Ok(())
    }
}

/// One field of every reading, and a few more of the common ones.
pub const FIELDS: [&str; 24] = [
    "source.ip",
    "destination.ip",
    "dns.question.name",
    "url.domain",
    "related.hosts",
    "dns.answers.data",
    "url.full",
    "url.original",
    "related.hash",
    "file.hash.md5",
    "email.from",
    "user.email",
    "file.x509.alternative_names",
    "user.name",
    "user.domain",
    "tls.client.x509.alternative_names",
    "source.user.full_name",
    "http.version",
    "network.transport",
    "dns.question.type",
    "process.working_directory",
    "destination.port",
    "process.start",
    "process.command_line",
];

/// What the rarer kinds of fields usually hold.
fn usual(field: &str) -> &'static [&'static str] {
    match field {
        "related.hash" | "file.hash.md5" => {
            &["0A0a0A0a0A0a0A0a0A0a0A0a0A0a0A0a", "1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b", "0a0a"]
        }
        "http.version" => &["HTTP/1.1", "1.1", "2"],
        "network.transport" | "dns.question.type" => &["TCP", " tcp", "udp"],
        "process.working_directory" => &[r"C:\X\Run", r"c:\x\run ", "c:/x/run"],
        "destination.port" => &["443", "443.0", "444", "-1", "x"],
        "process.start" => &["2024-01-31", "1706659200", "2024-01-31T00:00:01Z", "2024-01-30"],
        "process.command_line" => &["1.1", " 1.1", "HTTP/1.1"],
        "source.user.full_name" => &["1.1", "M <m@evil.com>"],
        _ => &[],
    }
}

pub fn case(fields: &'static [&'static str]) -> impl Strategy<Value = Case> {
    let member = (prop::sample::select(fields.to_vec()), value(), any::<(bool, prop::sample::Index)>());
    let member = member.prop_map(|(field, value, (special, index))| match usual(field) {
        usual if special && !usual.is_empty() => (field, json!(index.get(usual))),
        _ => (field, value),
    });
    (any::<(bool, bool, bool)>(), prop::collection::vec(feed(), 1..3), prop::collection::vec(member, 1..24)).prop_map(
        |((subdomains, url_hosts, user_principals), feeds, event)| Case {
            options: MatchOptions { subdomains, url_hosts, user_principals, ..MatchOptions::EXACT },
            feeds,
            event,
        },
    )
}
