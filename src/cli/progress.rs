//! What a person at a terminal sees while something takes long, on standard error.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::escape::Escaped;

/// A bar over `total` things; nothing is drawn when standard error is no terminal.
pub(super) fn bar(total: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(total);
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

/// A line on standard error.
#[expect(clippy::print_stderr, reason = "this is the one place that talks to the person at the terminal")]
pub(super) fn note(text: &str) {
    eprintln!("hotlist: {}", Escaped(text));
}
