//! Guarantees for every log file, whatever its bytes. The tests of the program run this over the corpus, too.

use std::io::{self, Cursor, Read};

use hotlist::logs::split::{Fault, Splitter, documents};
use hotlist::logs::unpack::{self, TextSink, UnpackError};

/// How much of a text is read: a few bytes may decompress to gigabytes.
const TEXT: u64 = 1 << 20;

/// Reads a log file as a stream and as an archive.
pub fn check(bytes: &[u8]) {
    split(bytes);
    let mut texts = Texts::default();
    assert!(unpack::stream("f", bytes, &mut texts));
    assert!(texts.texts + texts.errors <= 1, "a stream is one text, or an error");
    unpack::archive("f", Cursor::new(bytes), &mut texts);
}

#[derive(Default)]
struct Texts {
    texts: usize,
    errors: usize,
}

impl TextSink for Texts {
    fn text(&mut self, name: &str, text: &mut dyn Read) -> io::Result<bool> {
        assert!(name == "f" || name.starts_with("f!"), "{name}");
        self.texts += 1;
        let mut read = Vec::new();
        text.take(TEXT).read_to_end(&mut read).inspect_err(|_| self.texts -= 1)?;
        split(&read);
        Ok(true)
    }

    fn error(&mut self, error: UnpackError) {
        assert!(!error.to_string().is_empty());
        self.errors += 1;
    }

    fn hidden(&mut self) {}
}

/// Events: line, bytes, the document of a row, fault.
type Events = Vec<(u64, Vec<u8>, Option<Vec<u8>>, Option<Fault>)>;

fn events(text: impl Read, is_live: bool) -> Events {
    let (mut splitter, mut events) = (Splitter::new(text, is_live), Events::new());
    while let Some(block) = splitter.next_block().expect("memory can be read") {
        assert!(!block.is_empty());
        events.extend(block.events().map(|event| {
            let document = event.columns.map(|columns| columns.document(event.bytes));
            (event.line, event.bytes.to_vec(), document, event.fault)
        }));
    }
    events
}

/// Splits a text as a whole and in pieces.
fn split(text: &[u8]) {
    let whole = events(text, false);
    let first = usize::from(text.first().copied().unwrap_or(0)).min(text.len());
    let (head, rest) = text.split_at(first);
    assert!(events(head.chain(rest), true) == whole, "events do not depend on the pieces");
    let (mut line, mut bytes) = (1, 0);
    for (number, event, document, fault) in &whole {
        if *fault == Some(Fault::OpenArray) {
            continue;
        }
        assert!(*number >= line && !event.is_empty() && event.trim_ascii() == &event[..]);
        (line, bytes) = (*number, bytes + event.len());
        if let Some(document) = document {
            assert!(serde_json::from_slice::<serde_json::Value>(document).is_ok_and(|document| document.is_object()));
        }
        let parts: usize = documents(event).iter().map(|part| part.len()).sum();
        assert!(parts <= event.len());
    }
    let line_ends = text.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert!(line <= line_ends + 1 && bytes <= text.len(), "events are parts of the text");
}
