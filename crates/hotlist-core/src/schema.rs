//! Schemas: the fields of events that are checked, and the kind and meaning of each.
//!
//! The data is one CSV file a schema in `schema/`, all of one form: the event's own path, its kind, the ECS field that it
//! means, its role, whether it is checked for collections and for CTI rules, and the STIX object paths that mean it.
//! [`FieldTable::trie`] compiles the rows that a snapshot can match into a [`PathTrie`], which the encoders' walkers step
//! through key by key; a subtree that the trie does not want is skipped by its length.

pub mod facts;
mod read;
mod row;
mod set;
mod shipped;
mod trie;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

use facts::FactTable;

pub use facts::Meaning;
pub use row::{Field, FieldKind, NamedList, Role, UrlPart};
pub use set::FieldSet;
pub use shipped::{MAX_SCHEMAS, head, names, number};
pub use trie::{NodeId, OwnPlace, PathTrie};

/// Index of a field in its [`FieldTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u16);

impl FieldId {
    /// The field of what is found in a text that no row names. No row of a table has this number.
    pub const TEXT: FieldId = FieldId(u16::MAX);
}

/// The row of [`FieldId::TEXT`]. A line that is not a document has its path.
static TEXT: LazyLock<Field> = LazyLock::new(|| Field::own("message", FieldKind::NotRead));

/// A fault of a schema.
#[derive(Debug, thiserror::Error)]
pub enum FieldError {
    /// A row of the CSV cannot be read.
    #[error("schema {schema}, line {line}: {reason}; expected `path,kind,ecs,role,collection,cti,stix_paths`")]
    Row {
        /// The schema's name, or its file.
        schema: String,
        /// Line in the table, from 1.
        line: u64,
        /// Its fault.
        reason: String,
    },
    /// No schema of this name is shipped.
    #[error("there is no schema `{name}`; there are {}", names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// The file of a schema cannot be read.
    #[error("schema {path}: {cause}")]
    Unreadable {
        /// The file.
        path: String,
        /// The cause.
        cause: std::io::Error,
    },
    /// The table has more rows than a [`FieldId`] can number.
    #[error("the schemas have more than {max} paths; name fewer in `match.schemas` or `match.fields`")]
    TooMany {
        /// The bound.
        max: usize,
    },
}

/// The fields that are checked, in table order.
#[derive(Clone, Debug, Default)]
pub struct FieldTable {
    fields: Vec<Field>,
    /// The rows by path.
    numbers: HashMap<String, FieldId>,
    /// Made when it is asked first, and again when a row changed.
    meanings: OnceLock<Meanings>,
    paths: OnceLock<PathTrie>,
    /// The same.
    facts: OnceLock<Arc<FactTable>>,
}

/// The rows by what means them.
#[derive(Clone, Debug, Default)]
struct Meanings {
    rows: HashMap<String, Vec<FieldId>>,
    /// The STIX paths, in the order of the rows.
    stix_paths: Vec<String>,
}

impl FieldTable {
    /// The most rows a table may have.
    pub const MAX_FIELDS: usize = 8192;

    /// The fields of ECS, with or without the extra ones.
    pub fn embedded(extra: bool) -> Result<FieldTable, FieldError> {
        FieldTable::of_schemas(if extra { &["ecs", "ecs-extra"] } else { &["ecs"] })
    }

    /// The fields of every shipped schema.
    pub fn shipped() -> Result<FieldTable, FieldError> {
        FieldTable::of_schemas(&names().collect::<Vec<_>>())
    }

    /// The fields of the shipped schemas with these names.
    pub fn of_schemas(wanted: &[&str]) -> Result<FieldTable, FieldError> {
        if let Some(name) = wanted.iter().find(|name| !names().any(|known| known == **name)) {
            return Err(FieldError::Unknown { name: (*name).to_owned() });
        }
        // The other tables refer to the rows of ECS.
        let is_ecs = |name: &str| name.starts_with("ecs");
        let mut ecs = FieldTable::default();
        let mut table = FieldTable::default();
        for (name, text) in shipped::TABLES.iter().filter(|(name, _)| is_ecs(name) || wanted.contains(name)) {
            let mut rows = read::rows(name, text, &ecs)?;
            rows.iter_mut().for_each(|row| row.schemas = vec![name]);
            if is_ecs(name) {
                rows.iter().try_for_each(|row| ecs.push(row.clone()).map(drop))?;
            }
            if wanted.contains(name) {
                rows.into_iter().try_for_each(|row| table.join(row))?;
            }
        }
        Ok(table)
    }

