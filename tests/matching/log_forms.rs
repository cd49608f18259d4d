//! The reader of log files: each form gives the same events, in whatever pieces a text arrives, and no bytes make it lose
//! its place.

use std::io::{self, Read};

use hotlist::logs::split::{BLOCK, Fault, Splitter, documents};
use hotlist::logs::{MAX_EVENT, text};
use proptest::prelude::*;
use serde_json::Value;

#[path = "../../fuzz/src/logs.rs"]
mod fuzzed;

/// Guarantee: what the fuzz target `logs` checks holds of each file of its corpus, cut and with each byte changed.
#[test]
fn the_corpus_of_the_fuzz_target_holds() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/logs");
    let mut read = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        fuzzed::check(&bytes);
        for at in 0..bytes.len() {
            fuzzed::check(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            fuzzed::check(&changed);
        }
        read += 1;
    }
    assert!(read >= 10, "{read} files");
}

/// Gives a text in pieces of these lengths, repeated.
struct Pieces<'t> {
    text: &'t [u8],
    lengths: Vec<usize>,
    next: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.lengths.get(self.next % self.lengths.len().max(1)).copied().unwrap_or(usize::MAX);
        self.next += 1;
        let (piece, rest) = self.text.split_at(length.min(into.len()).min(self.text.len()));
        into[..piece.len()].copy_from_slice(piece);
        self.text = rest;
        Ok(piece.len())
    }
}

/// The events of a text, each with its line.
type Events = Vec<(u64, Vec<u8>, Option<Fault>)>;

fn split(text: &[u8], lengths: Vec<usize>, is_live: bool) -> Events {
    let mut splitter = Splitter::new(Pieces { text, lengths, next: 0 }, is_live);
    let mut events = Events::new();
    while let Some(block) = splitter.next_block().unwrap() {
        assert!(!block.is_empty());
        events.extend(block.events().map(|event| (event.line, event.bytes.to_vec(), event.fault)));
    }
    events
}

/// The events of a text, without faults.
fn events(text: &str) -> Vec<(u64, String)> {
    let events = split(text.as_bytes(), Vec::new(), false);
    events
        .into_iter()
        .map(|(line, event, fault)| {
            assert_eq!(fault, None);
            (line, String::from_utf8(event).unwrap())
        })
        .collect()
}

fn owned<'e>(expected: impl IntoIterator<Item = (u64, &'e str)>) -> Vec<(u64, String)> {
    expected.into_iter().map(|(line, event)| (line, event.to_owned())).collect()
}

/// Guarantee: each form gives its events and the lines where they begin, also next to other forms.
#[test]
fn each_form_gives_its_events_with_their_lines() {
    for (text, expected) in [
        ("{\"a\":1}\n\n  {\"a\":2}\r\n{\"a\":3}", vec![(1, "{\"a\":1}"), (3, "{\"a\":2}"), (4, "{\"a\":3}")]),
        ("[{\"a\":1},{\"a\":2}]", vec![(1, "{\"a\":1}"), (1, "{\"a\":2}")]),
        ("[\n  {\n    \"a\": 1\n  },\n  {\"a\": 2}\n]\n", vec![(2, "{\n    \"a\": 1\n  }"), (5, "{\"a\": 2}")]),
        ("[]\n[ ]\n{\"a\":1}", vec![(3, "{\"a\":1}")]),
        ("[{\"a\":1}][{\"a\":2}]\n{\"a\":3}", vec![(1, "{\"a\":1}"), (1, "{\"a\":2}"), (2, "{\"a\":3}")]),
        (
            "{\n \"a\": [\n  {\"b\": 1}\n ]\n}\n{\n\"a\":2}{\"a\":3}",
            vec![(1, "{\n \"a\": [\n  {\"b\": 1}\n ]\n}"), (6, "{\n\"a\":2}"), (7, "{\"a\":3}")],
        ),
        ("\u{1e}{\"a\":1}\n\u{1e}{\"a\":2}\n", vec![(1, "{\"a\":1}"), (2, "{\"a\":2}")]),
        (
            "{\"Records\":[\n{\"a\":1},{\"a\":2}],\"next\":{\"b\":[1]}}\n{\"a\":3}",
            vec![(2, "{\"a\":1}"), (2, "{\"a\":2}"), (3, "{\"a\":3}")],
        ),
        ("{\"value\":[{\"a\":1}],\n\"nextLink\":\"]}\"}", vec![(1, "{\"a\":1}")]),
        (
            "Jan  1 00:00:00 host a[1]: {\n[1.5] [x] {}\n\ttext  \n[1]",
            vec![(1, "Jan  1 00:00:00 host a[1]: {"), (2, "[1.5] [x] {}"), (3, "text"), (4, "[1]")],
        ),
        // Cut documents, and what follows them.
        ("{\"a\":\n{\"a\":2}\n", vec![(1, "{\"a\":"), (2, "{\"a\":2}")]),
        ("{\"a\":\"x\ntext\n{\"a\":3}", vec![(1, "{\"a\":\"x"), (2, "text"), (3, "{\"a\":3}")]),
        ("{\n  \"a\": 1,\nJan 1 text\n", vec![(1, "{\n  \"a\": 1,"), (3, "Jan 1 text")]),
        ("[{\"a\":1},7,\"x\",{\"a\":2}]", vec![(1, "{\"a\":1}"), (1, "7"), (1, "\"x\""), (1, "{\"a\":2}")]),
        ("{\"a\":1} text\n", vec![(1, "{\"a\":1}"), (1, "text")]),
        ("{\"a\":1", vec![(1, "{\"a\":1")]),
        ("", vec![]),
        ("\n \r\n", vec![]),
    ] {
        assert_eq!(events(text), owned(expected), "{text:?}");
    }
    let cut = split(b"\n[{\"a\":1},\n", Vec::new(), false);
    assert_eq!(cut, [(2, b"{\"a\":1}".to_vec(), None), (2, Vec::new(), Some(Fault::OpenArray))]);
    let parts = documents(b" {\"a\":\"}\"} {\"b\":{}}{\"c\"");
    assert_eq!(parts, [&b"{\"a\":\"}\"}"[..], b"{\"b\":{}}", b"{\"c\""]);
}

