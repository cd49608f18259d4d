//! `hotlist scan` over files as they are: forms and compressions, hostile archives, threads, outputs, ranges of time.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

const FEED: &str = "evil.example.org\n203.0.113.0/24\n";

/// A directory with a file of indicators.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap() };
        place.write("feed.txt", FEED.as_bytes());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
        command.current_dir(self.directory.path()).arg("scan").args(arguments).args(["-i", "feed.txt"]);
        command
    }

    fn scan(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The hits, each without its file, and without its line where the form has no lines.
fn hits(output: &Output, keys: &[&str]) -> Vec<Value> {
    let hit = |line: &str| {
        let hit: Value = serde_json::from_str(line).unwrap();
        keys.iter().map(|key| hit[*key].clone()).collect()
    };
    text(&output.stdout).lines().map(hit).collect()
}

#[test]
fn each_record_of_a_file_of_the_collector_is_an_event() {
    let place = Place::new();
    let attribute = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let request = json!({ "resourceLogs": [{
        "resource": { "attributes": [attribute("service.name", "shop")] },
        "scopeLogs": [{ "scope": {}, "logRecords": [
            { "timeUnixNano": "1733000000000000000", "attributes": [attribute("source.ip", "203.0.113.9")] },
            { "body": { "kvlistValue": { "values": [attribute("url.domain", "evil.example.org")] } } },
            { "body": { "stringValue": "lookup of evil.example.org" } },
            { "attributes": [attribute("source.ip", "192.0.2.1")] },
        ] }],
    }] });
    let damaged = "{\"resourceLogs\":[{\"scopeLogs\":3}]}";
    place.write("logs.json", format!("{request}\n{damaged}\n{request:#}\n").as_bytes());
    let output = place.scan(&["--text", "--json", "-e", "logs.json"]);
    let found = hits(&output, &["line", "field", "value"]);
    let wanted = |line: u64| {
        [("source.ip", "203.0.113.9"), ("url.domain", "evil.example.org"), ("message", "evil.example.org")]
            .map(|(field, value)| json!([line, field, value]))
    };
    assert_eq!(found, [wanted(1), wanted(3)].concat());
    let summary: Value = serde_json::from_str(text(&output.stderr).lines().last().unwrap()).unwrap();
    assert_eq!((&summary["events"], &summary["events_with_hits"]), (&json!(9), &json!(6)));
    assert!(text(&output.stderr).contains("scopeLogs"), "the damaged request is named");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn events(number: usize) -> Vec<Value> {
    let event = |n: usize| match n % 3 {
        0 => json!({"source": {"ip": format!("203.0.113.{}", n % 250)}, "n": n}),
        1 => json!({"dns.question.name": "EVIL.example.org", "text": "a \"}{[ b"}),
        _ => json!({"dns": {"question": {"name": "good.example.org"}}, "list": [{"a": [1, {}]}]}),
    };
    (0..number).map(event).collect()
}

/// The forms: a name, and the text of some events.
fn forms(events: &[Value]) -> Vec<(&'static str, Vec<u8>)> {
    let compact: Vec<String> = events.iter().map(Value::to_string).collect();
    let lines = compact.join("\n");
    let utf16 = |to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        format!("\u{feff}{lines}").encode_utf16().flat_map(to_bytes).collect()
    };
    let pretty: Vec<String> = events.iter().map(|event| format!("{event:#}")).collect();
    vec![
        ("lines", lines.clone().into_bytes()),
        ("crlf", compact.join("\r\n").into_bytes()),
        ("cr", compact.join("\r").into_bytes()),
        ("mark", format!("\u{feff}{lines}").into_bytes()),
        ("utf16le", utf16(u16::to_le_bytes)),
        ("utf16be", utf16(u16::to_be_bytes)),
        ("concatenated", compact.concat().into_bytes()),
        ("pretty", pretty.join("\n").into_bytes()),
        ("array", format!("[{}]", compact.join(",")).into_bytes()),
        ("pretty_array", format!("{:#}", json!(events)).into_bytes()),
        ("cloudtrail", json!({"Records": events}).to_string().into_bytes()),
        ("azure", json!({"value": events, "nextLink": "https://x.example/?}"}).to_string().into_bytes()),
        ("list", format!("{:#}", json!({"kind": "EventList", "metadata": {}, "items": events})).into_bytes()),
    ]
}

/// Guarantee: each form in each compression, by path and from a pipe, gives the hits of the plain lines.
#[test]
fn every_form_and_compression_gives_the_hits_of_plain_lines() {
    let place = Place::new();
    let events = events(50);
    let keys = ["field", "value", "kind", "indicator", "feed", "detection"];
    let mut expected = None;
    for (form, plain) in forms(&events) {
        let packed = [
            ("plain", plain.clone()),
            ("gzip", gzip(&plain)),
            ("gzip_members", [gzip(&plain[..40]), gzip(&plain[40..])].concat()),
            ("zstd", zstd(&plain)),
            ("zip", archive(&[("a/b.log", &plain)])),
            ("gzip_in_zip", archive(&[("b.log.gz", &gzip(&plain))])),
            ("zstd_in_gzip", gzip(&zstd(&plain))),
        ];
        for (compression, bytes) in packed {
            // The name says nothing of the content.
            place.write("events.csv", &bytes);
            let output = place.scan(&["-e", "events.csv"]);
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{form} {compression}: {told}");
            assert!(told.contains("34 hits in 34 of 50 events"), "{form} {compression}: {told}");
            let found = hits(&output, &keys);
            assert_eq!(&found, expected.get_or_insert_with(|| found.clone()), "{form} {compression}");
            if matches!(form, "lines" | "crlf" | "cr" | "mark" | "utf16le" | "utf16be") {
                let lines = hits(&output, &["line"]);
                assert_eq!((lines.len(), &lines[0], &lines[33]), (34, &json!([1]), &json!([50])), "{form}");
            }
            let is_piped = matches!(form, "lines" | "cr" | "utf16le" | "pretty" | "array" | "list");
            if is_piped && compression != "zip" && compression != "gzip_in_zip" {
                let mut child = place.command(&["-e", "-"]);
                let mut child =
                    child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                child.stdin.take().unwrap().write_all(&bytes).unwrap();
                let piped = child.wait_with_output().unwrap();
                assert_eq!(Some(&hits(&piped, &keys)), expected.as_ref(), "{form} {compression} from a pipe");
            }
        }
    }
    assert_eq!(expected.unwrap().len(), 34);
}

/// Guarantee: of arrays the line is that in which the element begins.
#[test]
fn the_line_of_an_element_is_where_it_begins() {
    let place = Place::new();
    place.write("a.json", format!("{:#}", json!(events(2))).as_bytes());
    let output = place.scan(&["-e", "a.json"]);
    assert_eq!(hits(&output, &["line", "field"]), [json!([2, "source.ip"]), json!([8, "dns.question.name"])]);
}

/// Guarantee: the values of a tab-separated log of Zeek are found in their lines, in its own field names.
#[test]
fn a_tab_separated_log_of_zeek_is_matched() {
    let place = Place::new();
    let log = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n\
        #fields\tts\tid.orig_h\tid.resp_h\tquery\n#types\ttime\taddr\taddr\tstring\n\
        1331901000.0\t198.51.100.1\t203.0.113.9\t-\n1331901001.0\t198.51.100.1\t198.51.100.2\tevil.example.org\n";
    place.write("dns.log", log.as_bytes());
    let output = place.scan(&["-e", "dns.log", "--since", "2012-03-16"]);
    let expected = [json!([8, "id.resp_h", "203.0.113.9"]), json!([9, "query", "evil.example.org"])];
    assert_eq!(hits(&output, &["line", "field", "value"]), expected, "{}", text(&output.stderr));
    let events = text(&place.scan(&["-e", "dns.log", "--emit", "events", "--until", "2012-03-16"]).stdout);
    assert_eq!(events, "");
}

/// Scenario: truncated, corrupt, nested and encrypted archives, formats that are not read, and a good file after them.
/// Guarantee: each is an error that names file, member and offset, what comes before the fault is matched, the good file
/// is read, and the exit code is 1; names of members do not lead out of the directory.
#[test]
fn what_cannot_be_read_is_an_error_and_the_rest_is_matched() {
    let place = Place::new();
    let lines: String = events(3000).iter().map(|event| format!("{event}\n")).collect();
    let lines = lines.as_bytes();
    let damaged = |mut bytes: Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8].copy_from_slice(b"\xff\xff\xff\xff\x00\x00\x00\x00");
        bytes
    };
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 20].to_vec();
    let hit = format!("{}\n", json!({"source.ip": "203.0.113.9"}));
    let layers = (0..5).fold(hit.clone().into_bytes(), |bytes, _| gzip(&bytes));
    let names = archive(&[("../../up.log", hit.as_bytes()), ("/root.log", hit.as_bytes()), (".hidden/x", b"x")]);
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let good_zip = archive(&[("a.log", lines)]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a.gz", cut(gzip(lines)), "gzip is corrupt"),
        ("b.gz", damaged(gzip(lines)), "gzip is corrupt"),
        ("c.zst", cut(zstd(lines)), "zstd is corrupt"),
        ("d.zst", damaged(zstd(lines)), "zstd is corrupt"),
        ("e.zip", damaged(good_zip.clone()), "e.zip!a.log: zip is corrupt"),
        ("f.zip", cut(good_zip.clone()), "the zip archive is corrupt"),
        ("g.zip", archive(&[("in.zip", &good_zip)]), "g.zip!in.zip: a zip archive"),
        ("h.gz", layers, "more than 4 layers"),
        ("i.log", b"\xfd7zXZ\0rest".to_vec(), "in the format xz"),
        ("j.log", gzip(&tar), "in the format tar"),
        ("k.log", b"ElfFile\0rest".to_vec(), "in the format evtx"),
    ];
    for (name, bytes, _) in &cases {
        place.write(&format!("logs/{name}"), bytes);
    }
    place.write("logs/y.zip", &names);
    place.write("logs/z.log", hit.as_bytes());
    let output = place.scan(&["-e", "logs"]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for (name, _, error) in &cases {
        assert!(told.lines().any(|line| line.contains(name) && line.contains(error)), "{name}: {error}: {told}");
    }
    assert!(told.contains("11 files or paths"), "{told}");
    assert!(told.contains("left out: 1 hidden file"), "{told}");
    let files: Vec<String> = hits(&output, &["file"]).iter().map(|hit| hit[0].as_str().unwrap().to_owned()).collect();
    let of = |name: &str| files.iter().filter(|file| *file == name).count();
    assert_eq!([of("logs/y.zip!../../up.log"), of("logs/y.zip!/root.log"), of("logs/z.log")], [1, 1, 1], "{files:?}");
    // What the decompressors gave before the fault.
    assert!(of("logs/a.gz") > 1000 && of("logs/b.gz") > 100, "{} {}", of("logs/a.gz"), of("logs/b.gz"));
    let below: Vec<_> = std::fs::read_dir(place.directory.path()).unwrap().collect();
    assert_eq!(below.len(), 2, "nothing was extracted");
}

