//! Text for a page of limited width: long lines wrap at blanks, and words that are longer than a line are shortened.

use std::io::{self, Write};

/// The width of a page, in characters.
pub(super) const WIDTH: usize = 100;

/// Writes lines of at most [`WIDTH`] characters. Flush it at the end: a line without an end waits for the rest.
pub(super) struct Page<'w> {
    out: &'w mut dyn Write,
    line: Vec<u8>,
}

impl<'w> Page<'w> {
    /// A page on `out`.
    pub(super) fn new(out: &'w mut dyn Write) -> Page<'w> {
        Page { out, line: Vec::new() }
    }
}

impl Write for Page<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.out.write_all(fitted(&String::from_utf8_lossy(&line)).as_bytes())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        self.out.write_all(fitted(&String::from_utf8_lossy(&line)).as_bytes())?;
        self.out.flush()
    }
}

/// The lines that a line becomes. Further ones are indented by four more than the first.
fn fitted(line: &str) -> String {
    let text = line.trim_end_matches('\n');
    if text.chars().count() <= WIDTH {
        return line.to_owned();
    }
    let plain = text.trim_start_matches(' ');
    let indent = (text.len() - plain.len()).min(WIDTH / 2);
    let (mut out, mut used, mut is_empty) = (" ".repeat(indent), indent, true);
    // Blanks between words stay, except where a line ends.
    for word in plain.split_inclusive(' ') {
        let (bare, blanks) = (word.trim_end_matches(' '), word.len() - word.trim_end_matches(' ').len());
        let shown = shortened(bare, WIDTH - indent - 4);
        let length = shown.chars().count();
        if !is_empty && used + length > WIDTH {
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
            out.push_str(&" ".repeat(indent + 4));
            used = indent + 4;
        }
        out.push_str(&shown);
        out.push_str(&" ".repeat(blanks));
        used += length + blanks;
        is_empty = false;
    }
    out.truncate(out.trim_end_matches(' ').len());
    out.push_str(&line[text.len()..]);
    out
}

/// A word without its middle if it is longer than `most` characters.
fn shortened(word: &str, most: usize) -> String {
    let length = word.chars().count();
    if length <= most {
        return word.to_owned();
    }
    let (head, tail) = (most / 2, most - most / 2 - 1);
    word.chars().take(head).chain(['…']).chain(word.chars().skip(length - tail)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(pieces: &[&str]) -> String {
        let mut out = Vec::new();
        let mut page = Page::new(&mut out);
        pieces.iter().for_each(|piece| page.write_all(piece.as_bytes()).unwrap());
        page.flush().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_long_line_wraps_and_a_long_word_is_shortened() {
        let words = "  one two".to_owned() + &" three".repeat(20);
        assert_eq!(
            page(&[&words, "\nx\n"]),
            format!("  one two{}\n      three three three three three\nx\n", " three".repeat(15))
        );
        let long = page(&[&format!("a {}\n", "é".repeat(200))]);
        assert_eq!(long, format!("a {}…{}\n", "é".repeat(48), "é".repeat(47)));
        assert_eq!(page(&["short  line ", "\n\n", "last"]), "short  line \n\nlast");
    }

    proptest! {
        /// Guarantee: no line is longer than a page, and every word that fits is there, in order, however it was written.
        #[test]
        fn every_line_fits(text in "( {1,3}[a-zé]{1,30}|\n){0,60}", long in "[a-z]{90,150}", cut in 0usize..300) {
            let whole = format!("{text} {long}\n");
            let at = (0..=cut.min(whole.len())).rev().find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
            let shown = page(&[&whole[..at], &whole[at..]]);
            prop_assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{}", shown);
            prop_assert_eq!(
                text.split_whitespace().collect::<Vec<_>>(),
                shown.split_whitespace().take(text.split_whitespace().count()).collect::<Vec<_>>()
            );
        }
    }
}
