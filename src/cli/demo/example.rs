//! The files of `examples/`, embedded so that the demo works wherever the binary is.

use std::path::Path;

use anyhow::Context;

/// Indicator files: name and content.
pub(super) const INDICATORS: [(&str, &str); 5] = [
    ("addresses.txt", include_str!("../../../examples/indicators/addresses.txt")),
    ("hosts.txt", include_str!("../../../examples/indicators/hosts.txt")),
    ("networks.netset", include_str!("../../../examples/indicators/networks.netset")),
    ("harbour.csv", include_str!("../../../examples/indicators/harbour.csv")),
    ("lantern.json", include_str!("../../../examples/indicators/lantern.json")),
];

/// Events of an ordinary day, one JSON document per line.
pub(super) const TRAFFIC: &str = include_str!("../../../examples/events/traffic.ndjson");

/// Events that concern the indicators above.
pub(super) const INCIDENTS: &str = include_str!("../../../examples/events/incidents.ndjson");

/// Writes the indicators to `indicators/` below a directory.
pub(super) fn write_indicators(directory: &Path) -> anyhow::Result<()> {
    let folder = directory.join("indicators");
    std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, content) in INDICATORS {
        let file = folder.join(name);
        std::fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::feed::load;
    use crate::feed::watching::files;
    use crate::schema::FieldTable;

    /// A file that is added to the folder must be built in, too.
    #[test]
    fn every_file_of_indicators_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/indicators");
        let mut there: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut built_in = INDICATORS.map(|(name, _)| name.to_owned()).to_vec();
        there.sort();
        built_in.sort();
        assert_eq!(there, built_in);
    }

    /// The example feeds load without a warning, under the import guard: what a newcomer sees first is clean.
    #[test]
    fn every_line_of_the_example_indicators_is_used() {
        let directory = tempfile::tempdir().unwrap();
        write_indicators(directory.path()).unwrap();
        let table = Arc::new(FieldTable::embedded(true).unwrap());
        let files = files::given(&[directory.path().to_owned()]).unwrap();
        assert_eq!(files.len(), INDICATORS.len());
        let mut formats = Vec::new();
        for file in files {
            let outcome = load::load(load::FeedFile { guarded: true, ..file }, &table);
            let import = outcome.import.unwrap();
            assert!(import.unusable.is_empty(), "{:?}", import.unusable);
            assert!(outcome.refused.is_empty(), "{:?}", outcome.refused);
            assert!(import.indicators.len() >= 3, "{}", outcome.file.path.display());
            formats.push(import.format.as_str());
        }
        formats.sort_unstable();
        assert_eq!(formats, ["csv", "hosts", "list", "list", "stix"]);
    }
}
