//! `hotlist fields`: the fields of events that are matched.

use std::io::Write;

use anyhow::Context;
use serde_json::json;

use super::Failure;
use super::args::FieldsArgs;
use super::table::Rows;
use crate::app;
use crate::config::Config;
use crate::schema::{Field, FieldKind, FieldTable};

pub(super) fn run(
    args: &FieldsArgs,
    environment: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let table = match (&args.config, &args.schema) {
        (Some(config), _) => app::field_table(&Config::load(config, environment)?.r#match).context("match")?,
        (None, Some(schema)) => FieldTable::of_schemas(&[schema]).context("the shipped schemas")?,
        (None, None) => FieldTable::shipped().context("the shipped schemas")?,
    };
    let is_shown = |field: &&Field| {
        let is_of_schema = |schema: &String| field.schemas.iter().any(|known| known == schema);
        (field.kind != FieldKind::NotRead || !field.named.is_empty()) && args.schema.as_ref().is_none_or(is_of_schema)
    };
    let fields: Vec<&Field> = table.iter().map(|(_, field)| field).filter(is_shown).collect();
    if args.json {
        for field in fields {
            let line = json!({
                "path": field.name, "kind": field.kind_word(), "ecs": field.meaning_in_ecs(), "role": field.role.as_str(),
                "collection": field.collection, "cti": field.cti, "stix_paths": field.stix_paths,
                "names_at": field.named.names, "values_at": field.named.values, "schemas": field.schemas,
            });
            writeln!(out, "{line}").map_err(Failure::of_output)?;
        }
        return out.flush().map_err(Failure::of_output);
    }
    let mut rows = Rows::new(["PATH", "KIND", "MEANS", "ROLE", "CHECKED FOR", "SCHEMAS"]);
    for field in fields {
        let checked = match (field.collection, field.cti) {
            (true, true) => "feeds, collections",
            (true, false) => "collections",
            (false, true) => "feeds",
            (false, false) => "",
        };
        rows.add([
            field.name.clone(),
            kind_of(field),
            field.ecs.clone().unwrap_or_default(),
            field.role.as_str().to_owned(),
            checked.to_owned(),
            match field.schemas.is_empty() {
                true => "match.fields".to_owned(),
                false => field.schemas.join(" "),
            },
        ]);
    }
    write!(out, "{rows}").and_then(|()| out.flush()).map_err(Failure::of_output)
}

fn kind_of(field: &Field) -> String {
    match (field.named.is_empty(), field.kind) {
        (true, _) => field.kind_word(),
        (false, FieldKind::NotRead) => "list".to_owned(),
        (false, _) => format!("{} list", field.kind_word()),
    }
}
