//! The configurations below `examples/`: each half of a pair fits the other, and the sidecar does on them what they say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hotlist::config::{Address, Config, Endpoint, SinkKind};
use serde_json::{Value, json};

use crate::next_hop::NextHop;
use crate::process::{Hotlist, Scene};
use crate::replay::{captures, records_of, replay};

/// The directories of `examples/fluent-bit`, each with a `hotlist.yaml`, and Fluent Bit's files on both sides of it:
/// who sends to Hotlist, and who takes from it.
const PAIRS: [(&str, &str, Option<&str>); 3] = [
    ("backend", "fluent-bit.yaml", None),
    ("second-agent", "first.yaml", Some("second.yaml")),
    ("same-process", "fluent-bit.yaml", Some("fluent-bit.yaml")),
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn pair(name: &str) -> PathBuf {
    examples().join("fluent-bit").join(name)
}

fn config(name: &str) -> Config {
    Config::load(&pair(name).join("hotlist.yaml"), &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Fluent Bit's configuration as JSON; its words for yes and no stay words.
fn fluent_bit(name: &str, file: &str) -> Value {
    let text = std::fs::read_to_string(pair(name).join(file)).unwrap();
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(&text, options).unwrap_or_else(|error| panic!("{name}/{file}: {error}"))
}

/// The plug-ins of this name in a part of the pipeline.
fn plugins<'a>(document: &'a Value, part: &str, name: &str) -> Vec<&'a Value> {
    let all = document["pipeline"][part].as_array().unwrap_or_else(|| panic!("no {part}"));
    all.iter().filter(|plugin| plugin["name"] == name).collect()
}

/// The only plug-in of this name.
fn plugin<'a>(document: &'a Value, part: &str, name: &str) -> &'a Value {
    let found = plugins(document, part, name);
    assert_eq!(found.len(), 1, "{part}: {name}");
    found[0]
}

fn source_port(config: &Config) -> u16 {
    let [source] = &*config.sources else { panic!("one source") };
    match source.address() {
        Address::Tcp(address) => address.port(),
        Address::Unix(path) => panic!("{}", path.display()),
    }
}

/// The OTLP sink's port and its deadline in seconds.
fn sink(config: &Config) -> (u16, u64) {
    let sinks = config.sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Otlp(sink) => Some(sink),
        _ => None,
    });
    let [sink] = &*Vec::from_iter(sinks) else { panic!("one OTLP sink") };
    let Endpoint::Http { host, port } = &sink.endpoint else { panic!("{}", sink.endpoint) };
    assert_eq!(host, "127.0.0.1");
    assert!(sink.rejected.is_some(), "without it one bad record holds up everything behind it");
    (*port, sink.timeout.as_secs())
}

/// Whether Fluent Bit's pattern takes a tag; a star stands for anything.
fn takes(pattern: &str, tag: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => tag.starts_with(start) && tag.ends_with(end),
        None => pattern == tag,
    }
}

/// Guarantee: each directory of examples is one that the tests below know.
#[test]
fn every_example_is_tested() {
    let mut there = BTreeMap::new();
    for entry in std::fs::read_dir(examples().join("fluent-bit")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let files = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
            let files = files.map(|name| name.into_string().unwrap());
            // Who ran them has their outputs there, too.
            let mut files: Vec<String> = files.filter(|name| name.ends_with(".yaml")).collect();
            files.sort();
            there.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), files);
        }
    }
    let expected = PAIRS.map(|(name, sender, receiver)| {
        let mut files = vec![sender.to_owned(), "hotlist.yaml".to_owned()];
        files.extend(receiver.map(str::to_owned));
        files.sort();
        files.dedup();
        (name.to_owned(), files)
    });
    assert_eq!(there, BTreeMap::from(expected));
}

