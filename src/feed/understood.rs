//! Records how a file was read, and every guess, to show to users.

use super::row::Role;

/// The guess of an importer for a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Understood {
    /// The publisher whose layout was recognised.
    pub layout: Option<&'static str>,
    /// The separator of cells.
    pub delimiter: Option<char>,
    /// The line of the header, where there is one.
    pub header: Option<u64>,
    /// The meaning of each column, or of each path of JSON objects.
    pub columns: Vec<ColumnMeaning>,
}

/// The guess for a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnMeaning {
    /// Its number from 1; 0 for a path.
    pub number: usize,
    /// The header's word, or the path; empty without a header.
    pub name: String,
    /// Its meaning in a word or two: `value`, `type`, `first seen`, `not used`.
    pub meaning: &'static str,
}

impl Understood {
    /// The longest header word that is kept, in characters.
    const MAX_NAME: usize = 60;
    /// The most columns that are kept.
    const MAX_COLUMNS: usize = 200;

    /// Records that objects at a key are context.
    pub(super) fn context(&mut self, key: &str) {
        let name: String = key.trim().chars().take(Self::MAX_NAME).collect();
        let meaning = "context, not searched for values";
        match self.columns.iter().position(|column| column.name == name) {
            Some(at) => self.columns[at].meaning = meaning,
            None if self.columns.len() < Self::MAX_COLUMNS => {
                self.columns.push(ColumnMeaning { number: 0, name, meaning })
            }
            None => {}
        }
    }

    pub(super) fn column(&mut self, number: usize, name: &str, role: Role) {
        if self.columns.len() < Self::MAX_COLUMNS {
            let name = name.trim().chars().take(Self::MAX_NAME).collect();
            self.columns.push(ColumnMeaning { number, name, meaning: role.as_str() });
        }
    }
}
