//! CSV: rows one after the other, and what their columns mean.

mod columns;
mod delimiter;
mod evidence;
mod record;

use crate::feed::FeedError;
use crate::feed::FeedOptions;
use crate::feed::collect::{Collector, line_number};
use crate::feed::reading::input::Input;
use crate::feed::reading::lines::{Lines, too_long};
use crate::feed::row::{Cells, Present, Role, Row};
use crate::feed::understood::Understood;
use crate::feed::when;
use crate::schema::FieldTable;
use columns::Columns;
use record::{Record, Records};

pub(in crate::feed) use delimiter::{is_table, separator};

/// How many rows are read to find what the columns of a file mean.
const SAMPLE: usize = 200;

/// The most cells that a row may have: real feeds have dozens.
const MAX_CELLS: usize = 1024;

/// Imports a CSV file.
pub(in crate::feed) fn import(
    mut input: Input<'_>,
    options: &FeedOptions,
    table: &FieldTable,
    collector: &mut Collector,
) -> Result<(), FeedError> {
    let (file, limit) = (input.file(), input.limits().line_bytes);
    let head = input.head();
    let delimiter = delimiter::detect(&head);
    let mut records = Records::new(Lines::new(Box::new(head.as_bytes()), file, limit), delimiter);
    let mut sample = Vec::new();
    while sample.len() < SAMPLE
        && let Some((line, record)) = records.next()?
    {
        if let Record::Cells(cells) = record
            && is_data(&cells)
            && cells.len() <= MAX_CELLS
        {
            sample.push((line, cells));
        }
    }
    let rows: Vec<(u64, Vec<&str>)> = sample.iter().map(|(line, cells)| (*line, cells.iter().collect())).collect();
    let comments: Vec<(u64, Cells)> = (records.comments().iter())
        .filter_map(|(line, comment)| Some((*line, record::parse(comment, delimiter)?)))
        .collect();
    let comments: Vec<(u64, Vec<&str>)> =
        comments.iter().map(|(line, cells)| (*line, cells.iter().collect())).collect();
    let columns = Columns::new(&comments, &rows, &options.columns, file)?;
    collector.understood(understood(&columns, delimiter));
    let order = day_order(&columns, &rows);

    let beyond = if columns.has_header { Role::Ignored } else { Role::Value };
    let present = Present::from_columns(&columns.columns, beyond);
    let mut records = Records::new(input.lines(limit), delimiter);
    while let Some((number, record)) = records.next()? {
        let line = line_number(number);
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
        } else if number <= columns.first_row {
            // Titles and the header.
        } else if let Some(extra) = columns.extra(&cells) {
            let reason = format!(
                "{extra} cells where the file has {}: a cell that holds the delimiter needs quotation marks",
                columns.width
            );
            collector.unusable(line, reason, cells.iter().next().unwrap_or_default());
        } else {
            let columns = &columns.columns;
            Row { cells: &cells, line, columns, beyond, present, order }.import(options, table, collector);
        }
        records.reuse(cells);
    }
    Ok(())
}

/// The evidence of dates in columns of bounds for the order of their numbers.
fn day_order(columns: &Columns, rows: &[(u64, Vec<&str>)]) -> Option<when::DayOrder> {
    let is_time = |role: Role| matches!(role, Role::ValidFrom | Role::ValidUntil | Role::FirstSeen | Role::LastSeen);
    let times = columns.columns.iter().enumerate().filter(|(_, column)| is_time(column.role)).map(|(at, _)| at);
    let times: Vec<usize> = times.collect();
    when::day_order(rows.iter().flat_map(|(_, row)| times.iter().filter_map(|at| row.get(*at).copied())))
}

fn understood(columns: &Columns, delimiter: u8) -> Understood {
    let mut understood = Understood { layout: columns.layout, header: columns.header_line, ..Understood::default() };
    if columns.width > 1 {
        understood.delimiter = Some(char::from(delimiter));
    }
    for (at, column) in columns.columns.iter().enumerate() {
        let name = columns.names.get(at).map(String::as_str).filter(|_| columns.has_header).unwrap_or_default();
        understood.column(at + 1, name, column.role);
    }
    understood
}

fn is_data(cells: &Cells) -> bool {
    cells.iter().any(|cell| !cell.trim().is_empty())
        && cells.iter().next().is_none_or(|first| !first.trim_start().starts_with('#'))
}

#[cfg(test)]
mod tests;
