//! Reader, JSON Schema, reference and `hotlist config show` say the same of a configuration. The schema and the tables
//! of `docs/configuration.md` are generated; `HOTLIST_UPDATE=1 cargo test --test configuration_reference` writes them.

// Says to clippy what cargo knows: helpers here are test code, too.
#![cfg(test)]
use std::path::{Path, PathBuf};

use hotlist::config::{Config, Fault, Format};
use hotlist::schema::{self, FieldTable};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

const UPDATE: &str = "HOTLIST_UPDATE=1 cargo test --test configuration_reference";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails when a generated file is not what it should be, or writes it when that is asked for.
fn assert_current(name: &str, wanted: &str) {
    let path = root().join(name);
    if std::env::var_os("HOTLIST_UPDATE").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    assert!(read(&path) == wanted, "{name} is not current; run `{UPDATE}` and look at the difference");
}

/// A table of the rows that mean the same, in the order of the first of them.
fn rows_by_meaning(table: &FieldTable) -> String {
    let mut rows: Vec<([String; 4], Vec<String>)> = Vec::new();
    for (_, field) in table.iter() {
        let checked = match (field.collection, field.cti) {
            (true, true) => "feeds, collections",
            (true, false) => "collections",
            (false, true) => "feeds",
            (false, false) => "",
        };
        let list = field.named.words().map(|word| format!("`{word}`"));
        let words: Vec<String> = [field.kind_word()].into_iter().chain(list).collect();
        let kind = if words == ["-"] { "not looked up".to_owned() } else { words.join(" ") };
        let means = field.ecs.as_ref().map(|ecs| format!("`{ecs}`")).unwrap_or_default();
        let row = [kind, means, field.role.as_str().to_owned(), checked.to_owned()];
        let path = format!("`{}`", field.name);
        match rows.iter_mut().find(|(known, _)| *known == row) {
            Some((_, paths)) => paths.push(path),
            None => rows.push((row, vec![path])),
        }
    }
    let mut text = "| kind | means | role | checked for | paths |\n|---|---|---|---|---|\n".to_owned();
    for ([kind, means, role, checked], paths) in rows {
        text.push_str(&format!("| {kind} | {means} | {role} | {checked} | {} |\n", paths.join(", ")));
    }
    text
}

/// Guarantee: docs/schemas.md has every row of every schema, and the sources of its facts.
#[test]
fn the_page_of_schemas_has_every_row() {
    let mut page = "# Schemas\n\nThe fields of each schema: what they hold, which field of the Elastic Common Schema (ECS) they mean, and for what they\nare checked. [Fields](fields.md) explains the columns. This page is generated from the tables in\n`crates/hotlist-core/src/schema`; `hotlist fields --schema NAME` prints the same.\n".to_owned();
    for name in schema::names() {
        page.push_str(&format!("\n## {name}\n\n"));
        for line in schema::head(name) {
            match line.find("https://").filter(|at| *at == 0) {
                Some(_) => page.push_str(&format!("- {line}\n")),
                None => page.push_str(&format!("{line}\n")),
            }
        }
        page.push('\n');
        page.push_str(&rows_by_meaning(&FieldTable::of_schemas(&[name]).unwrap()));
    }
    assert_current("docs/schemas.md", &page);
}

