//! TOML text to a document tree, with the `toml` crate's spans.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Entry, Node, Value};
use super::problem::{Fault, Position, Problem};

/// Reads a TOML document. All syntax errors are returned, in the order of the file.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    let places = Places::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let span = root.span();
        return Ok(Node { position: places.at(span.start), value: table(root.into_inner(), &places) });
    }
    let problem = |error: &toml::de::Error| Problem {
        position: error.span().map(|span| places.at(span.start)).unwrap_or_default(),
        path: String::new(),
        fault: Fault::Syntax { format: "TOML", reason: error.message().trim().replace('\n', ", ") },
    };
    Err(errors.iter().map(problem).collect())
}

fn table(table: DeTable<'_>, places: &Places<'_>) -> Value {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            position: places.at(key.span().start),
            key: key.into_inner().into_owned(),
            value: node(value, places),
        })
        .collect();
    // The parser's tables are sorted by key; ours keep the order of the file, like YAML's.
    entries.sort_by_key(|entry| entry.position);
    Value::Mapping(entries)
}

fn node(value: Spanned<DeValue<'_>>, places: &Places<'_>) -> Node {
    let position = places.at(value.span().start);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::text(text.into_owned()),
        DeValue::Integer(integer) => match i128::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::text(integer.as_str().to_owned()),
        },
        DeValue::Float(float) => match float.as_str().parse() {
            Ok(number) => Value::Float(number),
            Err(_) => Value::text(float.as_str().to_owned()),
        },
        DeValue::Boolean(boolean) => Value::Bool(boolean),
        DeValue::Datetime(datetime) => Value::text(datetime.to_string()),
        DeValue::Array(items) => Value::Sequence(items.into_iter().map(|item| node(item, places)).collect()),
        DeValue::Table(inner) => table(inner, places),
    };
    Node { position, value }
}

/// Byte offsets to lines and columns.
struct Places<'a> {
    text: &'a str,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Places<'a> {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Places { text, lines: std::iter::once(0).chain(starts).collect() }
    }

    fn at(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        let bounded = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Position { line: bounded(line), column: bounded(before.chars().count() + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_carry_their_places_and_keep_the_order_of_the_file() {
        let root = parse("b = \"é\"\na = 0x1F\n[t.\"x y\"]\nk = [1.5, true]\n").unwrap();
        let Value::Mapping(entries) = &root.value else { panic!("{root:?}") };
        let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["b", "a", "t"]);
        assert_eq!(entries[1].value, Node { position: Position { line: 2, column: 5 }, value: Value::Integer(31) });
        let Value::Mapping(inner) = &entries[2].value.value else { panic!("{root:?}") };
        assert_eq!((inner[0].key.as_str(), inner[0].position), ("x y", Position { line: 3, column: 4 }));
    }

    #[test]
    fn every_syntax_error_is_reported_with_its_place() {
        let messages: Vec<String> = parse("a = 1\na = 2\nb = \n").unwrap_err().iter().map(Problem::to_string).collect();
        let [twice, nothing] = messages.as_slice() else { panic!("{messages:?}") };
        assert_eq!(twice, "2:1: not valid TOML: duplicate key");
        assert!(nothing.starts_with("3:5: not valid TOML: "), "{nothing}");
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(parse(&format!("a = {}", "[".repeat(5_000))).is_err());
    }
}
