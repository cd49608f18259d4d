//! The system's Python, for scripts that need no packages.

use std::process::Command;

pub fn system_python() -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}
