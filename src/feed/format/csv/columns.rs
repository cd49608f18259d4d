//! Decides the meaning of each column of a CSV file: by the configured mapping, by its header's words, or by its cells.

use super::{delimiter, evidence};
use crate::feed::declared::{TypeWord, squeezed, type_word};
use crate::feed::layout::{self, Column, Layout};
use crate::feed::row::{Cells, Role, is_pattern};
use crate::feed::{ColumnMapping, FeedError, classify, range};

/// Numbered rows of cells.
type Rows<'a> = [(u64, Vec<&'a str>)];

/// How many rows of titles may precede a header.
const MAX_TITLES: usize = 20;

/// The meaning of each column, in order.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) columns: Vec<Column>,
    /// The words of the header, or nothing.
    pub(super) names: Vec<String>,
    pub(super) has_header: bool,
    pub(super) header_line: Option<u64>,
    /// The last line that is not a row: of the header or of a title. 0 when all are rows.
    pub(super) first_row: u64,
    /// How many cells a row has.
    pub(super) width: usize,
    /// The publisher whose layout it is.
    pub(super) layout: Option<&'static str>,
}

impl Columns {
    /// Finds the meaning of the columns from the header, which may be a comment or follow titles, and a sample of
    /// the rows.
    pub(super) fn new(
        comments: &Rows<'_>,
        sample: &Rows<'_>,
        mapping: &ColumnMapping,
        file_name: &str,
    ) -> Result<Columns, FeedError> {
        let rows: Vec<&[&str]> = sample.iter().map(|(_, cells)| cells.as_slice()).collect();
        let by_mapping = || named_row(sample, mapping);
        let header = by_mapping().or_else(|| header_row(sample));
        let mut columns = Columns::default();
        let mut words: &[&str] = &[];
        if let Some(at) = header {
            let (line, cells) = &sample[at];
            (columns.header_line, columns.first_row, words) = (Some(*line), *line, cells);
        } else if let Some((line, cells)) = commented(comments, &rows, mapping) {
            (columns.header_line, words) = (Some(*line), cells);
        } else if let Some((line, cells)) = sample.first()
            && cells.first().is_some_and(|cell| delimiter::separator(cell.trim()).is_some())
        {
            columns.first_row = *line;
        }
        columns.has_header = columns.header_line.is_some();
        columns.names = words.iter().map(|word| bare(word).to_owned()).collect();
        let data = &rows[header.map_or(0, |at| at + 1)..];
        columns.width = width(words.len(), data);
        columns.columns = match columns.has_header {
            true => {
                let layout = Layout::recognise(words);
                columns.layout = layout.map(|layout| layout.title);
                named(words, layout, data)
            }
            false => evidence::columns(data),
        };
        if columns.has_header {
            // A header that names fewer columns than there are says nothing of the others.
            columns.columns.resize(columns.columns.len().max(columns.width), Column::with_role(Role::Ignored));
        }
        columns.map(mapping, words, file_name)?;
        Ok(columns)
    }

    /// How many cells a row has, if these are more than the file's rows have and say something.
    pub(super) fn extra(&self, cells: &Cells) -> Option<usize> {
        let is_long = cells.len() > self.width && self.width > 1;
        (is_long && cells.iter().skip(self.width).any(|cell| !cell.trim().is_empty())).then(|| cells.len())
    }

    fn map(&mut self, mapping: &ColumnMapping, words: &[&str], file_name: &str) -> Result<(), FeedError> {
        if mapping.value.is_some() {
            for column in self.columns.iter_mut().filter(|column| column.role.is_value() || column.role == Role::Name) {
                column.role = Role::Ignored;
            }
        }
        for (key, role, wanted) in mapping.named() {
            let name = squeezed(wanted);
            let number =
                || wanted.trim().parse::<usize>().ok().filter(|n| (1..=self.width.max(words.len())).contains(n));
            let by_name = words.iter().position(|known| bare(known) == wanted.trim());
            let by_name =
                by_name.or_else(|| words.iter().position(|known| !name.is_empty() && squeezed(known) == name));
            let Some(at) = by_name.filter(|_| self.has_header).or_else(|| Some(number()? - 1)) else {
                let header = match self.has_header {
                    true => self.names.join(", "),
                    false => format!("{}, without names", self.width),
                };
                let (file, column) = (file_name.to_owned(), wanted.to_owned());
                return Err(FeedError::NoColumn { file, column, role: key, header });
            };
            if at >= self.columns.len() {
                self.columns.resize(at + 1, Column::with_role(Role::Value));
            }
            if let Some(column) = self.columns.get_mut(at) {
                *column = Column { role, declared: column.declared.filter(|_| role == Role::Main), is_known: true };
            }
        }
        Ok(())
    }
}

