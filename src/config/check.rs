//! Checks that need more than one part of a configuration: resources that two parts use, and loops.

use std::path::{Component, Path, PathBuf};

use super::Config;
use super::address::Address;
use super::document::join;
use super::problem::{Fault, Position, Problem};
use super::reader::{Problems, Table};
use super::sink::{GrpcSink, NdjsonSink, SinkKind};
use super::source::Source;

/// Reports every such problem. `root` gives the places.
pub(super) fn check(config: &Config, root: &Table<'_>, problems: &Problems) {
    let report = |keys: &[&str], fault: Fault| {
        let (path, position) = place(root, keys);
        problems.push(Problem { position, path, fault });
    };

    let mut listeners: Vec<(String, Address)> = Vec::new();
    let mut listen = |keys: &[&str], address: Address| {
        if let Some((other, _)) = listeners.iter().find(|(_, known)| known.collides(&address)) {
            let remedy = "give each listener its own";
            let (other, value) = (other.clone(), address.to_string());
            report(keys, Fault::UsedTwice { what: "the address", value, other, remedy });
        }
        listeners.push((keys.iter().fold(String::new(), |path, key| join(&path, key)), address));
    };
    for source in &config.sources {
        listen(&["sources", &source.id, "address"], source.address().clone());
    }
    if let Some(admin) = &config.admin {
        listen(&["admin", "address"], admin.address.clone());
    }
    if let Some(probes) = &config.probes {
        listen(&["probes", "address"], probes.address.clone());
    }

    let mut written: Vec<(&str, Option<PathBuf>)> = Vec::new();
    for sink in &config.sinks {
        let (path, keys) = match &sink.kind {
            SinkKind::Otlp(grpc) | SinkKind::Vector(grpc) => {
                let GrpcSink { endpoint, rejected, .. } = &**grpc;
                if let Some(source) = config.sources.iter().find(|source| endpoint.reaches(source.address())) {
                    let fault = Fault::Loop { value: endpoint.to_string(), source_id: source.id.clone() };
                    report(&["sinks", &sink.id, "endpoint"], fault);
                }
                let Some(rejected) = rejected else { continue };
                (Some(&rejected.path), ["rejected", "path"].as_slice())
            }
            SinkKind::Ndjson(NdjsonSink { path, .. }) => (path.as_ref(), ["path"].as_slice()),
            SinkKind::Blackhole => continue,
        };
        let path = path.map(|path| plain(path));
        if let Some((other, _)) = written.iter().find(|(_, known)| *known == path) {
            let fault = Fault::UsedTwice {
                what: if path.is_some() { "the file" } else { "the stream" },
                value: path.as_ref().map_or("standard output".to_owned(), |path| path.display().to_string()),
                other: join("sinks", other),
                remedy: "two writers would mix their lines; give each its own",
            };
            report(&[&["sinks", sink.id.as_str()], keys].concat(), fault);
        }
        written.push((&sink.id, path));
    }

    let largest = config.sources.iter().max_by_key(|source| source.max_request_bytes());
    // A compressed request is there twice while it inflates.
    let needed = |source: &Source| source.max_request_bytes().saturating_mul(2);
    if let Some(source) = largest.filter(|source| needed(source) > config.limits.in_flight_bytes) {
        let fault = Fault::InFlightTooSmall {
            in_flight: config.limits.in_flight_bytes,
            needed: needed(source),
            source_id: source.id.clone(),
        };
        report(&["limits", "in_flight_bytes"], fault);
    }
}

/// A path without what does not change the file that it names, so that two spellings of one are equal. Links are for
/// the lock of the file to find out.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// The path of nested keys, and the place of the innermost of them that is written down.
fn place(root: &Table<'_>, keys: &[&str]) -> (String, Position) {
    let mut item = root.item.clone();
    let mut path = String::new();
    for key in keys {
        path = join(&path, key);
        if !item.is_table() {
            continue;
        }
        if let Some(child) = item.any_table().and_then(|table| table.get(key)) {
            item = child;
        }
    }
    (path, item.position())
}
