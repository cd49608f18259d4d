//! `hotlist explain` and `hotlist inspect`, as a person at a terminal uses them.

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Output};

    const EVENT: &str = r#"{"@timestamp":"2026-08-21T10:00:00Z","source":{"ip":"198.51.100.7"},
        "destination.ip":"203.0.113.9","url":{"full":"http://Bad.example:80/a/../b"},"event":{"kind":"event"}}"#;

    fn hotlist(directory: &Path, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hotlist")).args(arguments).current_dir(directory).output().unwrap()
    }

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    fn text(output: &Output) -> String {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout.clone()).unwrap()
    }

    #[test]
    fn explain_reads_a_request_of_the_collector_with_one_record() {
        let record = r#"{"attributes":[{"key":"source.ip","value":{"stringValue":"203.0.113.9"}}]}"#;
        let request = |records: &str| format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#);
        let two = request(&format!("{record},{record}"));
        let files = [("feed.txt", "203.0.113.0/24\n"), ("one.json", &*request(record)), ("two.json", &*two)];
        let directory = directory(&files);
        let explain = |event| hotlist(directory.path(), &["explain", "-i", "feed.txt", "-e", event]);
        assert!(text(&explain("one.json")).contains("at source.ip = \"203.0.113.9\""));
        let refused = explain("two.json");
        let error = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && error.contains("two.json") && error.contains("2 log records"), "{error}");
    }

    /// Every observable is shown with the canonical form that was looked up and what came of it.
    #[test]
    fn explain_shows_each_form_that_was_looked_up() {
        let feed = "203.0.113.0/24\nhttp://bad.example/b\n198.51.100.9\n";
        let directory = directory(&[("feed.txt", feed), ("event.json", EVENT)]);
        let shown = text(&hotlist(directory.path(), &["explain", "-i", "feed.txt", "-e", "event.json"]));
        for line in [
            "source.ip (ip) = \"198.51.100.7\"\n    as ip 198.51.100.7: not an indicator",
            "destination.ip (ip) = \"203.0.113.9\"",
            "    networks that cover 203.0.113.9: 1\n",
            "    as url bad.example/b: 1 indicator\n",
            "  ip 203.0.113.0/24 of feed feed\n      at destination.ip = \"203.0.113.9\"\n",
            "      from feed.txt:1\n      severity medium (outbound, ",
        ] {
            assert!(shown.contains(line), "{line:?} is not in:\n{shown}");
        }
        assert!(shown.starts_with("HIT: 2 indicators\n"), "{shown}");
    }

    /// Guarantee: the verdict comes first; an indicator that is found at several fields, and fields with the same value, are
    /// shown once; each indicator has the line that it comes from, its confidence and its validity; JSON says the same.
    #[test]
    fn explain_leads_with_the_verdict_and_groups() {
        let feed =
            "type,value,confidence,valid_until,tlp\nip,192.0.2.1,,,\nip,203.0.113.9,High,2026-09-01T00:00:00Z,amber\n";
        let event = r#"{"source":{"ip":"203.0.113.9"},"destination":{"ip":"203.0.113.9"},"related":{"ip":["203.0.113.9","203.0.113.9"]}}"#;
        let directory = directory(&[("feed.csv", feed), ("event.json", event)]);
        let arguments = ["explain", "-i", "feed.csv", "--event", "event.json"];
        let shown = text(&hotlist(directory.path(), &arguments));
        // The subject is the order of the lines, from the verdict to the alert key.
        let wanted = "HIT: 1 indicator\n  ip 203.0.113.9 of feed feed\n      at source.ip = \"203.0.113.9\"\n      \
                      at destination.ip = \"203.0.113.9\"\n      at related.ip = \"203.0.113.9\"\n      from feed.csv:3\n      severity medium (inbound, outcome unknown)\n      no asset, alert key ";
        assert!(shown.starts_with(wanted), "{shown}");
        assert!(shown.contains(", confidence High, valid until 2026-09-01T00:00:00Z, TLP AMBER\n"), "{shown}");
        assert_eq!(shown.matches("source.ip, destination.ip, related.ip (ip) = ").count(), 1, "{shown}");
        let json = text(&hotlist(directory.path(), &[&arguments[..], &["--json"]].concat()));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["hit"], true);
        assert_eq!(json["hits"][0]["from"], serde_json::json!(["feed.csv:3"]));
        assert_eq!(json["hits"][0]["at"].as_array().unwrap().len(), 3);
        let key = json["hits"][0]["alert_key"].as_str().unwrap();
        assert!(shown.contains(&format!("      no asset, alert key {key}\n      indicator--")), "{shown}");
    }

    /// Guarantee: a value that a feed has and that the import guard refused is named with its line.
    #[test]
    fn explain_names_what_the_import_guard_refused() {
        let event = r#"{"destination":{"ip":"127.0.0.1"}}"#;
        let files = [("feed.txt", "bad.example\n127.0.0.1\n"), ("event.json", event), ("hotlist.yaml", CONFIG)];
        let directory = directory(&files);
        let shown = text(&hotlist(directory.path(), &["explain", "-c", "hotlist.yaml", "-e", "event.json"]));
        assert!(shown.starts_with("NO HIT: ") && shown.lines().next().unwrap().contains("import guard"), "{shown}");
        assert!(shown.contains("\nrefused by the import guard: 1\n  127.0.0.1 at feed.txt:2: "), "{shown}");
    }

    /// Guarantee: where there is nothing to match with, the verdict says so.
    #[test]
    fn explain_says_that_there_are_no_indicators() {
        let directory = directory(&[("feed.txt", "# nothing\n"), ("event.json", EVENT)]);
        let shown = text(&hotlist(directory.path(), &["explain", "-i", "feed.txt", "-e", "event.json"]));
        assert!(shown.starts_with("NO HIT: no indicators"), "{shown}");
    }

    /// Guarantee: `scan` and `explain` match segments, too, and say which one an indicator comes from.
    #[test]
    fn scan_and_explain_read_segments() {
        let event = r#"{"dns":{"question":{"name":"bad.example"}}}"#;
        let directory = directory(&[("feed.txt", "bad.example\n"), ("event.json", event)]);
        text(&hotlist(directory.path(), &["compile", "feed.txt", "--store", "store"]));
        let segments = directory.path().join("store/segments");
        let segment = std::fs::read_dir(&segments).unwrap().next().unwrap().unwrap().path();
        let segment = segment.strip_prefix(directory.path()).unwrap().to_str().unwrap();
        let shown = text(&hotlist(directory.path(), &["explain", "-i", segment, "-e", "event.json"]));
        assert!(shown.starts_with("HIT: 1 indicator\n  domain bad.example of feed feed\n"), "{shown}");
        assert!(shown.contains(&format!("      from {segment}\n")), "{shown}");
        let hits = text(&hotlist(directory.path(), &["scan", "-i", segment, "-e", "event.json"]));
        assert!(hits.contains(r#""indicator":"bad.example","feed":"feed""#), "{hits}");
    }

    const CONFIG: &str = "sources: { a: { type: otlp, address: '127.0.0.1:0' } }\n\
                          sinks: { s: { type: blackhole, inputs: [a] } }\nintel: { files: ['feed.*'] }\n";

    /// A value that is not what its field holds is shown as malformed, with the reason that the metric names.
    #[test]
    fn explain_shows_why_a_value_is_not_an_observable() {
        let event = r#"{"dns.question.name":"a b","destination.ip":"nowhere","source.ip":"-"}"#;
        let directory = directory(&[("feed.txt", "203.0.113.0/24\nbad.example\n"), ("event.json", event)]);
        let shown = text(&hotlist(directory.path(), &["explain", "-i", "feed.txt", "-e", "event.json"]));
        for line in ["    malformed (not_domain): ", "    malformed (not_ip): "] {
            assert_eq!(shown.matches(line).count(), 1, "{line:?} is not once in:\n{shown}");
        }
    }

    /// With a configuration the policy speaks too: the C2 rule and validity drop findings and say why.
    #[test]
    fn explain_names_what_policy_dropped_and_why() {
        let feed = "type,value,kill_chain_phases,valid_until\n\
                    ip,198.51.100.7,command-and-control,\nip,203.0.113.9,,2026-01-01T00:00:00Z\n";
        let directory = directory(&[("feed.csv", feed), ("event.json", EVENT), ("hotlist.yaml", CONFIG)]);
        let shown = text(&hotlist(directory.path(), &["explain", "-c", "hotlist.yaml", "-e", "event.json"]));
        for line in [
            "NO HIT: 2 indicators ",
            "(c2_field, expired)\n",
            "dropped by policy: 2\n",
            "      c2_field: ",
            "      expired: ",
            "      from feed.csv:2\n",
        ] {
            assert!(shown.contains(line), "{line:?} is not in:\n{shown}");
        }
    }

    /// An event that is not a document is text; with a configuration that does not match text it is an error with its place,
    /// not an empty explanation.
    #[test]
    fn explain_reads_what_is_no_document_as_text() {
        let yaml = "sources: { a: { type: otlp, address: \"127.0.0.1:1\" } }\nintel: { files: [feed.txt] }\n\
                    sinks: { b: { type: blackhole, inputs: [a] } }\n";
        let event = "connection from 203.0.113.9 refused";
        let directory = directory(&[("feed.txt", "203.0.113.0/24\n"), ("event.txt", event), ("hotlist.yaml", yaml)]);
        let shown = text(&hotlist(directory.path(), &["explain", "-i", "feed.txt", "-e", "event.txt"]));
        assert!(shown.starts_with("HIT: 1 indicator\n") && shown.contains("at message = \"203.0.113.9\""), "{shown}");
        let output = hotlist(directory.path(), &["explain", "-c", "hotlist.yaml", "-e", "event.txt"]);
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("event.txt") && error.contains("must be one object"), "{error}");
    }

    /// The words of a text, which may be broken into lines.
    fn flat(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Kinds are counted, unusable and too generic lines are listed with their number, a value finds its indicators.
    #[test]
    fn inspect_counts_lists_and_finds() {
        let feed = "bad.example\n127.0.0.1\nwhat is this\n44d88612fea8a8f36de82e1278abb02f\n";
        let directory = directory(&[("feed.txt", feed)]);
        let shown =
            text(&hotlist(directory.path(), &["inspect", "feed.txt", "--all", "--find", "https://www.bad.example/x"]));
        for line in [
            "feed feed, format list, 3 indicators",
            "1 md5",
            "feed.txt:3: not usable: ",
            "feed.txt:2: too generic, ",
            "matches domain bad.example of feed feed (indicator--",
            "; only with `match.subdomains` or `match.url_hosts`\n",
        ] {
            assert!(flat(&shown).contains(&flat(line)), "{line:?} is not in:\n{shown}");
        }
        let shown = text(&hotlist(directory.path(), &["inspect", "feed.txt", "--find", "good.example"]));
        assert!(shown.contains("matches none of them"), "{shown}");
        let shown = text(&hotlist(directory.path(), &["inspect", "feed.txt", "--find", " bad[.]example"]));
        assert!(shown.contains("\" bad[.]example\" (\"bad.example\") matches domain bad.example"), "{shown}");
        assert!(!shown.contains("only with"), "{shown}");
        let shown = text(&hotlist(directory.path(), &["inspect", "feed.txt", "--find", "127.0.0.1"]));
        assert!(shown.contains("; too generic, "), "{shown}");
    }

    /// A file that cannot be read is named, and the exit code says so.
    #[test]
    fn inspect_fails_on_a_file_that_is_no_feed() {
        let directory = directory(&[("feed.json", "{\"a\":")]);
        let output = hotlist(directory.path(), &["inspect", "feed.json"]);
        assert_eq!(output.status.code(), Some(1));
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(shown.contains("feed.json is not valid JSON"), "{shown}");
    }
}