/// Scenario: 256 MiB of one line and 256 MiB of lines, in archives of a few hundred kilobytes, under a limit on memory.
/// Guarantee: they are streamed: the address space of the process may not hold their content, and a hit behind them is
/// found.
#[test]
fn a_small_archive_with_a_large_content_is_streamed() {
    let place = Place::new();
    let mut one_line = GzEncoder::new(Vec::new(), Compression::fast());
    let mut lines = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let spaces = vec![b' '; 1 << 20];
    let many = format!("{{\"a\":\"{}\"}}\n", " ".repeat(8000)).repeat(130);
    one_line.write_all(b"{\"a\":\"").unwrap();
    for _ in 0..256 {
        one_line.write_all(&spaces).unwrap();
        lines.write_all(many.as_bytes()).unwrap();
    }
    one_line.write_all(b"\"}\n{\"source.ip\":\"203.0.113.1\"}\n").unwrap();
    lines.write_all(b"{\"source.ip\":\"203.0.113.2\"}\n").unwrap();
    let packed = [("a.log", one_line.finish().unwrap()), ("b.log", lines.finish().unwrap())];
    for (name, bytes) in &packed {
        assert!(bytes.len() < 2 << 20, "{}", bytes.len());
        place.write(name, bytes);
    }
    let output = place.scan(&["-e", "a.log", "b.log", "--threads", "2", "--json"]);
    let told = text(&output.stderr);
    assert_eq!(hits(&output, &["value"]), [json!(["203.0.113.1"]), json!(["203.0.113.2"])], "{told}");
    // The largest amount of memory of a child of this test's process, in KiB.
    let peak = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    assert!(peak < 400 << 10, "{peak} KiB");
}