    /// Adds the rows of a schema of the user's own; `name` is for errors. Empty cells are taken from the rows of ECS.
    pub fn add_schema(&mut self, name: &str, text: &str) -> Result<(), FieldError> {
        let rows = read::rows(name, text, &FieldTable::embedded(true)?)?;
        rows.into_iter().try_for_each(|row| self.join(row))
    }

    /// Adds a field, or joins it with the one of the same path.
    fn join(&mut self, field: Field) -> Result<(), FieldError> {
        match self.id(&field.name) {
            Some(id) => {
                (self.meanings, self.facts) = (OnceLock::new(), OnceLock::new());
                self.fields[usize::from(id.0)].join(field);
                Ok(())
            }
            None => self.push(field).map(drop),
        }
    }

    /// Adds a field, or replaces the one of the same name.
    pub fn push(&mut self, field: Field) -> Result<FieldId, FieldError> {
        (self.meanings, self.paths, self.facts) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        if let Some(id) = self.id(&field.name) {
            self.fields[usize::from(id.0)] = field;
            return Ok(id);
        }
        if self.fields.len() == FieldTable::MAX_FIELDS {
            return Err(FieldError::TooMany { max: FieldTable::MAX_FIELDS });
        }
        let id = FieldId(self.fields.len() as u16);
        self.numbers.insert(field.name.clone(), id);
        self.fields.push(field);
        Ok(id)
    }

    /// The row of a field.
    pub fn get(&self, id: FieldId) -> &Field {
        match id {
            FieldId::TEXT => &TEXT,
            id => &self.fields[usize::from(id.0)],
        }
    }

    /// Scans the values of a field as text (`match.text`), in addition to what the field is read as.
    pub fn add_text(&mut self, name: &str) -> Result<(), FieldError> {
        let id = match self.id(name) {
            Some(id) => id,
            None => self.push(Field::own(name, FieldKind::NotRead))?,
        };
        self.fields[usize::from(id.0)].is_text = true;
        Ok(())
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
        self.numbers.get(name).copied()
    }

    /// The fields that a STIX object path means, empty when the table does not know the path. The path must be
    /// written as in the table (`file:hashes.'SHA-256'`); `a&b` for the two that only together mean a field. The name of a
    /// field is a path, too: it means this field, and those of other schemas that mean it.
    pub fn by_stix_path(&self, path: &str) -> Vec<FieldId> {
        self.meanings().rows.get(path).cloned().unwrap_or_default()
    }

    /// Every STIX path of the table once, with the kind of the fields that it means: a field of one kind decides, if there
    /// is one.
    pub fn stix_paths(&self) -> impl Iterator<Item = (&str, FieldKind)> {
        let meanings = self.meanings();
        meanings.stix_paths.iter().filter_map(|path| {
            let kinds = || meanings.rows.get(path).into_iter().flatten().map(|id| self.get(*id).kind);
            let kind = kinds().find(|kind| matches!(kind, FieldKind::Of(_))).or_else(|| kinds().next())?;
            Some((path.as_str(), kind))
        })
    }

    fn meanings(&self) -> &Meanings {
        self.meanings.get_or_init(|| {
            let mut meanings = Meanings::default();
            for (id, field) in self.iter().filter(|(_, field)| field.kind != FieldKind::NotRead) {
                let own = [field.name.as_str(), field.meaning()].into_iter().map(|path| (path, false));
                for (path, is_stix) in own.chain(field.stix_paths.iter().map(|path| (path.as_str(), true))) {
                    let rows = meanings.rows.entry(path.to_owned()).or_default();
                    if is_stix && rows.is_empty() {
                        meanings.stix_paths.push(path.to_owned());
                    }
                    if rows.last() != Some(&id) {
                        rows.push(id);
                    }
                }
            }
            meanings
        })
    }

    /// The trie of every row.
    pub fn paths(&self) -> &PathTrie {
        self.paths.get_or_init(|| self.trie(|_, _| true))
    }

    /// The fields that say something of an event besides its observables.
    pub fn facts(&self) -> &Arc<FactTable> {
        self.facts.get_or_init(|| Arc::new(FactTable::new(self)))
    }