/// A configuration that has every section, and in each only what is required.
fn base() -> Value {
    json!({
        "sources": {
            "a": { "type": "otlp", "address": "127.0.0.1:1", "tls": { "cert_file": "c", "key_file": "k" } },
            "v": { "type": "vector", "address": "127.0.0.1:4" },
            "f": { "type": "filter", "address": "127.0.0.1:6" },
        },
        "intel": { "files": [{ "path": "x.csv", "columns": { "value": "v" } }],
                   "allowlists": [{ "path": "x.json" }],
                   "control": { "endpoint": "https://127.0.0.1:7", "audience": "acme", "cache": "c", "tls": {} } },
        "rules": { "r": { "feeds": ["*"], "collections": ["*"] } }, "match": { "c2": {}, "fields": [{ "field": "my.ip", "kind": "ip" }] },
        "sinks": {
            "o": { "type": "otlp", "inputs": ["a"], "endpoint": "https://127.0.0.1:2", "tls": {},
                "headers": { "x": { "file": "f" } }, "rejected": { "path": "r.ndjson" } },
            "v": { "type": "vector", "inputs": ["v"], "endpoint": "http://127.0.0.1:5" },
            "n": { "type": "ndjson", "inputs": ["a"] },
            "b": { "type": "blackhole", "inputs": ["a"] },
        },
        "limits": {}, "admin": { "address": "127.0.0.1:3", "tls": { "cert_file": "c", "key_file": "k" } },
        "probes": { "address": "0.0.0.0:8", "tls": { "cert_file": "c", "key_file": "k" } }, "log": {}, "shutdown": {},
    })
}

/// Where a section stands in [`base`], as a JSON pointer.
fn pointer(section: &str) -> &'static str {
    match section {
        "" => "",
        "sources.<id> (otlp)" => "/sources/a",
        "sources.<id> (vector)" => "/sources/v",
        "sources.<id> (filter)" => "/sources/f",
        "sources.<id>.tls" => "/sources/a/tls",
        "intel" => "/intel",
        "intel.files[]" => "/intel/files/0",
        "intel.files[].columns" => "/intel/files/0/columns",
        "intel.allowlists[]" => "/intel/allowlists/0",
        "intel.control" => "/intel/control",
        "intel.control.tls" => "/intel/control/tls",
        "rules.<id>" => "/rules/r",
        "match" => "/match",
        "match.c2" => "/match/c2",
        "match.fields[]" => "/match/fields/0",
        "sinks.<id> (otlp)" => "/sinks/o",
        "sinks.<id> (vector)" => "/sinks/v",
        "sinks.<id>.headers.<name>" => "/sinks/o/headers/x",
        "sinks.<id>.rejected" => "/sinks/o/rejected",
        "sinks.<id>.tls" => "/sinks/o/tls",
        "sinks.<id> (ndjson)" => "/sinks/n",
        "sinks.<id> (blackhole)" => "/sinks/b",
        "limits" => "/limits",
        "admin" => "/admin",
        "admin.tls" => "/admin/tls",
        "probes" => "/probes",
        "probes.tls" => "/probes/tls",
        "log" => "/log",
        "shutdown" => "/shutdown",
        other => panic!("`{other}` has no place in the base configuration; add it here"),
    }
}

/// [`base`] after a change to one section.
fn changed(section: &str, change: impl FnOnce(&mut Map<String, Value>)) -> Value {
    let mut document = base();
    change(document.pointer_mut(pointer(section)).and_then(Value::as_object_mut).unwrap());
    document
}

/// What the reader makes of a document, with the faults that it finds. JSON is YAML.
fn parse(document: &Value) -> Result<Config, Vec<Fault>> {
    let parsed = Config::parse(&document.to_string(), Format::Yaml, &|_| None);
    parsed.map_err(|errors| errors.problems.into_iter().map(|problem| problem.fault).collect())
}

