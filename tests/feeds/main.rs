//! The importers: real feeds as an independent program reads them, hostile ones, and `hotlist validate --feeds`.

// Says to clippy what cargo knows: helpers here are test code, too.
#![cfg(test)]

mod dialects;
mod hostile;
mod real;
#[path = "../support/shared.rs"]
mod shared;
#[path = "../support/system_python.rs"]
mod system_python;
mod validate;
mod vendors;
