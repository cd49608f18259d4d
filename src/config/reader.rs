//! Typed reading of a document tree: every value is checked where it stands, and every problem is kept.
//!
//! A reader never stops at the first problem. A function that cannot make its value reports and returns `None`, its
//! caller continues with the next key, and the owner of the [`Problems`] decides at the end.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use super::document::{Entry, Node, Value, join, shorten};
use super::problem::{Fault, Position, Problem, near, nearest};
use super::secret::Secret;
use super::units;

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn push(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    /// The problems in the order of the file, each once.
    pub(super) fn into_sorted(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort();
        problems.dedup();
        problems
    }
}

/// A value at a path.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    node: &'a Node,
    pub(super) path: String,
    problems: &'a Problems,
}

impl<'a> Item<'a> {
    pub(super) fn root(node: &'a Node, problems: &'a Problems) -> Item<'a> {
        Item { node, path: String::new(), problems }
    }

    pub(super) fn position(&self) -> Position {
        self.node.position
    }

    pub(super) fn report(&self, fault: Fault) {
        let fault = match fault {
            Fault::BadValue { value, reason } => Fault::BadValue { value: shorten(&value), reason },
            Fault::UnknownInput { name, hint } => Fault::UnknownInput { name: shorten(&name), hint },
            Fault::UnknownFeed { what, name, hint } => Fault::UnknownFeed { what, name: shorten(&name), hint },
            fault => fault,
        };
        self.problems.push(self.node.problem(&self.path, fault));
    }

    fn wrong_type<T>(&self, expected: &'static str) -> Option<T> {
        if self.node.value != Value::Unknown {
            self.report(Fault::WrongType { expected, found: self.node.value.describe() });
        }
        None
    }

    fn bad_value<T>(&self, value: &str, reason: impl Into<String>) -> Option<T> {
        self.report(Fault::BadValue { value: value.to_owned(), reason: reason.into() });
        None
    }

    /// Whether an environment variable stood in the value, and its text.
    fn expanded(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text { text, expanded: true } => Some(text),
            _ => None,
        }
    }

    /// A string, borrowed from the document.
    fn str(&self, expected: &'static str) -> Option<&'a str> {
        match &self.node.value {
            Value::Text { text, .. } => Some(text),
            _ => self.wrong_type(expected),
        }
    }

    /// A string that is not empty.
    pub(super) fn text(&self) -> Option<String> {
        self.parsed("a string", |text| Ok::<_, Infallible>(text.to_owned()))
    }

    /// A string that `parse` reads; its error says what can be given instead.
    pub(super) fn parsed<T, E: fmt::Display>(
        &self,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.str(expected)?;
        if text.trim().is_empty() {
            return self.bad_value(text, format!("is empty; give {expected}"));
        }
        match parse(text) {
            Ok(value) => Some(value),
            Err(reason) => self.bad_value(text, reason.to_string()),
        }
    }

    /// The path of a field, as keys joined by dots.
    pub(super) fn dotted_path(&self) -> Option<String> {
        self.parsed("a dotted path", |text| {
            if text.split('.').any(|key| key.is_empty() || key.trim() != key) {
                return Err("is not a dotted path; give keys joined by single dots, e.g. `my.ip`".to_owned());
            }
            Ok(text.to_owned())
        })
    }

    /// A string that is not shown in any error.
    pub(super) fn secret(&self) -> Option<Secret> {
        match &self.node.value {
            Value::Text { text, .. } => return Some(Secret::new(text)),
            Value::Unknown => {}
            _ => self.report(Fault::WrongType { expected: "a string in quotes", found: "another type".to_owned() }),
        }
        None
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::Sequence(_))
    }

    /// Whether it is a list without items. Nothing is reported.
    pub(super) fn is_empty_list(&self) -> bool {
        matches!(&self.node.value, Value::Sequence(items) if items.is_empty())
    }

    /// Whether it is `true` or `false`, written or expanded.
    pub(super) fn is_boolean(&self) -> bool {
        matches!(self.node.value, Value::Bool(_)) || matches!(self.expanded(), Some("true" | "false"))
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match (&self.node.value, self.expanded()) {
            (Value::Bool(value), _) => Some(*value),
            (_, Some("true")) => Some(true),
            (_, Some("false")) => Some(false),
            _ => self.wrong_type("`true` or `false`"),
        }
    }

    /// A whole number from 1.
    pub(super) fn count(&self) -> Option<usize> {
        let number = match (&self.node.value, self.expanded()) {
            (Value::Integer(number), _) => *number,
            (_, Some(text)) => match text.trim().parse() {
                Ok(number) => number,
                Err(_) => return self.wrong_type("a whole number"),
            },
            _ => return self.wrong_type("a whole number"),
        };
        match usize::try_from(number) {
            Ok(number) if number > 0 => Some(number),
            _ => self.bad_value(&number.to_string(), "is out of range; give a whole number from 1"),
        }
    }

    /// A number of bytes, from 1.
    pub(super) fn size(&self) -> Option<usize> {
        const EXPECTED: &str = "a size such as `4096` or `64MiB`";
        let (text, size) = match &self.node.value {
            Value::Integer(number) => (number.to_string(), usize::try_from(*number).ok()),
            Value::Text { text, .. } => (text.clone(), units::size(text)),
            _ => return self.wrong_type(EXPECTED),
        };
        match size {
            Some(size) if size > 0 => Some(size),
            Some(_) => self.bad_value(&text, "lets nothing through; give a size from 1 byte"),
            None => self.bad_value(&text, format!("is not a size; give {EXPECTED}")),
        }
    }

    /// A length of time, possibly zero.
    pub(super) fn duration(&self) -> Option<Duration> {
        const EXPECTED: &str = "a duration such as `250ms`, `8s` or `5d`";
        let text = self.str(EXPECTED)?;
        match units::duration(text) {
            Some(duration) => Some(duration),
            None => self.bad_value(text, format!("is not a duration; give {EXPECTED}")),
        }
    }

    /// A length of time that is not zero.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let duration = self.duration()?;
        if duration.is_zero() {
            return self.bad_value(self.str("")?, "leaves no time at all; give a duration from `1ms`");
        }
        Some(duration)
    }

    /// One of a closed set of words.
    pub(super) fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let (found, near) = match &self.node.value {
            Value::Unknown => return None,
            Value::Text { text, .. } => {
                if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
                    return Some(*value);
                }
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let near = near(text, &known).map_or(String::new(), |word| format!("; did you mean `{word}`?"));
                (format!("`{}`", shorten(text)), near)
            }
            other => (other.describe(), String::new()),
        };
        let known: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let hint = match known.as_slice() {
            [only] => format!("{found} is not known here, only {only} is{near}"),
            known => format!("{found} is not one of {}{near}", known.join(", ")),
        };
        self.report(Fault::UnknownWord { hint });
        None
    }

    /// A list. What stands alone is not a list: the file then says what it means.
    pub(super) fn list(&self, expected: &'static str) -> Option<Vec<Item<'a>>> {
        match &self.node.value {
            Value::Sequence(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(at, node)| Item { node, path: format!("{}[{at}]", self.path), problems: self.problems })
                    .collect(),
            ),
            _ => self.wrong_type(expected),
        }
    }

    /// A table with known keys; the unknown ones are reported.
    pub(super) fn table(&self, keys: &[&'static str]) -> Option<Table<'a>> {
        let table = self.any_table()?;
        for entry in table.entries {
            if !keys.contains(&entry.key.as_str()) {
                let hint = nearest(&entry.key, keys, "known are");
                let path = join(&self.path, &entry.key);
                self.problems.push(Problem { position: entry.position, path, fault: Fault::UnknownKey { hint } });
            }
        }
        Some(table)
    }

    /// A table whose keys the user chooses.
    pub(super) fn any_table(&self) -> Option<Table<'a>> {
        match &self.node.value {
            Value::Mapping(entries) => Some(Table { item: self.clone(), entries }),
            _ => self.wrong_type("a table"),
        }
    }

    /// The same, for values that are secrets: what stands there instead is not shown.
    pub(super) fn secret_table(&self) -> Option<Table<'a>> {
        match &self.node.value {
            Value::Mapping(_) => return self.any_table(),
            Value::Unknown => {}
            _ => self.report(Fault::WrongType { expected: "a table", found: "another type".to_owned() }),
        }
        None
    }

    /// Whether it is this very text. Nothing is reported.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(&self.node.value, Value::Text { text, .. } if text == wanted)
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.node.value, Value::Mapping(_))
    }
}

