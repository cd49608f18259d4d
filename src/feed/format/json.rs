//! JSON objects of any shape, one a line, in arrays, in pages, or under their ids. The configuration says at which paths
//! what is; without one the keys of objects are read as the header words of CSV are.

mod members;
mod path;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::feed::classify;
use crate::feed::collect::Collector;
use crate::feed::declared::{TypeWord, type_word};
use crate::feed::layout::{self, Column, Layout};
use crate::feed::reading::document::{self, MAX_DEPTH, Piece};
use crate::feed::reading::input::Input;
use crate::feed::row::{Cells, Present, Role, Row};
use crate::feed::understood::Understood;
use crate::feed::{FeedError, FeedOptions};
use crate::schema::FieldTable;
use members::Members;
use path::{Path, Step};

/// Levels of arrays and objects within each other that are searched: each takes stack, and is parsed again by the level
/// around it.
const MAX_LEVELS: usize = 2 * MAX_DEPTH;
/// The most values that one object may hold at a path.
const MAX_VALUES: usize = 1024;

/// Imports JSON objects.
pub(in crate::feed) fn import(
    input: Input<'_>,
    options: &FeedOptions,
    table: &FieldTable,
    collector: &mut Collector,
) -> Result<(), FeedError> {
    let file = input.file();
    let paths: Vec<Path> = options.columns.named().map(|(_, role, path)| Path::parse(role, path)).collect();
    let mut objects = Objects { options, table, found: 0, listed: 0, understood: Understood::default() };
    let is_mapped = options.columns.value.is_some();
    if is_mapped {
        for (_, role, path) in options.columns.named() {
            objects.understood.column(0, path, role);
        }
    }
    document::each(input, collector, |piece, collector| match is_mapped {
        true => objects.mapped(piece, &paths, 0, collector),
        false => objects.by_keys(piece, &Said::default(), 0, collector),
    })?;
    if !is_mapped && objects.found == 0 {
        return Err(FeedError::NoMapping { file: file.to_owned() });
    }
    collector.understood(objects.understood);
    Ok(())
}

const TOO_DEEP: &str = "nested too deep";

struct Objects<'o> {
    options: &'o FeedOptions,
    table: &'o FieldTable,
    /// How many rows there were.
    found: usize,
    /// How many objects without a row are listed.
    listed: usize,
    understood: Understood,
}

/// The context of a value from the objects around it.
#[derive(Clone, Default)]
struct Said {
    cells: Cells,
    columns: Vec<Column>,
}

impl Said {
    fn push(&mut self, column: Column, text: &str) {
        if self.columns.len() < MAX_VALUES {
            self.cells.push(text);
            self.columns.push(column);
        }
    }
}

