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
    let lines: Vec<String> = err.lines().map(|line| line.replace(&path.display().to_string(), "bad.yaml")).collect();
    assert_eq!(
        lines,
        [
            "bad.yaml:1:1: no sink is configured; add one, e.g. `next: { type: otlp, inputs: [agents], endpoint: \"http://127.0.0.1:24317\" }`",
            "bad.yaml:1:38: sources.a.address: the environment variable `ADDRESS` is not set; set it, or give a default: `${ADDRESS:-value}`",
            "bad.yaml:2:1: snks: unknown key; did you mean `sinks`?",
        ]
    );
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
        ("sources.a.tls", "missing.pem: cannot be read"),
        ("sinks.o.headers.x-key", "token: "),
        ("sinks.o.tls", "plain: has no certificate"),
        ("sinks.o.rejected.path", "plain is no directory"),
        ("sinks.n.path", "none cannot be used"),
        ("admin.tls", "plain: has no certificate"),
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
