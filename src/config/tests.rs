//! Whole configurations: the values that are read from them, and each problem with its place, its path and its remedy.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::intel::indicator::Origin;
use crate::observable::Kind;
use crate::policy::CommandAndControl;
use crate::schema::{Field, FieldKind};

/// Asserts that there are exactly these problems. Each begins with the first part of its line and has the others, which
/// `…` separates, in this order.
#[track_caller]
fn assert_problems<const N: usize>(found: Vec<String>, expected: [&str; N]) {
    assert_eq!(found.len(), N, "{found:#?}");
    for (problem, line) in found.iter().zip(expected) {
        let (place, parts) = line.split_once('…').unwrap_or((line, ""));
        let mut rest = problem.strip_prefix(place);
        for part in parts.split('…') {
            rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
        }
        assert!(rest.is_some(), "{line:?} is not: {problem}");
    }
}

const YAML: &str = include_str!("../../examples/hotlist.yaml");
const TOML: &str = include_str!("../../examples/hotlist.toml");

fn nothing(_: &str) -> Option<String> {
    None
}

fn yaml(text: &str) -> Result<Config, String> {
    Config::parse(text, Format::Yaml, &nothing).map_err(|errors| errors.to_string())
}

/// The problems of a text, without the file's name.
fn problems(format: Format, text: &str) -> Vec<String> {
    match Config::parse(text, format, &nothing) {
        Ok(config) => panic!("no problem in {text}: {config:?}"),
        Err(errors) => errors.problems.iter().map(Problem::to_string).collect(),
    }
}

/// The problems of a minimal configuration with something appended to it.
fn with(more: &str) -> Vec<String> {
    problems(Format::Yaml, &format!("{MINIMAL}{more}"))
}

const MINIMAL: &str = "\
sources: { a: { type: otlp, address: '127.0.0.1:1' } }
sinks: { s: { type: blackhole, inputs: [a] } }
";