/// A header's word without the quotes and marks around it.
fn bare(word: &str) -> &str {
    word.trim_matches(['\u{feff}', '"', '\'', '#', ' ', '\t', '\r'])
}

/// The first row that names a column which the configuration asks for by name.
fn named_row(sample: &Rows<'_>, mapping: &ColumnMapping) -> Option<usize> {
    let wanted: Vec<String> = mapping.named().map(|(_, _, column)| squeezed(column)).collect();
    let is_name = |cell: &&str| {
        let word = squeezed(cell);
        wanted.contains(&word) && word.parse::<usize>().is_err()
    };
    sample.iter().take(MAX_TITLES).position(|(_, cells)| cells.iter().any(is_name))
}

/// The place of the header among the first rows: a row of words without a value, one of which names a column, below nothing
/// but titles. A row of data is never taken for one: its words would occur in other rows, too.
fn header_row(sample: &Rows<'_>) -> Option<usize> {
    let mut at = 0;
    for (number, (_, cells)) in sample.iter().take(MAX_TITLES).enumerate() {
        if cells.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let below: Vec<&[&str]> = sample.iter().skip(number + 1).map(|(_, cells)| cells.as_slice()).collect();
        if !is_wordy(cells) && !is_dotted(cells, &below) {
            return None;
        }
        if known_words(cells, &below).1 {
            at = number + 1;
            break;
        }
    }
    at.checked_sub(1)
}

/// The comment that names the columns: the one with most words that are known.
fn commented<'r, 'a>(
    comments: &'r Rows<'a>,
    rows: &[&[&str]],
    mapping: &ColumnMapping,
) -> Option<&'r (u64, Vec<&'a str>)> {
    let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let wanted: Vec<String> = mapping.named().map(|(_, _, column)| squeezed(column)).collect();
    let known = |cells: &[&str]| {
        let asked =
            cells.iter().filter(|cell| wanted.contains(&squeezed(cell)) && squeezed(cell).parse::<usize>().is_err());
        let (known, is_telling) = known_words(cells, rows);
        (known + asked.count(), is_telling)
    };
    let is_header = |cells: &[&str]| {
        let (known, is_telling) = known(cells);
        is_wordy(cells) && (known > 1 || (is_telling && cells.len() == width)) && (width == 1 || cells.len() > 1)
    };
    comments.iter().filter(|(_, cells)| is_header(cells)).max_by_key(|(line, cells)| (known(cells).0, *line))
}

/// Whether a row has text, and none of it is an indicator.
fn is_wordy(row: &[&str]) -> bool {
    row.iter().any(|cell| !cell.trim().is_empty())
        && row.iter().all(|cell| classify::untyped(bare(cell)).is_none() && !is_pattern(cell))
}

/// Whether a row is a header of labels with dots between them (`extract.value`), some of which look like names of hosts: most
/// of its words are known, and no more than half of those that look so are above names.
fn is_dotted(row: &[&str], below: &[&[&str]]) -> bool {
    let is_name = |cell: &str| classify::untyped(bare(cell)).is_some();
    let named: Vec<usize> = (0..row.len()).filter(|at| row.get(*at).is_some_and(|cell| is_name(cell))).collect();
    let is_above = |at: &&usize| below.iter().filter_map(|row| row.get(**at)).any(|cell| is_name(cell));
    let known = row.iter().filter(|cell| layout::column(bare(cell), None).is_known).count();
    let is_label = |at: &usize| row.get(*at).is_some_and(|cell| layout::column(bare(cell), None).is_known);
    known > 2
        && known * 3 >= row.len() * 2
        && !below.is_empty()
        && named.iter().all(is_label)
        && named.iter().filter(is_above).count() * 2 <= named.len()
}

/// How many words of a row name a column and occur in no other row of it, and whether one of them does not occur in
/// data.
fn known_words(row: &[&str], below: &[&[&str]]) -> (usize, bool) {
    let (mut known, mut is_telling) = (0, false);
    for (at, word) in row.iter().enumerate().map(|(at, word)| (at, bare(word))) {
        let column = layout::column(word, None);
        if word.is_empty() || word.len() > 60 || !column.is_known {
            continue;
        }
        let cells =
            || below.iter().filter_map(|row| row.get(at)).map(|cell| bare(cell)).filter(|cell| !cell.is_empty());
        let types = cells().filter(|cell| type_word(cell) != TypeWord::Unknown).count();
        // Then it is one of the types in this column.
        let is_type = column.role != Role::Kind && types > 0 && types * 2 >= cells().count();
        if !is_type && !cells().any(|cell| cell.eq_ignore_ascii_case(word)) {
            known += 1;
            is_telling |= is_telling_word(column.role, word);
        }
    }
    (known, is_telling)
}

