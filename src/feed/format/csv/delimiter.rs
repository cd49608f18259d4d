//! Detects the character that separates the cells of a file, and whether the file has cells at all, by many lines
//! together.

use super::evidence;
use crate::feed::classify;
use crate::feed::when;
use crate::observable::Kind;

/// The separators that a CSV file may use.
const DELIMITERS: [char; 5] = [',', ';', '\t', '|', '^'];

/// How many lines are looked at.
const SAMPLE: usize = 200;

/// The delimiter that most of the first lines have equally often outside quotation marks; of several the one that makes
/// more cells. A first line `sep=;`, as spreadsheets write it, says so.
pub(super) fn detect(head: &str) -> u8 {
    let mut lines = head.lines().map(str::trim_end).filter(|line| !line.trim().is_empty());
    let first = lines.clone().next().unwrap_or_default().trim_start_matches('\u{feff}').trim_matches('"');
    if let Some(named) = separator(first) {
        return named;
    }
    let is_comment = |line: &&str| line.trim_start_matches('\u{feff}').trim_start().starts_with('#');
    let data: Vec<&str> = lines.by_ref().filter(|line| !is_comment(line)).take(SAMPLE).collect();
    let best = DELIMITERS.into_iter().max_by_key(|&delimiter| {
        let counts: Vec<usize> = data.iter().map(|line| count(line, delimiter)).collect();
        let with = counts.iter().filter(|count| **count > 0).count();
        let (usual, alike) = usual(&counts);
        // A separator has the same count in nearly all lines; a mark in prose has not.
        let is_even = alike * 10 >= data.len() * 7 && usual > 0;
        // The last of equals would win; the comma is the default.
        (is_even, with * 10 >= data.len() * 9, if is_even { usual } else { 0 }, with, delimiter == ',')
    });
    best.and_then(|delimiter| u8::try_from(delimiter).ok()).unwrap_or(b',')
}

/// The character that a line `sep=` names.
pub(in crate::feed) fn separator(line: &str) -> Option<u8> {
    let named = line.get(..4).filter(|start| start.eq_ignore_ascii_case("sep=")).and_then(|_| line.get(4..))?;
    let named = if named.is_empty() { "\t" } else { named };
    let mut all = named.chars();
    let one = all.next().filter(|c| DELIMITERS.contains(c) && all.next().is_none())?;
    u8::try_from(one).ok()
}

/// Whether some delimiter cuts most lines into the same number of cells, and not the URLs of a list.
pub(in crate::feed) fn is_table(lines: &[&str]) -> bool {
    DELIMITERS.into_iter().any(|delimiter| {
        let counts: Vec<usize> = lines.iter().map(|line| count(line, delimiter)).collect();
        let (usual, _) = usual(&counts);
        // A comma at the end of each line is a list, too.
        let cut = lines.iter().zip(&counts).filter(|(line, count)| **count >= usual && !line.ends_with(delimiter));
        usual > 0 && cut.count() * 5 >= lines.len() * 4 && !are_urls(lines, delimiter) && !are_values(lines, delimiter)
    })
}

/// Whether lines with a delimiter are URLs that hold it, and no rows that begin with a URL: what follows it in a row
/// looks like cells.
fn are_urls(lines: &[&str], delimiter: char) -> bool {
    let with: Vec<&str> = lines.iter().copied().filter(|line| line.contains(delimiter)).collect();
    let is_url = |line: &&&str| {
        let start = line.split(delimiter).next().unwrap_or_default();
        classify::has_scheme(start) && !line.starts_with('"')
    };
    if with.iter().filter(is_url).count() * 5 < with.len() * 4 {
        return false;
    }
    let width = with.iter().map(|line| line.split(delimiter).count()).max().unwrap_or(0);
    let is_cells = |at: usize| {
        let cells: Vec<&str> = with.iter().filter_map(|line| line.split(delimiter).nth(at)).map(str::trim).collect();
        let filled: Vec<&str> = cells.iter().copied().filter(|cell| !cell.is_empty()).collect();
        !filled.is_empty() && cells.len() * 5 >= with.len() * 4 && filled.iter().all(|cell| is_cell(cell))
    };
    !(1..width).any(is_cells)
}

