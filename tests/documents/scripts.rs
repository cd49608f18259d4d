//! The blocks of shell in documents run, and print what is shown. Each document is one script, in a directory with the
//! examples. It has processes and a network of its own, and so every port that it names.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use regex::Regex;

use crate::blocks::{self, Block, HIDDEN};
use crate::{commands, read, root};

/// Programs that these tests do not run: tools that build, services of the machine, clients and collectors of others, and
/// scripts that ask servers of others. A block with one of them is not run at all.
const ELSEWHERE: [&str; 12] = [
    "cargo",
    "fetch-feed",
    "fluent-bit",
    "grpcurl",
    "kubectl",
    "make",
    "otelcol-contrib",
    "pip",
    "python",
    "python3",
    "systemctl",
    "vector",
];

/// The beginning of a script: an end for `hotlist tap`, which users end.
const PRELUDE: &str = r#"
hotlist() {
  if [ "$1" = tap ]; then timeout --signal INT 2 hotlist "$@" || [ $? = 124 ]
  elif [ $BASHPID = $$ ]; then command hotlist "$@"
  else exec hotlist "$@"
  fi
}
"#;

/// Whether the output has these lines in this order; `…` stands for anything.
fn shows(output: &str, expected: &str) -> Result<(), String> {
    let mut lines = output.lines();
    for wanted in expected.lines().map(str::trim_end).filter(|line| !line.is_empty() && *line != "…") {
        let parts: Vec<String> = wanted.split('…').map(regex::escape).collect();
        let pattern = Regex::new(&format!("^{}$", parts.join(".*"))).unwrap();
        if !lines.any(|line| pattern.is_match(line.trim_end())) {
            return Err(format!("`{wanted}` is not, or not in this place, in the output:\n{output}"));
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// The name of the program of a command, without its directory.
fn program(words: &[String]) -> &str {
    words[0].rsplit('/').next().unwrap_or_default()
}

/// The programs in a block that are among [`ELSEWHERE`].
fn elsewhere(block: &Block) -> Vec<&'static str> {
    let commands = blocks::commands(&block.text);
    ELSEWHERE.into_iter().filter(|name| commands.iter().any(|words| program(words) == *name)).collect()
}

/// The command that runs another one in a network and a set of processes of its own.
fn unshare() -> Vec<&'static str> {
    let mut command = vec!["unshare", "--net", "--pid", "--fork", "--kill-child"];
    command.extend((!rustix::process::geteuid().is_root()).then_some("--map-root-user"));
    command
}

/// Whether scripts can have a network of their own. Without it, as in a container, they run one after another.
fn has_namespaces() -> bool {
    let mut words = unshare();
    words.extend(["ip", "link", "set", "lo", "up"]);
    let tried = Command::new(words[0]).args(&words[1..]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// Ends what a script without processes of its own left behind, and waits until it is gone with its ports.
fn end_group(group: &str) {
    let kill = |signal: &str| {
        let sent = Command::new("bash").args(["-c", "kill -$0 -- -$1", signal, group]).output();
        sent.is_ok_and(|sent| sent.status.success())
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while kill("KILL") && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
}

/// Runs blocks of shell, one after the other, until one fails; a line for each that failed or printed something else than
/// the block `text output` after it.
fn run(document: &str, all: &[Block]) -> Vec<String> {
    let is_run = |block: &Block| block.language == HIDDEN || block.language == "sh" && elsewhere(block).is_empty();
    let steps: Vec<usize> = (0..all.len()).filter(|at| is_run(&all[*at])).collect();
    let directory = tempfile::tempdir().unwrap();
    let (work, outputs) = (directory.path().join("work"), directory.path().join("outputs"));
    std::fs::create_dir(&outputs).unwrap();
    copy(&root().join("examples"), &work.join("examples"));
    let output_of = |at: usize| outputs.join(at.to_string());
    let has_network = has_namespaces();
    let mut script = PRELUDE.to_owned();
    let group = directory.path().join("group");
    script += &match has_network {
        true => "ip link set lo up\n".to_owned(),
        false => format!("echo $$ >{}\n", group.display()),
    };
    for at in &steps {
        script += &format!("exec >{} 2>&1\n{}\n", output_of(*at).display(), all[*at].text);
    }

    let program = Path::new(env!("CARGO_BIN_EXE_hotlist"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("timeout");
    command.arg("100");
    match has_network {
        true => command.args(unshare()),
        false => command.args(["setsid", "--wait"]),
    };
    command.args(["bash", "-e", "-c", &script]).current_dir(&work).env("PATH", path);
    let ended = command.env_remove("HOTLIST_CONFIG").env_remove("HOTLIST_LOG").output().unwrap();
    if let Ok(group) = std::fs::read_to_string(&group) {
        end_group(group.trim());
    }

    let mut problems = Vec::new();
    let started = steps.iter().copied().filter(|at| output_of(*at).exists()).collect::<Vec<_>>();
    let failed = started.last().copied().filter(|_| !ended.status.success());
    if started.is_empty() && !steps.is_empty() {
        let cause = String::from_utf8_lossy(&ended.stderr).into_owned();
        problems.push(format!("{document}: no block began: {cause}"));
    }
    for at in started {
        let output = String::from_utf8_lossy(&std::fs::read(output_of(at)).unwrap()).into_owned();
        let expected = all.get(at + 1).filter(|next| next.language == "text output");
        let problem = match failed == Some(at) {
            true => Some(format!("{}:\n{output}", ended.status)),
            false => expected.and_then(|expected| shows(&output, &expected.text).err()),
        };
        problems.extend(problem.map(|problem| format!("{document}:{}: {problem}", all[at].line)));
    }
    problems
}

/// Guarantee: every block of shell runs, in the order of its document, and prints what a block `text output` after it shows,
/// unless it has a program that no test can run.
#[test]
fn commands_of_the_documents_do_what_is_shown() {
    let mut documents = Vec::new();
    let (mut seen, mut named, mut problems) = (0, BTreeSet::new(), Vec::new());
    for path in commands::documents() {
        let (name, all) = (path.display().to_string(), blocks::all(&read(&path)));
        for block in &all {
            let language = block.language.split(' ').next().unwrap_or_default();
            let is_shell = ["bash", "console", "sh", "shell", "zsh"].contains(&language);
            if is_shell && !["sh", HIDDEN].contains(&block.language.as_str()) {
                problems.push(format!("{name}:{}: `{}` is not run; use `sh`", block.line, block.language));
            }
            if block.language == "sh" {
                seen += usize::from(elsewhere(block).is_empty());
                named.extend(elsewhere(block));
            }
        }
        documents.push((name, all));
    }
    let at_once = if has_namespaces() { documents.len() } else { 1 };
    for some in documents.chunks(at_once) {
        std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|(name, all)| scope.spawn(|| run(name, all))).collect();
            problems.extend(running.into_iter().flat_map(|document| document.join().unwrap()));
        });
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen > 35, "only {seen} blocks were run");
    assert!(ELSEWHERE.iter().all(|name| named.contains(name)), "only these of the list are needed: {named:?}");
}

/// Guarantee: a command that fails ends its document, output that is not shown is found.
#[test]
fn a_block_that_does_something_else_is_found() {
    assert!(shows("a 1 b\nc\n", "a … b\n…\nc\n").is_ok());
    assert!(shows("c\na 1 b\n", "a … b\nc\n").is_err());
    let found = |text: &str| run("x.md", &blocks::all(text));
    assert!(found("```sh\necho a\n```\n```text output\na\n```\n").is_empty());
    let problems = found("```sh\necho a\n```\n```text output\nb\n```\n<!-- sh\nfalse\ntrue\n-->\n```sh\necho c\n```\n");
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("x.md:1: `b` is not") && problems[1].starts_with("x.md:7: exit status: 1"));
    assert_eq!(elsewhere(&blocks::all("```sh\na | /usr/bin/make b\n```\n")[0]), ["make"]);
}
