//! The path of the data that other people wrote and that is not part of this repository.

use std::path::{Path, PathBuf};

/// A file or folder of the shared data, in `../shared` next to the package or where `HOTLIST_SHARED` says. A test that
/// calls this is marked `#[ignore = "needs ../shared"]`.
pub fn shared(part: &str) -> PathBuf {
    let root = std::env::var_os("HOTLIST_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(part);
    assert!(path.exists(), "{} is missing; set HOTLIST_SHARED to the folder of the shared data", path.display());
    path
}
