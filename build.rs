//! Compiles `proto/` to Rust and to a file descriptor set, without a protoc of the system.

use std::error::Error;
use std::path::PathBuf;

const PROTOS: [&str; 1] = ["proto/hotlist/filter/v1/filter.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(PROTOS)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Comments are for the generated code; who asks by reflection gets them too.
    std::fs::write(out.join("hotlist.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().build_server(false).bytes(".hotlist").compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
