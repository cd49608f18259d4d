//! Sizes (`64MiB`) and durations (`8s`) as people write them.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serializer;

/// Binary and decimal units of size, in bytes.
const SIZES: [(&str, u64); 8] = [
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("", 1),
];

/// Units of time, in milliseconds. A bare number has no unit and is refused: nobody knows which it would be.
const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A number of bytes: `4096`, `64MiB`, `10 MB`. `None` when it cannot be read or does not fit.
pub fn size(text: &str) -> Option<usize> {
    usize::try_from(quantity(text, &SIZES)?).ok()
}

/// A length of time: `250ms`, `8s`, `5d`. `None` when it cannot be read or does not fit.
pub(super) fn duration(text: &str) -> Option<Duration> {
    quantity(text, &DURATIONS).map(Duration::from_millis)
}

/// A whole number and its unit, without case, blanks between them allowed.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A size in a schema and in YAML.
pub(super) struct Size;

impl Size {
    /// Writes the largest binary unit that fits without a rest.
    pub(super) fn serialize<S: Serializer>(bytes: &usize, serializer: S) -> Result<S::Ok, S::Error> {
        let unit = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match unit.into_iter().find(|(_, factor)| *bytes >= *factor && bytes.is_multiple_of(*factor)) {
            Some((name, factor)) => serializer.collect_str(&format_args!("{}{name}", bytes / factor)),
            None => serializer.collect_str(&format_args!("{bytes}B")),
        }
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, or a text such as `64MiB`.",
            "type": ["integer", "string"],
            "minimum": 1,
            "pattern": r"^\s*[0-9]+\s*([kKmMgG][iI]?[bB]|[bB])?\s*$|\$\{",
        })
    }
}

/// A length of time in a schema and in YAML.
pub(super) struct Time;

impl Time {
    /// Writes the largest unit that fits without a rest.
    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let milliseconds = time.as_millis();
        let fits = |factor: u64| milliseconds >= u128::from(factor) && milliseconds.is_multiple_of(factor.into());
        match DURATIONS.into_iter().rev().find(|(_, factor)| fits(*factor)) {
            Some((name, factor)) => {
                serializer.collect_str(&format_args!("{}{name}", milliseconds / u128::from(factor)))
            }
            None => serializer.serialize_str("0s"),
        }
    }

    /// The same of one that may be absent.
    pub(super) fn serialize_some<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => Time::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time such as `250ms`, `8s` or `5d`.",
            "type": "string",
            "pattern": r"^\s*[0-9]+\s*([mM]?[sS]|[mMhHdD])\s*$|\$\{",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_binary_and_decimal_units() {
        assert_eq!(size("64MiB"), Some(64 << 20));
        assert_eq!(size("1 kb"), Some(1_000));
        assert_eq!(size("7"), Some(7));
        for bad in ["", "MiB", "-1", "1.5MiB", "1 TiB", "99999999999999999999", "18446744073709551615KiB", "1 k b"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("8s"), Some(Duration::from_secs(8)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("5d"), Some(Duration::from_secs(5 * 86_400)));
        for bad in ["", "8", "s", "8 weeks", "-8s", "8.5s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    /// Guarantee: what is written is read as the same, and the schema takes the texts that the reader takes.
    #[test]
    fn reader_writer_and_schema_agree_on_sizes_and_durations() {
        let mut generator = SchemaGenerator::default();
        let pattern = |schema: Schema| regex::Regex::new(schema.get("pattern").unwrap().as_str().unwrap()).unwrap();
        let sizes = pattern(Size::json_schema(&mut generator));
        for text in
            ["64MiB", "1 kb", "7", "7b", " 7 ", "7GB", "7k", "7kib b", "", "MiB", "-1", "1.5MiB", "1 TiB", "1 k b"]
        {
            assert_eq!(sizes.is_match(text), size(text).is_some(), "{text}");
        }
        let durations = pattern(Time::json_schema(&mut generator));
        for text in ["8s", "250MS", " 5 d ", "1m", "1H", "", "8", "s", "8 weeks", "-8s", "8.5s", "8mh"] {
            assert_eq!(durations.is_match(text), duration(text).is_some(), "{text}");
        }
        for bytes in [1, 1000, 1 << 10, (1 << 20) + 1, 256 << 20, 3 << 30] {
            let text = Size::serialize(&bytes, serde_json::value::Serializer).unwrap();
            assert_eq!(size(text.as_str().unwrap()), Some(bytes), "{text}");
        }
        for milliseconds in [0, 1, 1500, 60_000, 90_000, 3_600_000, 5 * 86_400_000] {
            let text = Time::serialize(&Duration::from_millis(milliseconds), serde_json::value::Serializer).unwrap();
            assert_eq!(duration(text.as_str().unwrap()), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }
}
