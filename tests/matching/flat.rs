//! Flat values of hits, next to the others: lists of texts for back ends that cannot hold lists of objects.

use hotlist::detect::{Detector, MatchedMessage};
use hotlist::encoding::{Flat, Inbound, TagAs};
use hotlist::intel::snapshot::MatchOptions;
use serde_json::{Value, json};

use crate::inbound::send;
use crate::ocsf::{LISTED, every_way, feeds, rendered, with};

/// A value at a dotted path, nested or dotted.
fn flat(document: &Value, key: &str) -> Option<Value> {
    let nested = document["hotlist"].get(key);
    nested.or_else(|| document.get(format!("hotlist.{key}"))).cloned()
}

fn events() -> [Value; 2] {
    [
        json!({ "destination": { "ip": LISTED, "port": 443 }, "source": { "ip": "198.51.100.9" } }),
        json!({ "class_uid": 4001, "dst_endpoint": { "ip": LISTED, "port": 443 }, "metadata": {} }),
    ]
}

/// The enrichments of a document, as ECS has them.
fn enrichments(document: &Value) -> Vec<Value> {
    let places = [&document["threat"]["enrichments"], &document["threat.enrichments"], &document["enrichments"]];
    let all = places.into_iter().filter_map(Value::as_array).flatten();
    all.map(|one| if one["data"].is_object() { one["data"].clone() } else { one.clone() }).collect()
}

/// Scenario: events of both schemas, in every way, with each setting.
/// Guarantee: `on` writes one element of each list for each enrichment, in their order; `auto` does where hits become
/// attributes; `off` writes none. A second pass changes nothing.
#[test]
fn each_hit_is_an_element_of_each_list() {
    for event in events() {
        for (way, format, record) in every_way(&event) {
            for setting in [Flat::Auto, Flat::On, Flat::Off] {
                let detector = with(Inbound::Mark, TagAs::Auto, setting);
                let (batch, report) = send(&detector, format, &record);
                let tagged = &batch.events.hits[0].record;
                let name = format!("{way}, {setting:?}: {event}");
                let document = rendered(format, tagged);
                let is_on =
                    setting == Flat::On || setting == Flat::Auto && way.starts_with("OTLP") && way != "OTLP body";
                let enrichments = enrichments(&document);
                let of = |pick: fn(&Value) -> &Value| {
                    let values: Vec<&Value> = enrichments.iter().map(pick).collect();
                    assert_eq!(values.len() as u64, report.hits.total(), "{name}");
                    is_on.then(|| json!(values))
                };
                assert_eq!(flat(&document, "matched"), of(|one| &one["matched"]["field"]), "{name}");
                assert_eq!(flat(&document, "detection"), of(|one| &one["hotlist"]["detection"]), "{name}");
                assert_eq!(flat(&document, "severity"), of(|one| &one["hotlist"]["severity"]), "{name}");
                assert_eq!(flat(&document, "alert_key"), of(|one| &one["hotlist"]["alert_key"]), "{name}");
                assert_eq!(flat(&document, "indicators"), of(|one| &one["indicator"]["name"]), "{name}");
                let (again, _) = send(&detector, format, tagged);
                assert_eq!(&again.events.hits[0].record, tagged, "{name}, again");
            }
        }
    }
}

/// Scenario: events that arrive with flat values, nested, dotted and twice, with and without a hit.
/// Guarantee: ours replace them; without ours only `keep` leaves them.
#[test]
fn forged_values_are_replaced_or_removed() {
    let forged = [
        json!({ "hotlist": { "matched": ["forged"], "detection": ["forged"], "indicators": "forged" } }),
        json!({ "hotlist": { "matched": "forged" }, "hotlist.matched": ["forged"] }),
        json!({ "hotlist.matched": ["forged"], "hotlist.severity": "forged", "hotlist.alert_key": "forged", "hotlist.indicators": { "forged": 1 } }),
        json!({ "hotlist": "x", "hotlist.detection": ["forged", "forged"] }),
    ];
    for forged in forged {
        for (ip, is_hit) in [(LISTED, true), ("192.0.2.1", false)] {
            let mut event = json!({ "destination": { "ip": ip } });
            event.as_object_mut().unwrap().extend(forged.as_object().unwrap().clone());
            for (way, format, record) in every_way(&event) {
                for inbound in [Inbound::Keep, Inbound::Mark, Inbound::Strip] {
                    let detector = with(inbound, TagAs::Auto, Flat::On);
                    let (batch, _) = send(&detector, format, &record);
                    let left = changed(&batch.events).unwrap_or(&record);
                    let name = format!("{way}, {inbound:?}: {event}");
                    assert_eq!(batch.events.hits.len(), usize::from(is_hit), "{name}");
                    let has = memchr::memmem::find(left, b"forged").is_some();
                    let is_beside = way == "OTLP text" || way == "Vector message";
                    let stays = inbound == Inbound::Keep && (!is_hit || is_beside);
                    assert_eq!(has, stays, "{name}: {}", String::from_utf8_lossy(left));
                    let (again, _) = send(&detector, format, left);
                    assert_eq!(changed(&again.events).unwrap_or(left), left, "{name}, again");
                }
            }
        }
    }
}

/// Scenario: every string of an event is scanned as text, and the event passes twice.
/// Guarantee: what a hit added is not matched again.
#[test]
fn what_a_hit_adds_is_no_text_of_the_event() {
    let table = std::sync::Arc::new(hotlist::schema::FieldTable::shipped().unwrap());
    let options = MatchOptions { text: true, ..MatchOptions::EXACT };
    let texts = crate::common::detector(&table, options, None, feeds());
    let plain = with(Inbound::Keep, TagAs::Auto, Flat::On);
    let detector = Detector { tagging: plain.tagging, ..texts };
    for event in events() {
        for (way, format, record) in every_way(&event) {
            let (batch, report) = send(&detector, format, &record);
            let (again, second) = send(&detector, format, &batch.events.hits[0].record);
            assert_eq!(second.hits.total(), report.hits.total(), "{way}: {event}");
            assert_eq!(again.events.hits[0].record, batch.events.hits[0].record, "{way}: {event}");
        }
    }
}

/// The first record that was changed.
fn changed(batch: &MatchedMessage) -> Option<&[u8]> {
    let hit = batch.hits.first().map(|hit| &hit.record[..]);
    hit.or(batch.marked.first().map(|marked| &marked.record[..]))
}
