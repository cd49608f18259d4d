//! The `hotlist` binary: everything lives in the library, so that tests and benches run the same code.
fn main() {}
