//! The asset and the alert key of hits, in events as their makers document them.

use std::sync::Arc;

use hotlist::alert_key::KeyStart;
use hotlist::detect::Detector;
use hotlist::encoding::Flat;
use hotlist::enrich::{alert_key, asset};
use hotlist::intel::indicator::Indicator;
use hotlist::intel::snapshot::Feed;
use hotlist::observable::Kind;
use hotlist::policy::Policy;
use hotlist::schema::FieldTable;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::common::{EXACT, detector, indicator, judge, of_terms, send_each_way, send_request, table};

const LISTED: &str = "203.0.113.7";
const INSIDE: &str = "10.20.0.5";
const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

fn listed() -> Vec<Indicator> {
    let values = [(Kind::Ip, LISTED), (Kind::Domain, "evil.example"), (Kind::Md5, MD5), (Kind::User, "mallory")];
    let more = [(Kind::Email, "mallory@evil.example"), (Kind::Ip, "198.51.100.0/24")];
    values.into_iter().chain(more).map(|(kind, value)| indicator(kind, value)).collect()
}

fn detector_of(feeds: Vec<(Feed, Vec<Indicator>)>) -> Detector {
    let table = Arc::new(FieldTable::shipped().unwrap());
    detector(&table, EXACT, Some(Policy::default()), feeds)
}

fn detector_over_listed() -> Detector {
    detector_of(vec![(Feed::named("feed"), listed())])
}

/// Type and name of the asset of every hit of the event, and its key, the same whichever way it comes; both are in the
/// record.
fn found(detector: &Detector, event: &Value) -> Vec<(Option<(String, String)>, String)> {
    let mut all = Vec::new();
    for (way, sent) in send_each_way(detector, event) {
        let mut found = Vec::new();
        for record in &sent.batch.hits {
            let bytes = String::from_utf8_lossy(&record.record);
            for hit in &record.hits {
                let asset = asset(&detector.snapshot, hit, &record.facts);
                let asset = asset.map(|asset| (asset.asset_type.as_str().to_owned(), asset.name.to_string()));
                let key = alert_key(&detector.snapshot, hit, &record.facts).as_str().to_owned();
                assert!(bytes.contains(&key), "{way}: {bytes}");
                assert!(asset.iter().all(|(_, name)| bytes.contains(name.as_str())), "{way}: {bytes}");
                found.push((asset, key));
            }
        }
        all.push(found);
    }
    all.dedup();
    assert_eq!(all.len(), 1, "{event}: {all:?}");
    all.remove(0)
}