/// Scenario: many files of events, matched with one, two and seven threads, in each output.
/// Guarantee: the same bytes.
#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    let place = Place::new();
    // Long enough for several blocks.
    let events: Vec<Value> = events(1500)
        .into_iter()
        .map(|mut event| {
            event["padding"] = "x".repeat(700).into();
            event
        })
        .collect();
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    place.write("logs/a.log", lines.as_bytes());
    place.write("logs/b.log.gz", &gzip(lines.as_bytes()));
    place.write("logs/c.json", json!(events).to_string().as_bytes());
    place.write("logs/d.log", b"not a document\n{\"a\":\n".repeat(40).as_slice());
    for emit in ["hits", "csv", "table", "events"] {
        let run = |threads: &str| {
            let output = place.scan(&["-e", "logs", "--emit", emit, "--threads", threads]);
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            let told = text(&output.stderr);
            let told: Vec<String> = told.lines().filter(|line| !line.contains("MB/s")).map(str::to_owned).collect();
            (output.stdout, told)
        };
        let one = run("1");
        assert!(one.0.len() > 100_000, "{emit}");
        assert_eq!(one.1.iter().filter(|line| line.contains("d.log:")).count(), 10, "{:?}", one.1);
        for threads in ["2", "7"] {
            assert!(run(threads) == one, "{emit} with {threads} threads");
        }
    }
}