    /// The trie of the fields that `wanted` accepts.
    pub fn trie(&self, mut wanted: impl FnMut(FieldId, &Field) -> bool) -> PathTrie {
        let rows = self.iter().map(|(id, field)| (field.name.as_str(), wanted(id, field).then_some(id)));
        PathTrie::with_lists(rows, self.lists())
    }

    /// The lists of named values, by their paths.
    pub fn lists(&self) -> impl Iterator<Item = (&str, &NamedList)> {
        let rows = self.fields.iter().filter(|field| !field.named.is_empty());
        rows.map(|field| (field.name.as_str(), &field.named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "path,kind,ecs,role,collection,cti,stix_paths\n";

    #[test]
    fn every_shipped_table_loads_and_joins_with_the_others() {
        let (all, ecs) = (FieldTable::shipped().unwrap(), FieldTable::embedded(true).unwrap());
        assert!(all.iter().all(|(id, field)| !field.schemas.is_empty() && all.id(&field.name) == Some(id)));
        for name in names() {
            let alone = FieldTable::of_schemas(&[name]).unwrap();
            assert!(!alone.is_empty(), "{name}");
            for (_, field) in alone.iter() {
                let joined = all.get(all.id(&field.name).unwrap());
                assert!(joined.schemas.contains(&name), "{name}: {}", field.name);
                assert!(joined.collection >= field.collection && joined.cti >= field.cti, "{name}: {}", field.name);
                // Its meaning is a field of ECS.
                assert!(
                    field.ecs.as_deref().is_none_or(|means| means == "@timestamp" || ecs.id(means).is_some()),
                    "{name}: {}",
                    field.name
                );
                // The host of a URL in parts is read, too.
                for UrlPart::After(part) | UrlPart::Query(part) in &field.url_parts {
                    assert!(all.id(part).is_some(), "{name}: {} has its other part nowhere", field.name);
                }
            }
        }
    }

    #[test]
    fn a_bad_row_names_its_schema_and_line() {
        let refused = |text: &str| match FieldTable::default().add_schema("mine.csv", text).unwrap_err() {
            FieldError::Row { schema, line, reason } => (schema, line, reason),
            other => panic!("{other}"),
        };
        for (row, named) in [
            ("a.b,nonsense,,,yes,yes,", "`nonsense`"),
            ("a..b,ip,,,yes,yes,", "`a..b`"),
            ("a,ip,,boss,yes,yes,", "`boss`"),
            ("a,ip,,,maybe,yes,", "`maybe`"),
            ("a,ip,,,yes,,", "`cti`"),
            ("a,ip,none.such,,,yes,", "`none.such`"),
        ] {
            let text = format!("# a comment\n{HEADER}ok,ip,source.ip,,,,\n{row}\n");
            let (schema, line, reason) = refused(&text);
            assert_eq!((schema.as_str(), line, reason.contains(named)), ("mine.csv", 4, true), "{row}: {reason}");
        }
        let (schema, line, reason) = refused("field,kind\na,ip\n");
        assert_eq!((schema.as_str(), line, reason.contains("`field,kind`")), ("mine.csv", 1, true), "{reason}");
    }

    #[test]
    fn a_path_of_two_schemas_is_checked_for_what_either_means() {
        let mut table = FieldTable::default();
        table
            .add_schema("one", &format!("{HEADER}x,ip,source.ip,initiator,,no,\ny,ip,source.ip,,,,\nz,-,,,,,\n"))
            .unwrap();
        table
            .add_schema(
                "two",
                &format!(
                    "{HEADER}x,domain,destination.domain,responder,no,,\ny,ip,source.ip,,,,\nz,ip,source.ip,,,,\n"
                ),
            )
            .unwrap();
        let [x, y, z] = ["x", "y", "z"].map(|name| table.get(table.id(name).unwrap()));
        assert_eq!((x.kind, x.role, x.meaning(), x.collection, x.cti), (FieldKind::Any, Role::None, "x", true, true));
        assert!(
            ["ipv4-addr:value", "domain-name:value"].iter().all(|path| x.stix_paths.iter().any(|known| known == path))
        );
        assert_eq!((y.kind, y.meaning()), (FieldKind::Of(crate::observable::Kind::Ip), "source.ip"));
        assert_eq!(z.kind, y.kind);
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
