//! `hotlist validate --feeds` as a shell sees it.

use std::path::Path;
use std::process::Command;

fn validate(arguments: &[&str], directory: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
    command.args(["validate", "--feeds"]).args(arguments).env_remove("HOTLIST_CONFIG").current_dir(directory);
    let output = command.output().unwrap();
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), utf8(&output.stdout), utf8(&output.stderr))
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}

const CONFIG: &str = concat!(
    "sources: { a: { type: otlp, address: '127.0.0.1:1' } }\n",
    "sinks: { s: { type: blackhole, inputs: [a] } }\n",
    "intel:\n  files:\n",
    "    - feeds/*.txt\n",
    "    - { path: feeds/wide.lst, feed: wide, allow_generic: true }\n",
    "    - { path: feeds/own.ndjson, format: json, columns: { value: ioc.value } }\n",
);

/// Scenario: the feeds of a configuration, with bad lines, generic ones and an empty file among them.
/// Guarantee: every place that is not used is printed with file, line, reason and excerpt, each feed is summed up, and
/// the exit code is 1, since nothing is used of one of them; without it, 0.
#[test]
fn the_feeds_of_a_configuration_are_checked_line_by_line() {
    let directory = directory(&[
        ("h.yaml", CONFIG),
        ("feeds/a.txt", "evil.com\n<<<<\n127.0.0.1\n"),
        ("feeds/b.txt", "# nothing yet\n"),
        ("feeds/wide.lst", "127.0.0.1\n"),
        ("feeds/own.ndjson", "{\"ioc\":{\"value\":\"evil.com\"}}\n{\"ioc\":{}}\n"),
    ]);
    let (code, out, err) = validate(&["--config", "h.yaml"], directory.path());
    assert!(code == Some(1) && err.contains("1 of 4 feeds"), "{err}{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("h.yaml: ok: "), "{out}");
    assert!(
        lines[1].starts_with("feeds/a.txt:2: no address, network, domain") && lines[1].ends_with("(<<<<)"),
        "{out}"
    );
    assert!(lines[2].starts_with("feeds/a.txt:3: too generic: ") && lines[2].ends_with("(127.0.0.1)"), "{out}");
    assert!(lines[3].starts_with("feeds/own.ndjson:2: ") && lines[3].ends_with("`ioc.value` ({\"ioc\":{}})"), "{out}");
    // What was guessed of a file with columns or keys.
    assert!(lines[4].starts_with("feeds/own.ndjson "), "{out}");
    assert_eq!(lines[5..7], ["  `ioc.value`: value", "          1 domain   evil.com"]);
    let summaries = lines[7..].iter().map(|line| line.split([':', ',']).map(str::trim).collect::<Vec<_>>());
    assert_eq!(
        summaries.collect::<Vec<_>>(),
        [
            &["feed a", "1 indicator in 1 file (list)", "1 unusable", "1 too generic"][..],
            &["feed b", "0 indicators in 1 file (list)", "0 unusable", "0 too generic", "NOTHING IS MATCHED BY IT"],
            &["feed wide", "1 indicator in 1 file (list)", "0 unusable", "0 too generic"],
            &["feed own", "1 indicator in 1 file (json)", "1 unusable", "0 too generic"],
        ]
    );
    std::fs::remove_file(directory.path().join("feeds/b.txt")).unwrap();
    let (code, out, err) = validate(&["--config", "h.yaml"], directory.path());
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
}

/// Scenario: a glob without a match, a feed whose indicators no field of events is looked at for, an allowlist that is not
/// there, one with an entry that cannot be used, and no feed at all. Guarantee: `--strict` fails on each and says which it
/// is; `--feeds` fails on the feeds and on the list that is not there.
#[test]
fn what_run_only_warns_of_fails_strictly() {
    let config = |intel: &str| {
        format!(
            "sources: {{ a: {{ type: otlp, address: '127.0.0.1:1' }} }}\nsinks: {{ s: {{ type: blackhole, inputs: [a] }} }}\nintel: {{ {intel} }}\n"
        )
    };
    let pattern = r#"{"type":"bundle","id":"bundle--1","objects":[{"type":"indicator","spec_version":"2.1","id":"indicator--00000000-0000-4000-8000-000000000001","created":"2026-01-01T00:00:00Z","modified":"2026-01-01T00:00:00Z","valid_from":"2026-01-01T00:00:00Z","pattern_type":"stix","pattern":"[x-own:thing = 'a-value']"}]}"#;
    let directory = directory(&[
        ("good.yaml", &config("files: ['feeds/a.txt']")),
        ("glob.yaml", &config("files: ['feeds/a.txt', 'feeds/*.none']")),
        ("fields.yaml", &config("files: ['feeds/a.txt', 'feeds/own.json']")),
        ("list.yaml", &config("files: ['feeds/a.txt'], allowlists: ['lists/*.json']")),
        ("entry.yaml", &config("files: ['feeds/a.txt'], allowlists: ['entry.json']")),
        (
            "entry.json",
            r#"{"name":"n","type":"regex","matching_attributes":["domain"],"list":["good.example.org","("]}"#,
        ),
        ("nothing.yaml", &config("")),
        ("feeds/a.txt", "evil.com\n"),
        ("feeds/own.json", pattern),
    ]);
    for (name, feeds, strict, said) in [
        ("good.yaml", 0, 0, "feed a: 1 indicator in 1 file"),
        ("glob.yaml", 1, 1, "feeds/*.none: no file matches"),
        ("fields.yaml", 1, 1, "feed own: "),
        ("list.yaml", 1, 1, "lists/*.json"),
        ("entry.yaml", 0, 1, "entry.json"),
        ("nothing.yaml", 0, 1, "nothing would be matched"),
    ] {
        let (code, out, err) = validate(&["--config", name], directory.path());
        assert_eq!(code, Some(feeds), "{name}: {out}{err}");
        let (code, out, err) = validate(&["--strict", "--config", name], directory.path());
        assert_eq!(code, Some(strict), "{name}: {out}{err}");
        assert!(format!("{out}{err}").contains(said), "{name}: {said}: {out}{err}");
    }
}

/// Scenario: files given as paths, two of which are not feeds, and a configured path that nothing matches. Guarantee:
/// the others are checked nevertheless, the exit code is 1, and standard error says how many failed.
#[test]
fn a_file_that_cannot_be_used_at_all_exits_with_1() {
    let directory = directory(&[
        ("h.yaml", CONFIG),
        ("feeds/a.txt", "evil.com\n"),
        ("feeds/half.json", "{\"type\":\"bundle\",\"objects\":["),
        ("feeds/packed.txt.gz", "\u{1f}\u{8b}"),
        ("more/127.csv", "ioc\n127.0.0.1\n"),
    ]);
    std::fs::write(directory.path().join("feeds/packed.txt.gz"), b"\x1f\x8b\x08\0\0").unwrap();
    let (code, out, err) = validate(&["feeds", "more/127.csv"], directory.path());
    assert!(code == Some(1) && err.contains("2 of 4 files"), "{err}{out}");
    for part in [
        "feeds/half.json is not valid JSON",
        "feeds/packed.txt.gz cannot be read",
        "feed a: 1 indicator",
        "feed packed: 0 indicators in 1 file, ",
        " 1 failed: NOTHING",
        "more/127.csv:2: too generic",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, out, err) = validate(&["--config", "h.yaml"], directory.path());
    assert!(code == Some(1) && err.contains("2 of 3 files"), "{err}{out}");
}

/// Scenario: arguments that say nothing to read, a file that is not a configuration, and help.
/// Guarantee: exit codes 2 and 1, and an example in the help.
#[test]
fn arguments_are_checked_and_help_has_an_example() {
    let directory = directory(&[]);
    assert_eq!(validate(&[], directory.path()).0, Some(2));
    let (code, out, _) = validate(&["--help"], directory.path());
    assert_eq!(code, Some(0));
    assert!(out.contains("hotlist validate --feeds --config hotlist.yaml"), "{out}");
    let mut without_flag = Command::new(env!("CARGO_BIN_EXE_hotlist"));
    assert_eq!(without_flag.args(["validate", "x.csv"]).output().unwrap().status.code(), Some(1));
}
