//! Passes how the program is built on to it: the demo prints that next to its figures.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=HOTLIST_OPT_LEVEL={}", std::env::var("OPT_LEVEL")?);
    Ok(())
}
