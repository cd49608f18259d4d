//! The targets of references in documents exist: links, headings, and the files that ARCHITECTURE.md names. Their
//! commands work, and their words are plain.

// Says to clippy what cargo knows: helpers here are test code, too.
#![cfg(test)]

mod blocks;
mod commands;
mod scripts;
#[path = "../support/source.rs"]
mod source;
#[path = "../support/words.rs"]
mod unwanted;
mod words;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;
use hotlist::schema::FieldTable;
use regex::Regex;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file at the root of the package and in the directories that are its own, relative to the root.
fn files() -> BTreeSet<PathBuf> {
    const OWN: [&str; 9] = ["src", "crates", "tests", "benches", "examples", "docs", "helm", "proto", ".ci"];
    let (mut found, mut open) = (BTreeSet::new(), vec![root().to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let inside = path.strip_prefix(root()).unwrap();
            if !path.is_dir() {
                found.insert(inside.to_owned());
            } else if directory != root() || OWN.iter().any(|own| inside == Path::new(own)) {
                open.push(path);
            }
        }
    }
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The text outside of fenced code, where brackets mean what they mean in Markdown.
fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// The anchor that GitHub gives to a heading: lower case, without punctuation, blanks become hyphens.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A path with its `..` taken out, or `None` when it leads out of the package.
fn resolved(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir if !parts.pop() => return None,
            _ => {}
        }
    }
    Some(parts)
}

/// The faults of the links of a document.
fn broken(document: &Path, text: &str) -> Vec<String> {
    let text = prose(text);
    let mut broken = Vec::new();
    for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
        let (path, heading) = link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
        let beside = document.parent().unwrap_or(Path::new(""));
        let target = if path.is_empty() { Some(document.to_owned()) } else { resolved(&beside.join(path)) };
        let Some(target) = target.filter(|target| root().join(target).exists()) else {
            broken.push(format!("{}: {link}: there is no such file", document.display()));
            continue;
        };
        if let Some(heading) = heading {
            let there = prose(&read(&target));
            let mut headings = there.lines().filter(|line| line.starts_with('#'));
            if !headings.any(|line| anchor(line.trim_start_matches('#')) == heading) {
                broken.push(format!("{}: {link}: there is no such heading", document.display()));
            }
        }
    }
    broken
}

/// Guarantee: every relative link of every document leads to a file or directory, and to a heading that it has.
#[test]
fn every_relative_link_leads_somewhere() {
    let documents = files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let (mut problems, mut seen) = (Vec::new(), 0);
    for document in documents {
        let text = read(&document);
        seen += links(&prose(&text)).len();
        problems.extend(broken(&document, &text));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen > 40, "only {seen} links were found");
    let bad = "[a](README.md) [b](no.md) [c](README.md#no-such) [d](../up.md)\n```\n[e](code.md)\n```\n";
    assert_eq!(broken(Path::new("x.md"), bad).len(), 3, "what is broken is found");
    assert_eq!(anchor(" Fields that are `not` ECS, yet"), "fields-that-are-not-ecs-yet");
}

/// The words between single backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether a word in backticks is about files: it begins with a directory of the package, or ends as a source does.
fn names_files(word: &str) -> bool {
    let directories = ["src/", "crates/", "tests/", "benches/", "examples/", "docs/", "app/", "cli/"];
    directories.iter().any(|directory| word.starts_with(directory)) || word.ends_with(".rs")
}

/// Where the sources of the two packages are.
const SOURCES: [&str; 2] = ["src/", "crates/hotlist-core/src/"];

/// Whether a file or directory has this name. It starts at the root or below a directory of sources, or is a
/// file's own name; a star at its end stands for anything.
fn is_there(files: &BTreeSet<PathBuf>, word: &str) -> bool {
    let start = word.trim_end_matches('*');
    files.iter().map(|path| path.to_str().unwrap()).any(|path| {
        let below = SOURCES.iter().find_map(|source| path.strip_prefix(source)).unwrap_or(path);
        if word.ends_with('*') || word.ends_with('/') {
            return path.starts_with(start) || below.starts_with(start);
        }
        let inside = format!("{word}/");
        path.ends_with(&format!("/{word}")) || [path, below].iter().any(|at| *at == word || at.starts_with(&inside))
    })
}

