//! Rules about the source tree itself: which module may use which, how files open, how long they are, how they are
//! written.

// Says to clippy what cargo knows: helpers here are test code, too.
#![cfg(test)]

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/ignored.rs"]
mod ignored;
#[path = "tidy/language.rs"]
mod language;
#[path = "tidy/process.rs"]
mod process;
#[path = "tidy/records.rs"]
mod records;
#[path = "support/source.rs"]
mod source;
#[path = "support/words.rs"]
mod unwanted;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use source::code;

/// The layers, lowest first. A module uses modules of lower layers; what else it may use is said in [`may_use`].
const LAYERS: [&[&str]; 5] = [
    &[
        "escape",
        "tally",
        "observable",
        "schema",
        "asset",
        "alert_key",
        "text",
        "encoding",
        "intel",
        "severity_scale",
        "rules",
        "matcher",
        "circumstances",
        "policy",
        "severity",
        "enrich",
        "work",
        "detect",
    ],
    &[
        "config",
        "telemetry",
        "pipeline",
        "net",
        "proto",
        "counted",
        "durable",
        "names",
        "readiness",
        "file_timeout",
        "task",
    ],
    &["source", "sink", "feed", "logs", "store", "publisher", "admin"],
    &["provider", "controlplane", "history", "alert"],
    &["app", "cli", "main"],
];

/// What the crate of layer 0 must not depend on, however indirectly. What of the standard library it must not call is in
/// its `clippy.toml`.
const IMPURE: [&str; 9] = ["axum", "h2", "hyper", "metrics", "prost", "tokio", "tonic", "tower", "tracing"];

/// The most lines a source file may have: far beyond the 400 where a file is probably two ideas.
const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a directory whose names end so, as paths relative to the package, with their text.
fn files(directory: &str, extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(path) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&path) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e)) {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The sources of the packages: the core's is layer 0.
fn sources() -> Vec<(String, String)> {
    ["src", "crates/hotlist-core/src"].iter().flat_map(|directory| files(directory, &["rs"])).collect()
}

/// The code in them, without files that only tests have.
fn codes() -> Vec<(String, String)> {
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    let codes = sources().into_iter().filter(|(path, _)| !is_test(path));
    codes.map(|(path, text)| (path, code(&text))).collect()
}

fn rust_files() -> Vec<(String, String)> {
    ["src", "crates", "tests", "benches", "examples", "fuzz/src", "fuzz/fuzz_targets"]
        .iter()
        .flat_map(|directory| files(directory, &["rs"]))
        .chain([("build.rs".to_owned(), std::fs::read_to_string(root().join("build.rs")).unwrap())])
        .collect()
}

/// The top-level module that a source file belongs to; `lib` only lists modules and belongs to none.
fn module(path: &str) -> Option<&str> {
    let below = path.strip_prefix("crates/hotlist-core/").unwrap_or(path);
    let name = below.strip_prefix("src/")?.split('/').next()?;
    let name = name.strip_suffix(".rs").unwrap_or(name);
    (name != "lib").then_some(name)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// Where a word stands by itself, not as a part of a longer name.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + word.len()..];
        (!before.is_some_and(name) && !after.starts_with(name)).then_some(after)
    })
}

/// The top-level modules that code names: `crate::a`, `crate::{a, b::c}`, and the same below `hotlist` and
/// `hotlist_core`.
fn used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let first = |path: &str| path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for after in words(code, "crate").chain(words(code, "hotlist")).chain(words(code, "hotlist_core")) {
        let Some(path) = after.strip_prefix("::") else { continue };
        match path.strip_prefix('{') {
            Some(group) => {
                let (mut depth, mut part) = (0, String::new());
                for c in group.chars() {
                    match c {
                        '}' if depth == 0 => break,
                        ',' if depth == 0 => {
                            used.insert(first(&std::mem::take(&mut part)));
                        }
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        c => part.push(c),
                    }
                }
                used.insert(first(&part));
            }
            None => {
                used.insert(first(path));
            }
        }
    }
    used.remove("");
    used
}

/// Whether the layers let one module use another. Layer 0 has its own order, which the cycle check finds.
fn may_use(user: &str, used: &str) -> bool {
    match (layer(user), layer(used)) {
        (Some(2), Some(2)) | (Some(3), Some(3)) => user == used,
        (Some(user), Some(used)) => used <= user,
        _ => false,
    }
}

/// The modules that each module uses, without itself.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, code) in codes() {
        if let Some(module) = module(&path) {
            let entry = uses.entry(module.to_owned()).or_default();
            entry.extend(used(&code).into_iter().filter(|used| used != module));
        }
    }
    uses
}

