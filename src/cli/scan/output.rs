//! The output of `scan`: hits as JSON lines, CSV or a table, or events with their tags.

use std::io::{self, Write};

use serde::Serialize;

use crate::cli::args::Emit;
use crate::cli::progress;
use crate::cli::table::Rows;
use crate::counted::count;
use crate::escape::Escaped;

/// The maximum number of rows of a table, which is kept in memory until the end. Further hits are counted.
const MAX_ROWS: usize = 10_000;

/// The columns of CSV: the keys of a [`Hit`].
const COLUMNS: [&str; 8] = ["file", "line", "field", "value", "kind", "indicator", "feed", "detection"];

#[derive(Serialize)]
pub(super) struct Hit<'a> {
    pub(super) file: &'a str,
    pub(super) line: u64,
    pub(super) field: &'a str,
    pub(super) value: String,
    pub(super) kind: &'static str,
    pub(super) indicator: &'a str,
    pub(super) feed: &'a str,
    pub(super) detection: &'static str,
}

/// The output for a block.
pub(super) enum Rendered {
    /// JSON lines of hits.
    Hits(Vec<u8>),
    /// CSV without a header.
    Csv(Box<csv::Writer<Vec<u8>>>),
    Table {
        rows: Vec<[String; 5]>,
        more: u64,
    },
    Events(Vec<u8>),
}

impl Rendered {
    pub(super) fn new(emit: Emit) -> Rendered {
        match emit {
            Emit::Hits => Rendered::Hits(Vec::new()),
            Emit::Csv => Rendered::Csv(Box::new(csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new()))),
            Emit::Table => Rendered::Table { rows: Vec::new(), more: 0 },
            Emit::Events => Rendered::Events(Vec::new()),
        }
    }

    /// Adds a hit, unless events are written.
    pub(super) fn hit(&mut self, hit: Hit<'_>) {
        match self {
            // Text and numbers can always be serialised, and memory can always be written.
            Rendered::Hits(bytes) => {
                let _ = serde_json::to_writer(&mut *bytes, &hit);
                bytes.push(b'\n');
            }
            Rendered::Csv(writer) => {
                let _ = writer.serialize(&hit);
            }
            Rendered::Table { rows, more } if rows.len() == MAX_ROWS => *more += 1,
            Rendered::Table { rows, .. } => {
                let place = Escaped(format!("{}:{}", hit.file, hit.line)).to_string();
                let indicator = if hit.indicator == hit.value { String::new() } else { hit.indicator.to_owned() };
                let cell = |text: &str| Escaped(text).to_string();
                rows.push([place, cell(hit.field), cell(&hit.value), cell(&indicator), cell(hit.feed)]);
            }
            Rendered::Events(_) => {}
        }
    }

    /// Moves what is buffered to where [`Output::write`] finds it.
    pub(super) fn finish(&mut self) {
        if let Rendered::Csv(writer) = self {
            let _ = writer.flush();
        }
    }

    /// Adds an event on one line, unless hits are written.
    pub(super) fn event(&mut self, event: &[u8]) {
        if let Rendered::Events(bytes) = self {
            // A line end inside a document is white space between its tokens.
            bytes.extend(event.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
            bytes.push(b'\n');
        }
    }
}

/// Writes what was rendered.
pub(super) struct Output<'w> {
    to: &'w mut dyn Write,
    table: Option<Rows>,
    rows: usize,
    /// Hits that the table has no room for.
    more: u64,
}

impl Output<'_> {
    /// Writes what comes before the first hit.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn begin<'w>(emit: Emit, to: &'w mut dyn Write) -> io::Result<Output<'w>> {
        if emit == Emit::Csv {
            writeln!(to, "{}", COLUMNS.join(","))?;
        }
        let header = ["PLACE", "FIELD", "VALUE", "INDICATOR", "FEED"];
        let table = (emit == Emit::Table).then(|| Rows::new(header));
        Ok(Output { to, table, rows: 0, more: 0 })
    }

    /// Writes the result of a block, or keeps it for the table.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn write(&mut self, rendered: &Rendered) -> io::Result<()> {
        match (rendered, &mut self.table) {
            (Rendered::Hits(bytes) | Rendered::Events(bytes), _) => self.to.write_all(bytes),
            (Rendered::Csv(writer), _) => self.to.write_all(writer.get_ref()),
            (Rendered::Table { rows, more }, Some(table)) => {
                let room = MAX_ROWS - self.rows;
                rows.iter().take(room).for_each(|row| table.add(row.clone()));
                self.rows += rows.len().min(room);
                self.more += rows.len().saturating_sub(room) as u64 + more;
                Ok(())
            }
            (Rendered::Table { .. }, None) => Ok(()),
        }
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Writes the table.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Some(table) = self.table.take().filter(|table| !table.is_empty()) {
            write!(self.to, "{table}")?;
        }
        if self.more > 0 {
            let more = count(self.more, "hit is", "hits are");
            progress::write_line(&format!("{more} not in the table; `--emit hits` or `csv` writes all"));
        }
        self.to.flush()
    }
}
