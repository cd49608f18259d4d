//! The JSON Schema of the configuration (draft 2020-12), for editors and other tools.
//!
//! `schemars` derives it from the structs that the reader fills: doc comments become descriptions, and each default
//! is next to its field. What the structs do not say is added here: tables by name, parts of several types, and that
//! a value may be a variable. `tests/configuration_reference.rs` holds schema and reader to each other.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::Config;

/// A text in which an environment variable stands (see `interpolate`).
const VARIABLE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}";

impl Config {
    /// The JSON Schema of a configuration. It says no to nothing that can be loaded, but for keys without a value, and
    /// parts whose `type` is a variable. What only the whole file shows, such as an input that names no source, it lets
    /// through.
    pub fn schema() -> Value {
        let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(complete));
        let derived = settings.into_generator().into_root_schema_for::<Config>();
        // People look at the beginning for what it is.
        let mut schema = json!({ "$schema": derived.get("$schema"), "title": "Configuration of Hotlist" });
        if let (Some(root), Value::Object(derived)) = (schema.as_object_mut(), derived.to_value()) {
            root.extend(derived.into_iter().filter(|(key, _)| key != "$schema" && key != "title"));
            let definitions = root.entry("$defs").or_insert_with(|| json!({}));
            if let Some(definitions) = definitions.as_object_mut() {
                let variable = json!({
                    "description": "An environment variable that holds the value.",
                    "type": "string",
                    "pattern": VARIABLE,
                });
                definitions.insert("variable".to_owned(), variable);
            }
        }
        schema
    }
}

/// The common rules for every part of the schema.
fn complete(schema: &mut Schema) {
    let Some(schema) = schema.as_object_mut() else { return };
    without_null(schema);
    if let Some(description) = schema.get_mut("description")
        && let Some(text) = description.as_str()
    {
        *description = text.replace('\n', " ").into();
    }
    keys_with_a_default_are_optional(schema);
    let is_words = |list: &Value| list.as_array().is_some_and(|all| all.iter().all(|one| one.get("const").is_some()));
    if let Some(words) = schema.get_mut("oneOf").filter(|list| is_words(list)).and_then(Value::as_array_mut) {
        words.push(variable());
    }
    // Without a type it is what the next lines make of it.
    if schema.contains_key("enum")
        && schema.remove("type").is_some()
        && let Some(words) = schema.remove("enum")
    {
        schema.insert("anyOf".to_owned(), json!([{ "enum": words }, variable()]));
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean" | "integer") => {
            let kind = schema.remove("type");
            schema.remove("format");
            schema.insert("type".to_owned(), json!([kind, "string"]));
            schema.insert("pattern".to_owned(), VARIABLE.into());
        }
        // No text of the configuration may be empty.
        Some("string") if !schema.contains_key("pattern") && !schema.contains_key("const") => {
            schema.insert("pattern".to_owned(), r"\S".into());
        }
        _ => {}
    }
}

/// An absent key is left out. One that stands there without a value is more likely forgotten than meant.
fn without_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            schema.extend(only);
        }
    }
}

/// Derived is that only what is an `Option` may be absent.
fn keys_with_a_default_are_optional(schema: &mut Map<String, Value>) {
    let Some(properties) = schema.get("properties").cloned() else { return };
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        let has_default = |key: &Value| properties.get(key.as_str().unwrap_or_default())?.get("default").cloned();
        required.retain(|key| has_default(key).is_none());
        if required.is_empty() {
            schema.remove("required");
        }
    }
}

fn variable() -> Value {
    json!({ "$ref": "#/$defs/variable" })
}

/// One of some words, each with its meaning.
pub(super) fn one_of_words(words: &[(&str, &str)], description: &str) -> Schema {
    let word = |(word, meaning): &(&str, &str)| json!({ "type": "string", "const": word, "description": meaning });
    json_schema!({ "oneOf": words.iter().map(word).collect::<Vec<_>>(), "description": description })
}

/// A table of parts by name, each of one of some types.
pub(super) fn parts_by_name(types: &[Schema]) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": "^[A-Za-z0-9_-]+$" },
        "additionalProperties": { "oneOf": types },
    })
}

/// One type of part: its `type`, the keys of `common`, and then its own.
pub(super) fn part(word: &'static str, common: &Schema, mut own: Schema) -> Schema {
    let mut properties = Map::new();
    let mut required = vec![Value::from("type")];
    properties.insert("type".to_owned(), json!({ "description": format!("`{word}`."), "const": word }));
    for schema in [common, &own] {
        if let Some(Value::Object(more)) = schema.get("properties") {
            properties.extend(more.clone());
        }
        if let Some(Value::Array(more)) = schema.get("required") {
            required.extend(more.iter().cloned());
        }
    }
    own.insert("title".to_owned(), word.into());
    own.insert("properties".to_owned(), properties.into());
    own.insert("required".to_owned(), required.into());
    own
}

/// A bare path, or a table with more settings.
pub(super) struct PathOr<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for PathOr<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("PathOr{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, generator.subschema_for::<T>()] })
    }
}

/// A whole number from 1.
pub(super) struct Count;

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1 })
    }
}

#[cfg(test)]
mod tests {
    use schemars::transform::Transform;

    use super::*;

    /// Guarantee: what was said twice is said once, and nothing that may be absent is asked for.
    #[test]
    fn the_derived_schema_is_completed() {
        let mut schema = json_schema!({
            "type": "object",
            "required": ["a", "b"],
            "properties": {
                "a": { "type": ["string", "null"] },
                "b": { "type": "boolean", "default": true },
                "c": { "anyOf": [{ "$ref": "#/x" }, { "type": "null" }], "description": "one\ntwo" },
                "d": { "oneOf": [{ "const": "x" }, { "const": "y" }] },
                "e": { "type": "string", "enum": ["x"] },
            },
        });
        RecursiveTransform(complete).transform(&mut schema);
        let wanted = json!({
            "type": "object",
            "required": ["a"],
            "properties": {
                "a": { "type": "string", "pattern": "\\S" },
                "b": { "default": true, "type": ["boolean", "string"], "pattern": VARIABLE },
                "c": { "$ref": "#/x", "description": "one two" },
                "d": { "oneOf": [{ "const": "x" }, { "const": "y" }, { "$ref": "#/$defs/variable" }] },
                "e": { "anyOf": [{ "enum": ["x"] }, { "$ref": "#/$defs/variable" }] },
            },
        });
        assert_eq!(schema.to_value(), wanted);
    }
}