impl Objects<'_> {
    /// The rows of a top-level value. One in which nothing is at the path of the value is listed.
    fn mapped(&mut self, piece: Piece<'_>, paths: &[Path], depth: usize, collector: &mut Collector) {
        if depth > MAX_LEVELS {
            return collector.unusable(piece.line, TOO_DEEP, piece.json);
        }
        if let Some(elements) = piece.elements() {
            return elements.for_each(|inner| self.mapped(inner, paths, depth + 1, collector));
        }
        let steps: Vec<(Role, &[Step])> = paths.iter().map(|path| (path.role, path.steps.as_slice())).collect();
        let shown = self.options.columns.value.as_deref().unwrap_or_default();
        if !piece.json.starts_with('{') {
            return collector.unusable(piece.line, "no JSON object", piece.json);
        }
        if !self.walk(piece, &steps, &Said::default(), 0, true, collector) {
            collector.unusable(piece.line, format!("nothing is at `{shown}`"), piece.json);
        }
    }

    /// Follows the path of the value from here; the others go along as far as they are the same, so that each element of
    /// an array is a row with the members next to it. Returns whether a value was found. While `is_searching`, objects that
    /// have no such key may be pages or tables by id, and hold those that have.
    fn walk(
        &mut self,
        piece: Piece<'_>,
        paths: &[(Role, &[Step])],
        said: &Said,
        depth: usize,
        is_searching: bool,
        collector: &mut Collector,
    ) -> bool {
        if depth > MAX_LEVELS {
            collector.unusable(piece.line, TOO_DEEP, piece.json);
            return true;
        }
        let main = paths.iter().find(|(role, _)| *role == Role::Main).map_or(&[][..], |(_, steps)| *steps);
        let Some((step, _)) = main.split_first() else {
            return self.leaf(piece, paths, said, collector);
        };
        if let Some(elements) = piece.elements() {
            let mut any = false;
            for (at, element) in elements.enumerate() {
                let below: Vec<(Role, &[Step])> = match step {
                    Step::Element(_) | Step::Any if path::takes_element(step, at) => path::advanced(paths, step, 1),
                    Step::Element(_) => continue,
                    _ => paths.to_vec(),
                };
                let found = self.walk(element, &below, said, depth + 1, is_searching, collector);
                let is_object = element.json.starts_with('{');
                if !found && is_object {
                    collector.unusable(element.line, "nothing is at the path of the value", element.json);
                }
                any |= found || is_object;
            }
            return any;
        }
        let Some(members) = Members::read(piece.json) else { return false };
        let lines: Vec<Piece<'_>> = piece.parts(members.iter().map(|(_, value)| *value)).collect();
        let mut any = false;
        for (number, ((key, value), member)) in members.iter().zip(&lines).enumerate() {
            for taken in path::takes_key(main, key) {
                let mut said = said.clone();
                let mut along = Vec::new();
                for (role, steps) in paths {
                    let is_main = *role == Role::Main;
                    if is_main || path::is_same_start(steps, main, taken) {
                        along.push((*role, steps.get(taken..).unwrap_or_default()));
                    } else {
                        let mut texts = Vec::new();
                        at(&members, steps, number, &mut texts);
                        texts.iter().for_each(|text| said.push(Column::with_role(*role), text));
                    }
                }
                let _ = value;
                any |= self.walk(*member, &along, &said, depth + 1, false, collector);
            }
        }
        if any || !is_searching {
            return any;
        }
        for member in lines.iter().filter(|member| member.json.starts_with(['{', '['])) {
            any |= self.walk(*member, paths, said, depth + 1, true, collector);
        }
        any
    }

    /// The value itself: a text, or an array of texts. What goes along with it ends here, too, or is not there.
    fn leaf(&mut self, piece: Piece<'_>, paths: &[(Role, &[Step])], said: &Said, collector: &mut Collector) -> bool {
        let Ok(value) = serde_json::from_str::<Value>(piece.json) else { return false };
        let mut row = said.clone();
        for (role, steps) in paths {
            let mut texts = Vec::new();
            within(&value, steps, &mut texts);
            texts.iter().for_each(|text| row.push(Column::with_role(*role), text));
        }
        if !row.columns.iter().any(|column| column.role == Role::Main) {
            return false;
        }
        self.row(&row, piece.line, collector);
        true
    }

    /// The rows of a value whose keys say what they are.
    fn by_keys(&mut self, piece: Piece<'_>, said: &Said, depth: usize, collector: &mut Collector) {
        if depth > MAX_LEVELS {
            return collector.unusable(piece.line, TOO_DEEP, piece.json);
        }
        if let Some(elements) = piece.elements() {
            return elements.for_each(|inner| self.by_keys(inner, said, depth + 1, collector));
        }
        let Some(members) = Members::read(piece.json) else {
            if depth == 0 {
                collector.unusable(piece.line, "no JSON object", piece.json);
            }
            return;
        };
        let keys: Vec<&str> = members.iter().map(|(key, _)| key.as_ref()).collect();
        let layout = Layout::recognise(&keys);
        let mut inner = Vec::new();
        let mut cells = Vec::new();
        for ((key, value), member) in members.iter().zip(piece.parts(members.iter().map(|(_, value)| *value))) {
            let mut texts = Vec::new();
            if !holds_objects(value)
                && let Ok(value) = serde_json::from_str::<Value>(value.get())
            {
                within(&value, &[], &mut texts);
            } else {
                inner.push((key, member));
            }
            cells.push((key.as_ref(), layout::column(key, layout), texts));
        }
        settle(&mut cells);
        let mut row = said.clone();
        for (_, column, texts) in &cells {
            texts.iter().for_each(|text| row.push(*column, text));
        }
        let has =
            |roles: &[Role]| cells.iter().any(|(_, column, texts)| roles.contains(&column.role) && !texts.is_empty());
        let has_value = has(&[Role::Main, Role::Hash, Role::Digest, Role::Prefix]);
        let before = (self.found, self.listed);
        if has_value {
            if self.found == 0 {
                self.understood.layout = layout.map(|layout| layout.title);
                cells.iter().for_each(|(key, column, _)| self.understood.column(0, key, column.role));
            }
            self.row(&row, piece.line, collector);
        }
        // The statements of an object hold for the objects inside, but for its own value.
        let mut around = Said::default();
        for (column, cell) in row.columns.iter().zip(row.cells.iter()) {
            let is_own = column.role.is_value()
                || matches!(
                    column.role,
                    Role::Id | Role::Kind | Role::Ignored | Role::Digest | Role::Status | Role::Active
                );
            if !is_own {
                around.push(*column, cell);
            }
        }
        // An object that is an indicator is described by the objects in it: those are indicators only where their key says so.
        let is_indicator =
            cells.iter().any(|(_, column, texts)| column.role == Role::Main && column.is_known && texts.len() == 1);
        for (key, member) in inner {
            match is_indicator && !holds_records(key) {
                true => self.understood.context(key),
                false => self.by_keys(member, &around, depth + 1, collector),
            }
        }
        // An object that names its type and of which nothing is understood is not passed over.
        if let Some(word) = declared_type(&cells)
            && (self.found, self.listed) == before
        {
            self.listed += 1;
            collector.unusable(
                piece.line,
                format!("no key is known to hold the `{word}` that is declared"),
                piece.json,
            );
        }
    }

    fn row(&mut self, row: &Said, line: u32, collector: &mut Collector) {
        self.found += 1;
        let (columns, beyond) = (&row.columns, Role::Ignored);
        let present = Present::from_columns(columns, beyond);
        Row { cells: &row.cells, line, columns, beyond, present, order: None }.import(
            self.options,
            self.table,
            collector,
        );
    }
}

