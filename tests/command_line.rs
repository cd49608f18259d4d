//! The binary as a shell sees it: exit codes, what goes to which stream, and a reader that goes away.

// Says to clippy what cargo knows: helpers here are test code, too.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn hotlist(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
    command.args(arguments).env_remove("HOTLIST_CONFIG").env_remove("ADDRESS");
    command
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), utf8(&output.stdout), utf8(&output.stderr))
}

#[test]
fn validate_says_ok_for_every_example_and_exits_with_0() {
    for name in ["hotlist.yaml", "hotlist.toml"] {
        let path = example(name);
        let (code, out, err) = text(&hotlist(&["validate", "--config"]).arg(&path).output().unwrap());
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(out.starts_with(&format!("{}: ok: ", path.display())), "{out}");
    }
}

#[test]
fn validate_prints_every_problem_to_standard_error_and_exits_with_64() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.yaml");
    std::fs::write(&path, "sources: { a: { type: otlp, address: '${ADDRESS}' } }\nsnks: {}\n").unwrap();
    let mut command = hotlist(&["validate"]);
    let (code, out, err) = text(&command.env("HOTLIST_CONFIG", &path).output().unwrap());
    assert_eq!((code, out.as_str()), (Some(64), ""));
    let problems = [("1:1: ", "no sink"), ("1:38: sources.a.address: ", "`ADDRESS`"), ("2:1: snks: ", "`sinks`")];
    assert_eq!(err.lines().count(), problems.len(), "{err}");
    for (line, (place, part)) in err.lines().zip(problems) {
        assert!(line.starts_with(&format!("{}:{place}", path.display())) && line.contains(part), "{part}: {line}");
    }
    let (code, _, _) = text(&command.env("ADDRESS", "127.0.0.1:1").output().unwrap());
    assert_eq!(code, Some(64));
}

#[test]
fn arguments_that_make_no_sense_exit_with_2_and_help_with_0() {
    assert_eq!(text(&hotlist(&["validate", "--nonsense"]).output().unwrap()).0, Some(2));
    assert_eq!(text(&hotlist(&[]).output().unwrap()).0, Some(2));
    let (code, out, err) = text(&hotlist(&["validate", "--help"]).output().unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("hotlist validate --config hotlist.yaml"), "{out}");
}

#[test]
fn a_reader_that_went_away_is_a_quiet_end() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = hotlist(&["validate", "--config"]);
    let output = command.arg(example("hotlist.yaml")).stdout(writer).stderr(std::process::Stdio::piped()).output();
    let (code, _, err) = text(&output.unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

/// Every subcommand, as the help lists them.
fn subcommands() -> Vec<String> {
    let (_, help, _) = text(&hotlist(&["--help"]).output().unwrap());
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<String> = names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(names.len() > 8 && names.iter().any(|name| name == "run"), "{help}");
    names
}

/// Guarantee: each shell's script knows every subcommand, and is one that bash can read.
#[test]
fn completions_know_every_subcommand() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, script, err) = text(&hotlist(&["completions", shell]).output().unwrap());
        assert_eq!((code, err.as_str()), (Some(0), ""), "{shell}");
        for name in subcommands() {
            assert!(script.contains(&name), "{shell} does not know `{name}`");
        }
        if shell == "bash" && Command::new("bash").arg("--version").output().is_ok() {
            let checked = Command::new("bash").args(["-n", "-c", &script]).output().unwrap();
            assert_eq!(text(&checked), (Some(0), String::new(), String::new()));
        }
    }
    assert_eq!(text(&hotlist(&["completions", "cmd"]).output().unwrap()).0, Some(2));
}

