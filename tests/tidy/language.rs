//! Comments and names use plain words: those of the table in tests/support/words.rs are not among them.

use super::assert_none;
use super::unwanted::{Where, unwanted_words};

/// The paths whose names are held to the table as well.
const NAMES: [&str; 21] = [
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
    "src/durable.rs",
    "src/publisher",
    "src/readiness.rs",
];

/// The comments of a text, on their lines, without what is between backticks.
fn comments(text: &str) -> String {
    let comment = |line: &str| {
        // After an opening quotation mark it is a part of a string.
        let begins = |at: &usize| line[..*at].matches('"').count().is_multiple_of(2);
        let comment = line.match_indices("//").map(|(at, _)| at).find(begins).map_or("", |at| &line[at..]);
        comment.split('`').step_by(2).collect::<Vec<_>>().join(" ")
    };
    text.lines().map(|line| comment(line) + "\n").collect()
}

/// Guarantee: each word is found as a whole word in any case, and not inside another one or between backticks.
#[test]
fn a_word_is_found_as_a_whole_word() {
    let text = concat!("// a Me", "nd b\n// amendment\n_me", "nd // `anew`\n\"a // an", "ew\"\n// In fo", "rce.\n");
    let lines = |text: &str| unwanted_words(text, Where::Texts).into_iter().map(|(line, _)| line).collect::<Vec<_>>();
    assert_eq!(lines(&comments(text)), [1, 5]);
    assert_eq!(lines("a judge"), [1]);
    assert!(unwanted_words("a judge", Where::TextsAndNames).is_empty());
}

#[test]
fn comments_and_names_use_plain_words() {
    let mut texts = super::rust_files();
    texts.extend(super::files("docs", &["md"]));
    let is_below = |path: &str, paths: &[&str]| paths.iter().any(|of| path.starts_with(of));
    let mut offences = Vec::new();
    for (path, text) in &texts {
        let mut found = Vec::new();
        if path.ends_with(".rs") {
            found.extend(unwanted_words(&comments(text), Where::Texts));
        }
        if is_below(path, &NAMES) {
            found.extend(unwanted_words(text, Where::TextsAndNames));
        }
        offences.extend(found.into_iter().map(|(line, word)| format!("{path}:{line}: {word}")));
    }
    assert_none("use plain words", offences);
}

/// Names of functions that say nothing about what the function does, or are not English for it. Each with what to write.
const FUNCTIONS: [(&str, &str); 6] = [
    ("of", "`from_…`, or the name of what it returns"),
    ("note", "`record_…`, `add_…`, `count_…`"),
    ("tell", "`send_…`, `report_…`"),
    ("told", "the name of what it returns"),
    ("look", "`scan_…`, `check_…`"),
    ("hear", "`receive_…`"),
];

/// Words that are not part of a name: of code, of protocols, of metrics.
const PARTS: [(&str, &str); 1] = [("odd", "malformed")];

/// The names in a text that should be others, with their lines.
fn unwanted_names(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for (name, instead) in FUNCTIONS {
            let is_end = |after: &str| after.starts_with(['(', '<']);
            if line.split("fn ").skip(1).any(|after| after.strip_prefix(name).is_some_and(is_end)) {
                found.push((number, format!("`fn {name}` (write: {instead})")));
            }
        }
        let words = || line.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_ascii_lowercase);
        for (part, instead) in PARTS {
            if words().any(|word| word == part) {
                found.push((number, format!("`{part}` (write: {instead}): {line}")));
            }
        }
    }
    found
}

/// Guarantee: names of functions, and words in names, are those of the project.
#[test]
fn functions_and_parts_of_names_use_plain_words() {
    let text = concat!("fn of(a", ") {}\nfn offer() { of() }\nfn note<", "A>() {}\nconst O", "DD_ONE: u8;\n// added\n");
    assert_eq!(unwanted_names(text).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4]);
    let mut offences = Vec::new();
    let mut texts: Vec<_> = super::rust_files();
    texts.extend(super::files("proto", &["proto"]));
    texts.extend(
        ["docs", "examples"].iter().flat_map(|directory| super::files(directory, &["md", "json", "yaml", "yml"])),
    );
    for (path, text) in
        texts.iter().filter(|(path, _)| path != "tests/tidy/language.rs" && path != "tests/support/words.rs")
    {
        let is_test = path.starts_with("tests/");
        let found = unwanted_names(text).into_iter().filter(|(_, name)| !is_test || name.starts_with("`fn "));
        offences.extend(found.map(|(line, name)| format!("{path}:{line}: {name}")));
    }
    assert_none("use plain words in names", offences);
}

