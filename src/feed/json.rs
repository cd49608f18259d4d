//! JSON objects of any shape, one a line or in an array. The configuration says at which paths what is.

use serde_json::Value;

use super::collect::Collector;
use super::document::{self, MAX_DEPTH, Piece};
use super::input::Input;
use super::row::{Cells, Role, Row};
use super::{FeedError, FeedOptions};
use crate::fields::FieldTable;

/// The most values that one object may hold at a path.
const MAX_VALUES: usize = 1024;

/// A path, its keys apart, and what is there.
struct Path<'a> {
    role: Role,
    keys: Vec<&'a str>,
}

/// Imports JSON objects.
pub(super) fn import(
    input: Input<'_>,
    options: &FeedOptions,
    table: &FieldTable,
    collector: &mut Collector,
) -> Result<(), FeedError> {
    let Some(value) = &options.columns.value else {
        return Err(FeedError::NoMapping { file: input.file().to_owned() });
    };
    let paths: Vec<Path<'_>> =
        options.columns.named().map(|(_, role, path)| Path { role, keys: path.split('.').collect() }).collect();
    document::each(input, collector, |piece, collector| {
        objects(piece, 0, collector, &mut |piece, collector| {
            object(piece, &paths, value, options, table, collector);
        });
    })
}

/// Hands out the objects of arrays.
fn objects(piece: Piece<'_>, depth: usize, collector: &mut Collector, with: &mut dyn FnMut(Piece<'_>, &mut Collector)) {
    match piece.elements() {
        Some(_) if depth == MAX_DEPTH => collector.unusable(piece.line, "arrays nested too deep", piece.json),
        Some(elements) => elements.for_each(|inner| objects(inner, depth + 1, collector, with)),
        None => with(piece, collector),
    }
}

fn object(
    piece: Piece<'_>,
    paths: &[Path<'_>],
    value_path: &str,
    options: &FeedOptions,
    table: &FieldTable,
    collector: &mut Collector,
) {
    let value = match serde_json::from_str::<Value>(piece.json) {
        Ok(value @ Value::Object(_)) => value,
        Ok(_) => return collector.unusable(piece.line, "no JSON object", piece.json),
        Err(error) => return collector.unusable(piece.line, format!("no valid JSON: {error}"), piece.json),
    };
    let (mut cells, mut roles) = (Cells::default(), Vec::new());
    for path in paths {
        let mut found = Vec::new();
        at(&value, &path.keys, &mut found);
        for text in found {
            cells.push(&text);
            roles.push(path.role);
        }
    }
    if !roles.contains(&Role::Main) {
        return collector.unusable(piece.line, format!("nothing is at `{value_path}`"), piece.json);
    }
    Row { cells: &cells, line: piece.line, roles: &roles, beyond: Role::Ignored }.import(options, table, collector);
}

/// The texts at a path. Of an array every element counts; a key may have dots itself.
fn at(value: &Value, keys: &[&str], found: &mut Vec<String>) {
    if found.len() == MAX_VALUES {
        return;
    }
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| at(element, keys, found)),
        Value::Object(map) => {
            for end in 1..=keys.len() {
                let (first, rest) = keys.split_at_checked(end).unwrap_or_default();
                if let Some(value) = map.get(&first.join(".")) {
                    at(value, rest, found);
                }
            }
        }
        _ if !keys.is_empty() => {}
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Bool(flag) => found.push(flag.to_string()),
        Value::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::feed::{ColumnMapping, FeedError, FeedOptions, Format, Import, import};
    use crate::fields::FieldTable;
    use crate::intel::indicator::{Confidence, Tlp};

    fn json(text: &str, columns: ColumnMapping) -> Result<Import, FeedError> {
        let options = FeedOptions { columns, ..FeedOptions::default() };
        import(text.as_bytes(), "feed.json", &options, &FieldTable::embedded(true).unwrap())
    }

    fn mapping() -> ColumnMapping {
        let path = |path: &str| Some(path.to_owned());
        ColumnMapping {
            value: path("ioc.value"),
            kind: path("ioc.type"),
            confidence: path("score"),
            tlp: path("tags"),
            valid_until: path("until"),
            ..ColumnMapping::default()
        }
    }

    fn values(import: &Import) -> Vec<(u32, String)> {
        import.indicators.iter().map(|i| (i.line, i.terms[0].value.to_string())).collect()
    }

    const ONE: &str = r#"{"ioc":{"value":"evil[.]com","type":"domain"},"score":90,"tags":["tlp:red"]}"#;

    #[test]
    fn lines_arrays_and_a_single_object_are_read_by_their_paths() {
        let dotted = r#"{"ioc.value":"203.0.113.9","ioc":{"type":"ip"}}"#;
        for (text, lines) in [
            (format!("{ONE}\n{dotted}\n"), [1, 2]),
            (format!("[\n{ONE},\n{dotted}]"), [2, 3]),
            (format!("[[{ONE}],[{dotted}]]"), [1, 1]),
        ] {
            let import = json(&text, mapping()).unwrap();
            assert_eq!(import.format, Format::Json);
            let [first, second] = lines;
            assert_eq!(values(&import), [(first, "evil.com".to_owned()), (second, "203.0.113.9".to_owned())]);
            let context = &import.indicators[0].context;
            assert_eq!((context.confidence, context.tlp), (Confidence::High, Some(Tlp::Red)));
        }
        assert_eq!(values(&json(ONE, mapping()).unwrap()).len(), 1);
    }

    #[test]
    fn every_element_of_a_list_of_values_counts() {
        let import = json(r#"{"ioc":[{"value":["a.com","b.com"]},{"value":"c.com"}]}"#, mapping()).unwrap();
        assert_eq!(values(&import).len(), 3);
    }

    #[test]
    fn a_bad_object_is_listed_with_its_line_and_costs_only_itself() {
        let deep = format!("{{\"ioc\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let bad = [
            "17",
            "{\"ioc\":{}}",
            "{\"ioc\":{\"value\":\"x y\"}}",
            "{\"ioc\":{\"value\":\"bad.org\"},\"until\":\"soon\"}",
            "{",
            &deep,
        ];
        let import = json(&format!("{ONE}\n{}\n{ONE}", bad.join("\n")), mapping()).unwrap();
        assert_eq!(values(&import).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 8]);
        assert_eq!(import.unusable.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
        assert!(import.unusable[1].reason.contains("`ioc.value`"), "{:?}", import.unusable[1]);
    }

    #[test]
    fn without_a_mapping_the_file_is_refused_by_what_is_missing() {
        let options = FeedOptions { format: Some(Format::Json), ..FeedOptions::default() };
        let error = import(b"{}", "f.json", &options, &FieldTable::embedded(true).unwrap()).unwrap_err();
        assert!(error.to_string().contains("`columns.value`"), "{error}");
    }
}