fn assert_none(rule: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

#[test]
fn every_module_has_a_layer_and_uses_only_lower_ones() {
    let mut offences = Vec::new();
    for (module, used) in uses() {
        if layer(&module).is_none() {
            offences.push(format!("`{module}` is in no layer; add it to LAYERS in tests/tidy.rs"));
        }
        // A macro or a type at the crate's root begins no module path of ours.
        for used in used.iter().filter(|used| layer(used).is_some() || root().join(format!("src/{used}.rs")).exists()) {
            if !may_use(&module, used) {
                offences.push(format!("`{module}` uses `{used}`"));
            }
        }
    }
    assert_none("modules use only lower layers, and layer 2 modules not each other", offences);
}

#[test]
fn the_pure_layer_has_no_cycle() {
    let uses = uses();
    let mut left: BTreeSet<&str> = LAYERS[0].iter().copied().filter(|module| uses.contains_key(*module)).collect();
    loop {
        let free: Vec<&str> = left
            .iter()
            .copied()
            .filter(|module| uses[*module].iter().all(|used| !left.contains(used.as_str())))
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module| !free.contains(module));
    }
    assert!(left.is_empty(), "these modules of layer 0 use each other in a circle: {left:?}");
}

#[test]
fn the_pure_layer_depends_on_nothing_impure() {
    let cargo = Command::new(env!("CARGO"))
        .args(["tree", "--package", "hotlist-core", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .args(["--locked", "--offline", "--no-dedupe"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let tree = String::from_utf8(cargo.stdout).unwrap();
    let packages: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(packages.contains("hotlist-core") && packages.contains("jiff"), "{packages:?}");
    // `tokio-util` is no better than `tokio`.
    let is_impure = |package: &&str| IMPURE.iter().any(|name| package.split('-').next() == Some(name));
    assert_none("hotlist-core depends on", packages.into_iter().filter(is_impure).map(str::to_owned).collect());
}

#[test]
fn layer_1_names_no_tonic() {
    let mut offences = Vec::new();
    for (path, code) in codes() {
        if module(&path).and_then(layer) == Some(1) && words(&code, "tonic").next().is_some() {
            offences.push(path);
        }
    }
    assert_none("layer 1 has no tonic", offences);
}

/// Where generated types of protobuf may be named: where they are included, and where a call is not about events.
const GENERATED: [&str; 3] = ["src/proto.rs", "src/source/filter.rs", "src/source/filter/check.rs"];
/// The same of whole modules: no event passes through the control stream.
const GENERATED_BELOW: [&str; 2] = ["src/provider/control/", "src/controlplane/"];

#[test]
fn no_generated_type_is_on_the_path_of_events() {
    let mut offences = Vec::new();
    for (path, code) in codes() {
        if GENERATED.contains(&path.as_str()) || GENERATED_BELOW.iter().any(|below| path.starts_with(below)) {
            continue;
        }
        for name in ["proto", "prost", "tonic_prost", "opentelemetry_proto"] {
            let named = words(&code, &format!("crate::{name}")).next().is_some();
            if named || words(&code, name).any(|after| after.starts_with("::")) {
                offences.push(format!("{path}: `{name}`"));
            }
        }
    }
    assert_none(
        "events are walked as bytes; only Check, reflection and the control stream name generated types",
        offences,
    );
}

/// The one place where files are renamed, or synced with their directory.
const DURABLE: &str = "src/durable.rs";

#[test]
fn files_are_replaced_in_one_place() {
    let mut offences = Vec::new();
    for (path, code) in codes() {
        let calls = ["sync_all(", ".persist(", "fs::rename(", "NamedTempFile", "tempfile_in("];
        for call in calls.into_iter().filter(|call| path != DURABLE && code.contains(call)) {
            offences.push(format!("{path}: `{call}`"));
        }
    }
    assert_none("durable writes of files are functions of src/durable.rs", offences);
}

#[test]
fn segment_files_are_opened_by_their_owners() {
    let is_owner = |path: &str| ["crates/", "src/store", "src/provider/"].iter().any(|owner| path.starts_with(owner));
    let opens = |code: &str| code.contains("Segment::open(") || code.contains("segment::indicators(");
    let offences = codes().into_iter().filter(|(path, code)| !is_owner(path) && opens(code)).map(|(path, _)| path);
    assert_none("segment files are opened by src/store and by the cache of a node", offences.collect());
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    let offences = rust_files().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path);
    assert_none("every Rust file opens with `//! ` and what it is", offences.collect());
}

#[test]
fn no_file_is_too_long() {
    let long = rust_files().into_iter().map(|(path, text)| (path, text.lines().count()));
    let offences = long.filter(|(_, lines)| *lines > MAX_LINES).map(|(path, lines)| format!("{path}: {lines} lines"));
    assert_none("a file is one idea; split it", offences.collect());
}

#[test]
fn nothing_is_left_to_do_and_no_path_of_a_workplace_is_named() {
    // Written in parts, so that this file does not find itself.
    let markers = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("todo", "!"),
        concat!("unimplemented", "!"),
        concat!("#[", "allow("),
        concat!("#![", "allow("),
        concat!("/wo", "rk/"),
        concat!("/tm", "p/"),
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
    ];
    let mut texts = rust_files();
    for directory in ["crates", "docs", "examples", "helm", "proto", ".ci"] {
        texts.extend(files(directory, &["md", "yaml", "yml", "toml", "proto", "sh", "py"]));
    }
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Makefile",
        "Cargo.toml",
        ".ci/run",
        "fuzz/Cargo.toml",
        "fuzz/run",
    ] {
        texts.extend(std::fs::read_to_string(root().join(name)).map(|text| (name.to_owned(), text)));
    }
    let mut offences = Vec::new();
    for (path, text) in &texts {
        for (number, line) in text.lines().enumerate() {
            for marker in markers.iter().filter(|marker| line.contains(*marker)) {
                offences.push(format!("{path}:{}: `{marker}`", number + 1));
            }
        }
    }
    assert_none("finish it, or leave it out; paths are relative", offences);
}

/// What may stand after a `%` in a call of `tracing`: text that is escaped, and types of our own whose text cannot hold
/// anything that a peer or a file chose freely.
const SHOWN: [&str; 12] = [
    "Escaped(",
    "address",
    "admin.address()",
    "digest",
    "endpoint",
    "import.format",
    "mode",
    "refused.reason",
    "self.endpoint",
    "self.name",
    "self.settings.endpoint",
    "slot.mode",
];

/// The arguments of each call of a macro of `tracing`, without the contents of strings. Reads the whole text, tests too.
fn log_calls(text: &str) -> Vec<(usize, String)> {
    let mut calls = Vec::new();
    for level in ["error", "warn", "info", "debug", "trace", "event", "span"] {
        for after in words(text, level).filter(|after| after.starts_with("!(")) {
            let (mut depth, mut arguments, mut string, mut escaped) = (0, String::new(), false, false);
            for c in after[1..].chars() {
                match c {
                    _ if escaped => escaped = false,
                    '\\' if string => escaped = true,
                    '"' => string = !string,
                    _ if string => continue,
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                arguments.push(c);
                if depth == 0 {
                    break;
                }
            }
            calls.push((text[..text.len() - after.len()].lines().count(), arguments));
        }
    }
    calls
}

/// What stands after a `%` there and is not among [`SHOWN`].
fn shown_raw(arguments: &str) -> Vec<&str> {
    let shown =
        arguments.split('%').skip(1).map(|after| after.split(',').next().unwrap_or(after).trim_end_matches(')'));
    let whole = |shown: &str, after: &str| shown == after || shown.strip_suffix(')') == Some(after);
    shown
        .filter(|after| {
            !SHOWN.iter().any(|shown| whole(shown, after) || shown.ends_with('(') && after.starts_with(shown))
        })
        .collect()
}

#[test]
fn text_of_others_goes_into_the_log_escaped() {
    let mut offences = Vec::new();
    let mut calls = 0;
    for (path, text) in sources() {
        for (line, arguments) in log_calls(&text) {
            calls += 1;
            offences.extend(shown_raw(&arguments).iter().map(|shown| format!("{path}:{line}: `%{shown}`")));
        }
    }
    assert!(calls > 50, "{calls} calls were found");
    assert_none("give `%Escaped(…)`, or add what is safe to SHOWN in tests/tidy.rs", offences);
}

#[test]
fn the_checks_above_see_what_they_look_for() {
    let logs = "tracing::warn!(%error, a = %Escaped(&error), \"100 %x (\", b = %x.y());\n#[cfg(test)]\ninfo!(\n    c = %admin.address(), d = %b)";
    let found: Vec<_> = log_calls(logs).into_iter().map(|(line, of)| (line, shown_raw(&of).join(" "))).collect();
    assert_eq!(found, [(1, "error x.y(".to_owned()), (3, "b".to_owned())]);
    let text = "use crate::{a, b::{c, d}, e};\nuse crate::f::g; // crate::comment\nlet s = \"crate::string\";\n#[cfg(test)]\nuse crate::test;\n";
    assert_eq!(Vec::from_iter(used(&code(text))), ["a", "b", "e", "f"]);
    assert!(may_use("matcher", "intel") && may_use("source", "pipeline") && may_use("app", "source"));
    assert!(!may_use("source", "sink") && !may_use("intel", "config") && !may_use("pipeline", "admin"));
    assert!(!may_use("nowhere", "intel"));
    assert_eq!(words("tokio::x mytokio::y tokio_z", "tokio").count(), 1);
    assert_eq!(
        (module("src/config/yaml.rs"), module("src/lib.rs"), module("crates/hotlist-core/src/policy.rs")),
        (Some("config"), None, Some("policy"))
    );
}

/// Guarantee: a connection is opened in one place, which tries all addresses of a name.
#[test]
fn connections_are_opened_in_one_place() {
    let elsewhere: Vec<String> = codes()
        .into_iter()
        .filter(|(name, code)| name != "src/net/dial.rs" && code.contains("TcpStream::connect"))
        .map(|(name, _)| name)
        .collect();
    assert!(elsewhere.is_empty(), "use `dial`: {elsewhere:?}");
}
