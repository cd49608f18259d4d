//! The `hotlist` binary. All code is in the library, so that tests and benches run the same code.

use std::process::ExitCode;

/// Buffers of many small batches are allocated and freed on several threads, which fragments the system allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hotlist::cli::main(std::env::args_os())
}
