//! The ECS field table: which fields of an event are checked, as what, for whom.
//!
//! The data is `schema/ecs.csv`, one row a field. [`FieldTable::trie`] compiles the rows that a snapshot
//! can match into a [`PathTrie`], which the encoders' walkers step through key by key; a subtree that the trie does
//! not want is skipped by its length.

mod set;
mod trie;

pub use set::FieldSet;
pub use trie::{NodeId, PathTrie};

use crate::observable::Kind;

/// The field table as shipped, `field,kind,collection,cti,stix_paths,origin`.
const EMBEDDED: &str = include_str!("schema/ecs.csv");

/// Index of a field in its [`FieldTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u16);

/// What a field is declared to hold. The value may still decide otherwise (an IP literal in a domain field).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// One kind of observable.
    Of(Kind),
    /// A hash whose kind its length decides.
    Hash,
    /// Address, domain or e-mail, decided per value.
    Auto,
}

impl FieldKind {
    /// Parses the `kind` column.
    pub fn parse(word: &str) -> Option<FieldKind> {
        match word {
            "hash" => Some(FieldKind::Hash),
            "auto" => Some(FieldKind::Auto),
            other => Kind::parse(other).map(FieldKind::Of),
        }
    }

    /// The word of the `kind` column.
    pub fn as_str(self) -> &'static str {
        match self {
            FieldKind::Of(kind) => kind.as_str(),
            FieldKind::Hash => "hash",
            FieldKind::Auto => "auto",
        }
    }
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Dotted ECS path, e.g. `dns.question.name`.
    pub name: String,
    /// What it is declared to hold.
    pub kind: FieldKind,
    /// Whether indicators of collections are looked for here.
    pub collection: bool,
    /// Whether indicators of CTI rules are looked for here.
    pub cti: bool,
    /// STIX object paths that mean this field. `a&b` means that both together do (directory and file name).
    pub stix_paths: Vec<String>,
    /// Whether the row is one of the `extra` rows, which can be turned off.
    pub extra: bool,
}

/// What is wrong with a field table.
#[derive(Debug, thiserror::Error)]
pub enum FieldError {
    /// A row of the CSV cannot be read.
    #[error("field table line {line}: {reason}; expected `field,kind,collection,cti,stix_paths,origin`")]
    Row {
        /// Line in the table, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The table has more rows than a [`FieldId`] can number.
    #[error("the field table has more than {max} rows; remove fields from `match.fields`")]
    TooMany {
        /// The bound.
        max: usize,
    },
}

/// The fields that are checked, in table order.
#[derive(Clone, Debug)]
pub struct FieldTable {
    fields: Vec<Field>,
}

impl FieldTable {
    /// The most rows a table may have.
    pub const MAX_FIELDS: usize = 4096;

    /// The shipped table, with or without its `extra` rows.
    pub fn embedded(extra: bool) -> Result<FieldTable, FieldError> {
        let mut table = FieldTable::parse(EMBEDDED)?;
        table.fields.retain(|field| extra || !field.extra);
        Ok(table)
    }

    /// Reads a table from CSV text with a header line.
    pub fn parse(text: &str) -> Result<FieldTable, FieldError> {
        let mut table = FieldTable { fields: Vec::new() };
        let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
        for (index, record) in reader.records().enumerate() {
            let line = index + 2;
            let row = |reason: String| FieldError::Row { line, reason };
            let record = record.map_err(|error| row(error.to_string()))?;
            let column = |at: usize| record.get(at).unwrap_or("").trim();
            let kind =
                FieldKind::parse(column(1)).ok_or_else(|| row(format!("`{}` is no kind of observable", column(1))))?;
            let yes = |at: usize| match column(at) {
                "yes" => Ok(true),
                "no" => Ok(false),
                other => Err(row(format!("`{other}` is neither `yes` nor `no`"))),
            };
            table.push(Field {
                name: column(0).to_owned(),
                kind,
                collection: yes(2)?,
                cti: yes(3)?,
                stix_paths: column(4).split('|').filter(|path| !path.is_empty()).map(str::to_owned).collect(),
                extra: column(5) == "extra",
            })?;
        }
        Ok(table)
    }

    /// Adds a field, or replaces the one of the same name.
    pub fn push(&mut self, field: Field) -> Result<FieldId, FieldError> {
        if let Some(at) = self.fields.iter().position(|known| known.name == field.name) {
            self.fields[at] = field;
            return Ok(FieldId(at as u16));
        }
        if self.fields.len() == FieldTable::MAX_FIELDS {
            return Err(FieldError::TooMany { max: FieldTable::MAX_FIELDS });
        }
        self.fields.push(field);
        Ok(FieldId((self.fields.len() - 1) as u16))
    }

    /// The row of a field.
    pub fn get(&self, id: FieldId) -> &Field {
        &self.fields[usize::from(id.0)]
    }

    /// Every row with its id, in table order.
    pub fn iter(&self) -> impl Iterator<Item = (FieldId, &Field)> {
        self.fields.iter().enumerate().map(|(at, field)| (FieldId(at as u16), field))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether the table has no rows.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The id of a field by its dotted name.
    pub fn id(&self, name: &str) -> Option<FieldId> {
        self.iter().find(|(_, field)| field.name == name).map(|(id, _)| id)
    }

    /// The fields that a STIX object path means, empty when the table does not know the path. The path must be
    /// written as in the table (`file:hashes.'SHA-256'`); `a&b` for the two that only together mean a field. The name of a
    /// field is a path that means this field alone.
    pub fn by_stix_path(&self, path: &str) -> Vec<FieldId> {
        let means = |field: &Field| field.name == path || field.stix_paths.iter().any(|known| known == path);
        self.iter().filter(|(_, field)| means(field)).map(|(id, _)| id).collect()
    }

    /// The trie of the fields that `wanted` accepts.
    pub fn trie(&self, mut wanted: impl FnMut(FieldId, &Field) -> bool) -> PathTrie {
        PathTrie::new(self.iter().filter(|(id, field)| wanted(*id, field)).map(|(id, field)| (field.name.as_str(), id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_table_loads_and_every_required_row_stays_without_the_extra_ones() {
        let all = FieldTable::embedded(true).unwrap();
        let required = FieldTable::embedded(false).unwrap();
        assert!(all.len() > required.len());
        assert!(required.iter().all(|(_, field)| !field.extra));
        assert_eq!(all.iter().filter(|(_, field)| !field.extra).count(), required.len());
    }

    #[test]
    fn a_bad_row_names_its_line() {
        let error = FieldTable::parse("field,kind,collection,cti,stix_paths,origin\na.b,nonsense,yes,yes,,extra\n");
        assert!(error.unwrap_err().to_string().starts_with("field table line 2: `nonsense`"));
    }

    #[test]
    fn a_field_of_the_same_name_is_replaced() {
        let mut table = FieldTable::embedded(true).unwrap();
        let (before, id) = (table.len(), table.id("user.name").unwrap());
        let field = Field { kind: FieldKind::Auto, ..table.get(id).clone() };
        assert_eq!(table.push(field).unwrap(), id);
        assert_eq!(table.len(), before);
        assert_eq!(table.get(id).kind, FieldKind::Auto);
    }
}
