//! The severity of hits: each row of the table, and events as their makers document them.

use std::sync::Arc;

use hotlist::detect::Detector;
use hotlist::intel::indicator::{Confidence, Context, Indicator};
use hotlist::intel::snapshot::{Feed, MatchOptions};
use hotlist::observable::Kind;
use hotlist::policy::{CommandAndControl, Policy};
use hotlist::schema::FieldTable;
use hotlist::severity::{Severity, severity};
use serde_json::{Value, json};

use crate::common::{EXACT, detector, indicator, judge, send_each_way};

const LISTED: &str = "203.0.113.7";
const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

fn detector_over(indicators: Vec<Indicator>, options: MatchOptions, policy: Policy) -> Detector {
    let table = Arc::new(FieldTable::shipped().unwrap());
    detector(&table, options, Some(policy), vec![(Feed::named("feed"), indicators)])
}

fn listed() -> Vec<Indicator> {
    let values = [(Kind::Ip, LISTED), (Kind::Domain, "evil.example"), (Kind::Url, "http://evil.example/x")];
    let more = [(Kind::Md5, MD5), (Kind::User, "mallory"), (Kind::Email, "mallory@evil.example")];
    values.into_iter().chain(more).map(|(kind, value)| indicator(kind, value)).collect()
}

fn with_networks(networks: &[&str]) -> Policy {
    let networks: Vec<_> = networks.iter().map(|network| network.parse().unwrap()).collect();
    Policy { internal_networks: networks.into(), ..Policy::default() }
}

/// The severity that every enrichment of the event says, whichever way it comes; it is the same everywhere.
fn tagged(detector: &Detector, event: &Value) -> Vec<String> {
    let mut all: Vec<Vec<String>> = Vec::new();
    for (way, sent) in send_each_way(detector, event) {
        let mut words = Vec::new();
        for record in &sent.batch.hits {
            let facts = &record.facts;
            words.extend(record.hits.iter().map(|hit| severity(&detector.snapshot, hit, facts).as_str().to_owned()));
            for word in &words {
                let bytes = String::from_utf8_lossy(&record.record);
                assert!(bytes.contains("severity") && bytes.contains(word.as_str()), "{way}: {bytes}");
            }
        }
        assert_eq!(sent.report.severities.total(), sent.report.hits.total(), "{way}");
        all.push(words);
    }
    all.dedup();
    assert_eq!(all.len(), 1, "{event}: {all:?}");
    all.remove(0)
}

/// Scenario: a connection, a file and an account, with each outcome and each direction that an event can state.
/// Guarantee: the severity is that of the table, in every way in which a record carries an event.
#[test]
fn each_row_of_the_table() {
    let detector = detector_over(listed(), EXACT, Policy::default());
    let outcomes = [
        (json!({}), "unknown"),
        (json!({ "type": ["connection", "allowed"] }), "allowed"),
        (json!({ "type": ["connection", "denied"] }), "denied"),
        (json!({ "action": "quarantined" }), "quarantined"),
        (json!({ "category": ["process"], "type": ["start"] }), "executed"),
    ];
    for (event, decision) in outcomes {
        for direction in ["inbound", "outbound", "unknown"] {
            let with =
                |field: &str, value: &str| json!({ "event": event, "network.direction": direction, field: value });
            let connection = match (direction, decision) {
                ("outbound", "allowed") => "high",
                ("inbound", "allowed") => "low",
                ("inbound", "denied" | "quarantined") => "informational",
                _ => "medium",
            };
            // A field without a side, so that only the direction counts.
            assert_eq!(tagged(&detector, &with("related.ip", LISTED)), [connection], "{direction}, {decision}");
            assert_eq!(tagged(&detector, &with("dns.question.name", "evil.example")), [connection]);
            let file = if decision == "executed" { "critical" } else { "medium" };
            assert_eq!(tagged(&detector, &with("file.hash.md5", MD5)), [file], "{direction}, {decision}");
            let account = if matches!(decision, "denied" | "quarantined") { "low" } else { "medium" };
            assert_eq!(tagged(&detector, &with("user.name", "mallory")), [account], "{direction}, {decision}");
        }
        // Without a direction the side that hit shows it.
        for (field, direction) in [("destination.ip", "outbound"), ("source.ip", "inbound")] {
            let event = json!({ "event": event, field: LISTED });
            let expected = match (direction, decision) {
                ("outbound", "allowed") => "high",
                ("inbound", "allowed") => "low",
                ("inbound", "denied" | "quarantined") => "informational",
                _ => "medium",
            };
            assert_eq!(tagged(&detector, &event), [expected], "{field}, {decision}");
        }
    }
}

