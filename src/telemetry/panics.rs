//! Logs panics. The standard library's hook writes to standard error itself, and so would wait for a stalled reader.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use metrics::counter;

use super::PANICS_TOTAL;
use crate::escape::Escaped;

/// Logs and counts every panic of the process from now on.
pub(super) fn install() {
    std::panic::set_hook(Box::new(log));
}

fn log(panic: &PanicHookInfo<'_>) {
    counter!(PANICS_TOTAL).increment(1);
    let thread = std::thread::current();
    let (thread, message) = (thread.name().unwrap_or("unnamed"), panic.payload_as_str().unwrap_or("no message"));
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => {
            tracing::error!(thread, location, backtrace = %Escaped(&backtrace), "panic: {}", Escaped(message));
        }
        _ => tracing::error!(thread, location, "panic: {}", Escaped(message)),
    }
}