/// Guarantee: CSV has a header and the columns of hits, a table a row for each hit, events one line each; `--output`
/// writes the same bytes to a file, and never over a log.
#[test]
fn outputs_have_their_forms() {
    let place = Place::new();
    place.write("a.json", format!("{:#}", json!(events(3))).as_bytes());
    let csv = place.scan(&["-e", "a.json", "--emit", "csv"]);
    assert_eq!(
        text(&csv.stdout),
        "file,line,field,value,kind,indicator,feed,detection\n\
         a.json,2,source.ip,203.0.113.0,ip,203.0.113.0/24,feed,CTI\n\
         a.json,8,dns.question.name,EVIL.example.org,domain,evil.example.org,feed,CTI\n"
    );
    let table = text(&place.scan(&["a.json", "--emit", "table"]).stdout);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows,
        [
            vec!["PLACE", "FIELD", "VALUE", "INDICATOR", "FEED"],
            vec!["a.json:2", "source.ip", "203.0.113.0", "203.0.113.0/24", "feed"],
            vec!["a.json:8", "dns.question.name", "EVIL.example.org", "evil.example.org", "feed"],
        ]
    );
    let events = text(&place.scan(&["a.json", "--emit", "events"]).stdout);
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 3);
    assert_eq!(events[0]["threat"]["enrichments"][0]["indicator"]["name"], "203.0.113.0/24");
    assert_eq!(events[2], self::events(3)[2]);

    let written = place.scan(&["a.json", "--emit", "csv", "--output", "out.csv"]);
    assert!(written.status.success() && written.stdout.is_empty());
    assert_eq!(std::fs::read(place.path("out.csv")).unwrap(), csv.stdout);
    let refused = place.scan(&["a.json", "--output", "./a.json"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("is one of the log files"), "{}", text(&refused.stderr));
    assert!(std::fs::metadata(place.path("a.json")).unwrap().len() > 100, "it was not touched");
}