/// The nouns of numbers that may be one.
const NOUNS: &str =
    "alerts|checks|events|feeds|files|hits|indicators|lines|nodes|publications|records|segments|sinks|sources";

/// Texts whose number is never one, or that are about a change between two numbers.
const NEVER_ONE: [&str; 9] = [
    "{many} indicators",
    "merged {} segments of",
    "one of {} segments",
    "on {} events\"",
    "{} events/s",
    "{speed} events per second",
    "from {held} to {found} indicators",
    "or this tenant {nodes} nodes",
    "fell from {held} indicators to",
];

/// Guarantee: no text for people says `1 indicators`: `counted::count` chooses the noun. A limit is more than one.
#[test]
fn numbers_have_the_right_noun() {
    let number = regex::Regex::new(&format!(r"\{{(\w*)[^{{}}]*\}} (?:{NOUNS})\b")).unwrap();
    let is_constant = |name: &str| !name.is_empty() && name.to_uppercase() == name;
    let is_limit = |name: &str| name == "most" || name == "limit" || is_constant(name);
    let mut offences = Vec::new();
    for (path, text) in super::rust_files().iter().filter(|(path, _)| path.starts_with("src/")) {
        let text = super::source::without_test_lines(text);
        for (line, content) in text.lines().enumerate().filter(|(_, content)| !content.trim_start().starts_with("//")) {
            let is_open = number.captures_iter(content).any(|found| !is_limit(&found[1]));
            if is_open && !path.contains("/tests") && !NEVER_ONE.iter().any(|text| content.contains(text)) {
                offences.push(format!("{path}:{}: {}", line + 1, content.trim()));
            }
        }
    }
    assert_none("use `counted::count`", offences);
}

/// Words that add nothing to a name.
const EMPTY: [&str; 34] = [
    "a", "all", "an", "and", "as", "at", "by", "every", "for", "from", "has", "have", "if", "in", "is", "it", "its",
    "of", "on", "one", "or", "that", "the", "their", "there", "these", "this", "those", "to", "what", "which",
    "whether", "who", "with",
];

/// The docs of one line whose words are all in the name or the type after them, with their line.
fn repeated_names(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_doc = |at: usize| lines.get(at).is_some_and(|line| line.starts_with("///"));
    let letters = |line: &str| line.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
    let repeats = |at: usize| {
        let item = lines[at..].iter().skip(1).find(|line| !line.starts_with("#["));
        let item = letters(item.unwrap_or(&""));
        let mut words = lines[at].split(|c: char| !c.is_alphabetic()).map(str::to_lowercase);
        words.all(|word| EMPTY.contains(&word.as_str()) || item.contains(word.trim_end_matches('s')))
    };
    let adds = |doc: &str| doc.contains(|c: char| c == '`' || c == '[' || c.is_ascii_digit());
    let alone = |at: &usize| is_doc(*at) && !is_doc(at + 1) && (*at == 0 || !is_doc(at - 1));
    let found = (0..lines.len()).filter(alone).filter(|at| !adds(lines[*at]) && repeats(*at));
    found.map(|at| (at + 1, lines[at])).collect()
}

/// Guarantee: no doc of the program only repeats a name. Docs of the configuration and of arguments are texts for users.
#[test]
fn no_doc_repeats_a_name() {
    let is_for_users = |path: &str| path.starts_with("src/config") || path.starts_with("src/cli/args");
    let files = super::files("src", &["rs"]);
    let code = files.iter().filter(|(path, _)| !is_for_users(path));
    let offences = code.flat_map(|(path, text)| {
        repeated_names(text).into_iter().map(move |(line, doc)| format!("{path}:{line}: {doc}"))
    });
    assert_none("delete docs that repeat a name", offences.collect());
    let text =
        "/// The port.\nport: u16,\n/// Whether it is a list.\n#[x]\nfn is_list() {}\n/// In bytes.\nlength: u64,\n";
    let found: Vec<usize> = repeated_names(text).into_iter().map(|(line, _)| line).collect();
    assert_eq!(found, [1, 3]);
}
