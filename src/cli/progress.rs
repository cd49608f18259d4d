//! Progress on standard error, for a person at a terminal.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::escape::Escaped;

/// A progress bar over `total` items; not drawn unless standard error is a terminal that can move its cursor.
pub(super) fn bar(total: u64, what: &str) -> ProgressBar {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let target = if is_dumb { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    // The template is a constant that the tests draw once.
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {per_sec} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A progress bar over bytes.
pub(super) fn bytes(total: u64, what: &str) -> ProgressBar {
    let bar = bar(total, what);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {msg} {bytes_per_sec} {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// Writes a line to standard error for a person.
pub(super) fn write_line(text: &str) {
    line(&format!("hotlist: {text}"));
}

/// Writes a line to standard error, and ignores errors of standard error.
pub(super) fn line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", Escaped(text));
}
