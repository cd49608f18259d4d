//! Layouts of vendors that no other test has: a few lines of each, as its documentation shows them, and what they mean.

use std::collections::BTreeSet;

use hotlist::feed::{FeedOptions, import};
use hotlist::schema::FieldTable;

/// A feed of one layout.
struct Sample {
    /// The layout, and the kind of fault that it would show.
    about: &'static str,
    file: &'static str,
    text: &'static str,
    values: &'static [&'static str],
    /// What the reasons of the lines that are listed say, in order.
    listed: &'static [&'static str],
}

const MD5: &str = "098f6bcd4621d373cade4e832627b4f6";

const SAMPLES: &[Sample] = &[
    Sample {
        about: "ThreatConnect: the value is called summary, and a file has its hashes in one cell",
        file: "export.csv",
        text: "Type,Summary,Rating,Confidence,Threat Assess Rating,Owner,Active\n\
               Host,c2.tc.example,4.5,80,3.0,Acme,TRUE\n\
               Address,198.51.100.7,5,80,3.0,Acme,TRUE\n\
               File,098f6bcd4621d373cade4e832627b4f6 : a94a8fe5ccb19ba61c4c0873d391e987982fbbd3,5,80,3,Acme,TRUE\n",
        values: &["198.51.100.7", "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3", "c2.tc.example", MD5],
        listed: &[],
    },
    Sample {
        about: "a rating is no name of a host",
        file: "rated.csv",
        text: "type,rating of it,sighting\nhost,4.5,\nhost,4.0,\nip,5.0,198.51.100.8\n",
        values: &["198.51.100.8"],
        listed: &["a number", "a number"],
    },
    Sample {
        about: "GreyNoise: labels with dots are a header, and what is benign is no indicator",
        file: "gnql.csv",
        text: "ip,classification,first_seen,last_seen,actor,tags,metadata.country,metadata.organization\n\
               198.51.100.31,malicious,2024-01-01,2024-03-01,unknown,\"Mirai, SSH\",Germany,Example\n\
               198.51.100.32,benign,2024-01-01,2024-03-01,Scanner,Crawler,France,Example\n",
        values: &["198.51.100.31"],
        listed: &["its feed calls it `benign`"],
    },
    Sample {
        about: "EclecticIQ: two types, and the end of a threat",
        file: "observables.csv",
        text: "entity.id,entity.title,entity.type,extract.type,extract.value,extract.classification,meta.estimated_threat_end_time\n\
               indicator-1,C2,indicator,ipv4,198.51.100.201,bad,2099-01-01T00:00:00Z\n\
               indicator-2,Ours,indicator,domain,good.eiq.example,good,\n\
               indicator-3,C2,indicator,domain,bad.eiq.example,bad,soon\n",
        values: &["198.51.100.201"],
        listed: &["its feed calls it `good`", "valid_until `soon`"],
    },
    Sample {
        about: "a unit in brackets does not hide an end of validity",
        file: "expiry.csv",
        text: "Indicator Value,Indicator Type,Expiry (UTC)\nbad.unit.example,FQDN,later\n",
        values: &[],
        listed: &["valid_until `later`"],
    },
    Sample {
        about: "Pulsedive: what is retired",
        file: "feed.csv",
        text: "id,indicator,type,risk,threats,feeds,stamp_seen,stamp_added,stamp_updated,stamp_retired\n\
               1,pd.example,domain,high,Emotet,Acme,2024-03-01 10:00:00,2024-03-01 10:00:00,,whenever\n\
               2,198.51.100.131,ip,high,Emotet,Acme,2024-03-01 10:00:00,2024-03-01 10:00:00,,\n",
        values: &["198.51.100.131"],
        listed: &["valid_until `whenever`"],
    },
    Sample {
        about: "PhishStats: the host of a page is context, and the header is a comment with a frame",
        file: "phish_score.csv",
        text: "####################################\n\
               # PhishScore                       #\n\
               # CSV: Date,Score,URL,IP           #\n\
               ####################################\n\
               \"2024-03-01 10:02:33\",\"5.20\",\"https://login.ps.example/a/\",\"198.51.100.111\"\n\
               \"2024-03-01 10:02:30\",\"3.10\",\"http://ps.example/b\",\"198.51.100.112\"\n",
        values: &["http://ps.example/b", "https://login.ps.example/a/"],
        listed: &[],
    },
    Sample {
        about: "Trend Micro: the value is called object",
        file: "objects.csv",
        text: "Object,Type,Risk Level,Scan Action,Expiration Date\n\
               198.51.100.71,IP address,High,Block,2099-01-01T00:00:00Z\n\
               tm.example,Domain,High,Log,never mind\n",
        values: &["198.51.100.71"],
        listed: &["valid_until `never mind`"],
    },
    Sample {
        about: "VirusTotal: the value of an object is its id, but for URLs",
        file: "collection.json",
        text: r#"{"data":[{"type":"ip_address","id":"198.51.100.41","links":{},"attributes":{"country":"DE"}},
{"type":"domain","id":"vt.example","links":{},"attributes":{"reputation":-5}},
{"type":"url","id":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","links":{},"attributes":{"url":"http://vt.example/a"}}]}"#,
        values: &["198.51.100.41", "http://vt.example/a", "vt.example"],
        listed: &["declared as `url`, which it is not: a SHA-256 hash"],
    },
    Sample {
        about: "Elastic: a URL, not the host that stands next to it",
        file: "ti.ndjson",
        text: r#"{"threat":{"indicator":{"type":"url","url":{"full":"http://el.example/x","original":"http://el.example/x","domain":"el.example","path":"/x","scheme":"http"}}}}
{"threat":{"indicator":{"type":"domain-name","url":{"domain":"c2.el.example"}}}}"#,
        values: &["c2.el.example", "http://el.example/x"],
        listed: &[],
    },
    Sample {
        about: "Kaspersky: a mask is the value, and one with wildcards is listed",
        file: "urls.json",
        text: r#"[{"id":1,"mask":"kl.example","type":2,"first_seen":"01.02.2024 10:00","popularity":3,"IP":["198.51.100.161"],"files":[{"MD5":"098f6bcd4621d373cade4e832627b4f6"}]},
{"id":2,"mask":"*.kl2.example/*","type":3,"first_seen":"13.02.2024 10:00","popularity":1}]"#,
        values: &[MD5, "kl.example"],
        listed: &["no cell is an address"],
    },
    Sample {
        about: "a list of Tor relays: addresses under keys that no table has, next to a fingerprint",
        file: "details.json",
        text: r#"{"relays":[{"nickname":"a","fingerprint":"0123456789ABCDEF0123456789ABCDEF01234567","or_addresses":["198.51.100.241:9001","[2001:db8::241]:9001"],"running":true}]}"#,
        values: &["198.51.100.241", "2001:db8::241"],
        listed: &[],
    },
    Sample {
        about: "JSON: what declares its type and holds the value under an unknown key is listed",
        file: "malformed.json",
        text: r#"[{"type":"domain","whatItIs":"lost.example"},{"type":"domain","value":"found.example"}]"#,
        values: &["found.example"],
        listed: &["no key is known to hold the `domain`"],
    },
    Sample {
        about: "Check Point: the header is a comment, and a range of addresses",
        file: "iocs.csv",
        text: "#UNIQ-NAME,VALUE,TYPE,CONFIDENCE,SEVERITY,PRODUCT,COMMENT\n\
               a,198.51.100.64-198.51.100.95,IP Range,high,high,AB,botnet\n\
               b,cp.example,Domain,medium,high,AB,\"c2, second\"\n",
        values: &["198.51.100.64/27", "cp.example"],
        listed: &[],
    },
];

/// Guarantee: each layout gives exactly its indicators, and lists what it cannot use.
#[test]
fn layouts_of_vendors_give_their_indicators_and_list_the_rest() {
    let table = FieldTable::embedded(true).unwrap();
    for sample in SAMPLES {
        let import = import(sample.text.as_bytes(), sample.file, &FeedOptions::default(), &table)
            .unwrap_or_else(|error| panic!("{}: {error}", sample.about));
        let terms = import.indicators.iter().flat_map(|indicator| &indicator.terms);
        let values: BTreeSet<String> = terms.map(|term| term.value.to_string()).collect();
        let expected: BTreeSet<String> = sample.values.iter().map(|value| (*value).to_owned()).collect();
        assert_eq!(values, expected, "{}: {:?}", sample.about, import.unusable);
        let reasons: Vec<&str> = import.unusable.iter().map(|unusable| unusable.reason.as_str()).collect();
        let agree = reasons.len() == sample.listed.len()
            && reasons.iter().zip(sample.listed).all(|(reason, part)| reason.contains(part));
        assert!(agree, "{}: {reasons:?}", sample.about);
    }
}