/// Whether a word names a column and would not occur in a row: `malware`, `active` or `start` might.
fn is_telling_word(role: Role, word: &str) -> bool {
    match role {
        Role::Main | Role::Hash | Role::Digest | Role::Kind | Role::Reference | Role::Description | Role::Id => true,
        Role::ValidFrom | Role::ValidUntil | Role::FirstSeen | Role::LastSeen | Role::Confidence => true,
        Role::KillChain | Role::Prefix | Role::Port => true,
        Role::RangeStart => word.len() > "start".len(),
        _ => false,
    }
}

/// The common meaning of the words of a header.
fn named(words: &[&str], layout: Option<&Layout>, data: &[&[&str]]) -> Vec<Column> {
    let mut columns: Vec<Column> = words.iter().map(|word| layout::column(bare(word), layout)).collect();
    let is = |name: &'static str| move |word: &&str| squeezed(word) == name;
    // Some feeds call the type `indicator` and the value `data`.
    if let (Some(kind), Some(value)) = (words.iter().position(is("indicator")), words.iter().position(is("data"))) {
        let of_types = data.iter().filter_map(|row| row.get(kind)).all(|cell| classify::untyped(cell).is_none());
        if of_types {
            columns[kind] = Column::with_role(Role::Kind);
            columns[value] = Column::with_role(Role::Main);
        }
    }
    ranges(&mut columns, data);
    // A second type is what something else is.
    let mut kinds = columns.iter_mut().enumerate().filter(|(_, column)| column.role == Role::Kind);
    if let Some((first, _)) = kinds.next() {
        let of_types = |at: usize| {
            data.iter().filter_map(|row| row.get(at)).filter(|cell| type_word(cell) != TypeWord::Unknown).count()
        };
        let best = columns.iter().enumerate().filter(|(_, column)| column.role == Role::Kind).map(|(at, _)| at);
        let best = best.max_by_key(|at| (of_types(*at), std::cmp::Reverse(*at))).unwrap_or(first);
        let others = columns.iter_mut().enumerate().filter(|(at, column)| column.role == Role::Kind && *at != best);
        others.for_each(|(_, column)| column.role = Role::Threat);
    }
    let has_range = columns.iter().any(|column| column.role == Role::RangeStart);
    let is_named = |column: &&Column| matches!(column.role, Role::Main | Role::Hash | Role::RangeStart);
    let mains = columns.iter().filter(is_named).count();
    let is_user =
        |column: &Column| column.declared == Some(crate::feed::declared::Declared::Of(crate::observable::Kind::User));
    // A column that is named for the value itself, and not for a type, is the only one.
    let is_generic = |column: &Column| column.role == Role::Main && column.declared.is_none() && column.is_known;
    let has_generic = columns.iter().any(is_generic);
    for column in &mut columns {
        let is_beside = match column.role {
            Role::Value => mains > 0,
            Role::Main if is_user(column) => mains > 1,
            Role::Main if has_range => true,
            // Guesses and types next to it are about it.
            Role::Main => has_generic && !is_generic(column),
            _ => false,
        };
        if is_beside {
            column.role = Role::Ignored;
        }
    }
    columns
}

/// Two columns of addresses are the ends of a range if they are named so; words like `start` are times elsewhere.
fn ranges(columns: &mut [Column], data: &[&[&str]]) {
    let holds = |at: usize| {
        let cells = || data.iter().filter_map(|row| row.get(at)).filter(|cell| !cell.trim().is_empty());
        cells().next().is_some() && cells().all(|cell| range::address(bare(cell)).is_some())
    };
    let find = |role: Role| columns.iter().enumerate().position(|(at, column)| column.role == role && holds(at));
    let (start, end) = (find(Role::RangeStart), find(Role::RangeEnd));
    let has_prefix = columns.iter().any(|column| column.role == Role::Prefix);
    for (at, column) in columns.iter_mut().enumerate() {
        let is_end = Some(at) == start || Some(at) == end;
        let is_range = start.is_some() && (end.is_some() || has_prefix);
        column.role = match column.role {
            Role::RangeStart | Role::RangeEnd if is_range && is_end => column.role,
            // Not a range: each column holds single addresses.
            Role::RangeStart | Role::RangeEnd if is_end => Role::Main,
            Role::RangeStart => Role::FirstSeen,
            Role::RangeEnd => Role::Ignored,
            role => role,
        };
    }
}