/// A table at a path.
#[derive(Clone, Debug)]
pub(super) struct Table<'a> {
    pub(super) item: Item<'a>,
    entries: &'a [Entry],
}

impl<'a> Table<'a> {
    /// The value of a key. A key without a value counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<Item<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key && entry.value.value != Value::Null)?;
        Some(self.child(entry))
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &'static str, expected: &'static str) -> Option<Item<'a>> {
        let item = self.get(key);
        if item.is_none() {
            self.item.report(Fault::MissingKey { key, expected });
        }
        item
    }

    /// The value of a key as `read` returns it; `default` when there is none, or when a problem was reported.
    pub(super) fn or<T>(&self, key: &str, default: T, read: impl FnOnce(&Item<'a>) -> Option<T>) -> T {
        self.get(key).and_then(|item| read(&item)).unwrap_or(default)
    }

    /// Every key with its value, in the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, Item<'a>)> + use<'a, '_> {
        self.entries.iter().map(|entry| (entry.key.as_str(), self.child(entry)))
    }

    fn child(&self, entry: &'a Entry) -> Item<'a> {
        Item { node: &entry.value, path: join(&self.item.path, &entry.key), problems: self.item.problems }
    }
}

/// A path or a glob, as it is written.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    match glob::Pattern::new(text) {
        _ if text.contains('\0') => Err("has a NUL character, which no path can have".to_owned()),
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("is not a glob: {} at character {}", error.msg, error.pos + 1)),
    }
}
