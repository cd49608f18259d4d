//! The pairs of `examples/fluent-bit`, and requests recorded from a real Fluent Bit through each of them.

use hotlist::config::{Config, SinkKind};
use serde_json::{Value, json};

use super::decoded::otlp;
use super::{collector, config, examples, pairs, port, source_port, start};
use crate::next_hop::NextHop;
use crate::process::Scene;
use crate::replay::{captures, records_of, replay};

const FLUENT_BIT: &str = "fluent-bit/";

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

/// The OTLP sink's port and its deadline in seconds.
fn sink(config: &Config) -> (u16, u64) {
    let sinks = config.sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Otlp(sink) => Some(sink),
        _ => None,
    });
    let [sink] = &*Vec::from_iter(sinks) else { panic!("one OTLP sink") };
    assert!(sink.rejected.is_some(), "without it one bad record holds up everything behind it");
    (port(&sink.endpoint), sink.timeout.as_secs())
}

/// Whether Fluent Bit's pattern takes a tag; a star stands for anything.
fn takes(pattern: &str, tag: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => tag.starts_with(start) && tag.ends_with(end),
        None => pattern == tag,
    }
}

/// Guarantee: Fluent Bit's output sends to where Hotlist's source listens, with every setting without which events are
/// lost; and gives up on a request only after Hotlist did.
#[test]
fn the_sending_side_of_each_pair_loses_nothing() {
    for (name, sender, _) in pairs(FLUENT_BIT) {
        let (config, document) = (config(name), collector(name, sender));
        let output = plugin(&document, "outputs", "opentelemetry");
        assert_eq!(output["host"], "127.0.0.1", "{name}");
        let [source] = &*config.sources else { panic!("one source") };
        assert_eq!(output["port"], source_port(source), "{name}");
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
        let events = examples().join(name).join(tail["path"].as_str().unwrap().replace('*', "incidents"));
        assert!(events.is_file(), "{}", events.display());
    }
}

/// Guarantee: the way back begins where Hotlist's sink sends to, its tag is its own, no output sends it round again, and
/// every event goes somewhere.
#[test]
fn the_way_back_of_each_pair_ends() {
    for (name, sender, receiver) in pairs(FLUENT_BIT) {
        let Some(receiver) = receiver else { continue };
        let (config, document) = (config(name), collector(name, receiver));
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
            let text = std::fs::read_to_string(examples().join(name).join(receiver)).unwrap();
            assert!(text.starts_with("# UNSAFE"), "{name}");
        }
    }
}

/// Scenario: requests recorded from a real Fluent Bit, one with an event of which the example's indicators know the
/// destination, one that is no valid UTF-8. Guarantee: with each example the event that hits is tagged in its body, where
/// the rule of the second agent looks for it, and every other record arrives byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ../shared"]
async fn recorded_requests_pass_the_examples() {
    let captures = captures();
    let find = |name: &str| captures.iter().find(|capture| capture.name == name).unwrap();
    let (whole, invalid) = (find("02-basic-wholebody.00.bin"), find("15-badutf8-wholebody.00.bin"));
    for (name, ..) in pairs(FLUENT_BIT) {
        let (scene, next_hop) = (Scene::new(), NextHop::start().await);
        let hotlist = start(&scene, name, &[(24317, &next_hop)], &[]);
        assert_eq!(replay(&hotlist, invalid).await, 0, "{name}");
        assert!(next_hop.take().remove(0).message() == invalid.message, "{name}");

        assert_eq!(replay(&hotlist, whole).await, 0, "{name}");
        let after = records_of(&next_hop.take().remove(0).message());
        let before = whole.records();
        assert_eq!(before.len(), after.len(), "{name}");
        let changed: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        assert_eq!(changed, [0], "{name}");
        let event = otlp(&after[0]);
        assert_eq!(event["event"]["id"], "ev-0001", "{name}");
        let matched = &event["threat"]["enrichments"][0]["matched"];
        assert_eq!((&matched["type"], &matched["atomic"]), (&json!("indicator_match_rule"), &json!("198.51.100.23")));
        assert_eq!(event["tags"], json!(["edge", "prod", "threat-match"]), "{name}");
        let hits = scene.path("hits.ndjson").exists().then(|| scene.ndjson("hits.ndjson").len());
        assert_eq!(hits, (name == "fluent-bit/backend").then_some(1), "{name}");
    }
}
