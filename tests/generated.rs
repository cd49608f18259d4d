//! The code in `proto/generated/` is what `proto/` gives. It is part of the repository, so that a build needs no compiler
//! of protocols; `HOTLIST_UPDATE=1 cargo test --test generated` writes it again.

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// The packages, each with the file of its descriptors, and whether a server of it is generated, too: Filter has framing
    /// of its own.
    const PROTOS: [(&str, &str, bool); 2] = [
        ("hotlist/control/v1/control.proto", "hotlist.control.bin", true),
        ("hotlist/filter/v1/filter.proto", "hotlist.filter.bin", false),
    ];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
    }

    fn generate(out: &Path) {
        for (proto, descriptors, server) in PROTOS {
            let mut compiler = protox::Compiler::new([root().join("proto")]).unwrap();
            compiler
                .include_source_info(true)
                .include_imports(true)
                .open_file(root().join("proto").join(proto))
                .unwrap();
            // Comments are for the generated code; who asks by reflection gets them too.
            std::fs::write(out.join(descriptors), compiler.encode_file_descriptor_set()).unwrap();
            let set = compiler.file_descriptor_set();
            let builder = tonic_prost_build::configure().build_server(server).bytes(".hotlist").out_dir(out);
            builder.compile_fds(set).unwrap();
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Scenario: the protocols are compiled to Rust and to descriptors.
    /// Guarantee: the repository has exactly that.
    #[test]
    fn generated_code_is_current() {
        let (made, kept) = (tempfile::tempdir().unwrap(), root().join("proto/generated"));
        generate(made.path());
        if std::env::var_os("HOTLIST_UPDATE").is_some() {
            for name in names(made.path()) {
                std::fs::copy(made.path().join(&name), kept.join(&name)).unwrap();
            }
        }
        assert_eq!(names(&kept), names(made.path()));
        for name in names(&kept) {
            let (made, kept) = (std::fs::read(made.path().join(&name)), std::fs::read(kept.join(&name)));
            assert!(
                made.unwrap() == kept.unwrap(),
                "{name} is not current; run `HOTLIST_UPDATE=1 cargo test --test generated`"
            );
        }
    }
}