/// Scenario: events as the documentation of each product has them, with an address, a name or a file that is listed.
/// Guarantee: the asset is the machine, workload or account of ours that the event is about.
#[test]
fn events_as_their_makers_document_them() {
    let ocsf = |source: &str, destination: &str| json!({ "class_uid": 4001, "activity_id": 1, "src_endpoint": { "ip": source }, "dst_endpoint": { "ip": destination } });
    let windows = |source: &str, destination: &str| {
        json!({ "Event": { "System": { "EventID": 5156, "Channel": "Security", "Computer": "DC01.corp.example" },
            "EventData": { "SourceAddress": source, "DestAddress": destination } } })
    };
    let sysmon = |id: u32, data: Value| {
        json!({ "Event": { "System": { "EventID": id, "Channel": "Microsoft-Windows-Sysmon/Operational",
            "Computer": "WS1.corp.example." }, "EventData": data } })
    };
    let audit = |resource: &str, name: &str| {
        json!({ "kind": "Event", "apiVersion": "audit.k8s.io/v1", "verb": "create", "sourceIPs": [LISTED],
            "user": { "username": "system:serviceaccount:shop:deployer" },
            "objectRef": { "resource": resource, "namespace": "shop", "name": name } })
    };
    let cloudtrail = json!({ "eventVersion": "1.11", "eventSource": "signin.amazonaws.com", "eventName": "ConsoleLogin",
        "sourceIPAddress": LISTED, "userIdentity": { "type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/Alice",
            "userName": "Alice" } });
    let ip = ("ip", INSIDE);
    let cases = [
        // ECS: a connection, inbound and outbound; a look-up; a process; a mail; an account.
        (ip, json!({ "source": { "ip": INSIDE }, "destination": { "ip": LISTED }, "host": { "name": "sensor-1" } })),
        (ip, json!({ "source": { "ip": LISTED }, "destination": { "ip": INSIDE }, "observer": { "name": "fw1" } })),
        (ip, json!({ "source": { "ip": INSIDE }, "dns": { "question": { "name": "evil.example" } } })),
        (ip, json!({ "client": { "ip": INSIDE }, "url": { "domain": "evil.example" }, "user": { "name": "alice" } })),
        (
            ("host.id", "f8bd-2c"),
            json!({ "host": { "id": "F8BD-2C", "name": "ws1" }, "process": { "hash": { "md5": MD5 } } }),
        ),
        (("host.name", "ws1"), json!({ "host": { "name": "WS1" }, "file": { "hash": { "md5": MD5 } } })),
        (("host.name", "ws1"), json!({ "host": { "name": "ws1" }, "source": { "ip": INSIDE }, "file.hash.md5": MD5 })),
        (ip, json!({ "observer": { "type": "ids" }, "source": { "ip": INSIDE }, "file.hash.md5": MD5 })),
        (
            ("user", "alice@corp.example"),
            json!({ "email": { "from": { "address": "mallory@evil.example" }, "to": { "address": "Alice@corp.example" } } }),
        ),
        (
            ("user", "alice"),
            json!({ "event": { "category": ["authentication"] }, "source": { "ip": LISTED }, "user": { "name": "alice" } }),
        ),
        (
            ("ip", "10.9.9.9"),
            json!({ "host": { "ip": ["127.0.0.1", "10.9.9.9"] }, "file": { "hash": { "md5": MD5 } } }),
        ),
        // Both ends are strangers: what saw them.
        (
            ("host.name", "sensor-1"),
            json!({ "source": { "ip": "192.0.2.9" }, "destination": { "ip": LISTED }, "host": { "name": "sensor-1" } }),
        ),
        // OCSF: Network Activity, and Process Activity on a device.
        (ip, ocsf(INSIDE, LISTED)),
        (ip, ocsf(LISTED, INSIDE)),
        (
            ("host.id", "d-42"),
            json!({ "class_uid": 1007, "activity_id": 1, "device": { "uid": "d-42", "hostname": "ws1.corp.example" },
            "process": { "file": { "hashes": [{ "algorithm_id": 1, "value": MD5 }] } } }),
        ),
        (
            ("host.name", "ws1.corp.example"),
            json!({ "class_uid": 1007, "activity_id": 1, "device": { "hostname": "ws1.corp.example" },
            "process": { "file": { "hashes": [{ "algorithm_id": 1, "value": MD5 }] } } }),
        ),
        // Suricata, Zeek.
        (
            ip,
            json!({ "event_type": "alert", "host": "sensor-1", "src_ip": LISTED, "dest_ip": INSIDE,
            "alert": { "action": "allowed" } }),
        ),
        (
            ip,
            json!({ "event_type": "dns", "src_ip": INSIDE, "dest_ip": "10.20.0.53",
            "dns": { "type": "query", "rrname": "evil.example", "rrtype": "A" } }),
        ),
        (ip, json!({ "uid": "CMdzit1AMNsmfAIiQc", "id.orig_h": INSIDE, "id.resp_h": LISTED, "proto": "tcp" })),
        (
            ip,
            json!({ "uid": "CMdzit1AMNsmfAIiQc", "id.orig_h": INSIDE, "id.resp_h": "10.20.0.53", "query": "evil.example" }),
        ),
        // Windows filtering on the machine itself, whichever side the remote one is at; Sysmon.
        (("host.name", "dc01.corp.example"), windows(INSIDE, LISTED)),
        (("host.name", "dc01.corp.example"), windows(LISTED, INSIDE)),
        (("host.name", "ws1.corp.example"), sysmon(1, json!({ "Hashes": format!("MD5={MD5}") }))),
        (("host.name", "ws1.corp.example"), sysmon(22, json!({ "QueryName": "evil.example" }))),
        (ip, sysmon(3, json!({ "SourceIp": INSIDE, "DestinationIp": LISTED }))),
        // Firewalls: FortiGate, Check Point as CEF, Palo Alto as ECS, VPC flow logs.
        (ip, json!({ "type": "traffic", "devname": "FG1", "srcip": INSIDE, "dstip": LISTED, "action": "deny" })),
        (ip, json!({ "act": "Accept", "dvchost": "fw1", "src": LISTED, "dst": INSIDE })),
        (
            ip,
            json!({ "event": { "action": "reset-both" }, "observer": { "vendor": "Palo Alto Networks" },
            "source": { "ip": INSIDE, "nat": { "ip": "192.0.2.1" } }, "destination": { "ip": LISTED } }),
        ),
        (
            ip,
            json!({ "version": 5, "interface-id": "eni-1", "srcaddr": INSIDE, "dstaddr": LISTED, "action": "ACCEPT" }),
        ),
        // CloudTrail.
        (("user", "arn:aws:iam::123456789012:user/alice"), cloudtrail),
        // Kubernetes: audit logs, and what agents add to the lines of pods.
        (("workload", "shop/web"), audit("pods", "web-7d4b9c6f5-x2x7q")),
        (("workload", "shop/web"), audit("deployments", "web")),
        (("user", "system:serviceaccount:shop:deployer"), audit("secrets", "web-tls")),
        (
            ("workload", "shop/web"),
            json!({ "kubernetes": { "pod_name": "web-7d4b9c6f5-x2x7q", "namespace_name": "shop", "host": "node-1" },
            "host": { "name": "node-1" }, "url": { "domain": "evil.example" } }),
        ),
        (
            ("workload", "prod/shop/db"),
            json!({ "k8s.cluster.name": "prod", "k8s.namespace.name": "shop", "k8s.pod.name": "db-0", "file.hash.md5": MD5 }),
        ),
        (
            ("workload", "shop/web"),
            json!({ "kubernetes": { "pod": { "name": "web-7d4b9c6f5-x2x7q" }, "namespace": "shop",
            "deployment": { "name": "web" } }, "file": { "hash": { "md5": MD5 } } }),
        ),
        (
            ("workload", "shop/web"),
            json!({ "rule": "Outbound", "hostname": "node-1", "output_fields": { "k8s.ns.name": "shop",
            "k8s.pod.name": "web-7d4b9c6f5-x2x7q", "fd.rip": LISTED } }),
        ),
    ];
    let detector = detector_over_listed();
    let mut wrong = Vec::new();
    for ((asset_type, name), event) in cases {
        let expected = Some((asset_type.to_owned(), name.to_owned()));
        let found = found(&detector, &event);
        if found.is_empty() || found.iter().any(|(asset, _)| *asset != expected) {
            wrong.push(format!("{expected:?}, not {found:?}: {event}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Scenario: an event that names nobody, and names that say nothing.
/// Guarantee: no asset, and still a key.
#[test]
fn an_event_without_an_asset_has_a_key() {
    let detector = detector_over_listed();
    for event in [
        json!({ "destination": { "ip": LISTED } }),
        json!({ "destination": { "ip": LISTED }, "host": { "name": "localhost" }, "user": { "name": "-" } }),
        json!({ "destination": { "ip": LISTED }, "source": { "ip": "127.0.0.1" } }),
        json!({ "destination": { "ip": LISTED }, "host": { "name": "x".repeat(257) } }),
    ] {
        let all = found(&detector, &event);
        assert_eq!(all.len(), 1, "{event}");
        assert_eq!(all[0].0, None, "{event}");
    }
}

/// Scenario: one indicator in two feeds, at several fields, in several events; and others.
/// Guarantee: the key is the same for the same indicator and asset, and only for these.
#[test]
fn a_key_is_of_an_indicator_and_an_asset() {
    let feeds = vec![(Feed::named("one"), listed()), (Feed::named("two"), listed())];
    let detector = detector_of(feeds);
    let keys = |event: Value| {
        let mut keys: Vec<String> = found(&detector, &event).into_iter().map(|(_, key)| key).collect();
        assert!(keys.len() > 1, "{event}");
        keys.dedup();
        keys
    };
    let one =
        keys(json!({ "source": { "ip": INSIDE }, "destination": { "ip": LISTED }, "related": { "ip": [LISTED] } }));
    assert_eq!(one.len(), 1, "feeds and fields share it");
    assert_eq!(keys(json!({ "id.orig_h": INSIDE, "id.resp_h": LISTED })), one, "and schemas");
    assert_ne!(keys(json!({ "source": { "ip": "10.20.0.6" }, "destination": { "ip": LISTED } })), one);
    let network = keys(json!({ "source": { "ip": INSIDE }, "destination": { "ip": "198.51.100.1" } }));
    assert_ne!(network, one);
    let same = keys(json!({ "source": { "ip": INSIDE }, "destination": { "ip": "198.51.100.200" } }));
    assert_eq!(same, network, "the indicator counts, not the value");
}

/// Scenario: a pattern that needs two values, which an event has at two fields.
/// Guarantee: the key is that of the whole pattern, and not of the part that was found first.
#[test]
fn a_pattern_has_a_key_of_its_own() {
    let pattern = "[file:name = 'evil.exe' AND domain-name:value = 'evil.example']";
    let compiled = hotlist::intel::pattern::compile(pattern, &table()).unwrap();
    let pattern = Indicator { program: compiled.program.map(Box::new), ..of_terms(compiled.terms) };
    let detector = detector_of(vec![(Feed::named("feed"), vec![pattern])]);
    let event = json!({ "file": { "name": "evil.exe" }, "dns": { "question": { "name": "evil.example" } }, "host": { "name": "ws1" } });
    let verdict = judge(&detector, &event);
    assert!(!verdict.hits.is_empty());
    for hit in &verdict.hits {
        let composite = detector.snapshot.composite(hit.posting.indicator).unwrap();
        let shown = composite.program.shown(&composite.terms).to_string();
        let start = KeyStart::new("feed", "CTI", "pattern", &shown);
        let asset = asset(&detector.snapshot, hit, &verdict.facts);
        assert_eq!(asset.map(|asset| &*asset.name), Some("ws1"));
        assert_eq!(alert_key(&detector.snapshot, hit, &verdict.facts), start.key(asset), "{shown}");
    }
}

/// Scenario: OTLP records below two resources, which name a host and a pod; one record names a host itself.
/// Guarantee: the resource names the asset of each record below it that does not name one.
#[test]
fn a_resource_names_the_asset_of_its_records() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use prost::Message as _;

    let attributes = |pairs: &[(&str, &str)]| {
        let attribute = |(key, value): &(&str, &str)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue((*value).to_owned())) }),
            ..KeyValue::default()
        };
        pairs.iter().map(attribute).collect::<Vec<_>>()
    };
    let group = |resource: &[(&str, &str)], records: &[&[(&str, &str)]]| ResourceLogs {
        resource: Some(Resource { attributes: attributes(resource), ..Resource::default() }),
        scope_logs: vec![ScopeLogs {
            log_records: records
                .iter()
                .map(|record| LogRecord { attributes: attributes(record), ..LogRecord::default() })
                .collect(),
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    };
    let hit = ("file.hash.md5", MD5);
    let request = ExportLogsServiceRequest {
        resource_logs: vec![
            group(&[("host.name", "ws1"), ("service.name", "edr")], &[&[hit], &[hit, ("host.name", "ws2")]]),
            group(&[("k8s.pod.name", "web-7d4b9c6f5-x2x7q"), ("k8s.namespace.name", "shop")], &[&[hit], &[hit]]),
            group(&[], &[&[hit]]),
        ],
    };
    let detector = detector_over_listed();
    let sent = send_request(&detector, request.encode_to_vec(), Timestamp::UNIX_EPOCH);
    let names = |record: &hotlist::detect::HitRecord| {
        let asset = asset(&detector.snapshot, &record.hits[0], &record.facts);
        asset.map(|asset| asset.name.to_string())
    };
    let found: Vec<_> = sent.batch.hits.iter().map(names).collect();
    let expected = [Some("ws1"), Some("ws2"), Some("shop/web"), Some("shop/web"), None];
    assert_eq!(found, expected.map(|name| name.map(str::to_owned)));
}

/// Scenario: an event that was tagged passes again, with a forged key and asset in an enrichment of ours.
/// Guarantee: ours replace them, and a third pass changes nothing.
#[test]
fn a_forged_key_is_replaced() {
    let mut detector = detector_over_listed();
    detector.tagging.flat = Flat::On;
    let event = json!({ "source": { "ip": INSIDE }, "destination": { "ip": LISTED } });
    let bytes = event.to_string();
    let tag = |document: &[u8]| {
        let verdict = detector.event(document, Timestamp::UNIX_EPOCH).unwrap();
        detector.tag_document(document, &verdict).unwrap()
    };
    let tagged = tag(bytes.as_bytes());
    assert_eq!(tag(&tagged), tagged);
    let mut forged: Value = serde_json::from_slice(&tagged).unwrap();
    let own = &mut forged["threat"]["enrichments"][0]["hotlist"];
    assert_eq!(own["asset"], json!({ "type": "ip", "name": INSIDE }));
    own["alert_key"] = json!("0".repeat(32));
    own["asset"]["name"] = json!("10.0.0.1");
    forged["hotlist"]["alert_key"] = json!(["0".repeat(32)]);
    let again: Value = serde_json::from_slice(&tag(forged.to_string().as_bytes())).unwrap();
    assert_eq!(again, serde_json::from_slice::<Value>(&tagged).unwrap());
}
