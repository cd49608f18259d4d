//! JSON documents as bytes: walks the wanted fields, rewrites the members that a tag changes, and parses nothing else.
//!
//! A scanner of our own, because what the trie does not want is stepped over without a look inside, strings may be
//! invalid UTF-8, and a rewrite must keep duplicates, order and every untouched byte. Grammar: RFC 8259.

mod edit;
mod paths;
mod repair;
pub(super) mod scan;
mod walk;
mod write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

#[cfg(test)]
pub(in crate::encoding) use edit::Json;
pub use edit::tag;
pub(crate) use edit::{append, merge, tag_whole};
pub(crate) use paths::find;
pub use repair::{Malformation, Repaired, repair};
pub use walk::{Walked, begins_document, read, walk};
pub(crate) use write::{write_text, write_value};

/// A text that is a JSON object, as valid UTF-8 on one line; `None` when it is something else.
pub(crate) fn one_line(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    if !text.starts_with(b"{") {
        return None;
    }
    let text = String::from_utf8_lossy(text);
    // Stricter than the walk: what goes into a JSON file must be JSON throughout. Valid JSON has no line break inside
    // a string, so each one is white space.
    serde_json::from_str::<serde::de::IgnoredAny>(&text).ok()?;
    Some(text.bytes().map(|byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }).collect())
}

/// The replacement for a record that cannot be written: its bytes, so that nothing is lost.
pub(crate) fn unreadable(record: &[u8]) -> Vec<u8> {
    format!(r#"{{"hotlist":{{"unreadable_record":"{}"}}}}"#, BASE64.encode(record)).into_bytes()
}

/// The text of an error of a parser without the place that it ends with, for a message that names the place itself.
pub fn reason_without_place(error: &serde_json::Error) -> String {
    let (mut text, place) = (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
    if text.ends_with(&place) {
        text.truncate(text.len() - place.len());
    }
    text
}

/// The reason that bytes are not a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The document is something else than an object, or nothing.
    #[error("the document is not a JSON object at byte {at}; an event must be one object `{{…}}`")]
    NotAnObject {
        /// Where the object should start.
        at: usize,
    },
    /// Something else stands where the grammar wants `expected`.
    #[error("not JSON at byte {at}: expected {expected}; check what wrote the document")]
    Unexpected {
        /// Where.
        at: usize,
        /// The expected token.
        expected: &'static str,
    },
    /// The document ends too early.
    #[error("the JSON document ends at byte {at} inside {inside}; it was cut short, check the size limits before it")]
    CutShort {
        /// Its length.
        at: usize,
        /// The bracket or quote that is not closed.
        inside: &'static str,
    },
    /// More follows after the document.
    #[error("more follows the JSON document at byte {at}; put one document on a line")]
    Trailing {
        /// Where it starts.
        at: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::reason_without_place;

    #[test]
    fn the_text_of_an_error_is_without_its_place() {
        let reason = |text: &str| reason_without_place(&serde_json::from_str::<Vec<u8>>(text).unwrap_err());
        assert_eq!(reason("[1,\n"), "EOF while parsing a value");
        assert_eq!(reason("[\"at line 1 column 2\"]"), "invalid type: string \"at line 1 column 2\", expected u8");
        let without = <serde_json::Error as serde::de::Error>::custom("none at line 1 column 0 of it");
        assert_eq!(reason_without_place(&without), "none at line 1 column 0 of it");
    }
}