/// Guarantee: every file that a document names exists, ARCHITECTURE.md's map has every module of both packages, and each
/// of its invariants names a test that exists.
#[test]
fn the_map_of_the_code_is_that_of_the_tree() {
    let (files, text) = (files(), read(Path::new("ARCHITECTURE.md")));
    let documents: Vec<String> = commands::documents().iter().map(|document| read(document)).collect();
    let words = documents.iter().flat_map(|document| document.lines()).flat_map(quoted);
    let named: BTreeSet<&str> = words.filter(|word| names_files(word) && !word.contains("NAME")).collect();
    let gone: Vec<&&str> = named.iter().filter(|word| !is_there(&files, word)).collect();
    assert!(gone.is_empty(), "files that do not exist are named: {gone:?}");
    assert!(named.len() > 40, "only {} names were found", named.len());
    assert!(!is_there(&files, "src/nothing*") && !is_there(&files, "nothing.rs"));

    let is_row = |line: &&str| SOURCES.iter().any(|source| line.starts_with(&format!("| `{source}")));
    let map: Vec<&str> = text.lines().filter(is_row).collect();
    let is_in_map = |path: &str| {
        let mut firsts = map.iter().filter_map(|line| quoted(line).next());
        firsts.any(|first| path.starts_with(first.trim_end_matches('*')))
    };
    let tables = text.split("| invariant | tests |\n").skip(1);
    let invariants: Vec<&str> =
        tables.flat_map(|table| table.lines().skip(1).take_while(|line| line.starts_with('|'))).collect();
    let is_test = |word: &str| is_there(&files, word) || root().join(word).exists();
    let has_test = |row: &str| row.split(" | ").last().is_some_and(|tests| quoted(tests).any(is_test));
    let untested: Vec<&&str> = invariants.iter().filter(|row| !has_test(row)).collect();
    assert!(untested.is_empty(), "these invariants name no test: {untested:?}");
    assert!(invariants.len() > 120, "only {} invariants were found", invariants.len());

    let entry = ["src/main.rs", "src/lib.rs", "crates/hotlist-core/src/lib.rs"];
    let missing: Vec<&str> = files
        .iter()
        .filter_map(|path| path.to_str())
        .filter(|path| SOURCES.iter().any(|source| path.starts_with(source)))
        .filter(|path| !entry.contains(path) && !is_in_map(path))
        .collect();
    assert!(missing.is_empty(), "the map in ARCHITECTURE.md has no row for {missing:?}");
}

/// The code blocks of a document in this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    text.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Guarantee: the README has fewer than 150 lines, and the configuration that it shows first is the example whose command
/// it gives.
#[test]
fn the_readme_is_short_and_shows_the_example_configuration() {
    assert!(read(Path::new("README.md")).lines().count() < 150, "the README is not a reference");
    let example = read(Path::new("examples/hotlist.yaml"));
    let lines: Vec<&str> = example.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let shown = blocks(&read(Path::new("README.md")), "yaml");
    assert!(shown.iter().any(|block| block.lines().eq(lines.iter().copied())), "not shown:\n{}", lines.join("\n"));
}

