//! The path of grpcurl for the tests.

use std::path::PathBuf;
use std::process::Command;

use crate::python::interpreter;

/// grpcurl, which `.ci/run` installs next to the interpreter. A test that calls this is marked `#[ignore = "needs
/// grpcurl"]`.
pub fn grpcurl() -> PathBuf {
    let grpcurl = interpreter().with_file_name("grpcurl");
    let found = Command::new(&grpcurl).arg("-version").output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "{} is missing; `.ci/run` installs it, or set HOTLIST_PYTHON to a Python that has it beside it",
        grpcurl.display()
    );
    grpcurl
}
