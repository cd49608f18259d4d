//! Documents, help texts and messages use plain words: those of the table in tests/support/words.rs are not among them.

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use regex::Regex;

use crate::commands::documents;
use crate::source::{strings, without_test_lines};
use crate::unwanted::{Where, unwanted_words};
use crate::{files, prose, read};

/// The text outside of code, where words are words.
fn plain(text: &str) -> String {
    let text = prose(text);
    text.lines().flat_map(|line| line.split('`').step_by(2).chain(["\n"])).collect()
}

/// Each word of the table in a text, with its line and what to write instead.
fn forbidden_words(text: &str) -> Vec<String> {
    unwanted_words(text, Where::Texts).into_iter().map(|(_, word)| word).collect()
}

/// The same, and each verb with `no`.
fn forbidden(text: &str) -> Vec<String> {
    let mut found = forbidden_words(text);
    let is_no = Regex::new(r"(?i)(?:(\w+) )?\b(is|are|was|were) no (\w+)").unwrap();
    for line in text.lines() {
        // What is between backticks or braces is left out, so a verb may have no word before it.
        let is_there = |of: &regex::Captures| of.get(1).is_some_and(|word| word.as_str().eq_ignore_ascii_case("there"));
        let verb = is_no.captures_iter(line).find(|of| !is_there(of) && &of[3] != "longer");
        found.extend(verb.map(|of| format!("`{}` (write: is not a …): {line}", &of[0])));
    }
    found
}

/// Guarantee: documents use plain words, and always the same ones. The metrics' texts and the configuration's descriptions are
/// among the documents.
#[test]
fn documents_use_plain_words() {
    let mut problems = Vec::new();
    for document in documents() {
        let found = forbidden(&plain(&read(&document)));
        problems.extend(found.into_iter().map(|word| format!("{}: {word}", document.display())));
    }
    assert!(problems.is_empty(), "{} words:\n{}", problems.len(), problems.join("\n"));
    assert_eq!(
        forbidden("It is read anew.\nWhoever it is, it is no list.\nThere is no file; it is no longer here.").len(),
        3
    );
}

/// Whether a file has texts for people besides documents and Rust: examples, scripts, protocols, tables.
fn has_comments(path: &Path) -> bool {
    let is_below = |directories: &[&str]| directories.iter().any(|directory| path.starts_with(directory));
    let of = path.extension().and_then(|of| of.to_str()).unwrap_or_default();
    is_below(&[".ci"])
        || path == Path::new("Makefile")
        || ["proto", "py", "toml"].contains(&of)
        || ["yaml", "yml", "conf", "service"].contains(&of) && is_below(&["examples", "helm"])
        || of == "txt" && is_below(&["src", "crates"])
}

/// Guarantee: so do examples, scripts, protocols and tables. Of a protocol these are the comments, because a field keeps its
/// name.
#[test]
fn examples_and_scripts_use_plain_words() {
    let (mut problems, mut seen) = (Vec::new(), 0);
    for file in files().iter().filter(|path| has_comments(path)) {
        let mut text = read(file);
        if file.extension().is_some_and(|of| of == "proto") {
            text = text
                .lines()
                .map(|line| line.split_once("//").map_or("", |(_, comment)| comment).to_owned() + "\n")
                .collect();
        }
        seen += 1;
        let found = forbidden(&plain(&text));
        problems.extend(found.into_iter().map(|word| format!("{}: {word}", file.display())));
    }
    assert!(problems.is_empty(), "{} words:\n{}", problems.len(), problems.join("\n"));
    assert!(seen > 40, "only {seen} files were found");
}

/// The string literals of a source file outside of comments and tests, with their lines; what is between braces is left out.
fn messages(text: &str) -> Vec<(usize, String)> {
    let placeholder = Regex::new(r"\{[^}]*\}").unwrap();
    let found = strings(&without_test_lines(text)).into_iter();
    found.map(|(line, message)| (line, plain(&placeholder.replace_all(&message, "")))).collect()
}

/// Guarantee: so do errors, log lines and what the program prints.
#[test]
fn messages_use_plain_words() {
    let is_code = |path: &&PathBuf| {
        let of_the_program = path.starts_with("src") || path.components().any(|part| part.as_os_str() == "src");
        of_the_program && path.extension().is_some_and(|of| of == "rs") && !path.ends_with("tests.rs")
    };
    let (mut problems, mut seen) = (Vec::new(), 0);
    for file in files().iter().filter(is_code).filter(|path| path.iter().all(|part| part != "tests")) {
        for (line, message) in messages(&read(file)) {
            seen += 1;
            let found = forbidden(&message);
            problems.extend(found.into_iter().map(|word| format!("{}:{line}: {word}", file.display())));
        }
    }
    assert!(problems.is_empty(), "{} words:\n{}", problems.len(), problems.join("\n"));
    assert!(seen > 3000, "only {seen} messages were found");
    let text = "a(\"it is read anew\");\n// \"anew\"\nb(\"{told}: `anew`\");\n#[cfg(test)]\nuse anew;\nc(\"it is \\\n  no list\");\nd(\"`{e}` is no list\");";
    let found = messages(text)
        .iter()
        .flat_map(|(line, message)| forbidden(message).into_iter().map(|_| *line))
        .collect::<Vec<_>>();
    assert_eq!(found, [1, 6, 8]);
}

/// Guarantee: so do the help texts.
#[test]
fn help_texts_use_plain_words() {
    let mut problems = Vec::new();
    let mut commands = vec![(String::new(), hotlist::cli::Cli::command())];
    while let Some((name, mut command)) = commands.pop() {
        let name = format!("{name} {}", command.get_name());
        let found = forbidden(&plain(&command.render_long_help().to_string()));
        problems.extend(found.into_iter().map(|word| format!("{name} --help: {word}")));
        commands.extend(command.get_subcommands().map(|sub| (name.clone(), sub.clone())));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
