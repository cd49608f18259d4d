//! The Python whose packages are clients that nobody here wrote.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter: `HOTLIST_PYTHON`, else the one that `.ci/run` prepares.
pub fn interpreter() -> PathBuf {
    std::env::var_os("HOTLIST_PYTHON")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python"), PathBuf::from)
}

/// The interpreter, which has these modules. A test that calls this is marked `#[ignore = "needs the Python client"]`.
pub fn python(modules: &str) -> PathBuf {
    let python = interpreter();
    let found = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "{} is missing or cannot import {modules}; `.ci/run` installs them, or set HOTLIST_PYTHON",
        python.display()
    );
    python
}
