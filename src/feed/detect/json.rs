//! Detects the format of a JSON file by the keys of its first object, which may be cut off. JSON that is neither STIX
//! nor MISP is read by its keys.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::feed::{ColumnMapping, FeedFormat};

/// An object, or an array of objects. A bracket alone may begin an IPv6 address or a STIX pattern.
pub(super) fn is_json(text: &str) -> bool {
    match text.strip_prefix('[') {
        Some(rest) => rest.trim_start().starts_with(['{', '[', ']']),
        None => text.starts_with('{'),
    }
}

/// STIX, MISP, or whatever a mapping says.
pub(super) fn detect(text: &str, columns: &ColumnMapping) -> FeedFormat {
    if columns.value.is_some() {
        return FeedFormat::Json;
    }
    let mut keys = Keys(Vec::new());
    // The text may end anywhere; what was seen until then counts.
    let _ = (&mut keys).deserialize(&mut serde_json::Deserializer::from_str(text));
    let is_misp = |key: &String| {
        matches!(
            key.as_str(),
            "Event" | "Attribute" | "Object" | "Tag" | "response" | "info" | "threat_level_id" | "orgc_id"
        )
    };
    if keys.0.iter().any(is_misp) {
        return FeedFormat::Misp;
    }
    let has = |key: &str| keys.0.iter().any(|known| known == key);
    // Every object of STIX says of which type it is and when it was made, but for bundles and envelopes, which hold them.
    let is_stix = has("objects") || (has("type") && ["spec_version", "created", "modified"].into_iter().any(has));
    let is_bundle = has("type") && has("id") && keys.0.len() <= 3;
    if is_stix || is_bundle || keys.0.is_empty() || keys.0 == ["type"] { FeedFormat::Stix } else { FeedFormat::Json }
}

/// Collects the keys of the first object.
struct Keys(Vec<String>);

impl<'de> DeserializeSeed<'de> for &mut Keys {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Keys {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            self.0.push(key);
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        sequence.next_element_seed(self)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keys_tell_also_when_the_rest_is_cut_off() {
        let none = ColumnMapping::default();
        for (text, format) in [
            ("{\"type\":\"bundle\"}", FeedFormat::Stix),
            ("[ {\"type\":\"indicator\"}]", FeedFormat::Stix),
            ("{\"Event\":{\"Attribute\":[{\"va", FeedFormat::Misp),
            ("{\"response\":[{", FeedFormat::Misp),
            ("[[{\"Attribute\":", FeedFormat::Misp),
            ("{\"analysis\":\"1\",\"threat_level_id\":\"1\"}", FeedFormat::Misp),
            ("{}", FeedFormat::Stix),
            ("{\"more\":false,\"objects\":[", FeedFormat::Stix),
            ("{\"type\":\"indicator\",\"created\":\"x\",\"id\":1", FeedFormat::Stix),
            ("{\"ioc\":\"evil.com\",\"type\":\"domain\"}", FeedFormat::Json),
            ("{\"17\":[{\"ioc_value\":\"x\"}]}", FeedFormat::Json),
            ("{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"x\"}", FeedFormat::Json),
            ("[", FeedFormat::Stix),
        ] {
            assert_eq!(detect(text, &none), format, "{text}");
        }
        let mapped = ColumnMapping { value: Some("ioc".into()), ..ColumnMapping::default() };
        assert_eq!(detect("{\"Event\":1}", &mapped), FeedFormat::Json);
        assert!(is_json("[{}]") && !is_json("[2001:db8::1]:443"));
    }
}
