//! Lists every version that the store keeps, for people who choose a version to roll back to.

use std::collections::BTreeMap;

use super::publication::Publication;
use super::publish::{list, parse_kept};
use super::{Store, StoreError};
use crate::intel::manifest::Mode;
use crate::names::Name;

/// A version that the store keeps.
#[derive(Clone, Debug)]
pub struct KeptVersion {
    pub publication: Publication,
    /// Whether it is the active version of its name and mode.
    pub is_active: bool,
}

impl Store {
    /// Returns the kept versions of a name, or of all names, the newest of each name and mode first, and the errors of
    /// unusable files.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn catalogue(&self, name: Option<&Name>) -> Result<(Vec<KeptVersion>, Vec<String>), StoreError> {
        let (mut found, mut unusable) = (BTreeMap::new(), Vec::new());
        // The active version overrides its copy in the history.
        for (path, is_active) in [(self.history(), false), (self.publications(), true)]
            .into_iter()
            .map(|(directory, is_active)| Ok(list(&directory)?.into_iter().map(move |path| (path, is_active))))
            .collect::<Result<Vec<_>, StoreError>>()?
            .into_iter()
            .flatten()
        {
            let read = if is_active { Publication::read(&path) } else { Publication::read_any(&path) };
            match read {
                Ok(publication) => {
                    let of = (publication.name.clone(), mode_number(publication.manifest.mode));
                    let version = std::cmp::Reverse(publication.manifest.version);
                    found.insert((of, version), KeptVersion { publication, is_active });
                }
                // The file was removed meanwhile, or has another name.
                Err(_) if !path.exists() => {}
                Err(_) if !is_active && parse_kept(&path).is_none() => {}
                Err(error) => unusable.push(format!("{}: {error}", path.display())),
            }
        }
        let wanted = |one: &KeptVersion| name.is_none_or(|name| one.publication.name == *name);
        Ok((found.into_values().filter(wanted).collect(), unusable))
    }
}

/// The sort order of modes: live first.
fn mode_number(mode: Mode) -> u8 {
    match mode {
        Mode::Serve => 0,
        Mode::Shadow => 1,
    }
}
