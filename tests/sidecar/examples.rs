//! The configurations below `examples/`: each half of a pair fits the other, and the sidecar does on them what they say.

mod decoded;
mod fan_out;
mod fluent_bit;
mod vector;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hotlist::config::{self, Address, Config, Endpoint, Source};
use serde_json::Value;

use crate::next_hop::NextHop;
use crate::process::{Hotlist, Scene};

/// The directories with a `hotlist.yaml`, and the collectors' files on both sides of it: who sends to Hotlist, and who
/// takes from it.
const EXAMPLES: [(&str, &[&str], &[&str]); 7] = [
    ("fluent-bit/backend", &["fluent-bit.yaml"], &[]),
    ("fluent-bit/second-agent", &["first.yaml"], &["second.yaml"]),
    ("fluent-bit/same-process", &["fluent-bit.yaml"], &["fluent-bit.yaml"]),
    ("vector/backend", &["vector.yaml"], &[]),
    ("vector/second-agent", &["first.yaml"], &["second.yaml"]),
    ("vector/same-process", &["vector.yaml"], &["vector.yaml"]),
    ("fan-out", &["fluent-bit.yaml", "vector.yaml"], &["siem.yaml"]),
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The names and files on both sides of the examples of one collector.
fn pairs(collector: &str) -> Vec<(&'static str, &'static str, Option<&'static str>)> {
    let ours = EXAMPLES.into_iter().filter(|(name, ..)| name.starts_with(collector));
    let pairs: Vec<_> = ours.map(|(name, senders, receivers)| (name, senders[0], receivers.first().copied())).collect();
    assert_eq!(pairs.len(), 3);
    pairs
}

fn config(name: &str) -> Config {
    Config::load(&examples().join(name).join("hotlist.yaml"), &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A collector's configuration as JSON; words for yes and no that are not YAML's stay words.
fn collector(name: &str, file: &str) -> Value {
    let text = std::fs::read_to_string(examples().join(name).join(file)).unwrap();
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(&text, options).unwrap_or_else(|error| panic!("{name}/{file}: {error}"))
}

fn source_port(source: &Source) -> u16 {
    match source.address() {
        Address::Tcp(address) => address.port(),
        Address::Unix(path) => panic!("{}", path.display()),
    }
}

fn port(endpoint: &Endpoint) -> u16 {
    let Endpoint::Http { host, port } = endpoint else { panic!("{endpoint}") };
    assert_eq!(host, "127.0.0.1");
    *port
}

/// The example as it stands, but for ports, places of files, and a log that the test can read. `next_hops` says who is
/// behind each port that it sends to; `planted` are more indicators than those of the examples.
fn start(scene: &Scene, name: &str, next_hops: &[(u16, &NextHop)], planted: &[&str]) -> Hotlist {
    let mut text = std::fs::read_to_string(examples().join(name).join("hotlist.yaml")).unwrap();
    for (port, next_hop) in next_hops {
        let there = format!("http://127.0.0.1:{port}");
        assert_eq!(text.matches(&there).count(), 1, "{name}: {there}");
        text = text.replace(&there, &next_hop.endpoint);
    }
    for source in config(name).sources.iter() {
        text = text.replace(&format!("address: \"{}\"", source.address()), "address: \"127.0.0.1:0\"");
    }
    scene.indicators("planted", planted);
    for entry in std::fs::read_dir(examples().join("indicators")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        std::fs::copy(&path, scene.path("indicators").join(file)).unwrap();
    }
    let here = scene.path("").display().to_string();
    let indicators = format!("{}indicators", "../".repeat(name.split('/').count()));
    for (there, here) in [
        ("127.0.0.1:9465", "127.0.0.1:0".to_owned()),
        (&*indicators, format!("{here}indicators")),
        ("path: ", format!("path: {here}")),
    ] {
        assert!(text.contains(there), "{name}: {there}");
        text = text.replace(there, &here);
    }
    text.push_str("log: { format: json }\n");
    let hotlist = Hotlist::start(&scene.write("hotlist.yaml", &text));
    let asks = |sink: &config::Sink| matches!(sink.kind, config::SinkKind::Vector(_));
    for _ in config(name).sinks.iter().filter(|sink| asks(sink)) {
        hotlist.wait_for("the next hop is healthy");
        // The question is no matter of the examples.
        next_hops.iter().for_each(|(_, next_hop)| drop(next_hop.take()));
    }
    hotlist
}

/// Directories that tests of their own know: `otel_collector.rs`, and `tests/filter/` of the example clients.
const ELSEWHERE: [&str; 2] = ["otel-collector", "filter"];

/// Guarantee: each directory of examples is one that the tests below know, or others.
#[test]
fn every_example_is_tested() {
    let (mut there, mut open) = (BTreeMap::new(), vec![examples()]);
    while let Some(directory) = open.pop() {
        let paths = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        let (inside, files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
        open.extend(inside.into_iter().filter(|path| !ELSEWHERE.iter().any(|known| path.ends_with(known))));
        // Who ran them has their outputs there, too.
        let files = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        let mut files: Vec<String> = files.filter(|name| name.ends_with(".yaml")).collect();
        files.sort();
        if directory != examples() && !files.is_empty() {
            there.insert(directory.strip_prefix(examples()).unwrap().to_str().unwrap().to_owned(), files);
        }
    }
    let expected = EXAMPLES.map(|(name, senders, receivers)| {
        let files = senders.iter().chain(receivers).chain(&["hotlist.yaml"]);
        let mut files: Vec<String> = files.map(|&file| file.to_owned()).collect();
        files.sort();
        files.dedup();
        (name.to_owned(), files)
    });
    assert_eq!(there, BTreeMap::from(expected));
}

/// Guarantee: the unit allows more open files than its sources and the admin listener may have connections, waits longer
/// for the end than the process does, and does not start a process again whose configuration is bad.
#[test]
fn the_unit_of_systemd_fits_the_defaults() {
    let text = std::fs::read_to_string(examples().join("systemd/hotlist.service")).unwrap();
    let settings: BTreeMap<&str, &str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect();
    let config = config("fluent-bit/backend");
    let files: usize = settings["LimitNOFILE"].parse().unwrap();
    assert!(files >= 3 * config.limits.max_connections + 64 + 200, "{files}");
    let seconds = |key: &str| settings[key].parse::<u64>().unwrap();
    assert!(seconds("TimeoutStopSec") > config.shutdown.grace.as_secs());
    assert!(seconds("WatchdogSec") > 0);
    assert_eq!((settings["Type"], settings["RestartPreventExitStatus"]), ("notify", "64"));
    assert!(settings["ExecReload"].ends_with("kill -HUP $MAINPID"), "{}", settings["ExecReload"]);
    assert!(settings["ExecStart"].contains(" run --config "), "{}", settings["ExecStart"]);
}
