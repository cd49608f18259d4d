//! Finds the end of a JSON value by its quotes and brackets alone, and the objects that are pages around a list of
//! events.
//!
//! The bytes of a value may arrive in pieces: a [`Scan`] continues where it stopped. Nothing is validated, because the
//! match path reads each document strictly.

use memchr::{memchr, memchr3};

/// How much of an object is read to detect a page, in bytes.
pub const PAGE_HEAD: usize = 4 << 10;

/// The members of a page that hold its events: CloudTrail (`Records`), Azure (`records`, `value`), lists of Kubernetes,
/// Google and others (`items`, `entries`), CloudWatch (`logEvents`, `events`).
pub const PAGE_ARRAYS: [&str; 7] = ["Records", "records", "value", "items", "entries", "logEvents", "events"];

/// The members that may come before the events of a page.
pub const PAGE_MEMBERS: [&str; 14] = [
    "@odata.context",
    "@odata.count",
    "@odata.nextLink",
    "nextLink",
    "kind",
    "apiVersion",
    "metadata",
    "nextPageToken",
    "nextToken",
    "nextForwardToken",
    "nextBackwardToken",
    "messageType",
    "owner",
    "logGroup",
];

/// The progress through one JSON value.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// How many bytes of the value were scanned.
    at: usize,
    depth: usize,
    in_string: bool,
    /// How many line ends are inside the value.
    line_ends: usize,
    /// The last line end, as long as the line after it is blank.
    line_end: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// The value ends before this offset.
    Closed(usize),
    /// The value was cut short: something else begins at this offset.
    Cut(usize),
    /// The value continues beyond the bytes.
    Open,
}

impl Scan {
    /// A scan of what follows inside an object: it ends after the closing bracket.
    pub fn inside() -> Scan {
        Scan { depth: 1, ..Scan::default() }
    }

    /// Continues over `value`, which begins with the bytes of the earlier calls.
    ///
    /// A value that was cut short must not hide the lines after it: it ends at a line end inside a string, before a line
    /// that cannot continue a JSON value, and before a line that begins with `{` unless the value has run over several
    /// lines and an element or member is due there.
    pub fn feed(&mut self, value: &[u8]) -> Scanned {
        while let Some(&byte) = value.get(self.at) {
            if self.in_string {
                let rest = value.get(self.at..).unwrap_or_default();
                match memchr3(b'"', b'\\', b'\n', rest) {
                    None => {
                        self.at = value.len();
                        return Scanned::Open;
                    }
                    Some(found) => {
                        self.at += found;
                        match rest.get(found) {
                            Some(b'"') => {
                                self.in_string = false;
                                self.at += 1;
                            }
                            // An escape whose second byte has not arrived is scanned again.
                            Some(b'\\') if found + 1 == rest.len() => return Scanned::Open,
                            // A line end behind a backslash ends the value, too.
                            Some(b'\\') => self.at += if rest.get(found + 1) == Some(&b'\n') { 1 } else { 2 },
                            _ => return Scanned::Cut(self.at + 1),
                        }
                    }
                }
                continue;
            }
            if let Some(line_end) = self.line_end {
                if byte.is_ascii_whitespace() {
                    self.at += 1;
                    continue;
                }
                self.line_end = None;
                if !self.continues(value, line_end, byte) {
                    return Scanned::Cut(line_end + 1);
                }
            }
            self.at += 1;
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Scanned::Closed(self.at);
                    }
                }
                b'\n' => {
                    self.line_ends += 1;
                    self.line_end = Some(self.at - 1);
                }
                _ => {}
            }
        }
        Scanned::Open
    }

    /// Whether the value continues behind a line end with `byte`, the first of a line that is not white space.
    fn continues(&self, value: &[u8], line_end: usize, byte: u8) -> bool {
        let is_at_margin = self.at == 0 || value.get(self.at - 1) == Some(&b'\n');
        match byte {
            b'{' if is_at_margin => {
                let before = value.get(..line_end).unwrap_or_default().trim_ascii_end().last();
                self.line_ends > 1 && matches!(before, Some(b'[' | b',' | b':'))
            }
            b'{' | b'}' | b'[' | b']' | b'"' | b',' | b':' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => true,
            _ => false,
        }
    }
}

/// Whether an object is a page, as far as its head shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The events begin behind this offset, which is behind a `[`.
    Events(usize),
    /// It is one event.
    No,
    /// More bytes are needed.
    Unknown,
}

