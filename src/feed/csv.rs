//! CSV: rows one after the other, and what their columns mean.

mod columns;
mod record;

use super::FeedError;
use super::FeedOptions;
use super::collect::{Collector, line_number};
use super::detect::DELIMITERS;
use super::input::Input;
use super::lines::{Lines, too_long};
use super::row::{Cells, Role, Row};
use crate::fields::FieldTable;
use columns::Columns;
use record::{Record, Records};

/// How many rows tell what the columns of a file without header mean.
const SAMPLE: usize = 200;

/// The most cells that a row may have: real feeds have dozens.
const MAX_CELLS: usize = 1024;

/// Imports a CSV file.
pub(super) fn import(
    mut input: Input<'_>,
    options: &FeedOptions,
    table: &FieldTable,
    collector: &mut Collector,
) -> Result<(), FeedError> {
    let (file, limit) = (input.file(), input.limits().line_bytes);
    let head = input.head();
    let delimiter = delimiter(&head);
    let mut records = Records::new(Lines::new(Box::new(head.as_bytes()), file, limit), delimiter);
    let mut sample = Vec::new();
    while sample.len() < SAMPLE
        && let Some((_, record)) = records.next()?
    {
        if let Record::Cells(cells) = record
            && is_data(&cells)
            && cells.len() <= MAX_CELLS
        {
            sample.push(cells);
        }
    }
    let rows: Vec<Vec<&str>> = sample.iter().map(|cells| cells.iter().collect()).collect();
    let first = rows.first().cloned().unwrap_or_default();

    // Some feeds write their header as a comment: the last one before the data, if it has as many cells.
    let commented = records
        .comment()
        .and_then(|comment| record::parse(comment, delimiter))
        .filter(|cells| cells.len() == first.len() && cells.len() > 1);
    let commented: Option<Vec<&str>> = commented.as_ref().map(|cells| cells.iter().collect());
    let header_is_comment = !columns::is_header(&first) && commented.as_deref().is_some_and(columns::is_header);
    let header = commented.filter(|_| header_is_comment).unwrap_or(first);
    let columns = match header.is_empty() {
        true => Columns::default(),
        false => Columns::new(&header, &rows, &options.columns, file)?,
    };

    let mut skip_header = columns.has_header && !header_is_comment;
    let beyond = if columns.has_header { Role::Ignored } else { Role::Value };
    let mut records = Records::new(input.lines(limit), delimiter);
    while let Some((line, record)) = records.next()? {
        let line = line_number(line);
        let cells = match record {
            Record::Cells(cells) if !is_data(&cells) => continue,
            Record::Cells(cells) => cells,
            Record::TooLong(beginning) => {
                collector.unusable(line, too_long(limit), &beginning);
                continue;
            }
        };
        if cells.len() > MAX_CELLS {
            let reason = format!("{} cells; a row may have {MAX_CELLS}", cells.len());
            collector.unusable(line, reason, cells.iter().next().unwrap_or_default());
        } else if !std::mem::take(&mut skip_header) {
            Row { cells: &cells, line, roles: &columns.roles, beyond }.import(options, table, collector);
        }
        records.reuse(cells);
    }
    Ok(())
}

/// The delimiter that most of the first lines have, and of several the most frequent one.
fn delimiter(head: &str) -> u8 {
    let mut lines = head.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    while lines.next_if(|line| line.starts_with('#')).is_some() {}
    let lines: Vec<&str> = lines.take(20).collect();
    let usual = DELIMITERS.into_iter().max_by_key(|&delimiter| {
        let with = lines.iter().filter(|line| line.contains(delimiter)).count();
        let count: usize = lines.iter().map(|line| line.matches(delimiter).count()).sum();
        // The last of equals would win; the comma is the default.
        (with, count, delimiter == ',')
    });
    usual.and_then(|delimiter| u8::try_from(delimiter).ok()).unwrap_or(b',')
}

fn is_data(cells: &Cells) -> bool {
    cells.iter().any(|cell| !cell.trim().is_empty())
        && cells.iter().next().is_none_or(|first| !first.trim_start().starts_with('#'))
}

#[cfg(test)]
mod tests;
