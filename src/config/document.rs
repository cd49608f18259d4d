//! A configuration document as a tree that remembers where each value stands.
//!
//! YAML and TOML become the same tree, and everything after this is written once. Serde's derived types cannot do
//! this: internally tagged enums and `flatten` buffer values and lose their places, and the first error ends the rest.

use super::interpolate::interpolate;
use super::problem::{Fault, Position, Problem};
use super::secret::MASK;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text {
        text: String,
        /// Whether an environment variable stood in it: then it may also be read as a number or a boolean.
        expanded: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
    /// A string whose variables could not be replaced. That was reported, so nothing more is said about it.
    Unknown,
}

/// One key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) position: Position,
    pub(super) value: Node,
}

impl Value {
    pub(super) fn text(text: String) -> Value {
        Value::Text { text, expanded: false }
    }

    /// The value in the words of an error message.
    pub(super) fn describe(&self) -> String {
        match self {
            Value::Null | Value::Unknown => "nothing".to_owned(),
            Value::Bool(value) => format!("the boolean `{value}`"),
            Value::Integer(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text { text, .. } => format!("the string {:?}", shorten(text)),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a table".to_owned(),
        }
    }
}

impl Node {
    /// Replaces `${VAR}` in every string of the tree. Problems go to `problems`, each with its path and place.
    pub(super) fn expand(
        &mut self,
        path: &str,
        environment: &dyn Fn(&str) -> Option<String>,
        problems: &mut Vec<Problem>,
    ) {
        match &mut self.value {
            Value::Text { text, expanded } => match interpolate(text, environment) {
                Ok(Some(replaced)) => {
                    *expanded = true;
                    *text = replaced;
                }
                Ok(None) => {}
                Err(faults) => {
                    problems.extend(faults.into_iter().map(|fault| self.problem(path, fault)));
                    self.value = Value::Unknown;
                }
            },
            Value::Sequence(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    item.expand(&format!("{path}[{at}]"), environment, problems);
                }
            }
            Value::Mapping(entries) => {
                for entry in entries {
                    entry.value.expand(&join(path, &entry.key), environment, problems);
                }
            }
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Unknown => {}
        }
    }

    pub(super) fn problem(&self, path: &str, fault: Fault) -> Problem {
        Problem { position: self.position, path: path.to_owned(), fault }
    }
}

/// `path.key`; a key with a dot or a blank is quoted, so that a path can be read back.
pub(super) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let key = if plain { key.to_owned() } else { format!("{:?}", shorten(key)) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The text of a setting without what may be a credential: user name and password of a URL, and its query. Takes what is
/// only nearly a URL, too, since that is what errors are about.
pub fn without_credentials(text: &str) -> String {
    let start = text.find("://").map(|at| at + "://".len());
    let is_url = start.is_some();
    let (before, mut rest) = match text.strip_prefix("unix:") {
        Some(path) => ("unix:", path),
        None => text.split_at(start.unwrap_or(0)),
    };
    let mut shown = before.to_owned();
    if let Some((user, host)) = rest.rsplit_once('@')
        && (is_url || user.contains(':') || !user.contains('/'))
    {
        shown.push_str(MASK);
        shown.push('@');
        rest = host;
    }
    match rest.split_once('?').filter(|_| is_url) {
        Some((before, _)) => shown.extend([before, "?", MASK]),
        None => shown.push_str(rest),
    }
    shown
}

/// The first characters of a text, enough to know it again in a message, and no credential.
pub(super) fn shorten(text: &str) -> String {
    const CHARACTERS: usize = 60;
    let text = &without_credentials(text);
    match text.char_indices().nth(CHARACTERS) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or(text)),
        None => text.to_owned(),
    }
}
