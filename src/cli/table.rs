//! Tables for people: as wide as the terminal, with line breaks only between words.
//!
//! If the terminal is too narrow for the longest words of all columns, each row becomes a list of its columns. Without a
//! terminal, each row is one line.

use std::fmt;
use std::io::IsTerminal;

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use unicode_width::UnicodeWidthStr;

/// The assumed width of a narrower terminal.
const NARROWEST: usize = 60;
/// The assumed width of a wider terminal: longer lines are hard to read.
const WIDEST: usize = 200;

/// Rows under a header.
pub(super) struct Rows {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    width: Option<usize>,
}

/// The width of the terminal at standard output; `None` when there is none.
fn terminal() -> Option<usize> {
    let is_terminal = std::io::stdout().is_terminal();
    let found = is_terminal.then(|| terminal_size::terminal_size_of(std::io::stdout())).flatten();
    found.map(|(width, _)| usize::from(width.0))
}

impl Rows {
    /// Creates an empty table for the terminal at standard output.
    pub(super) fn new<const N: usize>(header: [&'static str; N]) -> Rows {
        Rows::with_width(header, terminal())
    }

    fn with_width<const N: usize>(header: [&'static str; N], width: Option<usize>) -> Rows {
        Rows { header: header.into(), rows: Vec::new(), width: width.map(|width| width.clamp(NARROWEST, WIDEST)) }
    }

    /// Adds a row with one cell for each column.
    pub(super) fn add<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the width that each column needs for its longest word, padding included.
    fn least_widths(&self) -> Vec<usize> {
        let longest = |text: &str| text.split_whitespace().map(UnicodeWidthStr::width).max().unwrap_or(0);
        let of = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| longest(cell));
            // One space at each side of a cell.
            2 + cells.chain(self.header.get(column).map(|name| longest(name))).max().unwrap_or(0)
        };
        (0..self.header.len()).map(of).collect()
    }

    fn table(&self, width: Option<usize>, least: &[usize]) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(self.header.iter().copied());
        for row in &self.rows {
            table.add_row(row);
        }
        match width {
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width as u16);
                let least = least.iter().map(|least| ColumnConstraint::LowerBoundary(Width::Fixed(*least as u16)));
                table.set_constraints(least);
            }
        }
        table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    /// Formats each row as a list of its columns.
    fn lists(&self, width: usize) -> String {
        let name_width = self.header.iter().map(|name| name.width()).max().unwrap_or(0);
        let mut text = String::new();
        for row in &self.rows {
            for (number, (name, cell)) in self.header.iter().zip(row).enumerate() {
                if cell.is_empty() {
                    continue;
                }
                let mark = if number == 0 { "" } else { "  " };
                let (mut line, indent) = (format!("{mark}{name:name_width$} "), name_width + 3);
                let mut is_first = true;
                for word in cell.split_whitespace() {
                    if !is_first && line.width() + 1 + word.width() > width {
                        text.push_str(&line);
                        text.push('\n');
                        line = format!("{:indent$}{word}", "");
                    } else {
                        line.push(' ');
                        line.push_str(word);
                    }
                    is_first = false;
                }
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }
}

/// Ends with a newline.
impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.least_widths();
        f.write_str(&match self.width {
            Some(width) if least.iter().sum::<usize>() > width => self.lists(width),
            width => self.table(width, &least),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    proptest! {
        /// Guarantee: at each width no line is wider, but for a single word that is, and no word is cut.
        #[test]
        fn tables_fit_and_break_no_word(
            rows in prop::collection::vec(prop::array::uniform4("([a-z0-9:.=]{1,24} ?){0,6}"), 0..5),
            width in 20usize..240,
        ) {
            let mut table = Rows::with_width(["NODE", "SERVES", "REFUSED BY", "WHY"], Some(width));
            rows.iter().for_each(|row| table.add(row.clone()));
            let (shown, width) = (table.to_string(), width.clamp(NARROWEST, WIDEST));
            for line in shown.lines() {
                let is_one_word = words(line).iter().any(|word| word.width() + "REFUSED BY".len() + 4 > width);
                prop_assert!(line.width() <= width || is_one_word, "{width}:\n{shown}");
            }
            let printed = words(&shown);
            for word in rows.iter().flatten().flat_map(|cell| words(cell)) {
                prop_assert!(printed.contains(&word), "{word:?} at {width}:\n{shown}");
            }
        }
    }

    #[test]
    fn without_a_terminal_a_row_is_a_line() {
        let mut table = Rows::with_width(["N", "WHY"], None);
        table.add(["1".to_owned(), "a word ".repeat(100)]);
        table.add(["2".to_owned(), String::new()]);
        assert_eq!(table.to_string().lines().count(), 3);
    }
}