/// Guarantee: Fluent Bit's output sends to where Hotlist's source listens, with every setting without which events are
/// lost; and gives up on a request only after Hotlist did.
#[test]
fn the_sending_side_of_each_pair_loses_nothing() {
    for (name, sender, _) in PAIRS {
        let (config, document) = (config(name), fluent_bit(name, sender));
        let output = plugin(&document, "outputs", "opentelemetry");
        assert_eq!(output["host"], "127.0.0.1", "{name}");
        assert_eq!(output["port"], source_port(&config), "{name}");
        for (key, value) in [
            ("grpc", json!("on")),
            ("net.keepalive", json!("off")),
            ("batch_size", json!(100_000)),
            ("logs_body_key", json!("$__none__")),
            ("retry_limit", json!("no_limits")),
        ] {
            assert_eq!(output[key], value, "{name}: {key}");
        }
        let (_, deadline) = sink(&config);
        assert!(output["net.io_timeout"].as_u64().unwrap() > deadline, "{name}: {deadline} s");
        let tail = plugin(&document, "inputs", "tail");
        assert!(takes(output["match"].as_str().unwrap(), tail["tag"].as_str().unwrap()), "{name}");
        assert_eq!((&tail["storage.type"], &tail["parser"]), (&json!("filesystem"), &json!("json")), "{name}");
        assert_eq!(document["parsers"], json!([{ "name": "json", "format": "json" }]), "{name}");
        assert!(document["service"]["storage.path"].is_string(), "{name}");
        let events = pair(name).join(tail["path"].as_str().unwrap().replace('*', "incidents"));
        assert!(events.is_file(), "{}", events.display());
    }
}

/// Guarantee: the way back begins where Hotlist's sink sends to, its tag is its own, no output sends it round again, and
/// every event goes somewhere.
#[test]
fn the_way_back_of_each_pair_ends() {
    for (name, sender, receiver) in PAIRS {
        let Some(receiver) = receiver else { continue };
        let (config, document) = (config(name), fluent_bit(name, receiver));
        let input = plugin(&document, "inputs", "opentelemetry");
        assert_eq!((&input["listen"], &input["port"]), (&json!("127.0.0.1"), &json!(sink(&config).0)), "{name}");
        assert_eq!((&input["tag_from_uri"], &input["buffer_max_size"]), (&json!("off"), &json!("16M")), "{name}");
        assert_eq!(input["storage.type"], "filesystem", "{name}");
        assert!(document["service"]["storage.path"].is_string(), "{name}");
        let mut tags = vec![input["tag"].as_str().unwrap().to_owned()];
        for filter in document["pipeline"]["filters"].as_array().into_iter().flatten() {
            assert_eq!((&filter["name"], &filter["match"]), (&json!("rewrite_tag"), &input["tag"]), "{name}");
            let rule: Vec<&str> = filter["rule"].as_str().unwrap().split(' ').collect();
            let ["$threat['enrichments'][0]['matched']['type']", "^indicator_match_rule$", tag, "false"] = *rule else {
                panic!("{rule:?}")
            };
            tags.push(tag.replace("$TAG", &tags[0]));
        }
        let outputs = document["pipeline"]["outputs"].as_array().unwrap();
        for tag in &tags {
            let found = outputs.iter().filter(|output| takes(output["match"].as_str().unwrap(), tag));
            let found: Vec<_> = found.map(|output| output["name"].as_str().unwrap()).collect();
            assert!(found.len() == 1 && found[0] != "opentelemetry", "{name}: {tag} goes to {found:?}");
        }
        if sender == receiver {
            let text = std::fs::read_to_string(pair(name).join(receiver)).unwrap();
            assert!(text.starts_with("# UNSAFE"), "{name}");
        }
    }
}

/// The example as it stands, but for ports, places of files, and a log that the test can read.
fn start(scene: &Scene, name: &str, endpoint: &str) -> Hotlist {
    let mut text = std::fs::read_to_string(pair(name).join("hotlist.yaml")).unwrap();
    let indicators = examples().join("indicators");
    let rejected = scene.path("rejected.ndjson").display().to_string();
    for (there, here) in [
        ("127.0.0.1:14317", "127.0.0.1:0"),
        ("http://127.0.0.1:24317", endpoint),
        ("127.0.0.1:9465", "127.0.0.1:0"),
        ("../../indicators", indicators.to_str().unwrap()),
        ("path: rejected.ndjson", &format!("path: \"{rejected}\"")),
    ] {
        assert_eq!(text.matches(there).count(), 1, "{name}: {there}");
        text = text.replace(there, here);
    }
    text = text.replace("path: hits.ndjson", &format!("path: \"{}\"", scene.path("hits.ndjson").display()));
    text.push_str("log: { format: json }\n");
    Hotlist::start(&scene.write("hotlist.yaml", &text))
}

