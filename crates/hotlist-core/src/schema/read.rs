//! Reads a schema table from its CSV text.

use super::{Field, FieldError, FieldKind, FieldTable, NamedList, Role, UrlPart};

/// The columns of a table.
pub(super) const COLUMNS: [&str; 7] = ["path", "kind", "ecs", "role", "collection", "cti", "stix_paths"];

/// Adds the rows of a table to `fields`; empty cells are taken from the row of `fields` that the column `ecs` names. Lines
/// that begin with `#` are comments.
pub(super) fn rows(schema: &str, text: &str, known: &FieldTable) -> Result<Vec<Field>, FieldError> {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    let wrong = |line: u64, reason: String| FieldError::Row { schema: schema.to_owned(), line, reason };
    let header = reader.headers().map_err(|error| wrong(1, error.to_string()))?.clone();
    if header.iter().map(str::trim).ne(COLUMNS) {
        let line = header.position().map_or(1, csv::Position::line);
        return Err(wrong(line, format!("the header is `{}`", header.iter().collect::<Vec<_>>().join(","))));
    }
    let mut rows: Vec<Field> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            wrong(line, error.to_string())
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        rows.push(row(&record, known).map_err(|reason| wrong(line, reason))?);
    }
    Ok(rows)
}

fn row(record: &csv::StringRecord, known: &FieldTable) -> Result<Field, String> {
    let cell = |at: usize| record.get(at).unwrap_or("").trim();
    let name = dotted_path(cell(0))?;
    // A kind, and after it or alone which parts of URLs the field is; after it how the elements of a list are named.
    let mut named = NamedList::default();
    let words: Vec<&str> = cell(1).split_whitespace().filter(|word| !named.add(word)).collect();
    if named.names.is_empty() != named.values.is_empty() {
        return Err("a list of named values has `name@…` and `value@…`".to_owned());
    }
    named.words().try_for_each(|word| dotted_path(&word).map(drop))?;
    let words = || words.iter().copied();
    let url_parts: Vec<UrlPart> = words().filter_map(UrlPart::parse).collect();
    let own = words().find(|word| UrlPart::parse(word).is_none()).or_else(|| words().next()).unwrap_or("");
    let kind = FieldKind::parse(own).ok_or_else(|| format!("`{own}` is not a kind"))?;
    let role = Role::parse(cell(3)).ok_or_else(|| format!("`{}` is not a role", cell(3)))?;
    let ecs = (!cell(2).is_empty()).then(|| cell(2).to_owned());
    let meant = ecs.as_deref().and_then(|ecs| known.id(ecs)).map(|id| known.get(id));
    let checked = |at: usize, of: fn(&Field) -> bool| match cell(at) {
        "yes" => Ok(true),
        "no" => Ok(false),
        "" if kind == FieldKind::NotRead => Ok(false),
        "" => meant.map(of).ok_or_else(|| {
            let column = COLUMNS.get(at).unwrap_or(&"");
            match &ecs {
                Some(ecs) => {
                    format!("`{column}` is empty, and `{ecs}` is not a field of ECS that it can be taken from")
                }
                None => format!("`{column}` is empty and so is `ecs`, which it could be taken from"),
            }
        }),
        other => Err(format!("`{other}` is neither `yes` nor `no`")),
    };
    let stix_paths = match cell(6) {
        "" => meant.filter(|_| kind != FieldKind::NotRead).map(|field| field.stix_paths.clone()).unwrap_or_default(),
        paths => paths.split('|').filter(|path| !path.is_empty()).map(str::to_owned).collect(),
    };
    let (collection, cti) = (checked(4, |field| field.collection)?, checked(5, |field| field.cti)?);
    let ecs = ecs.filter(|ecs| *ecs != name);
    let (is_text, schemas) = (false, Vec::new());
    Ok(Field { name, kind, url_parts, named, ecs, role, collection, cti, stix_paths, is_text, schemas })
}

/// A path of keys joined by dots.
fn dotted_path(text: &str) -> Result<String, String> {
    match text.split('.').any(|key| key.is_empty() || key.trim() != key) {
        true => Err(format!("`{text}` is not a path; give keys joined by single dots, e.g. `id.orig_h`")),
        false => Ok(text.to_owned()),
    }
}