/// Scenario: events as the documentation of each product has them, with an address, a name or a file that is listed.
/// Guarantee: outbound and allowed is high, outbound and blocked medium, inbound and allowed low; inbound and denied never
/// exceeds informational.
#[test]
fn events_as_their_makers_document_them() {
    let detector = detector_over(listed(), EXACT, Policy::default());
    let windows = |id: u32, direction: &str, source: &str, destination: &str| {
        json!({ "Event": { "System": { "Provider": { "Name": "Microsoft-Windows-Security-Auditing" }, "EventID": id,
            "Channel": "Security", "Computer": "dc01.corp.example" },
            "EventData": { "Direction": direction, "SourceAddress": source, "DestAddress": destination } } })
    };
    let sysmon = |id: u32, data: Value| {
        json!({ "Event": { "System": { "EventID": id, "Channel": "Microsoft-Windows-Sysmon/Operational" },
            "EventData": data } })
    };
    let ocsf = |disposition: u32, direction: u32, source: &str, destination: &str| {
        json!({ "class_uid": 4001, "activity_id": 1, "disposition_id": disposition,
            "connection_info": { "direction_id": direction }, "src_endpoint": { "ip": source },
            "dst_endpoint": { "ip": destination } })
    };
    let vpc = |action: &str, direction: &str, source: &str, destination: &str| {
        json!({ "version": 5, "account-id": "123456789010", "interface-id": "eni-1235b8ca123456789",
            "srcaddr": source, "dstaddr": destination, "action": action, "flow-direction": direction,
            "log-status": "OK" })
    };
    let zeek = |state: &str, from: &str, to: &str| json!({ "uid": "CMdzit1AMNsmfAIiQc", "id.orig_h": from, "id.resp_h": to, "proto": "tcp", "conn_state": state });
    let inside = "10.20.0.5";
    let cases = [
        // ECS.
        (
            "informational",
            json!({ "event": { "category": ["network"], "type": ["connection", "denied"],
            "outcome": "success", "action": "dropped" }, "source": { "ip": LISTED }, "destination": { "ip": inside } }),
        ),
        (
            "high",
            json!({ "event": { "category": ["network"], "type": ["connection", "allowed"] },
            "network": { "direction": "outbound" }, "source": { "ip": inside }, "destination": { "ip": LISTED } }),
        ),
        (
            "high",
            json!({ "event": { "outcome": "success" }, "network": { "direction": "egress" },
            "destination": { "domain": "evil.example" } }),
        ),
        ("medium", json!({ "event": { "type": ["denied"] }, "client": { "ip": inside }, "server": { "ip": LISTED } })),
        // OCSF Network Activity.
        ("high", ocsf(1, 2, inside, LISTED)),
        ("medium", ocsf(2, 2, inside, LISTED)),
        ("low", ocsf(1, 1, LISTED, inside)),
        ("informational", ocsf(6, 1, LISTED, inside)),
        // OCSF Process Activity, Launch; and File System Activity that was quarantined.
        (
            "critical",
            json!({ "class_uid": 1007, "activity_id": 1,
            "process": { "file": { "hashes": [{ "algorithm_id": 1, "value": MD5 }] } } }),
        ),
        (
            "medium",
            json!({ "class_uid": 1001, "activity_id": 1, "disposition_id": 3,
            "file": { "hashes": [{ "algorithm_id": 1, "value": MD5 }] } }),
        ),
        // Suricata: the packet may go to the client, the flow shows who began.
        (
            "medium",
            json!({ "event_type": "alert", "src_ip": LISTED, "dest_ip": inside, "direction": "to_client",
            "alert": { "action": "blocked" }, "flow": { "src_ip": inside, "dest_ip": LISTED } }),
        ),
        // Zeek.
        ("informational", zeek("S0", LISTED, inside)),
        ("informational", zeek("REJ", inside, LISTED)),
        ("high", zeek("SF", inside, LISTED)),
        ("low", zeek("SF", LISTED, inside)),
        ("medium", zeek("OTH", inside, LISTED)),
        // Windows filtering: the direction shows who began, and the address of the remote machine is at either side.
        ("informational", windows(5152, "%%14592", LISTED, inside)),
        ("informational", windows(5157, "%%14592", inside, LISTED)),
        ("low", windows(5156, "%%14592", LISTED, inside)),
        ("high", windows(5156, "%%14593", inside, LISTED)),
        ("medium", windows(5157, "%%14593", inside, LISTED)),
        // Sysmon: a process was created; the same number of another channel says nothing.
        ("critical", sysmon(1, json!({ "Hashes": format!("MD5={}", MD5.to_uppercase()) }))),
        ("medium", sysmon(11, json!({ "Hashes": format!("MD5={}", MD5.to_uppercase()) }))),
        (
            "medium",
            json!({ "Event": { "System": { "EventID": 1, "Channel": "System" },
            "EventData": { "Hashes": format!("MD5={MD5}") } } }),
        ),
        // FortiGate, Palo Alto and Check Point, as Elastic's integrations and CEF have them.
        ("informational", json!({ "event": { "action": "deny" }, "source": { "ip": LISTED } })),
        (
            "high",
            json!({ "event": { "action": "close" }, "source": { "ip": inside }, "destination": { "ip": LISTED } }),
        ),
        ("medium", json!({ "act": "reset-both", "src": inside, "dst": LISTED })),
        ("informational", json!({ "act": "drop", "deviceDirection": "0", "src": LISTED, "dst": inside })),
        ("high", json!({ "act": "Accept", "deviceDirection": "1", "src": inside, "dst": LISTED })),
        // AWS.
        ("informational", vpc("REJECT", "ingress", LISTED, inside)),
        ("high", vpc("ACCEPT", "egress", inside, LISTED)),
        ("medium", vpc("REJECT", "egress", inside, LISTED)),
        (
            "informational",
            json!({ "eventVersion": "1.11", "eventSource": "signin.amazonaws.com",
            "eventName": "ConsoleLogin", "sourceIPAddress": LISTED, "errorCode": "AccessDenied" }),
        ),
        // A web server's log: a client outside of our networks comes in.
        ("low", json!({ "remote_addr": LISTED, "request": "GET / HTTP/1.1", "status": 200 })),
        ("informational", json!({ "remote_addr": LISTED, "request": "GET /admin HTTP/1.1", "status": 403 })),
        // GuardDuty, CrowdStrike, SentinelOne, Cloudflare, Zscaler, Microsoft ASIM, Google UDM.
        (
            "low",
            json!({ "service": { "action": { "networkConnectionAction": { "connectionDirection": "INBOUND", "blocked": false,
                "remoteIpDetails": { "ipAddressV4": LISTED } } } } }),
        ),
        (
            "medium",
            json!({ "event_simpleName": "NetworkConnectIP4", "RemoteAddressIP4": LISTED, "LocalAddressIP4": inside }),
        ),
        (
            "low",
            json!({ "event.network.direction": "INCOMING", "event.network.connectionStatus": "SUCCESS", "src.ip.address": LISTED,
                "dst.ip.address": inside }),
        ),
        ("informational", json!({ "Action": "block", "ClientIP": LISTED, "ClientRequestHost": "www.example.com" })),
        ("high", json!({ "event": { "action": "Allow", "csip": inside, "cdip": LISTED } })),
        ("medium", json!({ "event": { "action": "Blocked", "csip": inside, "cdip": LISTED } })),
        ("high", json!({ "DvcAction": "Allow", "SrcIpAddr": inside, "DstIpAddr": LISTED })),
        (
            "medium",
            json!({ "principal": { "ip": [inside] }, "target": { "ip": [LISTED] }, "security_result": [{ "action": ["BLOCK"] }] }),
        ),
    ];
    for (expected, event) in cases {
        let found = tagged(&detector, &event);
        assert!(!found.is_empty(), "{event}");
        assert!(found.iter().all(|severity| severity == expected), "{expected}, not {found:?}: {event}");
    }
}