/// Guarantee: the tagged event in the README is what comes out for the first incident of the examples; members that every
/// event has are left out there.
#[test]
fn the_readme_shows_what_a_hit_looks_like() {
    let directory = tempfile::tempdir().unwrap();
    let events = read(Path::new("examples/events/incidents.ndjson"));
    let event = directory.path().join("event.json");
    std::fs::write(&event, events.lines().next().unwrap()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hotlist"))
        .args(["scan", "--emit", "events", "--indicators", "examples/indicators", "--events"])
        .arg(event)
        .current_dir(root())
        .output()
        .unwrap();
    let mut tagged: Value = serde_json::from_slice(&output.stdout).unwrap();
    for member in ["@timestamp", "event", "source", "host"] {
        tagged.as_object_mut().unwrap().shift_remove(member).unwrap();
    }
    let shown = blocks(&read(Path::new("README.md")), "json");
    let shown: Value = serde_json::from_str(&shown[0]).unwrap();
    assert_eq!(serde_json::to_string_pretty(&shown).unwrap(), serde_json::to_string_pretty(&tagged).unwrap());
}

/// The ports of docs/operations.md: those of Hotlist, by what it says of them, and those of next hops.
fn ports() -> Vec<(String, Vec<u16>)> {
    let text = read(Path::new("docs/operations.md"));
    let rows = text.lines().skip_while(|line| *line != "## Ports").skip_while(|line| !line.starts_with("|---"));
    let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let numbers = cells.next().unwrap().split(", ").map(|port| port.parse().unwrap()).collect();
        (cells.next().unwrap().to_owned(), numbers)
    };
    rows.map(row).collect()
}

