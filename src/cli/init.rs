//! `hotlist init`: writes a pair of configurations for a log collector and Hotlist.
//!
//! The configurations are the repository's examples with the given paths and addresses, so the tests of the examples
//! also cover the written files.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Failure;
use super::args::{Collector, InitArgs};
use crate::config::{Endpoint, without_credentials};
use crate::escape::Escaped;

/// The next hop in the examples.
const ENDPOINT: &str = "http://127.0.0.1:24317";
/// The events in the examples.
const EVENTS: &str = "../../events/*.ndjson";
/// The indicators in the examples.
const INDICATORS: &str = "../../indicators/*";

/// A first indicator file, so that a first hit needs nothing else.
const FIRST: &str = "# One indicator per line: addresses, networks, domains, URLs, hashes, e-mail addresses.\n\
                     # Put your own feeds next to this file (CSV, STIX, MISP and others are supported), then remove it.\n\
                     first-hit.example\n";
/// An event that hits the first indicator file.
const EVENT: &str = r#"{"dns":{"question":{"name":"www.first-hit.example"}}}"#;

/// The example configurations for one collector.
struct ExampleConfigs {
    name: &'static str,
    collector: &'static str,
    hotlist: &'static str,
    /// The command that starts the collector.
    start: &'static str,
    /// A directory that the collector needs.
    directory: Option<&'static str>,
}

impl ExampleConfigs {
    fn for_collector(collector: Collector) -> ExampleConfigs {
        match collector {
            Collector::FluentBit => ExampleConfigs {
                name: "fluent-bit.yaml",
                collector: include_str!("../../examples/fluent-bit/backend/fluent-bit.yaml"),
                hotlist: include_str!("../../examples/fluent-bit/backend/hotlist.yaml"),
                start: "fluent-bit -c fluent-bit.yaml",
                directory: None,
            },
            Collector::Vector => ExampleConfigs {
                name: "vector.yaml",
                collector: include_str!("../../examples/vector/backend/vector.yaml"),
                hotlist: include_str!("../../examples/vector/backend/hotlist.yaml"),
                start: "vector --config vector.yaml",
                directory: Some("data"),
            },
            Collector::Otel => ExampleConfigs {
                name: "collector.yaml",
                collector: include_str!("../../examples/otel-collector/backend/collector.yaml"),
                hotlist: include_str!("../../examples/otel-collector/backend/hotlist.yaml"),
                start: "otelcol-contrib --config collector.yaml",
                directory: None,
            },
        }
    }
}

pub(super) fn run(args: &InitArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let pair = ExampleConfigs::for_collector(args.collector);
    let endpoint = match &args.endpoint {
        Some(text) => {
            Endpoint::parse(text).with_context(|| format!("--endpoint {}", without_credentials(text)))?.to_string()
        }
        None => ENDPOINT.to_owned(),
    };
    if args.logs.chars().any(|c| c == '"' || c == '\\' || c.is_control() || c == '\'' || c == '#') {
        return Err(Failure::Other(anyhow::anyhow!(
            "--logs {:?}: quotes, backslashes and `#` are not allowed; give another path, and edit the written files",
            args.logs
        )));
    }
    let mut files = vec![
        (PathBuf::from("hotlist.yaml"), pair.hotlist.replace(INDICATORS, "indicators/*").replace(ENDPOINT, &endpoint)),
        (PathBuf::from(pair.name), pair.collector.replace(EVENTS, &args.logs)),
        (PathBuf::from("indicators/first.txt"), FIRST.to_owned()),
    ];
    if args.endpoint.is_none() {
        files.push((PathBuf::from("receiver.yaml"), include_str!("../../examples/receiver.yaml").to_owned()));
    }
    let directory = &args.directory;
    let there: Vec<String> = files
        .iter()
        .map(|(name, _)| directory.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if !there.is_empty() {
        let (exist, them) = if there.len() == 1 { ("exists", "it") } else { ("exist", "them") };
        return Err(Failure::Other(anyhow::anyhow!(
            "{} already {exist}, and nothing was written; give another --directory, or move {them} away",
            there.join(", ")
        )));
    }
    for made in ["indicators"].into_iter().chain(pair.directory) {
        let path = directory.join(made);
        fs::create_dir_all(&path).with_context(|| format!("cannot make the directory {}", path.display()))?;
    }
    for (name, text) in &files {
        let path = directory.join(name);
        write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(out, "wrote {}", Escaped(path.display())).map_err(Failure::of_output)?;
    }
    next_steps(args, &pair, out).and_then(|()| out.flush()).map_err(Failure::of_output)
}

/// Writes a new file; never overwrites a file that appeared meanwhile.
fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

fn next_steps(args: &InitArgs, pair: &ExampleConfigs, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nnext:")?;
    if args.directory != Path::new(".") {
        writeln!(out, "  cd {}", Escaped(args.directory.display()))?;
    }
    if args.endpoint.is_none() {
        writeln!(
            out,
            "  {:<39} # takes the place of your back end, and prints what arrives",
            "hotlist run --config receiver.yaml"
        )?;
    }
    writeln!(out, "  {:<39} # checks what does not work yet", "hotlist check --config hotlist.yaml")?;
    writeln!(out, "  hotlist run --config hotlist.yaml")?;
    writeln!(out, "  {:<39} # reads {}", pair.start, Escaped(&args.logs))?;
    writeln!(out, "\na first hit, and why it is one:")?;
    writeln!(out, "  echo '{EVENT}' | hotlist explain --config hotlist.yaml")
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    /// Guarantee: each example has what is replaced in it, so that nothing of the repository's own paths is left.
    #[test]
    fn nothing_of_the_examples_own_paths_is_left() {
        for collector in Collector::value_variants() {
            let directory = tempfile::tempdir().unwrap();
            let args = InitArgs {
                collector: *collector,
                directory: directory.path().to_owned(),
                endpoint: Some("https://back.example:4317".to_owned()),
                logs: "/var/log/app/*.json".to_owned(),
            };
            run(&args, &mut Vec::new()).unwrap();
            let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
            let (hotlist, other) = (read("hotlist.yaml"), read(ExampleConfigs::for_collector(*collector).name));
            assert!(!hotlist.contains("../") && !other.contains("../"), "{hotlist}{other}");
            assert!(
                hotlist.contains("\"indicators/*\"") && hotlist.contains("\"https://back.example:4317\""),
                "{hotlist}"
            );
            assert!(other.contains("/var/log/app/*.json"), "{other}");
            assert!(!directory.path().join("receiver.yaml").exists());
        }
    }
}
