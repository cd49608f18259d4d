//! The configuration in effect as YAML: every default filled in, secrets masked, and fit to be loaded again.

use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

use super::Config;

/// Why a configuration cannot be written down.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be written as YAML: {0}; give paths in UTF-8")]
pub struct ShowError(String);

impl Config {
    /// The configuration as YAML, with every default filled in and `***` in place of secrets. Loaded again, it gives
    /// the same configuration but for them; what is absent and has no default is left out.
    ///
    /// # Errors
    /// A path is not UTF-8, which no configuration that was loaded has.
    pub fn to_yaml(&self) -> Result<String, ShowError> {
        let mut document = serde_json::to_value(self).map_err(|error| ShowError(error.to_string()))?;
        escape(&mut document);
        serde_saphyr::to_string(&document).map_err(|error| ShowError(error.to_string()))
    }
}

/// A dollar sign stands for itself only when it is doubled.
fn escape(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('$') => *text = text.replace('$', "$$"),
        Value::Array(items) => items.iter_mut().for_each(escape),
        Value::Object(entries) => entries.values_mut().for_each(escape),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Writes a list whose items have names as the table that it was read from.
pub(super) fn as_table<'a, T, N, V, S>(
    items: &'a [T],
    entry: impl Fn(&'a T) -> (N, V),
    serializer: S,
) -> Result<S::Ok, S::Error>
where
    N: serde::Serialize,
    V: serde::Serialize,
    S: Serializer,
{
    let mut table = serializer.serialize_map(Some(items.len()))?;
    for item in items {
        let (name, value) = entry(item);
        table.serialize_entry(&name, &value)?;
    }
    table.end()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Columns, Config, Format, IntelFiles};

    const MINIMAL: &str = "\
sources: { a: { type: otlp, address: '127.0.0.1:1' } }
sinks: { s: { type: blackhole, inputs: [a] } }
";

    fn parse(text: &str) -> Config {
        Config::parse(text, Format::Yaml, &|_| None).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    }

    #[test]
    fn every_default_is_filled_in_and_secrets_are_masked() {
        let text = format!(
            "{MINIMAL}  o: {{ type: otlp, inputs: [a], endpoint: 'http://b:1', headers: {{ X: hush, y: {{ file: f }} }} }}\n"
        )
        .replace("sinks: { s: { type: blackhole, inputs: [a] } }", "sinks:");
        let shown = parse(&text).to_yaml().unwrap();
        assert!(!shown.contains("hush") && shown.contains("x: '***'") | shown.contains("x: \"***\""), "{shown}");
        for line in
            ["in_flight_bytes: 256MiB", "grace: 5d", "max_request_bytes: 64MiB", "failure_mode: open", "type: otlp"]
        {
            assert!(shown.contains(line), "{line} in {shown}");
        }
        assert!(!shown.contains("tls") && !shown.contains("null"), "{shown}");
    }

    proptest! {
        /// Guarantee: whatever text a configuration holds, dollar signs and what YAML takes for something else
        /// included, is the same after it was written and loaded.
        #[test]
        fn any_text_survives(
            texts in proptest::collection::vec(
                prop_oneof![
                    "\\PC{0,12}\\S",
                    "[-:#&*!|>'\"%@`$,?\\[\\]{} ]{0,6}[-:#&*!|>'\"%@`$,?]",
                    "(true|no|~|null|0x1f|1e3|1_000|\\.inf|=|<<|2026-01-31|12:30:45|\\$\\{A\\}|a\nb|\ta|é\u{85}x)",
                ],
                4,
            )
        ) {
            let [feed, value, name, id] = <[String; 4]>::try_from(texts).unwrap();
            let mut config = parse(MINIMAL);
            let columns = Columns { value, name: Some(name), id: Some(id), ..Columns::default() };
            let files = IntelFiles { feed: Some(feed), columns: Some(columns), ..IntelFiles::new("a.csv".into()) };
            config.intel.files.push(files);
            let shown = config.to_yaml().unwrap();
            prop_assert_eq!(&parse(&shown), &config, "{}", shown);
        }
    }
}