/// Keys that are only guessed to hold values do when their object has no key that is known to, and when everything that
/// they hold is one.
fn settle(cells: &mut [(&str, Column, Vec<String>)]) {
    let is_known = |(_, column, texts): &(&str, Column, Vec<String>)| {
        column.is_known && matches!(column.role, Role::Main | Role::Hash) && !texts.is_empty()
    };
    let has_known = cells.iter().any(is_known);
    for (_, column, texts) in cells {
        let is_guess = column.role == Role::Main && !column.is_known;
        let holds_values = !texts.is_empty() && texts.iter().all(|text| classify::untyped(text).is_some());
        if column.role == Role::Value || (is_guess && (has_known || !holds_values)) {
            column.role = Role::Ignored;
        }
    }
}

/// The type of a value that an object declares itself to be, if it is one that can be looked for.
fn declared_type<'c>(cells: &'c [(&str, Column, Vec<String>)]) -> Option<&'c str> {
    let mut types = cells.iter().filter(|(_, column, _)| column.role == Role::Kind).flat_map(|(_, _, texts)| texts);
    types
        .find(|word| matches!(type_word(word), TypeWord::Declared(declared) if !declared.is_hash()))
        .map(String::as_str)
}

/// Keys of arrays and tables of records, in lower case: what is in them stands for itself.
const RECORDS: [&str; 27] = [
    "attribute",
    "attributes",
    "data",
    "entries",
    "event",
    "events",
    "feed",
    "file",
    "files",
    "hits",
    "indicator",
    "indicators",
    "ioc",
    "iocs",
    "items",
    "list",
    "object",
    "objects",
    "observable",
    "observables",
    "page",
    "pages",
    "records",
    "response",
    "result",
    "results",
    "rows",
];

/// Whether a key says that it holds records.
fn holds_records(key: &str) -> bool {
    RECORDS.contains(&key.to_ascii_lowercase().as_str())
}

/// Whether a value is an object, or an array with one in it.
fn holds_objects(value: &RawValue) -> bool {
    let json = value.get();
    json.starts_with('{') || (json.starts_with('[') && json.contains('{'))
}

/// The texts at a path from the members of an object, but for one of them that is followed by itself.
fn at(members: &Members<'_>, steps: &[Step], without: usize, texts: &mut Vec<String>) {
    for (_, (key, value)) in members.iter().enumerate().filter(|(at, _)| *at != without) {
        for taken in path::takes_key(steps, key) {
            if let Ok(value) = serde_json::from_str::<Value>(value.get()) {
                within(&value, steps.get(taken..).unwrap_or_default(), texts);
            }
        }
    }
}

/// The texts at a path within a value. Of an array every element counts.
fn within(value: &Value, steps: &[Step], texts: &mut Vec<String>) {
    if texts.len() == MAX_VALUES {
        return;
    }
    match value {
        Value::Array(elements) => {
            for (at, element) in elements.iter().enumerate() {
                match steps.split_first() {
                    Some((step @ (Step::Element(_) | Step::Any), rest)) if path::takes_element(step, at) => {
                        within(element, rest, texts);
                    }
                    Some((Step::Element(_), _)) => {}
                    _ => within(element, steps, texts),
                }
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                for taken in path::takes_key(steps, key) {
                    within(value, steps.get(taken..).unwrap_or_default(), texts);
                }
            }
        }
        _ if !steps.is_empty() => {}
        Value::String(text) => texts.push(text.clone()),
        Value::Number(number) => texts.push(number.to_string()),
        Value::Bool(flag) => texts.push(flag.to_string()),
        Value::Null => {}
    }
}

#[cfg(test)]
mod tests;
