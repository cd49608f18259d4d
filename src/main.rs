//! The `hotlist` binary: everything lives in the library, so that tests and benches run the same code.

use std::process::ExitCode;

/// The buffers of many small batches come and go on several threads; the system allocator fragments under that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hotlist::cli::main(std::env::args_os())
}