#[test]
fn the_examples_are_valid_and_say_the_same_in_both_formats() {
    let config = yaml(YAML).unwrap();
    assert_eq!(
        Config::parse(TOML, Format::Toml, &nothing).unwrap(),
        Config { sinks: config.sinks.clone(), ..config.clone() }
    );
    assert_eq!(config.sources[0].id, "agents");
    assert_eq!(config.sources[0].max_request_bytes(), 64 << 20);
    assert_eq!(config.intel.files, [IntelFiles::new("indicators/*.csv".into())]);
    let ids: Vec<&str> = config.sinks.iter().map(|sink| sink.id.as_str()).collect();
    assert_eq!(ids, ["next", "hits"]);
    let SinkKind::Otlp(next) = &config.sinks[0].kind else { panic!("{:?}", config.sinks) };
    assert_eq!((next.max_request_bytes, next.timeout.as_secs(), config.sinks[0].required), (4 << 20, 8, true));
    assert_eq!(
        config.sinks[1].kind,
        SinkKind::Ndjson(NdjsonSink { path: Some("hits.ndjson".into()), fsync: Fsync::Batch })
    );
    assert_eq!(config.r#match, Match::default());
    assert_eq!(config.failure_mode, FailureMode::Open);
    assert_eq!(config.admin.unwrap().address.to_string(), "127.0.0.1:9465");
    assert_eq!(config.shutdown.grace.as_secs(), 30);
}

#[test]
fn every_key_can_be_given() {
    let config = yaml(
        r#"
failure_mode: closed
sources: { a: { type: otlp, address: "unix:/run/a.sock", max_request_bytes: 16MiB } }
intel:
  files:
    - path: feeds/*.csv
      feed: mine
      format: csv
      rule: collection
      enabled: false
      subdomains: true
      url_prefix: true
      allow_generic: true
      kind: user
      columns: { value: ioc, type: t, id: i, name: n, description: d, kill_chain_phases: k, confidence: c, tlp: l,
                 reference: r, valid_from: vf, valid_until: vu, first_seen: fs, last_seen: ls }
match:
  subdomains: true
  url_hosts: true
  grace: 0s
  c2: { live: false }
  tag_into: attributes
  extra_fields: false
  fields: [{ field: my.ip, kind: ip, collection: false, cti: false, stix_paths: ["ipv4-addr:value"] }]
sinks:
  o: { type: otlp, inputs: [a], endpoint: "http://[::1]:2", compression: zstd, max_request_bytes: 1000, timeout: 1m, required: false }
  n: { type: ndjson, inputs: [a], path: "-", only: hits }
  b: { type: blackhole, inputs: [a] }
limits:
  { in_flight_bytes: 1GiB, workers: 3, max_connections: 9, max_connections_per_peer: 4, min_upload_rate: 2KiB, idle_timeout: 1m, max_connection_age: 30m, max_connection_age_grace: 1m, max_hops: 5, record_findings: 7, record_tag_bytes: 8KiB }
admin: { address: "[::1]:9465", tls: { cert_file: a.pem, key_file: b.pem, client_ca_file: c.pem } }
log: { format: json, level: debug }
shutdown: { grace: 5s }
"#,
    )
    .unwrap();
    let files = &config.intel.files[0];
    assert_eq!(
        (files.feed.as_deref(), files.format, files.rule),
        (Some("mine"), Some(FeedFormat::Csv), Origin::Collection)
    );
    assert_eq!(files.kind, Some(FieldKind::Of(Kind::User)));
    assert_eq!(files.columns.as_ref().unwrap().last_seen.as_deref(), Some("ls"));
    assert_eq!(
        config.r#match.fields,
        [Field {
            collection: false,
            cti: false,
            stix_paths: vec!["ipv4-addr:value".into()],
            ..Field::own("my.ip", FieldKind::Of(Kind::Ip))
        }]
    );
    assert_eq!(config.r#match.c2, C2 { live: CommandAndControl::Any });
    assert_eq!(config.sinks[1].kind, SinkKind::Ndjson(NdjsonSink { path: None, fsync: Fsync::Batch }));
    assert_eq!(config.sinks[1].only, Only::Hits);
    let limits = Limits {
        in_flight_bytes: 1 << 30,
        workers: Some(3),
        max_connections: 9,
        max_connections_per_peer: Some(4),
        min_upload_rate: 2 << 10,
        idle_timeout: Duration::from_secs(60),
        max_connection_age: Some(Duration::from_secs(1800)),
        max_connection_age_grace: Duration::from_secs(60),
        max_hops: 5,
        record_findings: 7,
        record_tag_bytes: 8 << 10,
    };
    assert_eq!(config.limits, limits);
    let half = Duration::from_millis(2500);
    assert_eq!(config.shutdown, Shutdown { grace: 2 * half, delay: half });
    let tls = config.admin.as_ref().unwrap().tls.as_ref().unwrap();
    assert_eq!((&*tls.cert_file, &*tls.key_file), (Path::new("a.pem"), Path::new("b.pem")));
    assert_eq!(tls.client_ca_file.as_deref(), Some(Path::new("c.pem")));
    assert_eq!(config.log, Log { format: LogFormat::Json, level: LogLevel::Debug });
}

#[test]
fn half_a_certificate_and_tls_without_an_endpoint_for_it_are_named() {
    let text = "\
sources:
  a: { type: otlp, address: '127.0.0.1:1', tls: { cert_file: a.pem, client_ca_file: 'dir/' } }
sinks:
  p: { type: otlp, inputs: [a], endpoint: 'https://b:1', tls: { cert_file: c.pem } }
  q: { type: otlp, inputs: [a], endpoint: 'http://b:1', tls: {} }
";
    assert_problems(
        problems(Format::Yaml, text),
        [
            "2:49: sources.a.tls: `key_file` is missing",
            "2:85: sources.a.tls.client_ca_file: `dir/` is a directory",
            "4:63: sinks.p.tls: `key_file` is missing…leave out both",
            "5:62: sinks.q.tls: `http://b:1` …`https://`…leave `tls` out",
        ],
    );
}

#[test]
fn what_each_word_of_a_kind_means_is_what_the_field_table_says() {
    for (word, kind) in matching::KIND_WORDS {
        assert_eq!(FieldKind::parse(word), Some(kind));
    }
    let words: BTreeSet<&str> = matching::KIND_WORDS.iter().map(|(word, _)| *word).collect();
    assert!(Kind::ALL.iter().all(|kind| words.contains(kind.as_str())));
}

#[test]
fn variables_are_read_from_the_environment_also_where_a_number_or_boolean_is_wanted() {
    let environment = |name: &str| match name {
        "PORT" => Some("4318".to_owned()),
        "WORKERS" => Some("2".to_owned()),
        "SUB" => Some("true".to_owned()),
        _ => None,
    };
    let text = format!(
        "# ${{UNSET}} in a comment is nothing\n{}limits: {{ workers: '${{WORKERS}}' }}\nmatch:\n  subdomains: ${{SUB}}\n",
        MINIMAL.replace(":1'", ":${PORT}'")
    );
    let config = Config::parse(&text, Format::Yaml, &environment).unwrap();
    assert_eq!(config.sources[0].address().to_string(), "127.0.0.1:4318");
    assert_eq!(config.limits.workers, Some(2));
    assert!(config.r#match.subdomains);
}

#[test]
fn an_unset_variable_is_one_problem_with_its_place() {
    assert_problems(with("log:\n  level: ${LEVEL}\n"), ["4:10: log.level: …`LEVEL` is not set…`${LEVEL:-value}`"]);
    assert_problems(
        problems(Format::Toml, &format!("{TOML}\n[log]\nlevel = \"${{LEVEL}}\"\n")),
        ["26:9: log.level: …`LEVEL` is not set…`${LEVEL:-value}`"],
    );
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    assert_problems(with("lmits: {}\n"), ["3:1: lmits: unknown key…`limits`"]);
    assert_problems(
        with("zebra: 1\n"),
        [
            "3:1: zebra: unknown key…`sources`, `intel`, `rules`, `match`, `sinks`, `failure_mode`, `limits`, `admin`, `probes`, `log` and `shutdown`",
        ],
    );
    assert_problems(
        problems(Format::Yaml, &YAML.replace("endpoint:", "endpont:")),
        [
            "9:9: sinks.next: `endpoint` is missing…`http://127.0.0.1:24317`",
            "9:41: sinks.next.endpont: unknown key…`endpoint`",
        ],
    );
    assert_problems(
        problems(Format::Toml, &TOML.replace("endpoint =", "endpont =")),
        [
            "11:1: sinks.next: `endpoint` is missing…`http://127.0.0.1:24317`",
            "14:1: sinks.next.endpont: unknown key…`endpoint`",
        ],
    );
}

#[test]
fn wrong_types_say_what_was_expected_and_found() {
    assert_problems(
        with("match: { subdomains: yes, grace: 5, tag_into: 1, fields: {} }\nlimits: [1]\nintel: { files: a.csv }\n"),
        [
            "3:22: match.subdomains: …`true` or `false`…string \"yes\"",
            "3:34: match.grace: …duration…`8s`…number 5",
            "3:47: match.tag_into: …number 1 …`auto`, `body`, `attributes`",
            "3:58: match.fields: …list of fields…`[{ field: my.ip, kind: ip }]`…a table",
            "4:9: limits: …a table…a list",
            "5:17: intel.files: …list of paths…string \"a.csv\"",
        ],
    );
    assert_problems(
        with("limits: { workers: 0, in_flight_bytes: lots }\nshutdown: { grace: 8 weeks }\n"),
        [
            "3:20: limits.workers: `0` …from 1",
            "3:40: limits.in_flight_bytes: `lots` is not a size…`64MiB`",
            "4:20: shutdown.grace: `8 weeks` is not a duration…`5d`",
        ],
    );
}

#[test]
fn unknown_words_name_the_nearest_known_one() {
    assert_problems(
        with("failure_mode: opn\nlog: { level: loud }\n"),
        [
            "3:15: failure_mode: `opn` …`open`, `closed`…`open`",
            "4:15: log.level: `loud` …`error`, `warn`, `info`, `debug`, `trace`",
        ],
    );
    assert_problems(
        problems(Format::Yaml, &MINIMAL.replace("blackhole", "blackhol").replace("otlp", "kafka")),
        [
            "1:23: sources.a.type: `kafka` …`otlp`, `vector`, `filter`",
            "2:21: sinks.s.type: `blackhol` …`otlp`, `vector`, `ndjson`, `blackhole`…`blackhole`",
        ],
    );
}

/// Guarantee: the earlier name of the format `list` is still read.
#[test]
fn the_format_text_is_list() {
    let files = |word: &str| format!("{MINIMAL}intel: {{ files: [{{ path: a.txt, format: {word} }}] }}");
    let format = |word: &str| yaml(&files(word)).unwrap().intel.files[0].format;
    assert_eq!(
        [format("list"), format("text"), format("csv")],
        [FeedFormat::List, FeedFormat::List, FeedFormat::Csv].map(Some)
    );
}

#[test]
fn nothing_configured_is_an_error_that_shows_what_to_add() {
    let both = [
        "1:1: no source …`agents: { type: otlp, address: \"127.0.0.1:14317\" }`",
        "1:1: no sink …`next: { type: otlp, inputs: [agents], endpoint: \"http://127.0.0.1:24317\" }`",
    ];
    assert_problems(problems(Format::Yaml, "log: {}\n"), both);
    assert_problems(problems(Format::Toml, ""), both);
    assert_problems(problems(Format::Yaml, ""), both);
    assert_problems(
        problems(Format::Yaml, "sources: {}\nsinks:\n"),
        [
            "1:1: no sink …`next: { type: otlp, inputs: [agents], endpoint: \"http://127.0.0.1:24317\" }`",
            "1:10: sources: no source …`agents: { type: otlp, address: \"127.0.0.1:14317\" }`",
        ],
    );
    assert_problems(problems(Format::Yaml, "[]\n"), ["1:1: …a table…a list"]);
}

#[test]
fn inputs_must_name_sources_and_every_source_must_be_read() {
    assert_problems(
        problems(Format::Yaml, &YAML.replacen("[agents]", "[agent]", 2)),
        ["9:32: sinks.next.inputs[0]: …`agent`…`agents`", "10:34: sinks.hits.inputs[0]: …`agent`…`agents`"],
    );
    assert_problems(
        problems(Format::Yaml, &MINIMAL.replace("} }\nsinks", "}, b: { type: otlp, address: '127.0.0.1:2' } }\nsinks")),
        ["1:58: sources.b: no sink …`b`…`inputs`"],
    );
    assert_problems(
        problems(Format::Yaml, &MINIMAL.replace("[a]", "[]")),
        ["2:40: sinks.s.inputs: `[]` …at least one"],
    );
    assert_problems(
        problems(Format::Yaml, &MINIMAL.replace("[a]", "[a, a]")),
        ["2:44: sinks.s.inputs[1]: `a` is duplicated"],
    );
    assert_problems(
        problems(Format::Yaml, &MINIMAL.replace("[a]", "a")),
        ["2:40: sinks.s.inputs: …list of sources…`[agents]`…string \"a\""],
    );
}

#[test]
fn two_listeners_on_one_address_are_refused() {
    let text =
        MINIMAL.replace("} }\nsinks", "}, b: { type: otlp, address: '0.0.0.0:1' } }\nsinks").replace("[a]", "[a, b]");
    assert_problems(
        problems(Format::Yaml, &text),
        ["1:81: sources.b.address: …`0.0.0.0:1` is already used…`sources.a.address`"],
    );
    assert_problems(
        with("admin: { address: '127.0.0.1:1' }\n"),
        ["3:19: admin.address: …`127.0.0.1:1` is already used…`sources.a.address`"],
    );
}

#[test]
fn a_sink_that_sends_to_its_own_source_and_two_writers_of_one_file_are_refused() {
    let text = MINIMAL.replace(
        "s: { type: blackhole, inputs: [a] }",
        "o: { type: otlp, inputs: [a], endpoint: 'http://localhost:1' }, f: { type: ndjson, inputs: [a], path: x }, g: { type: ndjson, inputs: [a], path: x }",
    );
    assert_problems(
        problems(Format::Yaml, &text),
        [
            "2:50: sinks.o.endpoint: `http://localhost:1` …source `a`…next hop",
            "2:155: sinks.g.path: …`x` is already used…`sinks.f`",
        ],
    );
}

#[test]
fn bad_endpoints_addresses_and_paths_say_what_can_be_given() {
    let text = "\
sources:
  a: { type: otlp, address: 'localhost:4317' }
intel:
  files:
    - 'feeds/[a'
    - { feed: x, format: stix, columns: { type: t } }
    - { path: y, format: json }
    - ''
sinks:
  o: { type: otlp, inputs: [a], endpoint: '127.0.0.1:4317', timeout: 0s }
  n: { type: ndjson, inputs: [a], path: 'dir/' }
  'bad id': { type: blackhole, inputs: [a] }
";
    assert_problems(
        problems(Format::Yaml, text),
        [
            "2:29: sources.a.address: `localhost:4317` is a name…`127.0.0.1:14317`…`unix:/path`",
            "5:7: intel.files[0]: `feeds/[a` is not a glob…character 7",
            "6:7: intel.files[1]: `path` is missing…`indicators/*.csv`",
            "6:41: intel.files[1].columns: `value` is missing",
            "6:41: intel.files[1].columns: `columns` …CSV and JSON only…`format: csv`…`format: json`",
            "7:7: intel.files[2]: `json` …`columns: { value: ioc.value }`",
            "8:7: intel.files[3]: `` is empty…`path`",
            "10:43: sinks.o.endpoint: `127.0.0.1:4317` is not an endpoint…`https://host:port`…`unix:/path`",
            "10:70: sinks.o.timeout: `0s` …from `1ms`",
            "11:41: sinks.n.path: `dir/` is a directory",
            "12:13: sinks.\"bad id\": `bad id` is not a usable name",
        ],
    );
}

#[test]
fn user_defined_fields_are_checked() {
    assert_problems(
        with(
            "match:\n  fields:\n    - { field: a..b, kind: ip }\n    - { kind: adress }\n    - { field: a, kind: ip, stix_paths: [x] }\n    - { field: a, kind: ip }\n",
        ),
        [
            "5:16: match.fields[0].field: `a..b` is not a dotted path…`my.ip`",
            "6:7: match.fields[1]: `field` is missing…`my.ip`",
            "7:42: match.fields[2].stix_paths[0]: `x` …STIX object path…`ipv4-addr:value`",
            "8:7: match.fields[3]: `a` is duplicated",
        ],
    );
}

#[test]
fn requests_larger_than_what_may_be_in_flight_are_refused() {
    assert_problems(
        with("limits: { in_flight_bytes: 127MiB }\n"),
        ["3:28: limits.in_flight_bytes: 133169152 …134217728 …source `a`…lower `max_request_bytes`"],
    );
    yaml(&format!("{MINIMAL}limits: {{ in_flight_bytes: 128MiB }}\n")).unwrap();
    assert_problems(
        problems(Format::Yaml, &MINIMAL.replace(":1'", ":1', max_request_bytes: 4GiB")),
        ["1:72: sources.a.max_request_bytes: `4294967296` …at most 4294967295"],
    );
}

#[test]
fn a_file_that_is_missing_or_has_another_extension_is_named() {
    let error = |path: &str| Config::load(Path::new(path), &nothing).unwrap_err();
    let missing = error("no/such.yaml");
    assert!(matches!(missing.problems.as_slice(), [Problem { fault: Fault::Read(_), .. }]), "{missing:?}");
    let text = missing.to_string();
    assert!(text.starts_with("no/such.yaml: ") && text.contains("No such file"), "{text}");
    let other = error("hotlist.conf");
    assert!(matches!(other.problems.as_slice(), [Problem { fault: Fault::Extension, .. }]), "{other:?}");
    let text = other.to_string();
    assert!(text.starts_with("hotlist.conf: ") && text.contains("*.yaml, *.yml, *.toml or *.json"), "{text}");
}

#[test]
fn errors_of_a_file_carry_its_name_on_every_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("h.yml");
    std::fs::write(&path, "lgo: {}\n").unwrap();
    let text = Config::load(&path, &nothing).unwrap_err().to_string();
    assert_eq!(text.lines().count(), 3);
    assert!(text.lines().all(|line| line.starts_with(&format!("{}:1:1: ", path.display()))), "{text}");
}

#[test]
fn a_text_of_more_than_a_mebibyte_is_refused() {
    assert_problems(problems(Format::Yaml, &"#".repeat(MAX_BYTES + 1)), ["…1048577 bytes…1048576 allowed"]);
}

proptest! {
    /// Any text, and any valid text that was damaged, gives a configuration or problems with a place, never a panic.
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>(), from in 0usize..600, to in 0usize..600, toml in any::<bool>()) {
        let (format, example) = if toml { (Format::Toml, TOML) } else { (Format::Yaml, YAML) };
        let damaged: String = {
            let mut characters: Vec<char> = example.chars().collect();
            let (from, to) = (from.min(to).min(characters.len()), from.max(to).min(characters.len()));
            characters.splice(from..to, text.chars().take(8));
            characters.into_iter().collect()
        };
        for text in [text, damaged] {
            if let Err(errors) = Config::parse(&text, format, &nothing) {
                prop_assert!(!errors.problems.is_empty());
                let lines = text.lines().count() as u32 + 1;
                prop_assert!(errors.problems.iter().all(|problem| problem.position.line <= lines), "{errors}");
            }
        }
    }
}