/// Scenario: requests recorded from a real Fluent Bit, one with an event of which the example's indicators know the
/// destination, one that is no valid UTF-8. Guarantee: with each example the event that hits is tagged in its body, where
/// the rule of the second agent looks for it, and every other record arrives byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_requests_pass_the_examples() {
    let captures = captures();
    let find = |name: &str| captures.iter().find(|capture| capture.name == name);
    let (Some(whole), Some(odd)) = (find("02-basic-wholebody.00.bin"), find("15-badutf8-wholebody.00.bin")) else {
        assert!(captures.is_empty());
        return;
    };
    for (name, ..) in PAIRS {
        let (scene, next_hop) = (Scene::new(), NextHop::start().await);
        let hotlist = start(&scene, name, &next_hop.endpoint);
        assert_eq!(replay(&hotlist, odd).await, 0, "{name}");
        assert!(next_hop.take().remove(0).message() == odd.message, "{name}");

        assert_eq!(replay(&hotlist, whole).await, 0, "{name}");
        let after = records_of(&next_hop.take().remove(0).message());
        let before = whole.records();
        assert_eq!(before.len(), after.len(), "{name}");
        let changed: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        assert_eq!(changed, [0], "{name}");
        let event = body(&after[0]);
        assert_eq!(event["event"]["id"], "ev-0001", "{name}");
        let matched = &event["threat"]["enrichments"][0]["matched"];
        assert_eq!((&matched["type"], &matched["atomic"]), (&json!("indicator_match_rule"), &json!("198.51.100.23")));
        assert_eq!(event["tags"], json!(["edge", "prod", "threat-match"]), "{name}");
        let hits = scene.path("hits.ndjson").exists().then(|| scene.ndjson("hits.ndjson").len());
        assert_eq!(hits, (name == "backend").then_some(1), "{name}");
    }
}

/// The body of a record as JSON, decoded by other code than that under test.
fn body(record: &Bytes) -> Value {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use prost::Message as _;

    fn members(members: Vec<KeyValue>) -> Value {
        Value::Object(members.into_iter().map(|member| (member.key, value(member.value))).collect())
    }
    fn value(found: Option<AnyValue>) -> Value {
        match found.and_then(|found| found.value) {
            Some(Any::StringValue(text)) => json!(text),
            Some(Any::IntValue(number)) => json!(number),
            Some(Any::DoubleValue(number)) => json!(number),
            Some(Any::BoolValue(yes)) => json!(yes),
            Some(Any::ArrayValue(array)) => array.values.into_iter().map(|item| value(Some(item))).collect(),
            Some(Any::KvlistValue(list)) => members(list.values),
            _ => Value::Null,
        }
    }
    let record = LogRecord::decode(&**record).unwrap();
    assert!(record.attributes.is_empty(), "{:?}", record.attributes);
    value(record.body)
}

/// Guarantee: the unit allows more open files than its sources and the admin listener may have connections, waits longer
/// for the end than the process does, and does not start a process again whose configuration is bad.
#[test]
fn the_unit_of_systemd_fits_the_defaults() {
    let text = std::fs::read_to_string(examples().join("systemd/hotlist.service")).unwrap();
    let settings: BTreeMap<&str, &str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect();
    let config = config("backend");
    let files: usize = settings["LimitNOFILE"].parse().unwrap();
    assert!(files >= 3 * config.limits.max_connections + 64 + 200, "{files}");
    let seconds = |key: &str| settings[key].parse::<u64>().unwrap();
    assert!(seconds("TimeoutStopSec") > config.shutdown.grace.as_secs());
    assert!(seconds("WatchdogSec") > 0);
    assert_eq!((settings["Type"], settings["RestartPreventExitStatus"]), ("notify", "64"));
    assert!(settings["ExecReload"].ends_with("kill -HUP $MAINPID"), "{}", settings["ExecReload"]);
    assert!(settings["ExecStart"].contains(" run --config "), "{}", settings["ExecStart"]);
}