#[test]
fn config_prints_the_schema_and_the_configuration_in_effect() {
    let (code, schema, err) = text(&hotlist(&["config", "schema"]).output().unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/hotlist.schema.json");
    assert_eq!(schema, std::fs::read_to_string(committed).unwrap());

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hotlist.toml");
    let secret = "[sinks.next.headers]\nauthorization = \"Bearer ${TOKEN}\"\n";
    std::fs::write(&path, std::fs::read_to_string(example("hotlist.toml")).unwrap() + secret).unwrap();
    let mut show = hotlist(&["config", "show", "--config"]);
    let (code, shown, err) = text(&show.arg(&path).env("TOKEN", "hush").output().unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(shown.contains("address: 127.0.0.1:14317") && shown.contains("in_flight_bytes: 256MiB"), "{shown}");
    assert!(shown.contains("***") && !shown.contains("hush"), "{shown}");

    std::fs::write(&path, "a = \n").unwrap();
    let mut show = hotlist(&["config", "show"]);
    let (code, shown, _) = text(&show.env("HOTLIST_CONFIG", &path).output().unwrap());
    assert_eq!((code, shown.as_str()), (Some(64), ""));
}

/// Guarantee: `validate` finds the files that `run` would stop at, all of them at once, and says so with another code
/// than for the configuration itself; for another machine's configuration they can be left out.
#[test]
fn validate_finds_files_that_run_needs() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(at("token"), "two\nlines\n").unwrap();
    std::fs::write(at("list.json"), "{}").unwrap();
    std::fs::write(at("plain"), "").unwrap();
    let config = format!(
        "sources: {{ a: {{ type: otlp, address: '127.0.0.1:0', tls: {{ cert_file: '{cert}', key_file: '{cert}' }} }} }}
intel: {{ allowlists: ['{list}', '{none}'] }}
sinks:
  o:
    type: otlp
    inputs: [a]
    endpoint: 'https://127.0.0.1:1'
    headers: {{ x-key: {{ file: '{token}' }} }}
    tls: {{ ca_file: '{plain}' }}
    rejected: {{ path: '{plain}/r.ndjson' }}
  n: {{ type: ndjson, inputs: [a], path: '{none}/hits.ndjson' }}
admin: {{ address: '127.0.0.1:0', tls: {{ cert_file: '{plain}', key_file: '{plain}' }} }}
",
        cert = at("missing.pem"),
        list = at("list.json"),
        none = at("none"),
        token = at("token"),
        plain = at("plain"),
    );
    let path = at("hotlist.yaml");
    std::fs::write(&path, config).unwrap();
    let (code, out, err) = text(&hotlist(&["validate", "--config", &path]).output().unwrap());
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    let wanted = [
        ("sources.a.tls", "missing.pem: cannot read the file"),
        ("sinks.o.headers.x-key", "token: "),
        ("sinks.o.tls", "plain: no certificate in this file"),
        ("sinks.o.rejected.path", "plain is not a directory"),
        ("sinks.n.path", "none cannot be used"),
        ("admin.tls", "plain: no certificate in this file"),
        ("intel.allowlists", "list.json: "),
        ("intel.allowlists", "none: no file matches"),
    ];
    assert_eq!(err.lines().count(), wanted.len(), "{err}");
    for (line, (key, word)) in err.lines().zip(wanted) {
        assert!(line.starts_with(&format!("{path}: {key}: ")) && line.contains(word), "{line}");
    }
    let (code, out, _) = text(&hotlist(&["validate", "--no-files", "--config", &path]).output().unwrap());
    assert_eq!((code, out.contains(": ok: ")), (Some(0), true));
}

/// Guarantee: `init` writes a pair of files that `validate` accepts, prints the next steps, and never overwrites
/// anything; the first hit that it promises is a hit.
#[test]
fn init_writes_a_pair_that_validates_and_overwrites_nothing() {
    for (collector, file) in [("fluent-bit", "fluent-bit.yaml"), ("vector", "vector.yaml"), ("otel", "collector.yaml")]
    {
        let directory = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| text(&hotlist(arguments).current_dir(directory.path()).output().unwrap());
        let (code, out, err) = run(&["init", "--collector", collector]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{collector}");
        for written in ["hotlist.yaml", file, "receiver.yaml", "indicators/first.txt"] {
            assert!(out.contains(&format!("wrote ./{written}\n")), "{out}");
        }
        for config in ["hotlist.yaml", "receiver.yaml"] {
            let (code, out, err) = run(&["validate", "--feeds", "--config", config]);
            assert_eq!((code, err.as_str()), (Some(0), ""), "{collector}: {out}");
        }
        std::fs::write(directory.path().join("event.json"), r#"{"dns":{"question":{"name":"www.first-hit.example"}}}"#)
            .unwrap();
        assert!(out.contains("www.first-hit.example"), "{out}");
        let (_, out, _) = run(&["explain", "--config", "hotlist.yaml", "--events", "event.json"]);
        assert!(out.starts_with("HIT: 1 indicator\n"), "{out}");
        let before = std::fs::read(directory.path().join(file)).unwrap();
        std::fs::remove_file(directory.path().join("hotlist.yaml")).unwrap();
        let (code, out, err) = run(&["init", "--collector", collector]);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(err.contains(&format!("./{file}")) && err.contains("nothing was written"), "{err}");
        assert!(!directory.path().join("hotlist.yaml").exists());
        assert_eq!(std::fs::read(directory.path().join(file)).unwrap(), before);
    }
}

/// Guarantee: `check` looks at each thing that must work, with a tick or with what to do, as text and as JSON; what failed
/// decides the exit code, and a configuration that is not valid has its own.
#[test]
fn check_says_what_works_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = silent.local_addr().unwrap();
    drop(silent);
    std::fs::write(directory.path().join("feed.txt"), "bad.example\nnot one\n").unwrap();
    let config = |address: &str, sink: &str| {
        let text = format!(
            "sources: {{ a: {{ type: otlp, address: '{address}' }} }}\nintel: {{ files: ['*.txt', 'none/*'] }}\n\
             sinks: {{ s: {{ {sink}, inputs: [a] }}, n: {{ type: ndjson, inputs: [a], path: 'hits.ndjson' }} }}\n"
        );
        std::fs::write(directory.path().join("hotlist.yaml"), text).unwrap();
    };
    let run = |arguments: &[&str]| {
        let mut command = hotlist(&["check", "--config", "hotlist.yaml"]);
        text(&command.args(arguments).current_dir(directory.path()).output().unwrap())
    };
    config("127.0.0.1:0", "type: blackhole");
    let (code, out, err) = run(&[]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for line in [
        "configuration\n-------------\n√ hotlist.yaml is valid\n",
        "√ sources.a: 127.0.0.1:0 can be bound\n",
        "√ feed feed: 1 indicator\n",
        "    feed.txt: 1 line is not used",
        "    intel.files: cannot read none/*: ",
        "√ sinks.n.path: . ",
        " 0 failed, 2 warnings\n",
    ] {
        assert!(out.contains(line), "{line:?} is not in:\n{out}");
    }
    assert!(!directory.path().join("hits.ndjson").exists(), "nothing is written");

    config(&taken.to_string(), &format!("type: otlp, endpoint: 'http://{gone}'"));
    let (code, out, err) = run(&[]);
    assert_eq!((code, err.as_str()), (Some(1), "2 checks failed\n"), "{out}");
    assert!(out.contains(&format!("× sources.a: {taken} can be bound\n")), "{out}");
    assert!(out.contains(&format!("× sinks.s: http://{gone} answers\n")), "{out}");
    let (code, out, _) = run(&["--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, report["failed"].as_u64()), (Some(1), Some(2)), "{out}");
    assert!(
        report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|check| check["status"] == "failed" && check["hint"].is_string())
    );

    std::fs::write(directory.path().join("hotlist.yaml"), "sources: {}\n").unwrap();
    assert_eq!(run(&[]).0, Some(64));
}

/// Guarantee: a configuration may be given by its name alone, and what is not one is not taken for one.
#[test]
fn validate_takes_a_configuration_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let feed = directory.path().join("feed.csv");
    std::fs::write(&feed, "value\nbad.example\n").unwrap();
    for name in ["hotlist.yaml", "hotlist.toml"] {
        let (code, out, err) = text(&hotlist(&["validate"]).arg(example(name)).output().unwrap());
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(out.contains(": ok: 1 source"), "{out}");
    }
    let (code, _, err) = text(&hotlist(&["validate"]).arg(&feed).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(err.contains("feed.csv: is not a configuration") && err.contains("hotlist validate --feeds PATH"), "{err}");
    let (code, out, _) = text(&hotlist(&["validate", "--feeds"]).arg(&feed).output().unwrap());
    assert_eq!(code, Some(0));
    assert!(out.contains("\nfeed feed: 1 indicator in 1 file"), "{out}");
}

/// Guarantee: there is a man page for the program and for each command, with its options and examples.
#[test]
fn man_pages_know_every_subcommand() {
    let directory = tempfile::tempdir().unwrap();
    let (code, _, err) = text(&hotlist(&["man"]).arg(directory.path()).output().unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let page = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let program = page("hotlist.1");
    for part in ["Exit codes: ", "1 failed", "2 usage", "64 bad config"] {
        assert!(program.contains(part), "{part}: {program}");
    }
    for name in subcommands().iter().filter(|name| *name != "help") {
        let page = page(&format!("hotlist-{name}.1")).replace("\\-", "-");
        assert!(page.contains(".TH ") && page.contains(&format!("hotlist {name}")), "{name}: {page}");
    }
}

/// Guarantee: each cause of an error is said once, and the file is named.
#[test]
fn a_missing_file_is_named_once_with_its_cause() {
    for arguments in [&["scan", "-i", "none.txt"][..], &["explain", "-i", "none.txt"], &["inspect", "none.txt"]] {
        let (code, _, err) = text(&hotlist(arguments).output().unwrap());
        assert_eq!(
            (code, err.matches("No such file").count(), err.matches("none.txt").count()),
            (Some(1), 1, 1),
            "{err}"
        );
    }
}

/// Guarantee: events without a known field are not passed over in silence: `scan` and `explain` name the fields that could
/// hold indicators, in the form that `--field` takes, and with it they hit.
#[test]
fn fields_that_no_schema_has_are_named_and_can_be_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (indicators, events) = (path("feed.txt"), path("events.ndjson"));
    std::fs::write(&indicators, "203.0.113.7\n").unwrap();
    std::fs::write(&events, "{\"visitor\":{\"addr\":\"203.0.113.7\"},\"n\":1}\n").unwrap();
    let scan = ["scan", "--indicators", &indicators, "--events", &events];
    let (code, hits, summary) = text(&hotlist(&scan).output().unwrap());
    assert_eq!((code, hits.as_str()), (Some(0), ""));
    assert!(summary.contains("1 event has no field") && summary.contains("--field visitor.addr=ip"), "{summary}");
    let (_, hits, summary) = text(&hotlist(&[&scan[..], &["--field", "visitor.addr=ip"]].concat()).output().unwrap());
    assert!(hits.contains("\"field\":\"visitor.addr\"") && !summary.contains("no field"), "{hits}{summary}");

    let explain = ["explain", "--indicators", &indicators, "--events", &events];
    let (_, shown, _) = text(&hotlist(&explain).output().unwrap());
    assert!(shown.contains("{ field: visitor.addr, kind: ip }"), "{shown}");
    let (_, shown, _) = text(&hotlist(&[&explain[..], &["--field", "visitor.addr=ip"]].concat()).output().unwrap());
    assert!(shown.starts_with("HIT"), "{shown}");
    for wrong in ["visitor.addr", "visitor.addr=address", "a..b=ip", "a=-"] {
        let (code, _, error) = text(&hotlist(&[&scan[..], &["--field", wrong]].concat()).output().unwrap());
        assert_eq!(code, Some(2), "{wrong}: {error}");
    }
}

/// Guarantee: `fields` lists the rows of a schema, those of a configuration and its own fields, and refuses an unknown name.
#[test]
fn fields_lists_what_is_looked_at() {
    let (_, zeek, _) = text(&hotlist(&["fields", "--schema", "zeek", "--json"]).output().unwrap());
    let rows: Vec<serde_json::Value> = zeek.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = rows.iter().find(|row| row["path"] == "id.resp_h").unwrap();
    assert_eq!((row["kind"].as_str(), row["ecs"].as_str()), (Some("ip"), Some("destination.ip")));
    assert_eq!((row["role"].as_str(), row["collection"].as_bool()), (Some("responder"), Some(true)));
    let (code, _, error) = text(&hotlist(&["fields", "--schema", "zeke"]).output().unwrap());
    assert_eq!(code, Some(2), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let (config, schema) = (directory.path().join("hotlist.yaml"), directory.path().join("mine.csv"));
    std::fs::write(&schema, "path,kind,ecs,role,collection,cti,stix_paths\npeer,ip,destination.ip,responder,,,\n")
        .unwrap();
    let yaml = format!(
        "sources: {{ a: {{ type: otlp, address: \"127.0.0.1:1\" }} }}\nsinks: {{ b: {{ type: blackhole, inputs: [a] }} }}\n\
         match: {{ schemas: [ecs], schema_files: [\"{}\"], fields: [{{ field: my.ip, kind: ip }}] }}\n",
        schema.display()
    );
    std::fs::write(&config, yaml).unwrap();
    let (code, shown, error) = text(&hotlist(&["fields", "--config", config.to_str().unwrap()]).output().unwrap());
    assert_eq!(code, Some(0), "{error}");
    let has = |path: &str| shown.lines().any(|line| line.split_whitespace().next() == Some(path));
    assert!(has("source.ip") && has("peer") && has("my.ip") && !has("id.resp_h"), "{shown}");
    std::fs::write(&schema, "path,kind,ecs,role,collection,cti,stix_paths\npeer,adress,,,yes,yes,\n").unwrap();
    let (code, _, error) = text(&hotlist(&["validate", config.to_str().unwrap()]).output().unwrap());
    assert!(code == Some(1) && error.contains("match: schema"), "{code:?} {error}");
    let (code, _, error) = text(&hotlist(&["fields", "--config", config.to_str().unwrap()]).output().unwrap());
    assert!(code == Some(1) && error.contains("mine.csv, line 2: `adress`"), "{code:?} {error}");
}

/// Scenario: a feed that one rule selects, a feed that no rule selects, and an event with an indicator of each.
/// Guarantee: with a configuration, `explain`, `scan` and `check` apply its rules: they name the rules of a hit, the
/// reason of the suppression, and the entry that no rule selects; `validate --strict` fails for it.
#[test]
fn offline_commands_apply_rules() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(at("one.txt"), "one.evil.example\n").unwrap();
    std::fs::write(at("two.txt"), "two.evil.example\n").unwrap();
    let event = r#"{"@timestamp":"2026-08-21T10:00:00Z","dns.question.name":"one.evil.example","url.domain":"two.evil.example"}"#;
    std::fs::write(at("event.json"), event).unwrap();
    let config = format!(
        "sources: {{ a: {{ type: otlp, address: '127.0.0.1:0' }} }}
sinks: {{ b: {{ type: blackhole, inputs: [a] }} }}
intel: {{ files: ['{}', '{}'] }}
rules: {{ names: {{ name: Names, description: of hosts, feeds: [one], severity: low }}, all: {{ feeds: [one] }} }}
",
        at("one.txt"),
        at("two.txt")
    );
    std::fs::write(at("hotlist.yaml"), config).unwrap();
    let run = |arguments: &[&str]| text(&hotlist(arguments).current_dir(directory.path()).output().unwrap());
    let (code, shown, err) = run(&["explain", "--config", "hotlist.yaml", "--events", "event.json"]);
    assert_eq!(code, Some(0), "{err}");
    for part in ["HIT: 1 indicator", "rule names, Names, of hosts\n", "rule all\n", "no_rule: ", "severity low"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(err.contains("intel.files[1]") && err.contains("no enabled rule"), "{err}");
    let (_, shown, _) = run(&["explain", "--json", "--config", "hotlist.yaml", "--events", "event.json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let rules = serde_json::json!([{ "id": "names", "name": "Names", "description": "of hosts" }, { "id": "all" }]);
    assert_eq!((&shown["hits"][0]["rules"], &shown["dropped"][0]["rules"]), (&rules, &serde_json::Value::Null));
    let (_, events, err) = run(&["scan", "--emit", "events", "--config", "hotlist.yaml", "--events", "event.json"]);
    for part in [r#""rule":"names""#, r#""rules":["names","all"]"#] {
        assert!(events.contains(part), "{part} in {events} {err}");
    }
    assert!(!events.contains("feed\":{\"name\":\"two"), "{events}");
    let (code, shown, _) = run(&["validate", "hotlist.yaml"]);
    assert!(code == Some(0) && shown.contains("warning: intel.files[1]"), "{shown}");
    let (code, shown, _) = run(&["validate", "--strict", "hotlist.yaml"]);
    assert!(code == Some(1) && shown.contains("intel.files[1]"), "{shown}");
    let (_, shown, _) = run(&["check", "--config", "hotlist.yaml"]);
    for part in ["feed two", "no rule enables it", "intel.files[1]"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}
