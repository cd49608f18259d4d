//! Names that a node and a control plane must agree on: those of nodes, tenants and publications become parts of paths,
//! so invalid ones are refused before any path is built.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;

/// The name of the file that marks the cache directory of a node.
pub const CACHE_MARKER: &str = "hotlist-cache";

/// The maximum length of a name in bytes, as of a DNS label.
pub const MAX_NAME: usize = 63;

/// A valid name: `[a-z0-9.-]{1,63}`, not `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// A text is not a valid name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a valid name: give 1 to 63 characters of a-z, 0-9, `.` and `-`, but not `.` or `..`")]
pub struct NameError(String);

impl Name {
    /// Parses a name.
    ///
    /// # Errors
    /// The text is not a valid name.
    pub fn parse(text: &str) -> Result<Name, NameError> {
        let fits = (1..=MAX_NAME).contains(&text.len());
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
        if fits && text.bytes().all(plain) && text != "." && text != ".." {
            return Ok(Name(text.to_owned()));
        }
        // Input from a peer may be long, so only its beginning is shown.
        Err(NameError(text.chars().take(MAX_NAME + 1).collect()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether a directory is marked as the cache of a node.
pub fn is_cache(directory: &Path) -> bool {
    directory.join(CACHE_MARKER).exists()
}

/// Returns a random number for names that must be unique.
pub fn random_id() -> u64 {
    // The standard library keys each of its hashers from the system's entropy.
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_directory() {
        for good in ["a", "node-1", "eu.west-2", "...", "-", &"x".repeat(63)] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "../a", "a/b", "A", "a_b", "a b", "a\0", "ä", "_", &"x".repeat(64)] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Name::parse(&"y".repeat(9000)).unwrap_err().to_string().len() < 200);
    }
}