/// Detects a page from the head of an object: only members named in [`PAGE_MEMBERS`], then a member named in
/// [`PAGE_ARRAYS`] with an array of objects.
pub fn page(object: &[u8]) -> Page {
    let mut at = 1;
    loop {
        let Some(key) = next(object, &mut at) else { return Page::Unknown };
        if key != b'"' {
            return Page::No;
        }
        let Some(length) = object.get(at + 1..).and_then(|rest| memchr(b'"', rest)) else {
            // Longer than any name of the tables, it is another key.
            return if object.len() - at > 32 { Page::No } else { Page::Unknown };
        };
        let name = object.get(at + 1..at + 1 + length).unwrap_or_default();
        let names = |names: &[&str]| names.iter().any(|known| known.as_bytes() == name);
        let (holds_events, comes_before) = (names(&PAGE_ARRAYS), names(&PAGE_MEMBERS));
        if !holds_events && !comes_before {
            return Page::No;
        }
        at += length + 2;
        match next(object, &mut at) {
            None => return Page::Unknown,
            Some(b':') => at += 1,
            Some(_) => return Page::No,
        }
        let Some(first) = next(object, &mut at) else { return Page::Unknown };
        if first == b'[' && holds_events {
            let mut element = at + 1;
            return match next(object, &mut element) {
                None => Page::Unknown,
                Some(b'{' | b']') => Page::Events(at + 1),
                Some(_) => Page::No,
            };
        }
        if !comes_before {
            return Page::No;
        }
        match value_end(object.get(at..).unwrap_or_default()) {
            Some(length) => at += length,
            None => return if object.len() >= PAGE_HEAD { Page::No } else { Page::Unknown },
        }
        match next(object, &mut at) {
            None => return Page::Unknown,
            Some(b',') => at += 1,
            Some(_) => return Page::No,
        }
    }
}

/// Skips white space and returns the byte behind it.
fn next(bytes: &[u8], at: &mut usize) -> Option<u8> {
    while bytes.get(*at).is_some_and(u8::is_ascii_whitespace) {
        *at += 1;
    }
    bytes.get(*at).copied()
}

/// Returns the length of the value at the beginning of `bytes`; `None` when it continues beyond them.
fn value_end(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'{' | b'[' => match Scan::default().feed(bytes) {
            Scanned::Closed(end) => Some(end),
            _ => None,
        },
        b'"' => {
            let mut at = 1;
            loop {
                match bytes.get(at)? {
                    b'"' => return Some(at + 1),
                    b'\\' => at += 2,
                    _ => at += 1,
                }
            }
        }
        _ => bytes.iter().position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_value_that_was_cut_short_ends_where_something_else_begins() {
        for (text, scanned) in [
            ("{\"a\":1}", Scanned::Closed(7)),
            ("{\"a\":[{}, \"}\\\"\"]} x", Scanned::Closed(17)),
            ("{\n\"a\":\n[\n{\n}\n,\n{}]}", Scanned::Closed(19)),
            ("{\"a\":\n{\"b\":1}", Scanned::Cut(6)),
            ("{\"a\":\"x\n{}", Scanned::Cut(8)),
            ("{\"a\":\"x\\\n{}", Scanned::Cut(9)),
            ("{\"a\":1,\nplain text", Scanned::Cut(8)),
            ("{\n  \"a\": 1\n{\"b\":1}", Scanned::Cut(11)),
            ("{\"a\":\"x\\", Scanned::Open),
            ("{\"a\":\n", Scanned::Open),
        ] {
            assert_eq!(Scan::default().feed(text.as_bytes()), scanned, "{text:?}");
        }
    }

    #[test]
    fn only_an_envelope_around_a_list_of_objects_is_a_page() {
        for (text, expected) in [
            (r#"{"Records":[{"a":1}]}"#, Page::Events(12)),
            (r#"{ "value" : [ ] }"#, Page::Events(13)),
            (r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{"a":"]"},"items":[{"#, Page::Events(81)),
            (r#"{"@odata.count":7,"value":[{"#, Page::Events(27)),
            (r#"{"value":["a"]}"#, Page::No),
            (r#"{"value":7,"items":[{}]}"#, Page::No),
            (r#"{"user":"a","Records":[{}]}"#, Page::No),
            (r#"{"kind":"Event"}"#, Page::No),
            (r#"{}"#, Page::No),
            (r#"{"Records":["#, Page::Unknown),
            (r#"{"Rec"#, Page::Unknown),
        ] {
            assert_eq!(page(text.as_bytes()), expected, "{text}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z{}\\[\\]\"\\\\\n,: ]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-z]{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Guarantee: every object ends where a parser says, pretty-printed or not, and in whatever pieces it arrives.
        #[test]
        fn an_object_ends_at_its_bracket(value in json(), pretty: bool, pieces in prop::collection::vec(1usize..9, 0..40)) {
            let value = serde_json::json!({ "v": value });
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let bytes = format!("{text} {{");
            let (mut scan, mut have) = (Scan::default(), 0);
            for piece in pieces {
                have += piece;
                if have >= text.len() {
                    break;
                }
                prop_assert_eq!(scan.feed(&bytes.as_bytes()[..have]), Scanned::Open);
            }
            prop_assert_eq!(scan.feed(bytes.as_bytes()), Scanned::Closed(text.len()));
        }
    }
}
