//! The files that load, the consequences of a bad file or entry, and the report of it.

use std::path::Path;

use hotlist::config::{Config, Format};
use hotlist::feed::allowlist::{self as feed, AllowlistError};
use hotlist::intel::allowlist::{self, Action, ReadError, Subject};
use hotlist::observable::Kind;

fn read(text: &str) -> Result<allowlist::Import, ReadError> {
    allowlist::read(text.as_bytes(), "file")
}

/// Guarantee: a file that is not a list is refused with the reason and how to fix it.
#[test]
fn a_file_that_is_no_list_says_why() {
    for (text, reason) in [
        ("", "at line 1 column 0; give a JSON object"),
        ("{\"list\": [", "EOF while parsing a list"),
        ("[\"a\"]", "is not a warninglist: "),
        ("{\"list\": [\"a\"]}", "it has no `type`"),
        ("{\"type\": \"string\"}", "it has no `list`"),
        ("{\"type\": \"string\", \"list\": \"a\"}", "invalid type: string"),
        ("{\"type\": \"glob\", \"list\": []}", "type `glob`; known are string, hostname, substring, cidr and regex"),
        ("{\"type\": \"string\", \"list\": [], \"matching_attributes\": [\"btc\"]}", "none occurs in events (btc)"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let large = vec![b' '; allowlist::MAX_BYTES + 1];
    assert!(matches!(allowlist::read(&large, "file"), Err(ReadError::TooLarge)));
}

/// Guarantee: each entry that cannot be used is listed with its place and its reason, and all others work.
#[test]
fn a_bad_entry_costs_nothing_but_itself() {
    let long = "a".repeat(5000);
    let bomb = "/((a{1000}){1000}){1000}/";
    let bad: &[(&str, &str, &str)] = &[
        ("regex", "\"/(a/\"", "unclosed group"),
        ("regex", &format!("\"{bomb}\""), "more than 262144 bytes"),
        ("regex", "\"/a(?!b)/\"", "look-around"),
        ("regex", "\"/x*/\"", "matches the empty text"),
        ("cidr", "\"192.0.2.0/33\"", "neither an address nor"),
        ("cidr", "\"example.com\"", "neither an address nor"),
        ("cidr", "42", "is not text"),
        ("cidr", "{\"value\": [\"192.0.2.9\"]}", "is not text"),
        ("cidr", "null", "is not text"),
        ("hostname", "\"http://a.example/\"", "is not a host name"),
        ("hostname", "\" \"", "is empty"),
        ("string", "\".example.com\"", "is more than one value"),
        ("string", &format!("\"{long}\""), "is longer than 4096 bytes"),
    ];
    for (kind, entry, reason) in bad {
        let good = if *kind == "cidr" { "192.0.2.1" } else { "host.example" };
        let attributes = if *kind == "string" { "[\"domain\"]" } else { "[]" };
        let text = format!(
            "{{\"name\": \"ours\", \"type\": \"{kind}\", \"matching_attributes\": {attributes}, \"list\": [\"{good}\", {entry}, \"{good}\"]}}"
        );
        let import = read(&text).unwrap();
        assert_eq!((import.list.len(), import.unusable.len()), (2, 1), "{text}");
        let unusable = &import.unusable[0];
        assert_eq!(unusable.index, 1);
        assert!(unusable.reason.contains(reason), "{entry:.40}: {}", unusable.reason);
        assert!(unusable.excerpt.chars().count() <= 80);
        let of = if *kind == "cidr" { Kind::Ip } else { Kind::Domain };
        assert!(import.list.find(&Subject::new(of, good.as_bytes(), good)).is_some(), "{text}");
    }
}

/// Guarantee: expressions and substrings of a list are bounded; what is over the bound is listed, the rest works.
#[test]
fn the_entries_that_cost_most_are_bounded() {
    for (kind, bound) in [("regex", 1_000), ("substring", 100_000)] {
        let entries: Vec<String> = (0..bound + 2).map(|number| format!("\"host{number}.example\"")).collect();
        let import = read(&format!("{{\"type\": \"{kind}\", \"list\": [{}]}}", entries.join(","))).unwrap();
        assert_eq!((import.list.len(), import.unusable.len()), (bound, 2), "{kind}");
        assert!(import.unusable[0].reason.contains("one too many"), "{}", import.unusable[0].reason);
        let last = format!("host{}.example", bound - 1);
        assert!(import.list.find(&Subject::new(Kind::Domain, last.as_bytes(), &last)).is_some());
    }
}

/// Guarantee: a list of a million names loads, and finds the first and the last of them.
#[test]
fn a_million_names_load() {
    let entries: Vec<String> = (0..1_000_000).map(|number| format!("\"site{number}.example\"")).collect();
    let import = read(&format!(
        "{{\"type\": \"string\", \"matching_attributes\": [\"domain\"], \"list\": [{}]}}",
        entries.join(",")
    ))
    .unwrap();
    assert_eq!((import.list.len(), import.unusable.len()), (1_000_000, 0));
    for (name, found) in [("site0.example", true), ("site999999.example", true), ("site1000000.example", false)] {
        assert_eq!(import.list.find(&Subject::new(Kind::Domain, name.as_bytes(), name)).is_some(), found, "{name}");
    }
}

fn config(directory: &Path, lists: &str) -> Config {
    let text = format!(
        "sources: {{ a: {{ type: otlp, address: '127.0.0.1:0' }} }}\nsinks: {{ s: {{ type: blackhole, inputs: [a] }} }}\n\
         intel: {{ allowlists: {lists} }}\n"
    );
    let text = text.replace("DIR", directory.to_str().unwrap());
    Config::parse(&text, Format::Yaml, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Scenario: a glob, a table with name and action, a disabled entry, a missing file, a broken one, one bad entry.
/// Guarantee: everything that can be loaded is loaded, in order, under the right name and action; the rest is reported,
/// each with its file.
#[test]
fn the_configuration_says_name_and_action_and_failures_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("a.json", r#"{"name": "Resolvers", "type": "cidr", "list": ["192.0.2.1"]}"#);
    write(
        "b.json",
        r#"{"name": "Known Cloud ranges", "type": "cidr", "list": ["192.0.2.1", "what", "is", "this", "then"]}"#,
    );
    write("c.json", r#"{"type": "cidr", "list": ["192.0.2.1"]}"#);
    write("broken.json", "{");
    let lists = "[DIR/?.json, { path: DIR/b.json, name: ours, action: suppress }, { path: DIR/a.json, action: annotate },\n\
                 { path: DIR/c.json, enabled: false }, DIR/none.json, DIR/broken.json]";
    let (allowlists, errors) = feed::load(&config(directory.path(), lists).intel);
    let loaded: Vec<(&str, Action)> = allowlists.lists().iter().map(|list| (list.name(), list.action())).collect();
    assert_eq!(
        loaded,
        [
            ("Resolvers", Action::Suppress),
            ("Known Cloud ranges", Action::Annotate),
            ("c", Action::Suppress),
            ("ours", Action::Suppress),
            ("Resolvers", Action::Annotate),
        ]
    );
    assert!(matches!(&errors[0], AllowlistError::Entry { list, index: 1, .. } if &**list == "Known Cloud ranges"));
    let lines = feed::lines(&errors);
    let in_b = |list: &str, rest: &str| format!("{}: list \"{list}\"{rest}", directory.path().join("b.json").display());
    let beginnings = [
        in_b("Known Cloud ranges", ", entry 1 (\"what\")"),
        in_b("Known Cloud ranges", ", entry 2 (\"is\")"),
        in_b("Known Cloud ranges", ", entry 3 (\"this\")"),
        in_b("Known Cloud ranges", ": 1 more "),
        in_b("ours", ", entry 1 (\"what\")"),
    ];
    assert!(lines.len() > beginnings.len(), "{lines:#?}");
    for (line, beginning) in lines.iter().zip(&beginnings) {
        assert!(line.starts_with(beginning), "{beginning}: {line}");
    }
    let of = |name: &str| {
        let path = directory.path().join(name).display().to_string();
        lines.iter().filter(|line| line.contains(&path)).cloned().collect::<Vec<_>>()
    };
    let [none] = of("none.json").try_into().unwrap();
    assert!(none.contains("no file matches") && none.contains("give a file or a glob"), "{none}");
    let broken = lines.last().unwrap();
    assert_eq!(of("broken.json"), lines[lines.len() - 1..]);
    assert!(broken.contains("line 1 column 1") && broken.contains("give a JSON object"), "{broken}");
}

/// Guarantee: a file over the bound is refused without being read whole, and a directory is no file.
#[test]
fn a_file_that_is_too_large_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(directory.path().join("large.json")).unwrap();
    file.set_len(1 << 40).unwrap();
    let (allowlists, errors) = feed::load(&config(directory.path(), "[DIR/large.json]").intel);
    assert!(allowlists.is_empty());
    assert!(matches!(&errors[..], [AllowlistError::File { source: ReadError::TooLarge, .. }]), "{errors:?}");
}

/// Guarantee: a value that is none of the two actions, and a key that is misspelt, are errors with their place.
#[test]
fn the_section_is_strict() {
    let text = "sources: { a: { type: otlp, address: '127.0.0.1:0' } }\nsinks: { s: { type: blackhole, inputs: [a] } }\n\
                intel: { allowlists: [{ path: x.json, action: drop, nme: y }] }\n";
    let errors = Config::parse(text, Format::Yaml, &|_| None).unwrap_err().to_string();
    for part in ["intel.allowlists[0].action", "suppress", "annotate", "nme", "`name`"] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
}