/// Guarantee: paths that were taken for indicators are not overlooked.
#[test]
fn a_path_behind_the_indicators_is_pointed_out() {
    let place = Place::new();
    place.write("a.log", b"{}\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
    command.current_dir(place.directory.path()).args(["scan", "-i", "feed.txt", "a.log"]).stdin(Stdio::null());
    let told = text(&command.output().unwrap().stderr);
    assert!(told.contains("give log files with --events"), "{told}");
}

/// Guarantee: the chosen exit code if there are hits, 0 if there are none, 1 if a file cannot be read and nothing hits.
#[test]
fn hits_give_the_chosen_exit_code() {
    let place = Place::new();
    place.write("hit.log", b"{\"source.ip\":\"203.0.113.1\"}\n");
    place.write("none.log", b"{\"source.ip\":\"198.51.100.1\"}\n");
    for (arguments, code) in [
        (vec!["hit.log", "--exit-code", "3"], 3),
        (vec!["hit.log"], 0),
        (vec!["none.log", "--exit-code", "3"], 0),
        (vec!["none.log", "missing.log", "--exit-code", "3"], 1),
        (vec!["hit.log", "missing.log", "--exit-code", "3"], 3),
        (vec!["hit.log", "--exit-code", "300"], 2),
    ] {
        let output = place.scan(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    }
}

/// Guarantee: `--since` and `--until` keep the events of the range, the end excluded; events without a time are matched
/// and counted.
#[test]
fn a_range_of_time_keeps_its_events() {
    let place = Place::new();
    let times =
        [json!("2026-01-30T23:59:59Z"), json!("2026-01-31T00:00:00Z"), json!("2026-02-01T00:00:00Z"), json!(null)];
    let lines: String = (1..)
        .zip(&times)
        .map(|(n, time)| format!("{}\n", json!({"@timestamp": time, "source.ip": format!("203.0.113.{n}")})))
        .collect();
    place.write("a.log", lines.as_bytes());
    let kept = |arguments: &[&str]| {
        let output = place.scan(&[&["-e", "a.log", "--json"], arguments].concat());
        let summary: Value = serde_json::from_str(text(&output.stderr).lines().last().unwrap()).unwrap();
        (hits(&output, &["line"]).iter().map(|hit| hit[0].as_u64().unwrap()).collect::<Vec<_>>(), summary)
    };
    assert_eq!(kept(&[]).0, [1, 2, 3, 4]);
    assert_eq!(kept(&["--since", "2026-01-31"]).0, [2, 3, 4]);
    let (lines, summary) = kept(&["--since", "2026-01-31", "--until", "2026-02-01"]);
    assert_eq!(lines, [2, 4]);
    assert_eq!((&summary["left_out"]["outside_time_range"], &summary["without_time"]), (&json!(2), &json!(1)));
    assert_eq!(kept(&["--since", "0s"]).0, [4]);
    let refused = place.scan(&["a.log", "--since", "yesterday"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("`24h` or `7d`"), "{}", text(&refused.stderr));
}

/// Guarantee: the JSON summary counts files, events, hits by feed and kind, what is malformed and what is left out.
#[test]
fn the_summary_counts_everything() {
    let place = Place::new();
    place.write("logs/a.log", b"{\"source.ip\":\"203.0.113.1\"}\ntext\n{\"dns.question.name\":\"evil.example.org\"}\n");
    place.write("logs/.b.log", b"{}\n");
    place.write("logs/c.zip", &archive(&[("x.log", b"{}\n"), ("y.log", b"{}\n")]));
    let output = place.scan(&["-e", "logs", "missing", "--json"]);
    let told = text(&output.stderr);
    let summary = told.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()).unwrap();
    let expected = json!({
        "events": 5, "events_with_hits": 2, "hits": 2, "malformed": 0, "texts": 1, "files": 3, "failed": 1,
        "left_out": {"hidden": 1, "repeated": 0, "special": 0, "outside_time_range": 0}, "without_time": 0,
        "without_field": 2, "unchecked": [], "unscanned": [],
        "by_feed": {"feed": 2}, "by_kind": {"domain": 1, "ip": 1}, "bytes": 80, "seconds": summary["seconds"],
    });
    assert_eq!(summary, expected, "{told}");
}

/// Scenario: events on a pipe that stays open.
/// Guarantee: a hit is written while the pipe is open.
#[test]
fn hits_of_a_pipe_are_written_as_they_happen() {
    let place = Place::new();
    let mut child = place.command(&["-e", "-"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut read = [0; 512];
    for n in 1..4 {
        input.write_all(format!("{{\"source.ip\":\"203.0.113.{n}\"}}\n").as_bytes()).unwrap();
        let length = output.read(&mut read).unwrap();
        let hit: Value = serde_json::from_slice(&read[..length]).unwrap();
        assert_eq!((&hit["line"], &hit["value"]), (&json!(n), &json!(format!("203.0.113.{n}"))));
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

/// Guarantee: a loop of symbolic links, globs and a pipe given by name.
#[test]
fn paths_are_directories_globs_and_pipes() {
    let place = Place::new();
    let hit = b"{\"source.ip\":\"203.0.113.1\"}\n";
    place.write("logs/sub/a.log", hit);
    place.write("logs/b.txt", hit);
    std::os::unix::fs::symlink("..", place.path("logs/sub/up")).unwrap();
    let files = |output: &Output| hits(output, &["file"]).iter().map(|hit| hit[0].clone()).collect::<Vec<_>>();
    assert_eq!(files(&place.scan(&["-e", "logs"])), [json!("logs/b.txt"), json!("logs/sub/a.log")]);
    assert_eq!(
        files(&place.scan(&["-e", "logs/*/*.log", "logs/*.txt"])),
        [json!("logs/sub/a.log"), json!("logs/b.txt")]
    );
    let missing = place.scan(&["-e", "*.none"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("no file matches *.none"));
    let pipe = place.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let scanned = std::thread::scope(|scope| {
        scope.spawn(|| std::fs::write(&pipe, gzip(hit)).unwrap());
        place.scan(&["-e", "pipe"])
    });
    assert_eq!(files(&scanned), [json!("pipe")]);
    assert!(Path::new(&pipe).exists());
}
