//! Where the tests find data that other people wrote and that is not part of this repository.

use std::path::{Path, PathBuf};

/// The shared path, or why it is not there. `HOTLIST_SHARED` overrides `../shared` beside the package.
pub fn shared(part: &str) -> Result<PathBuf, String> {
    let root = std::env::var_os("HOTLIST_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(part);
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{} is missing; set HOTLIST_SHARED to the shared data", path.display())),
    }
}
