//! Compiles `proto/` to Rust and to one file descriptor set a package, without a protoc of the system.

use std::error::Error;
use std::path::PathBuf;

/// The packages, each with the file of its descriptors, and whether a server of it is generated, too: Filter has framing
/// of its own.
const PROTOS: [(&str, &str, bool); 2] = [
    ("proto/hotlist/control/v1/control.proto", "hotlist.control.bin", true),
    ("proto/hotlist/filter/v1/filter.proto", "hotlist.filter.bin", false),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    // The demo's figures say how they were built.
    println!("cargo:rustc-env=HOTLIST_OPT_LEVEL={}", std::env::var("OPT_LEVEL")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    for (proto, descriptors, server) in PROTOS {
        let mut compiler = protox::Compiler::new(["proto"])?;
        compiler.include_source_info(true).include_imports(true).open_file(proto)?;
        // Comments are for the generated code; who asks by reflection gets them too.
        std::fs::write(out.join(descriptors), compiler.encode_file_descriptor_set())?;
        let set = compiler.file_descriptor_set();
        tonic_prost_build::configure().build_server(server).bytes(".hotlist").compile_fds(set)?;
    }
    Ok(())
}
