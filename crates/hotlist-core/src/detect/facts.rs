//! The properties of an event that policy needs besides the findings: its time, whether it is an indicator itself,
//! whether it is an event of OCSF, its connection, and its assets.

use ipnet::IpNet;
use jiff::Timestamp;

use super::Detector;
use crate::asset::AssetCandidates;
use crate::circumstances::{Circumstances, PRIVATE_NETWORKS, is_internal};
use crate::encoding::{Value, json};
use crate::observable::{ip, time};
use crate::policy::EventFacts;
use crate::schema::FieldId;
use crate::schema::facts::{AssetField, AssetPart, FactTable};

/// The facts in the fields of a [`FactTable`], read only when something was found.
pub(super) struct Facts<'t> {
    table: &'t FactTable,
    internal: &'t [IpNet],
    /// The time that counts most, and where it is.
    time: Option<(FieldId, Timestamp)>,
    is_indicator: bool,
    is_ocsf: bool,
    /// Its version of OCSF has no `osint`.
    lacks_osint: bool,
    circumstances: Circumstances,
    assets: AssetCandidates,
}

impl Facts<'_> {
    /// The event's time.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.time.map(|(_, time)| time)
    }

    /// The same, with the assets that the resource around the event names.
    pub(super) fn with_resource(self, assets: AssetCandidates) -> Self {
        Facts { assets, ..self }
    }

    /// Reads a value at a field of the table.
    pub(super) fn value(&mut self, id: FieldId, value: Value<'_>) {
        let table = self.table;
        let Some(field) = table.field(id) else { return };
        if field.is_time
            && self.time.is_none_or(|(known, _)| id < known)
            && let Some(time) = time_of(value)
        {
            self.time = Some((id, time));
        }
        self.is_indicator |= field.is_event_kind && matches!(value, Value::Text(b"enrichment"));
        self.is_ocsf |= field.is_class && matches!(value, Value::Int(_) | Value::Double(_));
        self.lacks_osint |= field.is_class_version && matches!(value, Value::Text(version) if is_before_osint(version));
        if let (Some(side), Value::Text(text)) = (field.endpoint, value) {
            let added = self.circumstances.add_endpoint(side, text, self.internal);
            if let Some((address, is_internal)) = added {
                self.assets.add_endpoint(Some(side), id.0.into(), address, is_internal);
            }
        }
        if field.has_words() || field.asset.is_some() {
            let mut buffer = itoa::Buffer::new();
            let word = match value {
                Value::Text(text) => text,
                Value::Int(number) => buffer.format(number).as_bytes(),
                Value::Bool(true) => b"true",
                Value::Bool(false) => b"false",
                Value::Double(_) | Value::Time(_) => return,
            };
            match field.asset {
                Some(AssetField { part: AssetPart::Endpoint, rank }) => {
                    if let Some(address) = ip::event_address(word) {
                        self.assets.add_endpoint(None, rank, address, is_internal(address, self.internal));
                    }
                }
                Some(asset) => self.assets.add(asset, word),
                None => {}
            }
            if field.has_words()
                && let Some(meaning) = table.meaning(field, word)
            {
                self.circumstances.add_meaning(meaning);
            }
        }
    }

    /// All of it, for an event without a time that has this one.
    pub(super) fn of_event(self, otherwise: Timestamp, arrival: Timestamp) -> EventFacts {
        let (time, circumstances) = (self.time().unwrap_or(otherwise), self.circumstances);
        let Facts { is_indicator, is_ocsf, lacks_osint, assets, .. } = self;
        let assets = assets.into_facts();
        EventFacts { time, arrival, is_indicator, is_ocsf, lacks_osint, circumstances, assets }
    }
}

impl Detector {
    /// The time of a JSON document, or of a line that is pairs, at `@timestamp` or where its schema has it. A value that is not
    /// a time does not count.
    pub fn event_time(&self, document: &[u8]) -> Option<Timestamp> {
        let mut facts = self.no_facts();
        // The readable part of a malformed document may have the time.
        let trie = self.snapshot.facts().trie();
        let read = json::read(document, trie, &mut |field, value: Value<'_>| facts.value(field, value));
        if read.is_err() {
            facts = self.facts_of_line(document);
        }
        facts.time()
    }

    /// Facts of an event that was not read yet.
    pub(super) fn no_facts(&self) -> Facts<'_> {
        let internal = self.policy.as_ref().map_or(PRIVATE_NETWORKS.as_slice(), |policy| &policy.internal_networks);
        let (table, circumstances) = (self.snapshot.facts(), Circumstances::default());
        let (is_indicator, is_ocsf, lacks_osint, assets) = (false, false, false, AssetCandidates::default());
        Facts { table, internal, time: None, is_indicator, is_ocsf, lacks_osint, circumstances, assets }
    }
}

/// Whether a version of OCSF came before the profile `osint`, which 1.3.0 added (CHANGELOG.md of
/// <https://github.com/ocsf/ocsf-schema>). What is not a version is taken for a current one.
fn is_before_osint(version: &[u8]) -> bool {
    let mut numbers =
        version.split(|byte| *byte == b'.').map(|part| std::str::from_utf8(part).ok()?.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(Some(major)), Some(Some(minor))) if (major, minor) < (1, 3))
}

fn time_of(value: Value<'_>) -> Option<Timestamp> {
    match value {
        Value::Text(text) => time::parse(text),
        Value::Int(number) => time::parse(number.to_string().as_bytes()),
        // Zeek writes seconds with six digits of a fraction, which a double holds.
        Value::Double(number) if number.is_finite() => time::parse(format!("{number:.6}").as_bytes()),
        Value::Time(instant) => Some(instant),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::intel::snapshot::Snapshot;
    use crate::schema::FieldTable;

    #[test]
    fn osint_came_with_a_version_of_ocsf() {
        for (version, expected) in [
            ("0.0.0", true),
            ("1.0.0-rc.2", true),
            ("1.2.0", true),
            ("1.3.0", false),
            ("1.3.0-dev", false),
            ("1.10.0", false),
            ("2.0.0", false),
            ("", false),
            ("v1.1.0", false),
        ] {
            assert_eq!(is_before_osint(version.as_bytes()), expected, "{version}");
        }
    }

    #[test]
    fn the_time_is_found_in_the_forms_of_real_logs() {
        let table = Arc::new(FieldTable::shipped().unwrap());
        let detector = Detector::new(Arc::new(Snapshot::empty(table)));
        let event_time = |document: &[u8]| detector.event_time(document);
        let second = "2012-03-16T12:30:00Z".parse::<Timestamp>().unwrap();
        for document in [
            r#"{"@timestamp":"2012-03-16T12:30:00Z","time":"2020-01-01T00:00:00Z"}"#,
            r#"{"time":"no time","ts":1331901000.000000}"#,
            r#"{"eventTime":"2012-03-16T12:30:00Z"}"#,
            r#"{"__REALTIME_TIMESTAMP":"1331901000000000"}"#,
            r#"{"time":1331901000000}"#,
            r#"{"Event":{"System":{"TimeCreated":{"SystemTime":"2012-03-16T12:30:00Z"}}}}"#,
            r#"{"UtcTime":"2012-03-16 12:30:00.000"}"#,
            r#"{"ts":1331901000,"cut":"#,
        ] {
            assert_eq!(event_time(document.as_bytes()), Some(second), "{document}");
        }
        for document in ["{}", "plain text", r#"{"@timestamp":null,"time":true}"#, r#"{"a":{"time":1331901000}}"#] {
            assert_eq!(event_time(document.as_bytes()), None, "{document}");
        }
    }
}