/// The faults of the ports of a text: a port that docs/operations.md does not have, or one of something else.
fn wrong_ports(text: &str) -> Vec<String> {
    let table = ports();
    let of = |what: &str| {
        let (_, ports) = table.iter().find(|(of, _)| of.contains(what)).unwrap_or_else(|| panic!("no port of {what}"));
        ports[0]
    };
    let port = Regex::new(r"(?:[a-z0-9\]]:|\b(?i:port):?\s+`?)(\d{4,5})\b").unwrap();
    let typed = Regex::new(r"\btype\W+(otlp|vector|filter)\b").unwrap();
    let listens = Regex::new(r#"address\W+[0-9.\[\]:]*:(\d{4,5})"#).unwrap();
    let mut wrong = Vec::new();
    // The type of the source whose keys are being read.
    let mut source = None;
    for line in text.lines() {
        let found: Vec<u16> = port.captures_iter(line).filter_map(|of| of[1].parse().ok()).collect();
        let unknown = found.iter().filter(|port| table.iter().all(|(_, ports)| !ports.contains(port)));
        wrong.extend(unknown.map(|port| format!("{line}: no port {port}")));
        let type_of = typed.captures(line).map(|of| of[1].to_owned());
        source = type_of.or(source.filter(|_| line.starts_with(' ') && !line.contains("type")));
        let expected = match &source {
            Some(source) if listens.is_match(line) => Some(of(&format!("a source of type `{source}`"))),
            _ if line.contains("admin") && listens.is_match(line) => Some(of("the admin listener of a sidecar")),
            _ if line.contains("hotlist control-plane") && line.contains("--listen") => {
                Some(of("a control plane, for"))
            }
            _ if line.contains("hotlist nodes") && line.contains("--endpoint") => Some(of("a control plane, for")),
            _ if line.contains("control.example") => Some(of("a control plane, for")),
            _ => None,
        };
        // Next hops of the examples listen, too.
        let is_next_hop = |port: &u16| table.iter().any(|(of, ports)| of.contains("next hops") && ports.contains(port));
        let expected = expected.filter(|expected| !found.contains(expected) && !found.iter().all(is_next_hop));
        if let Some(expected) = expected {
            wrong.push(format!("{line}: the port should be {expected}"));
        }
    }
    wrong
}

/// Guarantee: documents, examples and help texts give each listener of Hotlist the port that docs/operations.md has, and
/// name no other port.
#[test]
fn ports_are_the_same_in_every_document() {
    let in_data = |path: &Path| ["examples/indicators", "examples/events"].iter().any(|data| path.starts_with(data));
    let is_document = |path: &&PathBuf| {
        let text =
            path.extension().is_some_and(|of| ["md", "yaml", "toml", "json", "py", "rs"].iter().any(|one| of == *one));
        let is_one = path.starts_with("docs") || path.starts_with("examples") || **path == Path::new("README.md");
        is_one && text && !path.starts_with("docs/adr") && !in_data(path)
    };
    let all = files();
    let mut texts: Vec<(String, String)> =
        all.iter().filter(is_document).map(|path| (path.display().to_string(), read(path))).collect();
    let mut commands = vec![(String::new(), hotlist::cli::Cli::command())];
    while let Some((name, mut command)) = commands.pop() {
        let name = format!("{name} {}", command.get_name());
        texts.push((format!("{name} --help"), command.render_long_help().to_string()));
        commands.extend(command.get_subcommands().map(|sub| (name.clone(), sub.clone())));
    }
    assert!(texts.len() > 60, "only {} documents were found", texts.len());
    let wrong = |(name, text): &(String, String)| {
        wrong_ports(text).into_iter().map(|wrong| format!("{name}: {wrong}")).collect::<Vec<_>>()
    };
    let wrong: Vec<String> = texts.iter().flat_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for bad in [
        "dial 127.0.0.1:4400",
        "its port 4400",
        "agents: { type: otlp, address: \"127.0.0.1:14319\" }",
        "agents:\n  type: filter\n  address: \"0.0.0.0:14317\"",
        "hotlist control-plane --store store --listen 127.0.0.1:9466",
        "admin: { address: \"127.0.0.1:9466\" }",
    ] {
        assert_eq!(wrong_ports(bad).len(), 1, "{bad}");
    }
    assert!(wrong_ports("at 2026-01-31T12:00:00Z, 198.51.100.7:53, 10:4317").is_empty());
}

/// Guarantee: the index of the documents links every page.
#[test]
fn the_index_links_every_page() {
    let text = read(Path::new("docs/README.md"));
    let linked: BTreeSet<&str> = links(&text).into_iter().filter_map(|link| link.split('#').next()).collect();
    let is_page = |path: &&PathBuf| path.parent() == Some(Path::new("docs")) && path.extension() == Some("md".as_ref());
    let pages = commands::documents();
    let names = pages.iter().filter(is_page).filter_map(|path| path.file_name()?.to_str());
    let missing: Vec<&str> = names.filter(|name| *name != "README.md" && !linked.contains(name)).collect();
    assert!(missing.is_empty() && linked.len() > 20, "docs/README.md has no link to {missing:?}");
}

/// Guarantee: every metric that a document names is in the reference of metrics.
#[test]
fn every_metric_that_a_document_names_exists() {
    let reference = read(Path::new("docs/telemetry.md"));
    let name = Regex::new(r"\bhotlist_[a-z_]+[a-z]\b").unwrap();
    let known: BTreeSet<&str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `").and_then(|rest| rest.split('`').next()))
        .filter(|name| name.starts_with("hotlist_"))
        .collect();
    let is_known = |metric: &str| {
        known.contains(metric.trim_end_matches("_bucket")) || known.iter().any(|known| known.starts_with(metric))
    };
    let mut unknown = Vec::new();
    for document in commands::documents().iter().filter(|path| **path != Path::new("CHANGELOG.md")) {
        let text = read(document);
        let found = name.find_iter(&text).map(|found| found.as_str()).filter(|name| *name != "hotlist_core");
        let found = found.filter(|metric| !is_known(metric));
        unknown.extend(found.map(|metric| format!("{}: {metric}", document.display())));
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    assert!(known.len() > 60 && !is_known("hotlist_nothing"));
}

/// Guarantee: docs/fields.md has each field of the field table, and no other.
#[test]
fn the_field_reference_is_the_field_table() {
    let table = FieldTable::embedded(true).unwrap();
    let table: BTreeSet<String> = table.iter().map(|(_, field)| field.name.clone()).collect();
    let text = read(Path::new("docs/fields.md"));
    let rows = text.lines().skip_while(|line| *line != "## The fields of ECS").filter(|line| line.starts_with("| `"));
    let shown: BTreeSet<String> = rows.flat_map(|line| quoted(line).skip(1)).map(str::to_owned).collect();
    assert_eq!(shown, table);
}