/// The part of the schema that is for a value of [`base`]: references are followed, and of several choices the one is
/// taken that the value fits.
fn schema_of(schema: &Value, pointer: &str) -> Value {
    let (mut here, mut value) = (schema.clone(), base());
    let resolve = |mut here: Value, value: &Value| {
        loop {
            if let Some(Value::String(reference)) = here.get("$ref") {
                here = schema.pointer(reference.trim_start_matches('#')).unwrap().clone();
            } else if let Some(choices) = here.get("oneOf").or(here.get("anyOf")).and_then(Value::as_array) {
                let fits = |choice: &&Value| {
                    let mut choice = (*choice).clone();
                    choice.as_object_mut().unwrap().insert("$defs".to_owned(), schema["$defs"].clone());
                    jsonschema::is_valid(&choice, value)
                };
                here = choices.iter().find(fits).unwrap_or_else(|| panic!("{value} in {here}")).clone();
            } else {
                return here;
            }
        }
    };
    here = resolve(here, &value);
    for token in pointer.split('/').skip(1) {
        value = value.pointer(&format!("/{token}")).unwrap().clone();
        let next = here.pointer(&format!("/properties/{token}")).or(here.get("items"));
        here = resolve(next.or(here.get("additionalProperties")).unwrap().clone(), &value);
    }
    here
}

/// One key of one section.
struct Key {
    section: &'static str,
    name: &'static str,
    schema: Value,
    required: bool,
}

impl Key {
    fn default(&self) -> Option<&Value> {
        self.schema.get("default")
    }
}

/// Every key that the reader knows, with what the schema says of it.
fn keys(schema: &Value) -> Vec<Key> {
    let mut keys = Vec::new();
    for (section, names) in Config::keys() {
        let part = schema_of(schema, pointer(section));
        assert_eq!(part["additionalProperties"], false, "{section}");
        let properties = part["properties"].as_object().unwrap();
        // Their order is that of the reference.
        assert_eq!(Vec::from_iter(properties.keys()), names, "{section}");
        let required =
            |name: &str| part.get("required").is_some_and(|all| all.as_array().unwrap().contains(&name.into()));
        keys.extend(names.iter().map(|name| Key {
            section,
            name,
            schema: properties[*name].clone(),
            required: required(name),
        }));
    }
    assert!(keys.len() > 80, "only {} keys were found", keys.len());
    keys
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap()
}

#[test]
fn the_schema_in_the_repository_is_current() {
    assert_current("docs/hotlist.schema.json", &format!("{:#}\n", Config::schema()));
}