/// Whether text behind a delimiter is a cell of its own: a date, a value, or a word of some letters.
fn is_cell(text: &str) -> bool {
    let is_word = text.len() >= 3
        && text.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '-' | '_' | '/' | '.'))
        && !text.contains(['.', '/']);
    let is_value = || classify::untyped(text).is_some_and(|found| found.value.kind() != Kind::Domain);
    is_word || text.starts_with('"') || is_value() || (text.len() >= 8 && when::instant(text, None).is_some())
}

/// Whether lines are several values each, or one that holds the delimiter: all cells of all lines are values of one kind.
fn are_values(lines: &[&str], delimiter: char) -> bool {
    let mut kinds = lines.iter().flat_map(|line| line.split(delimiter)).map(str::trim).filter(|cell| !cell.is_empty());
    let kind = |cell: &str| classify::untyped(cell).map(|found| found.value.kind());
    let Some(first) = kinds.next().and_then(kind) else { return false };
    let pairs: Vec<Vec<&str>> = lines.iter().map(|line| line.split(delimiter).map(str::trim).collect()).collect();
    let rows: Vec<&[&str]> = pairs.iter().map(Vec::as_slice).collect();
    let are_ranges = rows.iter().all(|row| row.len() == 2) && evidence::are_ranges(&rows, 0, 1);
    matches!(first, Kind::Ip) && kinds.all(|cell| kind(cell) == Some(first)) && !are_ranges
}

/// How often a delimiter occurs in a line outside quotation marks.
fn count(line: &str, delimiter: char) -> usize {
    if !line.contains('"') {
        return line.matches(delimiter).count();
    }
    let mut quoted = false;
    line.chars()
        .filter(|c| {
            quoted ^= *c == '"';
            !quoted && *c == delimiter
        })
        .count()
}

/// The count that most lines have, and how many have it.
fn usual(counts: &[usize]) -> (usize, usize) {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let (mut best, mut run) = ((0, 0), 0);
    for (at, count) in sorted.iter().enumerate() {
        run = if at > 0 && sorted.get(at - 1) == Some(count) { run + 1 } else { 1 };
        if run > best.1 {
            best = (*count, run);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_together_tell_the_delimiter() {
        for (text, delimiter) in [
            ("a;b, c;d\ne;f;g, h, i\nj;k;l\n", b';'),
            ("\"a, b\"\t1\nc\t2\n", b'\t'),
            ("a|b|c\nd|e, f|g\n", b'|'),
            ("sep=;\na,b;c\n", b';'),
            ("\"a;b;c\",d\n\"e\",f\n", b','),
            ("one\ntwo\n", b','),
            ("# a;b;c\nd,e\n", b','),
        ] {
            assert_eq!(char::from(detect(text)), char::from(delimiter), "{text}");
        }
    }

    #[test]
    fn urls_with_a_delimiter_in_them_are_no_table() {
        for (lines, table) in [
            (vec!["http://a.example/x;y=1", "http://b.example/z;w=2"], false),
            (vec!["http://a.example/1,2.html"], false),
            (vec!["http://a.example/x?a=1|2", "http://b.example/x?b=3|4"], false),
            (vec!["http://a.example/x,2024-01-01,phishing", "http://b.example/y,2024-01-02,malware"], true),
            (vec!["http://a.example/x;Emotet", "http://b.example/y;Qakbot"], true),
            (vec!["\"http://a.example/x,y\",phishing"], true),
            (vec!["evil.example,c2", "bad.example,c2"], true),
            (vec!["198.51.100.1,198.51.100.9", "198.51.100.3,198.51.100.14"], false),
            (vec!["198.51.100.0,198.51.100.63", "203.0.113.0,203.0.113.255"], true),
        ] {
            assert_eq!(is_table(&lines), table, "{lines:?}");
        }
    }
}
