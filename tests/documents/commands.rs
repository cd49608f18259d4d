//! The commands in documents have arguments that the program takes, and whole configurations are valid.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory as _, Parser as _};
use hotlist::cli::Cli;

use crate::blocks::{self, Block};
use crate::{files, prose, quoted, read};

/// Every document, by its path.
pub fn documents() -> Vec<PathBuf> {
    files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The arguments of each call of this program in a block of shell or in a session (`$ hotlist …`).
fn calls(block: &Block) -> Vec<Vec<String>> {
    let shell = match block.language.split(' ').next().unwrap() {
        "sh" => block.text.clone(),
        "text" => block.text.lines().filter_map(|line| line.strip_prefix("$ ")).flat_map(|line| [line, "\n"]).collect(),
        _ => return Vec::new(),
    };
    blocks::commands(&shell).into_iter().filter_map(arguments).collect()
}

/// The arguments of this program when the command calls it, directly or behind `--`.
fn arguments(words: Vec<String>) -> Option<Vec<String>> {
    let is_program = |word: &String| word == "hotlist" || word.ends_with("/hotlist");
    let behind = words.iter().position(|word| word == "--").map(|at| at + 1);
    let start = match behind {
        _ if is_program(&words[0]) => 0,
        Some(at) if words.get(at).is_some_and(is_program) => at,
        Some(at) if words[..2] == ["cargo", "run"] && !words.contains(&"--example".to_owned()) => at - 1,
        _ => return None,
    };
    Some(words[start + 1..].to_vec())
}

/// Guarantee: every `hotlist` command in a block of a document has the arguments that the program takes.
#[test]
fn every_command_in_a_document_parses() {
    let (mut seen, mut problems) = (0, Vec::new());
    for document in documents() {
        for block in blocks::all(&read(&document)) {
            for arguments in calls(&block) {
                seen += 1;
                let line = ["hotlist".to_owned()].into_iter().chain(arguments.iter().cloned());
                if let Err(error) = Cli::try_parse_from(line).map_err(|error| error.kind())
                    && !matches!(error, clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion)
                {
                    problems.push(format!(
                        "{}:{}: hotlist {}: {error:?}",
                        document.display(),
                        block.line,
                        arguments.join(" ")
                    ));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen > 60, "only {seen} commands were found");
    let bad = blocks::all("```sh\nhotlist scan --indicator x\nkubectl exec a -- hotlist chek\n```\n");
    let bad = calls(&bad[0]);
    assert_eq!(bad, [vec!["scan", "--indicator", "x"], vec!["chek"]]);
    assert!(bad.iter().all(|arguments| {
        Cli::try_parse_from(["hotlist".to_owned()].into_iter().chain(arguments.iter().cloned())).is_err()
    }));
}

/// The fault of a command between backticks: a subcommand or an option that the program does not have.
fn unknown(code: &str) -> Option<String> {
    let mut words = code.strip_prefix("hotlist ")?.split_whitespace();
    let mut command = Cli::command();
    command.build();
    while let Some(word) = words.clone().next() {
        let Some(sub) = command.find_subcommand(word) else { break };
        command = sub.clone();
        words.next();
    }
    let options: BTreeSet<String> = command
        .get_arguments()
        .flat_map(|argument| argument.get_long_and_visible_aliases().unwrap_or_default())
        .map(str::to_owned)
        .collect();
    let named = words.clone().filter_map(|word| word.strip_prefix("--"));
    let named = named.map(|word| word.split(['=', '`', ',', ']']).next().unwrap_or_default());
    let option = named.filter(|word| !word.is_empty()).find(|word| !options.contains(*word));
    if let Some(option) = option {
        return Some(format!("`{code}`: no option --{option}"));
    }
    let first = words.next().filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
    let stray = first.filter(|word| command.has_subcommands() && !word.starts_with('-'));
    stray.map(|word| format!("`{code}`: no command {word}"))
}

/// Guarantee: every command that a sentence names (`hotlist …` between backticks) exists, with its options.
#[test]
fn every_command_in_a_sentence_exists() {
    let (mut seen, mut problems) = (0, Vec::new());
    for document in documents().iter().filter(|path| **path != Path::new("CHANGELOG.md")) {
        let text = prose(&read(document));
        for code in text.lines().flat_map(quoted) {
            seen += usize::from(code.starts_with("hotlist "));
            problems.extend(unknown(code).map(|problem| format!("{}: {problem}", document.display())));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen > 60, "only {seen} commands were found");
    for bad in ["hotlist lookup", "hotlist scan --nothing", "hotlist rejected show"] {
        assert!(unknown(bad).is_some(), "{bad}");
    }
}

/// Guarantee: each whole configuration in a document is valid.
#[test]
fn whole_configurations_in_documents_are_valid() {
    let directory = tempfile::tempdir().unwrap();
    let has = |block: &Block, key: &str| block.text.lines().any(|line| line.starts_with(key));
    let mut seen = 0;
    for document in documents() {
        for block in blocks::all(&read(&document)) {
            if block.language != "yaml" || !has(&block, "sources:") || !has(&block, "sinks:") {
                continue;
            }
            seen += 1;
            let file = directory.path().join("hotlist.yaml");
            std::fs::write(&file, &block.text).unwrap();
            let mut validate = Command::new(env!("CARGO_BIN_EXE_hotlist"));
            let output = validate.args(["validate", "--no-files", "--config"]).arg(&file).output().unwrap();
            let problems = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}:{}:\n{problems}", document.display(), block.line);
        }
    }
    assert!(seen > 2, "only {seen} configurations were found");
}