#[test]
fn the_tables_of_the_reference_are_current() {
    let keys = keys(&Config::schema());
    let mut table_of: Vec<(String, String)> = Vec::new();
    for Key { section, name, schema, required } in &keys {
        let heading = if section.is_empty() { "## Top level".to_owned() } else { format!("## {section}") };
        if table_of.last().is_none_or(|(last, _)| *last != heading) {
            table_of.push((heading, "| key | default | what it does |\n|---|---|---|\n".to_owned()));
        }
        let default = match schema.get("default") {
            _ if *required => "required".to_owned(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(other) => format!("`{other}`"),
            None => String::new(),
        };
        let text = schema["description"].as_str().unwrap_or_else(|| panic!("{section}: {name} has no description"));
        assert!(!text.contains(['|', '\n']), "{section}: {name}: {text}");
        table_of.last_mut().unwrap().1 += &format!("| `{name}` | {default} | {text} |\n");
    }
    // All but the tables is written by hand and stays.
    let (mut wanted, mut tables, mut inside) = (String::new(), table_of.iter(), false);
    let mut next: Option<&str> = None;
    for line in read(&root().join("docs/configuration.md")).lines() {
        if line.starts_with("## ") {
            assert!(next.is_none(), "before `{line}` stands a section without a table");
            let (heading, table) = tables.next().unwrap_or_else(|| panic!("`{line}` is no section of the schema"));
            assert_eq!(line, heading, "the headings are the sections in the schema's order");
            next = Some(table);
        }
        if line.starts_with('|') {
            if !inside {
                wanted += next.take().unwrap_or_else(|| panic!("a table too many: {line}"));
            }
        } else {
            wanted += &format!("{line}\n");
        }
        inside = line.starts_with('|');
    }
    let left: Vec<_> = tables.map(|(heading, _)| heading).collect();
    assert!(next.is_none() && left.is_empty(), "add these headings, each with a table: {left:?}");
    assert_current("docs/configuration.md", &wanted);
}

#[test]
fn a_default_of_the_schema_is_the_one_of_the_reader_and_is_shown_as_it_is_written() {
    let schema = Config::schema();
    let shown: Value = serde_saphyr::from_str(&parse(&base()).unwrap().to_yaml().unwrap()).unwrap();
    let mut checked = 0;
    for key in keys(&schema) {
        let Some(default) = key.default() else { continue };
        let written = changed(key.section, |table| drop(table.insert(key.name.to_owned(), default.clone())));
        let absent = changed(key.section, |table| drop(table.remove(key.name)));
        assert!(validator(&schema).is_valid(&written), "{written}");
        assert_eq!(parse(&written).unwrap(), parse(&absent).unwrap(), "{}: {}", key.section, key.name);
        if base().pointer(pointer(key.section)).unwrap().get(key.name).is_none() {
            let shown = shown.pointer(pointer(key.section)).unwrap();
            assert_eq!(shown.get(key.name), Some(default), "{}: {}", key.section, key.name);
        }
        checked += 1;
    }
    assert!(checked > 25, "only {checked} defaults were found");
}

#[test]
fn a_required_key_is_missed_by_reader_and_schema_and_any_other_by_none() {
    let schema = Config::schema();
    let validator = validator(&schema);
    // The types of the sources decide whether a sink is needed: only the whole document shows that.
    for key in keys(&schema).into_iter().filter(|key| key.name != "sinks") {
        let removed = changed(key.section, |table| drop(table.remove(key.name)));
        let missed = match parse(&removed) {
            Ok(_) => false,
            Err(faults) => {
                let missing = |fault: &Fault| matches!(fault, Fault::MissingKey { key: name, .. } if *name == key.name);
                assert!(
                    faults.iter().any(|fault| missing(fault) || matches!(fault, Fault::NoSource | Fault::NoSink)),
                    "{removed}: {faults:?}"
                );
                true
            }
        };
        assert_eq!(
            (missed, !validator.is_valid(&removed)),
            (key.required, key.required),
            "{}: {}",
            key.section,
            key.name
        );
    }
}

/// Guarantee: what an editor underlines is what the program refuses. Every key is given values of every type, good
/// and bad ones: the schema refuses nothing that loads, and lets nothing through that has a wrong form.
#[test]
fn the_schema_refuses_what_the_reader_refuses_for_its_form() {
    let schema = Config::schema();
    let validator = validator(&schema);
    let is_of_form = |fault: &Fault| {
        matches!(
            fault,
            Fault::WrongType { .. } | Fault::UnknownKey { .. } | Fault::UnknownWord { .. } | Fault::MissingKey { .. }
        )
    };
    let mut values =
        vec![json!(true), json!(7), json!(0), json!(-1), json!(1.5), json!("word"), json!(""), json!("8s")];
    values.extend([json!([]), json!(["word"]), json!([7]), json!([[]]), json!({}), json!({ "zz": 1 })]);
    values.extend([json!("${V:-true}"), json!("${V:-7}"), json!("${V:-json}"), json!("a:b"), json!([{ "path": 1 }])]);
    let (mut loaded, mut refused) = (0, 0);
    for key in keys(&schema) {
        let unknown = changed(key.section, |table| drop(table.insert(format!("{}x", key.name), json!(1))));
        // Words of the description, too: those that are still read are named there.
        let description = key.schema["description"].as_str().unwrap_or_default();
        let described: Vec<Value> = description.split('`').skip(1).step_by(2).map(|word| json!(word)).collect();
        for document in values
            .iter()
            .chain(&described)
            .map(|value| changed(key.section, |table| drop(table.insert(key.name.to_owned(), value.clone()))))
            .chain([unknown])
        {
            // A part's type decides what the schema is, and cannot be a variable there.
            if key.name == "type" && key.section.contains("<id>") && document.to_string().contains("${") {
                continue;
            }
            let valid = validator.is_valid(&document);
            match parse(&document) {
                Ok(_) => {
                    assert!(valid, "{document} loads, but the schema refuses it");
                    loaded += 1;
                }
                // What a variable holds is not for the schema to know.
                Err(faults) if faults.iter().any(is_of_form) && !document.to_string().contains("${") => {
                    assert!(!valid, "the schema takes {document}: {faults:?}");
                    refused += 1;
                }
                Err(_) => {}
            }
        }
    }
    assert!(loaded > 200 && refused > 1000, "{loaded} loaded, {refused} refused");
}

/// Guarantee: the words of the schema are all that the reader knows; a deprecated one is read as the word that its
/// description names.
#[test]
fn the_words_of_the_schema_are_those_of_the_reader() {
    let schema = Config::schema();
    let (mut checked, mut former) = (0, 0);
    for key in keys(&schema) {
        let definition = match key.schema.get("$ref") {
            Some(Value::String(reference)) => schema.pointer(reference.trim_start_matches('#')).unwrap(),
            _ => continue,
        };
        let with = |word: &Value| {
            changed(key.section, |table| {
                table.remove("columns");
                table.insert(key.name.to_owned(), word.clone());
            })
        };
        let words: Vec<&Value> = match (definition.get("oneOf"), definition.pointer("/anyOf/0/enum")) {
            (Some(Value::Array(choices)), _) => {
                let (deprecated, words): (Vec<_>, Vec<_>) = choices.iter().partition(|of| of["deprecated"] == true);
                for choice in deprecated {
                    let word = choice["description"].as_str().unwrap().split('`').nth(1).unwrap();
                    assert_eq!(
                        parse(&with(&choice["const"])).unwrap(),
                        parse(&with(&json!(word))).unwrap(),
                        "{choice}"
                    );
                    former += 1;
                }
                words.into_iter().filter_map(|choice| choice.get("const")).collect()
            }
            (_, Some(Value::Array(words))) => words.iter().collect(),
            _ => continue,
        };
        let wrong = changed(key.section, |table| drop(table.insert(key.name.to_owned(), json!("0"))));
        let quoted: Vec<String> = words.iter().filter_map(|word| Some(format!("`{}`", word.as_str()?))).collect();
        let hint = format!("`0` is not one of {}", quoted.join(", "));
        assert_eq!(parse(&wrong).unwrap_err(), [Fault::UnknownWord { hint }], "{}: {}", key.section, key.name);
        checked += 1;
    }
    assert!(checked > 9 && former > 0, "only {checked} keys with words, {former} deprecated, were found");
}

/// Texts that load, each with something that the sections above have not.
const GOOD: [&str; 6] = [
    "{ sources: { a: { type: filter, address: 'unix:/a' } }, intel: { control: { endpoint: 'unix:/c', node: '${N:-n-1}', audience: a/b,
       labels: { zone: '${Z:-b}', example.com/group: web }, trusted_keys: [k.pub], cache: d, cache_bytes: 1GiB, ping_after: 1s } } }",
    "{ sources: { a: { type: filter, address: 'unix:/a', window: 1, max_request_bytes: 1MiB } } }",
    "{ sources: { a-1: { type: otlp, address: 'unix:/a' } }, sinks: { B_2: { type: blackhole, inputs: [a-1] } } }",
    "{ sources: { a: { type: otlp, address: '[::1]:0', max_request_bytes: 1000 } },
       sinks: { b: { type: ndjson, inputs: [a], path: '-', only: hits } },
       intel: { files: [a.txt, { path: b.json, format: json, columns: { value: x } }], allowlists: [c.json] } }",
    "{ sources: { a: { type: otlp, address: '${A:-127.0.0.1:1}' } }, log: { level: '${L:-warn}' },
       limits: { workers: '${W:-3}', in_flight_bytes: '${M:-1GiB}' }, match: { subdomains: '${S:-true}', grace: '${G:-1m}' },
       sinks: { b: { type: otlp, inputs: [a], endpoint: 'http://b:1', headers: { x-a: hush$$, x-b: { file: f } },
                     forward_metadata: [x-c], tls: } } }",
    "{ sources: { a: { type: otlp, address: '127.0.0.1:1' }, b: { type: otlp, address: '127.0.0.1:2' } },
       sinks: { b: { type: otlp, inputs: [b, a], endpoint: 'https://b:1', timeout: 250ms, rejected: { path: r$$r, max_bytes: 1 kb },
                     tls: { cert_file: c, key_file: k, ca_file: a, server_name: name } } } }",
];

