//! Words that the project's texts do not use: each has a plain one that an operator searches for (docs/glossary.md).

/// The paths whose texts and names are held to [`WORDS`].
const PATHS: [&str; 18] = [
    "src/admin",
    "src/app",
    "src/cli",
    "src/controlplane",
    "src/feed/classify.rs",
    "src/feed/format",
    "src/feed/layout.rs",
    "src/feed/reading",
    "src/feed/row.rs",
    "src/feed/watching",
    "src/main.rs",
    "src/names.rs",
    "src/provider",
    "src/store",
    "src/task.rs",
    "src/telemetry",
    "tests/feeds",
    "docs/telemetry.md",
];
/// Each word or phrase with the plain one.
const WORDS: [(&str, &str); 11] = [
    (concat!("an", "ew"), "again, re-"),
    (concat!("me", "nd"), "fix"),
    (concat!("me", "nded"), "fixed"),
    (concat!("in fo", "rce"), "active"),
    (concat!("for e", "ver"), "forever"),
    (concat!("bes", "ide"), "next to, in addition to"),
    (concat!("to", "ld"), "reported, returned, logged"),
    (concat!("who", "ever"), "the name of the actor"),
    (concat!("stands b", "ack"), "runs at idle priority"),
    (concat!("stand b", "ack"), "run at idle priority"),
    (concat!("once m", "ore"), "again"),
];

/// The words of [`WORDS`] in a text, each with its line.
fn found(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.to_lowercase();
        for (word, plain) in WORDS {
            let is_whole = |at: usize| {
                let part = |character: char| character.is_alphanumeric() || character == '_';
                !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part)
            };
            if line.match_indices(word).any(|(at, _)| is_whole(at)) {
                found.push((number + 1, word, plain));
            }
        }
    }
    found
}

/// Guarantee: each word is found as a whole word in any case, and not inside another one.
#[test]
fn a_word_is_found_as_a_whole_word() {
    let text = concat!("a Me", "nd b\namendment, me", "nding\n_me", "nd\nIn fo", "rce.\n");
    let lines: Vec<usize> = found(text).into_iter().map(|(line, ..)| line).collect();
    assert_eq!(lines, [1, 4]);
}

#[test]
fn texts_and_names_use_plain_words() {
    let mut texts = super::sources();
    texts.extend(super::files("docs", &["md"]));
    let mut offences = Vec::new();
    for (path, text) in texts.iter().filter(|(path, _)| PATHS.iter().any(|of| path.starts_with(of))) {
        for (line, word, plain) in found(text) {
            offences.push(format!("{path}:{line}: `{word}`: say: {plain}"));
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}
