//! Decides the meaning of columns without a header by their values in all rows.

use std::collections::HashSet;

use crate::feed::classify;
use crate::feed::declared::{Declared, TypeWord, type_word};
use crate::feed::layout::Column;
use crate::feed::range;
use crate::feed::row::Role;
use crate::feed::when;
use crate::observable::Kind;

/// The kinds of the cells of a column.
#[derive(Debug, Default)]
struct Seen<'a> {
    filled: usize,
    /// Cells that are values by their shape, by kind.
    values: usize,
    urls: usize,
    emails: usize,
    types: usize,
    dates: usize,
    numbers: usize,
    masks: usize,
    hosts: HashSet<&'a str>,
}

impl<'a> Seen<'a> {
    fn from_cells(cells: impl Iterator<Item = &'a str>) -> Seen<'a> {
        let mut seen = Seen::default();
        for cell in cells.map(str::trim).filter(|cell| !cell.is_empty()) {
            seen.filled += 1;
            seen.masks += usize::from(range::is_mask(cell));
            if let Some(found) = classify::untyped(cell) {
                seen.values += 1;
                seen.emails += usize::from(found.value.kind() == Kind::Email);
                if found.value.kind() == Kind::Url {
                    seen.urls += 1;
                    seen.hosts.insert(cell.split('/').nth(2).unwrap_or(cell));
                }
                continue;
            }
            let is_number = cell.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+'));
            seen.numbers += usize::from(is_number);
            seen.dates += usize::from(!is_number && when::instant(cell, None).is_some());
            seen.types += usize::from(type_word(cell) != TypeWord::Unknown);
        }
        seen
    }

    /// Whether nearly all cells are so.
    fn mostly(&self, number: usize) -> bool {
        self.filled > 0 && number * 10 >= self.filled * 9
    }
}

/// The columns of rows without a header. A column with hardly anything but type words is the type, and then the column
/// that agrees with it most often is the value: links and tags next to it are not. Without a type every column that holds
/// values is one, but for links to the same few hosts and addresses of people next to others.
pub(super) fn columns(sample: &[&[&str]]) -> Vec<Column> {
    let width = sample.iter().map(|row| row.len()).max().unwrap_or(0);
    let cells = |at: usize| sample.iter().filter_map(move |row| row.get(at).copied());
    let seen: Vec<Seen<'_>> = (0..width).map(|at| Seen::from_cells(cells(at))).collect();
    let is_type = |seen: &Seen<'_>| seen.mostly(seen.types) && seen.filled * 10 >= sample.len() * 9;
    if let Some(kind) = seen.iter().position(is_type) {
        return typed(sample, &seen, kind);
    }
    let holds = |seen: &Seen<'_>| seen.values > 0;
    let is_link = |at: usize, of: &Seen<'_>| {
        let others = seen.iter().enumerate().any(|(other, seen)| other < at && seen.mostly(seen.values));
        others && of.mostly(of.urls) && of.filled > 1 && of.hosts.len() * 2 <= of.filled
    };
    let is_person = |at: usize, of: &Seen<'_>| {
        let others = seen.iter().enumerate().any(|(other, seen)| other != at && seen.mostly(seen.values - seen.emails));
        others && of.mostly(of.emails)
    };
    let range = (1..width).find(|&at| are_ranges(sample, at - 1, at));
    let mask = (1..width).find(|&at| seen.get(at).is_some_and(|of| of.mostly(of.masks)));
    let role = |(at, of): (usize, &Seen<'_>)| match of {
        _ if range.is_some_and(|end| end == at) => Role::RangeEnd,
        _ if range.is_some_and(|end| end == at + 1) => Role::RangeStart,
        _ if mask == Some(at) => Role::Prefix,
        _ if mask == Some(at + 1) => Role::Main,
        of if is_link(at, of) => Role::Reference,
        of if is_person(at, of) => Role::Ignored,
        of if !holds(of) && of.mostly(of.dates + of.numbers) => Role::Ignored,
        _ => Role::Value,
    };
    seen.iter().enumerate().map(role).map(Column::with_role).collect()
}

/// Whether two columns are the ends of ranges: addresses in order in every row, most of them the ends of one network.
pub(super) fn are_ranges(sample: &[&[&str]], first: usize, last: usize) -> bool {
    let mut whole = 0;
    for row in sample {
        let address = |at: usize| range::address(row.get(at)?);
        let networks =
            address(first).zip(address(last)).and_then(|(from, to)| range::between(from, to).filter(|_| from < to));
        match networks {
            Some(networks) => whole += usize::from(networks.len() == 1),
            None => return false,
        }
    }
    whole > 0 && whole * 5 >= sample.len() * 4
}

fn typed(sample: &[&[&str]], seen: &[Seen<'_>], kind: usize) -> Vec<Column> {
    // A kind that nearly every word may have (a host, a user) agrees weakly.
    let agreeing = |at: usize| {
        let (mut strong, mut weak) = (0, 0);
        for (word, cell) in sample.iter().filter_map(|row| row.get(kind).zip(row.get(at))) {
            let TypeWord::Declared(declared) = type_word(word) else { continue };
            let Ok(found) = classify::typed(cell, declared) else { continue };
            let kind = found.value.kind();
            let is_weak = matches!(kind, Kind::User | Kind::Domain) && classify::untyped(cell).is_none();
            let is_other = declared == Declared::Of(Kind::User) && classify::untyped(cell).is_some();
            if is_weak || is_other { weak += 1 } else { strong += 1 }
        }
        (strong, weak)
    };
    let is_candidate = |at: &usize| {
        let of = seen.get(*at);
        *at != kind && of.is_some_and(|of| !of.mostly(of.dates + of.numbers))
    };
    let value = (0..seen.len()).filter(is_candidate).max_by_key(|&at| (agreeing(at), std::cmp::Reverse(at)));
    let role = |at: usize| match at {
        at if at == kind => Role::Kind,
        at if Some(at) == value => Role::Main,
        _ => Role::Ignored,
    };
    (0..seen.len()).map(|at| Column::with_role(role(at))).collect()
}
