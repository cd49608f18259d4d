//! Text that somebody else wrote, on its way into a log, an error or a terminal.
//!
//! Values of events, names in feeds and answers of peers may hold line ends, terminal escape sequences, characters that
//! turn the reading direction around, and characters that are not seen at all. A log line must stay one line, and a
//! terminal must show what the text says: [`Escaped`] is for a value that stands in a line, [`Printable`] for everything
//! that is written to a place.

use std::fmt::{self, Write as _};
use std::io;

/// Characters of one value that are shown. What is longer is cut, and the cut is marked.
pub const MAX_CHARACTERS: usize = 2048;

/// A value that is shown on one line: harmful characters are escaped as in a Rust string (`\n`, `\u{1b}`), and what is
/// longer than [`MAX_CHARACTERS`] is cut. A backslash stays as it is, so that paths stay readable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Escaped<T>(pub T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line { to: f, left: MAX_CHARACTERS, is_cut: false };
        write!(line, "{}", self.0)
    }
}

/// The same as `Display`.
impl<T: fmt::Display> fmt::Debug for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Takes the text of a value piece by piece.
struct Line<'a, 'f> {
    to: &'a mut fmt::Formatter<'f>,
    left: usize,
    is_cut: bool,
}

impl fmt::Write for Line<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.left == 0 {
                return if std::mem::replace(&mut self.is_cut, true) { Ok(()) } else { self.to.write_char('…') };
            }
            self.left -= 1;
            if is_harmful(c) {
                write!(self.to, "{}", c.escape_default())?;
            } else {
                self.to.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Whether a character may change how other text is read, or is not seen: control characters, line and paragraph
/// separators, marks of direction (Unicode Standard Annex 9), zero-width and invisible characters, and tags.
pub fn is_harmful(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(c,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The place of a text in the output, which decides how a character is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Lines for people: `\u{1b}`. Line ends and tabs stay.
    Text,
    /// JSON documents, in which harmful characters stand in strings only: `\u009b`. Line ends stay.
    Json,
}

/// A writer that lets no harmful character through, even where escaping was forgotten, and no bytes that are not UTF-8. It
/// keeps line ends: a value that stands in a line is an [`Escaped`].
#[derive(Debug)]
pub struct Printable<W> {
    to: W,
    style: Style,
    /// The beginning of a character whose end was not written yet.
    begun: Vec<u8>,
}

impl<W: io::Write> Printable<W> {
    /// Writes to `to` what is written to it.
    pub fn new(to: W, style: Style) -> Printable<W> {
        Printable { to, style, begun: Vec::new() }
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            if !is_harmful(c) || c == '\n' || c == '\t' && self.style == Style::Text {
                continue;
            }
            self.to.write_all(&text.as_bytes()[plain..at])?;
            plain = at + c.len_utf8();
            match self.style {
                Style::Text => write!(self.to, "{}", c.escape_default())?,
                Style::Json => {
                    c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(self.to, "\\u{unit:04x}"))?
                }
            }
        }
        self.to.write_all(&text.as_bytes()[plain..])
    }

    /// Writes all that is whole, and keeps the beginning of a character.
    fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            match std::str::from_utf8(bytes) {
                Ok(text) => return self.text(text),
                Err(error) => {
                    let (text, rest) = bytes.split_at(error.valid_up_to());
                    self.text(&String::from_utf8_lossy(text))?;
                    let Some(bad) = error.error_len() else {
                        self.begun = rest.to_vec();
                        return Ok(());
                    };
                    self.text("\u{fffd}")?;
                    bytes = &rest[bad..];
                }
            }
        }
    }
}

impl<W: io::Write> io::Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.begun.is_empty() {
            self.bytes(bytes)?;
        } else {
            let mut all = std::mem::take(&mut self.begun);
            all.extend_from_slice(bytes);
            self.bytes(&all)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_value_could_do_to_a_line_is_spelled_out() {
        let shown = |text: &str| Escaped(text).to_string();
        assert_eq!(shown("a\nb\r\t\u{1b}[31m\u{7}"), r"a\nb\r\t\u{1b}[31m\u{7}");
        assert_eq!(
            shown("\u{202e}gpj.exe\u{200b}\u{feff}\u{9b}\u{2028}"),
            r"\u{202e}gpj.exe\u{200b}\u{feff}\u{9b}\u{2028}"
        );
        assert_eq!(shown(r"C:\new ünïcödé 例え 😀"), r"C:\new ünïcödé 例え 😀");
        assert_eq!(format!("{:?}", Escaped("a\nb")), r"a\nb");
        let long = shown(&"é".repeat(MAX_CHARACTERS + 5));
        assert_eq!((long.chars().count(), long.ends_with("é…")), (MAX_CHARACTERS + 1, true));
    }

    proptest! {
        /// Guarantee: no value makes a second line, moves a cursor or hides, and what is harmless stays as it is.
        #[test]
        fn no_value_is_more_than_its_line(value in any::<String>(), plain in "[ -~à-ÿ]{0,40}") {
            let shown = Escaped(&value).to_string();
            prop_assert!(!shown.chars().any(|c| c.is_control() || is_harmful(c)), "{:?}", shown);
            prop_assert_eq!(Escaped(&plain).to_string(), plain);
        }

        /// Guarantee: whatever bytes are written in whatever pieces, only line ends and tabs of them act.
        #[test]
        fn nothing_that_is_written_acts(
            pieces in prop::collection::vec(prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes)], 0..6),
            style in prop_oneof![Just(Style::Text), Just(Style::Json)],
        ) {
            let mut out = Printable::new(Vec::new(), style);
            for piece in &pieces {
                out.write_all(piece).unwrap();
            }
            let shown = String::from_utf8(out.to).unwrap();
            let acts = |c: char| is_harmful(c) && c != '\n' && !(c == '\t' && style == Style::Text);
            prop_assert!(!shown.chars().any(acts), "{:?}", shown);
        }

        /// Guarantee: text in one piece and byte by byte is the same, and JSON says what it said.
        #[test]
        fn pieces_and_json_keep_their_meaning(value in any::<String>()) {
            let json = serde_json::to_vec(&value).unwrap();
            let mut out = Printable::new(Vec::new(), Style::Json);
            for byte in &json {
                out.write_all(&[*byte]).unwrap();
            }
            prop_assert_eq!(serde_json::from_slice::<String>(&out.to).unwrap(), value);
        }
    }
}