/// Guarantee: rows of Zeek's logs have the columns of the header before them, lines of headers are no events, and JSON
/// among them stays JSON.
#[test]
fn rows_have_the_columns_of_the_header_before_them() {
    let header = |fields: &str| format!("#separator \\x09\n#fields\t{fields}\n#types\taddr\tcount\n");
    let text = format!("{}1\t2\n# comment\n{{\"a\":1}}\n{}3\t4\n#close\tx\n", header("a\tb"), header("c\td"));
    let mut splitter = Splitter::new(text.as_bytes(), false);
    let block = splitter.next_block().unwrap().unwrap();
    let events: Vec<(u64, String)> = block
        .events()
        .map(|event| {
            let document = event.columns.map_or_else(|| event.bytes.to_vec(), |columns| columns.document(event.bytes));
            (event.line, String::from_utf8(document).unwrap())
        })
        .collect();
    assert_eq!(
        events,
        owned([(4, "{\"a\":\"1\",\"b\":2}"), (5, "# comment"), (6, "{\"a\":1}"), (10, "{\"c\":\"3\",\"d\":4}"),])
    );
}

/// Scenario: an event beyond the limit, in a line, in an array, as text; then another event.
/// Guarantee: it is cut at the limit, and the next event is found.
#[test]
fn an_event_beyond_the_limit_is_cut_and_the_next_one_is_found() {
    let long = "x".repeat(MAX_EVENT + BLOCK);
    for (text, line) in [
        (format!("{{\"a\":\"{long}\"}}\n{{\"a\":2}}\n"), 2),
        (format!("[{{\"a\":\"{long}\"}},\n{{\"a\":2}}]\n"), 2),
        (format!("{long}\n{{\"a\":2}}\n"), 2),
    ] {
        let events = split(text.as_bytes(), Vec::new(), false);
        let [(_, first, Some(Fault::TooLong)), (second_line, second, None)] = &events[..] else {
            panic!("{:?}", events.iter().map(|(line, event, fault)| (line, event.len(), fault)).collect::<Vec<_>>())
        };
        assert_eq!((first.len(), *second_line, &second[..]), (MAX_EVENT, line, &b"{\"a\":2}"[..]));
    }
}

/// Guarantee: a document with a line longer than a block is one event, with or without a line end.
#[test]
fn an_event_longer_than_a_block_is_whole() {
    let long = "\\\"}".repeat(BLOCK);
    for text in [format!("{{\"a\":\"{long}\"}}\n{{\"a\":2}}\n"), format!("{{\"a\":\"{long}\"}} {{\"a\":2}}")] {
        let events = events(&text);
        assert_eq!((events.len(), events[0].1.len(), &events[1].1[..]), (2, long.len() + 8, "{\"a\":2}"));
    }
}

fn document() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<i32>().prop_map(Value::from),
        "[a-z{}\\[\\]\"\\\\\n,: é]{0,10}".prop_map(Value::from),
        Just(Value::Null),
    ];
    let value = scalar.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-d]{1,2}", value, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// The forms in which documents are written.
#[derive(Clone, Copy, Debug)]
enum Form {
    Lines,
    CrLf,
    Pretty,
    Concatenated,
    Array,
    PrettyArray,
    Page,
    Sequence,
}

