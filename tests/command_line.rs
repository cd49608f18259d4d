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