/// Scenario: an inbound connection that was denied, in the words of every schema, with an indicator of every confidence.
/// Guarantee: nothing makes it more than informational.
#[test]
fn a_denied_inbound_scan_never_exceeds_informational() {
    for confidence in
        [Confidence::NotSpecified, Confidence::None, Confidence::Low, Confidence::Medium, Confidence::High]
    {
        let context = Arc::new(Context { confidence, ..Context::default() });
        let detector =
            detector_over(vec![Indicator { context, ..indicator(Kind::Ip, LISTED) }], EXACT, Policy::default());
        for word in
            ["deny", "DENIED", "drop", "Dropped", "block", "blocked", "REJECT", "rejected", "failure", "prevented"]
        {
            for direction in ["inbound", "ingress"] {
                for field in ["source.ip", "client.ip", "destination.ip", "related.ip"] {
                    let event = json!({ "event.action": word, "event.outcome": "success", "network.direction": direction, field: LISTED });
                    assert_eq!(tagged(&detector, &event), ["informational"], "{event}");
                }
            }
        }
    }
}

/// Scenario: an outbound connection that was allowed, with an indicator of every confidence.
/// Guarantee: little confidence takes one step away, much adds nothing.
#[test]
fn confidence_scales() {
    for (confidence, expected) in [
        (Confidence::NotSpecified, "high"),
        (Confidence::None, "medium"),
        (Confidence::Low, "medium"),
        (Confidence::Medium, "high"),
        (Confidence::High, "high"),
    ] {
        let context = Arc::new(Context { confidence, ..Context::default() });
        let detector =
            detector_over(vec![Indicator { context, ..indicator(Kind::Ip, LISTED) }], EXACT, Policy::default());
        let event = json!({ "event.type": "allowed", "destination.ip": LISTED });
        assert_eq!(tagged(&detector, &event), [expected]);
    }
}

