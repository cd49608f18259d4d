//! What a person at a terminal sees while something takes long, on standard error.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::escape::Escaped;

/// A bar over `total` things; nothing is drawn when standard error is not a terminal, or one that cannot move its cursor.
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

/// The same over bytes.
pub(super) fn bytes(total: u64, what: &str) -> ProgressBar {
    let bar = bar(total, what);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {msg} {bytes_per_sec} {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// A number with its noun: `1 line`, `2 lines`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A line on standard error for a person.
pub(super) fn note(text: &str) {
    line(&format!("hotlist: {text}"));
}

/// A line on standard error. Nothing is left to do when standard error is gone.
pub(super) fn line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", Escaped(text));
}