const FORMS: [Form; 8] = [
    Form::Lines,
    Form::CrLf,
    Form::Pretty,
    Form::Concatenated,
    Form::Array,
    Form::PrettyArray,
    Form::Page,
    Form::Sequence,
];

fn write(documents: &[Value], form: Form) -> String {
    let compact: Vec<String> = documents.iter().map(Value::to_string).collect();
    match form {
        Form::Lines => compact.iter().map(|document| format!("{document}\n")).collect(),
        Form::CrLf => compact.iter().map(|document| format!("{document}\r\n")).collect(),
        Form::Pretty => documents.iter().map(|document| format!("{document:#}\n")).collect(),
        Form::Concatenated => compact.concat(),
        Form::Array => format!("[{}]", compact.join(",")),
        Form::PrettyArray => format!("{:#}", Value::from(documents.to_vec())),
        Form::Page => format!("{{\"kind\":\"List\",\"items\":[{}],\"more\":{{}}}}", compact.join(" ,\n")),
        Form::Sequence => compact.iter().map(|document| format!("\u{1e}{document}\n")).collect(),
    }
}

proptest! {
    /// Guarantee: the same documents come out of every form, in whatever pieces the text arrives.
    #[test]
    fn every_form_gives_the_same_documents(
        written in prop::collection::vec(document(), 0..6),
        lengths in prop::collection::vec(1usize..40, 1..5),
    ) {
        for form in FORMS {
            let text = write(&written, form);
            let found = split(text.as_bytes(), lengths.clone(), true);
            // Documents in one line are one event, which the match path splits.
            let parts = found.iter().flat_map(|(_, event, _)| documents(event));
            let read: Vec<Value> = parts.map(|part| serde_json::from_slice(part).unwrap()).collect();
            prop_assert_eq!(&read, &written, "{:?}: {}", form, text);
        }
    }

    /// Guarantee: of any text the events are the same in whatever pieces it arrives, each stands in its line, in order,
    /// and nothing but white space, brackets and commas of arrays, and members of pages is left out.
    #[test]
    fn events_do_not_depend_on_the_pieces(
        text in "([{}\\[\\],:\"\\\\ \n\ra1]|\"a\":|\\{\"value\":\\[|\n\\{|\u{1e}){0,60}",
        lengths in prop::collection::vec(1usize..40, 1..5),
    ) {
        let whole = split(text.as_bytes(), Vec::new(), false);
        prop_assert_eq!(&split(text.as_bytes(), lengths.clone(), true), &whole);
        prop_assert_eq!(&split(text.as_bytes(), lengths, false), &whole);
        let mut from = 0;
        for (line, event, fault) in &whole {
            if *fault == Some(Fault::OpenArray) {
                continue;
            }
            prop_assert!(!event.is_empty() && event.trim_ascii() == &event[..]);
            // The same bytes may come earlier too, in what is left out of a page, so the line decides.
            let at = (from..text.len()).find(|at| {
                text.as_bytes()[*at..].starts_with(event)
                    && 1 + text.as_bytes()[..*at].iter().filter(|byte| **byte == b'\n').count() as u64 == *line
            });
            prop_assert!(at.is_some(), "{:?} in line {} of {:?}", event, line, text);
            from = at.unwrap() + event.len();
        }
        if !text.contains("\"value\":[") {
            let left: usize = whole.iter().map(|(_, event, _)| event.len()).sum();
            let counted = text.bytes().filter(|byte| !byte.is_ascii_whitespace() && !b"[],\x1e".contains(byte)).count();
            prop_assert!(left >= counted, "{:?} of {:?}", whole, text);
        }
    }

    /// Guarantee: a text in UTF-16 or with carriage returns is read as the same text in UTF-8 with line feeds.
    #[test]
    fn encodings_and_line_ends_do_not_matter(lines in prop::collection::vec("[a-zé😀{}\" ]{1,8}", 1..5), big: bool) {
        let expected = lines.join("\n");
        let read = |bytes: &[u8]| {
            let mut text = String::new();
            text::lines(bytes, &bytes[..bytes.len().min(8)]).unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let units = format!("\u{feff}{expected}");
        let to_bytes = if big { u16::to_be_bytes } else { u16::to_le_bytes };
        let utf16: Vec<u8> = units.encode_utf16().flat_map(to_bytes).collect();
        prop_assert_eq!(read(&utf16), &expected[..]);
        prop_assert_eq!(read(units.as_bytes()), &expected[..]);
        if lines.len() > 1 {
            prop_assert_eq!(read(lines.join("\r").as_bytes()), &expected[..]);
        }
    }
}