/// How many cells a row has: as many as nearly all rows, or as the header has words.
fn width(words: usize, data: &[&[&str]]) -> usize {
    let filled = |row: &[&str]| row.iter().rposition(|cell| !cell.trim().is_empty()).map_or(0, |at| at + 1);
    let widths: Vec<usize> = data.iter().map(|row| filled(row)).collect();
    let most = widths.iter().copied().max().unwrap_or(0);
    if words == 0 {
        // Rows without a header may be ragged: only what a tenth of them has is a width.
        let common = widths
            .iter()
            .copied()
            .filter(|width| widths.iter().filter(|other| *other >= width).count() * 10 >= widths.len());
        return common.max().unwrap_or(most);
    }
    let longer = widths.iter().filter(|width| **width > words).count();
    if longer * 5 >= widths.len() * 4 && longer > 0 { most } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(text: &str) -> Columns {
        let rows: Vec<(u64, Vec<&str>)> =
            (1..).zip(text.lines()).map(|(line, text)| (line, text.split(',').collect())).collect();
        Columns::new(&[], &rows, &ColumnMapping::default(), "x").unwrap()
    }

    fn roles(text: &str) -> Vec<Role> {
        columns(text).columns.iter().map(|column| column.role).collect()
    }

    #[test]
    fn headers_of_real_feeds_are_understood() {
        assert_eq!(
            roles("IOC, Valid From, Valid Until, Link"),
            [Role::Main, Role::ValidFrom, Role::ValidUntil, Role::Reference]
        );
        assert_eq!(roles("indicator,data\nC2 domain,evil.com"), [Role::Kind, Role::Main]);
        assert_eq!(roles("First Seen,Hostname,C2 URL"), [Role::FirstSeen, Role::Main, Role::Main]);
        assert_eq!(roles("SHA256,Package Name,Certificate"), [Role::Hash, Role::Ignored, Role::Digest]);
        assert_eq!(
            roles("source_ip,Source,File Name,SHA-256"),
            [Role::Main, Role::Reference, Role::Ignored, Role::Hash]
        );
        assert_eq!(roles("ioc,victim,reported_by,ip"), [Role::Main, Role::Ignored, Role::Ignored, Role::Ignored]);
    }

    #[test]
    fn without_header_a_column_of_type_words_decides_which_column_is_the_value() {
        let found = columns(
            "2024-01-01,url,http://evil.com/a,https://example.org/1\n2024-01-01,domain,evil.com,https://example.org/2\n",
        );
        assert!(!found.has_header);
        let roles: Vec<Role> = found.columns.iter().map(|column| column.role).collect();
        assert_eq!(roles, [Role::Ignored, Role::Kind, Role::Main, Role::Ignored]);
    }

    #[test]
    fn without_header_columns_of_ends_and_masks_are_told_by_all_rows() {
        assert_eq!(
            roles("198.51.100.0,198.51.100.63,XX\n203.0.113.0,203.0.113.255,XX")[..2],
            [Role::RangeStart, Role::RangeEnd]
        );
        assert_eq!(roles("198.51.100.0,255.255.255.0\n203.0.113.0,255.255.255.128"), [Role::Main, Role::Prefix]);
        assert_eq!(roles("198.51.100.1,203.0.113.9\n203.0.113.7,198.51.100.9"), [Role::Value, Role::Value]);
    }

    #[test]
    fn titles_above_a_header_are_passed_over_and_rows_of_data_never() {
        let found = columns("Report of May,,\n,,\nIOC,Type,Expires\nevil.com,domain,2030-01-01\n");
        assert_eq!((found.header_line, found.first_row), (Some(3), 3));
        for text in [
            "intranet,2024-01-01,c2\nevil.com,2024-01-01,c2\n",
            "intranet,domain\nevil.com,domain\n",
            "a b,c d\nevil.com,x\n",
        ] {
            assert!(!columns(text).has_header, "{text}");
        }
    }

    #[test]
    fn a_mapping_wins_and_a_missing_column_is_named() {
        let rows = [(1, vec!["indicator", "data"])];
        let mapping = ColumnMapping { value: Some("Indicator".into()), kind: Some("2".into()), ..Default::default() };
        let columns = Columns::new(&[], &rows, &mapping, "x").unwrap();
        assert_eq!(columns.columns.iter().map(|column| column.role).collect::<Vec<_>>(), [Role::Main, Role::Kind]);
        let mapping = ColumnMapping { tlp: Some("marking".into()), ..Default::default() };
        let error = Columns::new(&[], &rows, &mapping, "x.csv").unwrap_err().to_string();
        assert!(error.contains("`marking`") && error.contains("columns.tlp") && error.contains("indicator, data"));
    }

    #[test]
    fn ends_of_ranges_are_told_by_their_words_and_their_cells() {
        assert_eq!(roles("start_ip,end_ip\n198.51.100.0,198.51.100.9"), [Role::RangeStart, Role::RangeEnd]);
        assert_eq!(
            roles("Start,End,ip\n2024-01-01,2024-01-02,198.51.100.1"),
            [Role::FirstSeen, Role::Ignored, Role::Main]
        );
    }
}