/// Scenario: the same connection between two public addresses, with and without one of them in our networks.
/// Guarantee: what is ours decides which side is the stranger, where the event does not say it.
#[test]
fn our_networks_tell_the_direction() {
    let ours = "198.51.100.9";
    let event = json!({ "event.type": "allowed", "source.ip": ours, "destination.ip": LISTED });
    // The indicator names an address of ours.
    for (networks, expected) in [(vec![], "high"), (vec!["203.0.113.0/24"], "low"), (vec!["198.51.100.0/24"], "high")] {
        let detector = detector_over(listed(), EXACT, with_networks(&networks));
        assert_eq!(tagged(&detector, &event), [expected], "{networks:?}");
    }
    // A name has no side: the place of the client shows the direction.
    let lookup =
        |client: &str| json!({ "event.type": "allowed", "source.ip": client, "dns.question.name": "evil.example" });
    let detector = detector_over(listed(), EXACT, with_networks(&["198.51.100.0/24"]));
    assert_eq!(tagged(&detector, &lookup(ours)), ["high"]);
    assert_eq!(tagged(&detector, &lookup("192.0.2.4")), ["low"]);
    assert_eq!(tagged(&detector, &json!({ "event.type": "allowed", "dns.question.name": "evil.example" })), ["medium"]);
}

/// Scenario: an address that only a header of the client names, and one that stands in a text.
/// Guarantee: the first is at most low, the second at most medium, whatever else the event says.
#[test]
fn what_somebody_wrote_is_weak() {
    let detector = detector_over(listed(), EXACT, Policy { c2: CommandAndControl::Any, ..Policy::default() });
    let forwarded = json!({ "event.type": "allowed", "network.direction": "outbound", "http_x_forwarded_for": LISTED });
    assert_eq!(tagged(&detector, &forwarded), ["low"]);
    let text = detector_over(listed(), MatchOptions { text: true, ..EXACT }, Policy::default());
    let line =
        json!({ "event.type": "allowed", "network.direction": "outbound", "note": format!("sent to {LISTED} today") });
    assert_eq!(tagged(&text, &line), ["medium"]);
}

/// Scenario: an event with one severe and one harmless hit, and room for one of them only.
/// Guarantee: the more severe one stays.
#[test]
fn the_most_severe_hit_is_kept() {
    let mut detector = detector_over(listed(), EXACT, Policy::default());
    detector.budgets.record_tag_bytes = 700;
    for event in [
        json!({ "event.outcome": "success", "source.ip": LISTED, "destination.domain": "evil.example" }),
        json!({ "event.outcome": "success", "destination.domain": "evil.example", "source.ip": LISTED }),
    ] {
        let verdict = judge(&detector, &event);
        assert_eq!(verdict.hits.len(), 2);
        let (_, sent) = send_each_way(&detector, &event).remove(0);
        let record = String::from_utf8_lossy(&sent.batch.hits[0].record).into_owned();
        let kept = ["low", "high"].map(|word| record.matches(word).count() > 0);
        assert_eq!(kept, [false, true], "{record}");
        assert_eq!(sent.report.severities.get(&Severity::High), 1);
    }
}
