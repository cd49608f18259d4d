//! The problems of a configuration, each with its place, its cause and a fix.

use std::fmt;

use crate::escape::Escaped;

/// A place in a configuration file, as editors count: lines and columns from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line; 0 when the problem is with the file as a whole.
    pub line: u32,
    /// The column; 0 when the problem is with the file as a whole.
    pub column: u32,
}

/// One problem, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The place in the file.
    pub position: Position,
    /// The path in the document, e.g. `sinks.next.endpoint`; empty for the document itself.
    pub path: String,
    /// The fault, and how to fix it.
    pub fault: Fault,
}

/// `line:column: path: fault`, without what is not known.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.position.line > 0 {
            write!(f, "{}:{}: ", self.position.line, self.position.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        self.fault.fmt(f)
    }
}

/// Every problem that was found in one configuration, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The file, as it was named.
    pub file: String,
    pub problems: Vec<Problem>,
}

/// One line per problem, `file:line:column: path: fault`, whatever the file quotes.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            let space = if problem.position.line > 0 { "" } else { " " };
            write!(f, "{newline}{}:{space}{}", Escaped(&self.file), Escaped(problem))?;
        }
        Ok(())
    }
}

/// A fault, without its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Fault {
    /// The file cannot be read.
    #[error("cannot be read: {0}; check the path and its permissions")]
    Read(String),
    /// The file's name does not say which format it has.
    #[error("the name says neither YAML nor TOML nor JSON; call the file *.yaml, *.yml, *.toml or *.json")]
    Extension,
    /// The file is longer than any configuration can sensibly be.
    #[error("the configuration has {bytes} bytes, more than the {max} allowed; is it the right file?")]
    TooLarge { bytes: usize, max: usize },
    /// The YAML or TOML parser refused the text.
    #[error("not valid {format}: {reason}")]
    Syntax {
        /// `YAML` or `TOML`.
        format: &'static str,
        /// In the parser's words.
        reason: String,
    },
    /// An environment variable is not set and has no default.
    #[error("the environment variable `{name}` is not set; set it, or give a default: `${{{name}:-value}}`")]
    UnsetVariable { name: String },
    /// A `$` that starts no variable.
    #[error(
        "the `$` at character {at} of the value starts no variable; write `${{NAME}}`, `${{NAME:-default}}`, or `$$` for a dollar sign"
    )]
    BadVariable {
        /// Its place in the value, from 1. What follows it may be the rest of a password.
        at: usize,
    },
    /// A key that is not known at this place.
    #[error("unknown key; {hint}")]
    UnknownKey {
        /// The nearest known key, or all of them.
        hint: String,
    },
    /// A key that must be there is not.
    #[error("`{key}` is missing; give {expected}")]
    MissingKey { key: &'static str, expected: &'static str },
    /// A value has another type than the key takes.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// The type that the key takes.
        expected: &'static str,
        found: String,
    },
    /// A word is not among the words that the key takes.
    #[error("{hint}")]
    UnknownWord {
        /// The word, and the words that are allowed.
        hint: String,
    },
    /// A value has the right type but cannot be used.
    #[error("`{value}` {reason}")]
    BadValue {
        value: String,
        /// Why it cannot be used, and what can.
        reason: String,
    },
    /// No source, so nothing would ever arrive.
    #[error("no source is configured; add one, e.g. `agents: {{ type: otlp, address: \"127.0.0.1:14317\" }}`")]
    NoSource,
    /// No sink, so nothing would ever be passed on.
    #[error(
        "no sink is configured; add one, e.g. `next: {{ type: otlp, inputs: [agents], endpoint: \"http://127.0.0.1:24317\" }}`"
    )]
    NoSink,
    /// An input that names no source.
    #[error("no source is called `{name}`; {hint}")]
    UnknownInput {
        name: String,
        /// The nearest source, or all of them.
        hint: String,
    },
    /// A rule names a feed or a collection that no entry of `intel.files` has.
    #[error("no {what} of `intel.files` is called `{name}`; {hint}")]
    UnknownFeed {
        /// `feed` or `collection`.
        what: &'static str,
        name: String,
        /// The nearest name, or all of them.
        hint: String,
    },
    /// A source that no sink reads: its clients would get answers for events that go nowhere.
    #[error("no sink reads the source `{source_id}`; add it to a sink's `inputs`, or remove it")]
    UnreadSource { source_id: String },
    /// Something that only one can have is used twice.
    #[error("{what} `{value}` is already used by `{other}`; {remedy}")]
    UsedTwice {
        what: &'static str,
        /// The address or path.
        value: String,
        /// The path in the document of the first use.
        other: String,
        remedy: &'static str,
    },
    /// A sink that sends to a source of the same configuration.
    #[error("`{value}` is the address of the source `{source_id}`: events would go round forever; give the next hop's")]
    Loop {
        value: String,
        /// The source that listens there.
        source_id: String,
    },
    /// The bound on bytes in flight is smaller than what a single request may take.
    #[error(
        "{in_flight} bytes are less than the {needed} that one request of the source `{source_id}` may take, twice its `max_request_bytes`; raise it, or lower `max_request_bytes` there"
    )]
    InFlightTooSmall {
        /// The configured bound.
        in_flight: usize,
        /// The memory that the largest request takes while it is decompressed.
        needed: usize,
        /// The source that takes it.
        source_id: String,
    },
}

/// The candidate that a word was probably meant to be.
pub(super) fn near<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let folded = word.to_lowercase();
    let (distance, candidate) = candidates
        .iter()
        .map(|candidate| (strsim::osa_distance(&folded, candidate), *candidate))
        .min_by_key(|(distance, _)| *distance)?;
    let length = candidate.len().max(word.len());
    (distance <= length / 3 + 1 && distance < word.len().min(candidate.len())).then_some(candidate)
}

/// `did you mean …?` with the nearest candidate, or the list of them, led in by `plural`, when none is near.
pub(super) fn nearest(word: &str, candidates: &[&str], plural: &str) -> String {
    match near(word, candidates) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if candidates.is_empty() => "there is none".to_owned(),
        None => format!("{plural} {}", list(candidates)),
    }
}

/// `` `a`, `b` and `c` ``.
fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_lists_all() {
        assert_eq!(nearest("endpont", &["endpoint", "inputs"], "known are"), "did you mean `endpoint`?");
        assert_eq!(nearest("zebra", &["endpoint", "inputs"], "known are"), "known are `endpoint` and `inputs`");
        assert_eq!(nearest("x", &["only"], "known are"), "known are `only`");
        assert_eq!(nearest("x", &[], "known are"), "there is none");
    }

    #[test]
    fn a_problem_without_a_place_is_written_without_one() {
        let problem =
            |position, path: &str| Problem { position, path: path.to_owned(), fault: Fault::Extension }.to_string();
        assert!(problem(Position::default(), "").starts_with("the name says"));
        assert!(problem(Position { line: 3, column: 7 }, "a.b").starts_with("3:7: a.b: the name says"));
    }
}
