//! YAML text to a document tree, with `serde-saphyr`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned, UserMessageFormatter};

use super::document::{Entry, Node, Value};
use super::problem::{Fault, Position, Problem};

/// Reads one YAML document. Duplicate keys are refused, anchors and merge keys work, and bounds on depth, nodes and
/// aliases keep a hostile text from costing more than a little.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_nodes: 100_000,
            max_events: 200_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 10_000,
        },
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options) {
        Ok(root) => Ok(Node::from(root)),
        Err(error) => Err(problem(text, &error)),
    }
}

fn problem(text: &str, error: &serde_saphyr::Error) -> Problem {
    let position = error.location().map(position).unwrap_or_default();
    let mut reason = error.without_snippet().render_with_formatter(&UserMessageFormatter);
    // The parser repeats the place at the end of its message; ours stands at the front.
    if let Some(at) = reason.find(" at line ") {
        reason.truncate(at);
    }
    let line = usize::try_from(position.line).ok().and_then(|line| text.lines().nth(line.checked_sub(1)?));
    if line.is_some_and(|line| line.contains("${")) {
        reason.push_str("; a value with `${…}` needs quotes between braces or brackets");
    }
    Problem { position, path: String::new(), fault: Fault::Syntax { format: "YAML", reason } }
}

fn position(location: Location) -> Position {
    let bounded = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: bounded(location.line()), column: bounded(location.column()) }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Node {
        Node { position: position(spanned.referenced), value: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// Takes whatever the YAML scalar, sequence or mapping resolves to.
struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, number, boolean, list or table")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Spanned<Value>>()? {
            items.push(Node::from(item));
        }
        Ok(Value::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let value = Node::from(access.next_value::<Spanned<Value>>()?);
            entries.push(Entry { key: key.value, position: position(key.referenced), value });
        }
        Ok(Value::Mapping(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    fn entries(node: Node) -> Vec<(String, Position, Value, Position)> {
        match node.value {
            Value::Mapping(entries) => {
                entries.into_iter().map(|e| (e.key, e.position, e.value.value, e.value.position)).collect()
            }
            other => panic!("not a mapping: {other:?}"),
        }
    }

    #[test]
    fn keys_and_values_carry_their_places_in_block_and_flow_style() {
        let at = |line, column| Position { line, column };
        assert_eq!(
            entries(parse("# a\na: 8s\n\"b\":   -7\n").unwrap()),
            [
                ("a".into(), at(2, 1), Value::text("8s".into()), at(2, 4)),
                ("b".into(), at(3, 1), Value::Integer(-7), at(3, 8)),
            ]
        );
        let outer = entries(parse("é: { x: true, y: [1.5, ~] }\n").unwrap());
        let Value::Mapping(inner) = &outer[0].2 else { panic!("{outer:?}") };
        assert_eq!(inner[0].value.position, at(1, 9));
        assert_eq!(inner[1].position, at(1, 15));
    }

    #[test]
    fn yes_and_no_are_strings_as_in_yaml_1_2() {
        assert_eq!(entries(parse("a: no\n").unwrap())[0].2, Value::text("no".into()));
    }

    #[test]
    fn duplicate_keys_several_documents_and_broken_text_are_refused_with_their_place() {
        for (text, place, part) in [
            ("a: 1\nb: 2\na: 3\n", "3:1: ", "duplicate mapping key `a`"),
            ("a: 1\n---\nb: 2\n", "3:1: ", "multiple"),
            ("a: [1, 2\nb: 3\n", "2:2: ", "':'"),
            ("a: { b: ${C} }\n", "1:10: ", "`${…}` needs quotes"),
            ("a: !x b\n", "1:7: ", "tag `!x`"),
            ("a: *x\n", "1:4: ", "reference"),
        ] {
            let problem = refused(text);
            let reason = problem.strip_prefix(place).and_then(|rest| rest.strip_prefix("not valid YAML: "));
            assert!(reason.is_some_and(|reason| reason.contains(part)), "{text:?}: {problem}");
        }
    }

    #[test]
    fn deep_nesting_and_alias_bombs_are_refused() {
        let deep = refused(&"[".repeat(5_000));
        assert!(deep.starts_with("1:256: ") && deep.contains("recursion limit"), "{deep}");
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", ")));
        }
        let bomb = refused(&bomb);
        assert!(bomb.starts_with("4:45: ") && bomb.ends_with("=10001 > 10000"), "{bomb}");
    }
}