fn examples() -> Vec<(String, Format)> {
    let (mut found, mut open) = (Vec::new(), vec![root().join("examples")]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match Format::from_path(&path) {
                _ if path.is_dir() => open.push(path),
                Some(format) if !is_of_another_program(&path) => found.push((read(&path), format)),
                _ => {}
            }
        }
    }
    assert!(found.len() >= 6, "only {} examples were found", found.len());
    found
}

/// Whether a file configures a collector that runs together with Hotlist; tests/sidecar/examples.rs and
/// tests/sidecar/otel_collector.rs read those.
fn is_of_another_program(path: &Path) -> bool {
    // Where several stand together, in a directory of their own, Hotlist's has its name.
    path.parent() != Some(&*root().join("examples")) && !path.ends_with("hotlist.yaml")
}

fn without_nulls(value: &mut Value) {
    if let Value::Object(entries) = value {
        entries.retain(|_, value| !value.is_null());
        entries.values_mut().for_each(without_nulls);
    }
}

#[test]
fn examples_and_other_good_configurations_fit_the_schema() {
    let validator = validator(&Config::schema());
    for (text, format) in examples().into_iter().chain(GOOD.map(|text| (text.to_owned(), Format::Yaml))) {
        Config::parse(&text, format, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
        let mut document: Value = match format {
            Format::Yaml => serde_saphyr::from_str(&text).unwrap(),
            Format::Toml => toml::from_str(&text).unwrap(),
        };
        // The one thing that the schema refuses and the program does not: a key without a value.
        without_nulls(&mut document);
        let problems: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{text}: {problems:?}");
    }
}

/// Guarantee: an editor that opens an example finds the schema next to it.
#[test]
fn the_smallest_examples_name_the_schema() {
    for (name, marker) in [("hotlist.yaml", "# yaml-language-server: $schema="), ("hotlist.toml", "#:schema ")] {
        let text = read(&root().join("examples").join(name));
        let schema = text.lines().find_map(|line| line.strip_prefix(marker)).unwrap_or_else(|| panic!("{name}"));
        let schema: Value = serde_json::from_str(&read(&root().join("examples").join(schema))).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}

/// Guarantee: the output of `/config` and `hotlist config show` can be loaded again, and is then the same
/// configuration, except for secrets; printing that again changes nothing.
#[test]
fn a_configuration_that_is_shown_loads_as_the_same() {
    let texts = examples().into_iter().chain(GOOD.map(|text| (text.to_owned(), Format::Yaml)));
    for (text, format) in texts.chain([(base().to_string(), Format::Yaml)]) {
        // The mask is what a secret becomes.
        let text = text.replace("hush$$", "'***'");
        let config = Config::parse(&text, format, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
        let shown = config.to_yaml().unwrap();
        let again = Config::parse(&shown, Format::Yaml, &|_| None).unwrap_or_else(|errors| panic!("{errors}\n{shown}"));
        assert_eq!(again, config, "{shown}");
        assert_eq!(again.to_yaml().unwrap(), shown);
        let document: Value = serde_saphyr::from_str(&shown).unwrap();
        assert!(validator(&Config::schema()).is_valid(&document), "{shown}");
    }
}
