//! `hotlist compile`, `hotlist compact`, and `hotlist inspect` of what they write, as a person at a terminal uses them.

#[cfg(test)]
#[path = "support/parts.rs"]
mod parts;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};

    use crate::parts::assert_line;

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

    /// The exit code, and what stands on standard output and on standard error.
    fn said(output: &Output) -> (Option<i32>, String, String) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    #[track_caller]
    fn works(directory: &Path, arguments: &[&str]) -> String {
        let (code, out, error) = said(&hotlist(directory, arguments));
        assert_eq!(code, Some(0), "{out}{error}");
        out
    }

    #[track_caller]
    fn fails(directory: &Path, arguments: &[&str]) -> (String, String) {
        let (code, out, error) = said(&hotlist(directory, arguments));
        assert_eq!(code, Some(1), "{out}{error}");
        (out, error)
    }

    fn segments(directory: &Path) -> Vec<PathBuf> {
        let listed = std::fs::read_dir(directory.join("store/segments")).unwrap();
        let mut paths: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    /// The names of the segments of a feed, in the order of its chain.
    fn chain(directory: &Path, feed: &str) -> Vec<String> {
        let state = std::fs::read_to_string(directory.join(format!("store/feeds/{feed}.json"))).unwrap();
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        let segments = state["segments"].as_array().unwrap();
        segments.iter().map(|segment| format!("store/segments/{}.seg", segment["digest"].as_str().unwrap())).collect()
    }

    fn numbered(numbers: std::ops::Range<usize>) -> String {
        numbers.map(|number| format!("host{number}.evil.example\n")).collect()
    }

    const COMPILE: [&str; 4] = ["compile", "feed.txt", "--out", "store"];

    /// Turns the segment of a feed into one whose canonical forms are of the version before there was one.
    fn make_old(directory: &Path, feed: &str) -> String {
        use sha2::{Digest as _, Sha256};
        let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let [path] = &chain(directory, feed)[..] else { panic!("one segment") };
        let mut bytes = std::fs::read(directory.join(path)).unwrap();
        bytes[10..12].fill(0);
        let end = bytes.len() - 32;
        let checksum = Sha256::digest(&bytes[..end]);
        bytes[end..].copy_from_slice(&checksum);
        let digest = hex(&Sha256::digest(&bytes));
        std::fs::write(directory.join(format!("store/segments/{digest}.seg")), bytes).unwrap();
        let state = directory.join(format!("store/feeds/{feed}.json"));
        let named = Path::new(path).file_stem().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&state).unwrap().replace(named, &digest);
        std::fs::write(state, text).unwrap();
        format!("store/segments/{digest}.seg")
    }

    /// Scenario: a store from before a change of the canonical forms, whose feed's files are what they were.
    /// Guarantee: its segment is refused with that reason, and compiling makes a new one of the whole feed.
    #[test]
    fn a_feed_in_other_canonical_forms_is_compiled_again() {
        let directory = directory(&[("feed.txt", &numbered(0..20))]);
        let directory = directory.path();
        works(directory, &COMPILE);
        let old = make_old(directory, "feed");
        let (_, error) = fails(directory, &["inspect", &old]);
        assert_line(&error, &["version 0", "`hotlist compile`"]);
        let again = works(directory, &COMPILE);
        assert_line(&again, &["feed:", "20 indicators", "new segment"]);
        assert_line(&works(directory, &COMPILE), &["feed:", "unchanged", "20", "1 segment"]);
        // What shrank is still noticed.
        make_old(directory, "feed");
        std::fs::write(directory.join("feed.txt"), numbered(0..5)).unwrap();
        let (out, _) = fails(directory, &COMPILE);
        assert_line(&out, &["feed", "20", "5"]);
    }

    /// A store grows by what changed, and says so; what did not change leaves it as it is.
    #[test]
    fn changes_become_segments_and_no_change_becomes_none() {
        let directory = directory(&[("feed.txt", &numbered(0..20))]);
        let directory = directory.path();
        let first = works(directory, &COMPILE);
        assert_line(&first, &["feed:", "20 indicators", "new segment"]);
        let [full] = &segments(directory)[..] else { panic!("one segment") };
        let digest = full.file_stem().unwrap().to_str().unwrap();
        assert!(first.contains(digest) && digest.len() == 64, "{first}");
        let bytes = full.metadata().unwrap().len();
        assert_line(&first, &[digest, &bytes.to_string()]);

        assert_line(&works(directory, &COMPILE), &["feed:", "unchanged", "20", "1 segment"]);
        // Another order is no change of what the feed says.
        let turned = format!("{}{}", numbered(10..20), numbered(0..10));
        std::fs::write(directory.join("feed.txt"), turned).unwrap();
        assert_line(&works(directory, &COMPILE), &["feed:", "unchanged", "20", "1 segment"]);
        assert_eq!(segments(directory).len(), 1);

        // Three come, two go.
        std::fs::write(directory.join("feed.txt"), numbered(2..23)).unwrap();
        let second = works(directory, &COMPILE);
        assert_line(&second, &["feed:", "21", "3 added", "2 withdrawn", "2"]);
        let two = chain(directory, "feed");
        assert_eq!((two.len(), segments(directory).len()), (2, 2));

        // Alone the first still has what the second withdraws; in the order of the chain it has not.
        let find = |paths: &[&str], value: &str| works(directory, &[&["inspect"], paths, &["--find", value]].concat());
        let (full, delta) = (two[0].as_str(), two[1].as_str());
        assert_line(&find(&[full], "host1.evil.example"), &["matches", "host1.evil.example", "feed"]);
        let shown = find(&[full, delta], "host1.evil.example");
        assert_line(&shown, &["host1.evil.example", "none"]);
        assert_line(&shown, &["withdraws", "2"]);
        assert_line(&find(&[full, delta], "host22.evil.example"), &["matches", "host22.evil.example"]);

        let compacted = works(directory, &["compact", "--store", "store"]);
        assert_line(&compacted, &["feed:", "merged", "2 segments", "one"]);
        let one = chain(directory, "feed");
        let [whole] = &one[..] else { panic!("one segment") };
        assert_line(&find(&[whole], "host1.evil.example"), &["host1.evil.example", "none"]);
        assert_line(&find(&[whole], "host22.evil.example"), &["matches", "host22.evil.example"]);
        assert_line(&works(directory, &["compact", "--store", "store", "feed"]), &["feed:", "not merged", "1 segment"]);
        assert_line(&works(directory, &COMPILE), &["feed:", "unchanged", "21", "1 segment"]);
        let (_, error) = fails(directory, &["compact", "--store", "store", "other"]);
        assert_line(&error, &["`other`", "store/feeds"]);
    }

    /// How values are looked for, and where, is part of what was compiled.
    #[test]
    fn other_options_are_another_feed_of_the_same_file() {
        let directory = directory(&[("feed.txt", &numbered(0..4))]);
        let directory = directory.path();
        works(directory, &COMPILE);
        for option in ["--collection", "--subdomains"] {
            let changed = works(directory, &[&COMPILE[..], &[option]].concat());
            assert_line(&changed, &["feed:", "4 indicators", "new segment"]);
            let newest = chain(directory, "feed").remove(0);
            let shown = works(directory, &["inspect", &newest, "--find", "x.host1.evil.example"]);
            assert_eq!(shown.contains("collection feed"), option == "--collection", "{shown}");
            let again = works(directory, &[&COMPILE[..], &[option]].concat());
            assert_line(&again, &["feed:", "unchanged", "4", "1 segment"]);
        }
    }

    /// What cannot replace a good feed does not, and the exit code says so.
    #[test]
    fn a_feed_that_shrank_is_empty_or_unreadable_keeps_what_the_store_has() {
        let directory = directory(&[("feed.txt", &numbered(0..20))]);
        let directory = directory.path();
        works(directory, &COMPILE);
        let before = (segments(directory), chain(directory, "feed"));
        let feed = directory.join("feed.txt");

        std::fs::write(&feed, numbered(0..9)).unwrap();
        let (out, error) = fails(directory, &COMPILE);
        assert_line(&out, &["`feed`", "20", "9", "--allow-shrink"]);
        assert_line(&error, &["1 of 1 feed", "not compiled"]);
        std::fs::write(&feed, "# nothing today\n").unwrap();
        let (out, _) = fails(directory, &COMPILE);
        assert_line(&out, &["`feed`", "no indicator", "the store keeps"]);
        let (out, _) = fails(directory, &[&COMPILE[..], &["--allow-shrink"]].concat());
        assert_line(&out, &["`feed`", "no indicator"]);
        std::fs::write(&feed, "{\"a\":").unwrap();
        let (out, _) = fails(directory, &COMPILE);
        assert_line(&out, &["`feed`: ", "the store keeps"]);
        assert_eq!((segments(directory), chain(directory, "feed")), before);

        std::fs::write(&feed, numbered(0..9)).unwrap();
        let shrunk = works(directory, &[&COMPILE[..], &["--allow-shrink"]].concat());
        assert_line(&shrunk, &["feed:", "9 indicators"]);
        // The other feeds of the same run are compiled.
        std::fs::write(directory.join("good.txt"), "evil.example\n").unwrap();
        std::fs::write(&feed, "").unwrap();
        let (out, error) = fails(directory, &["compile", "feed.txt", "good.txt", "--out", "store"]);
        assert_line(&out, &["good:", "1 indicator", "new segment"]);
        assert_line(&error, &["1 of 2 feeds", "not compiled"]);
        // Nothing to compile is a wrong command, and so are options that contradict each other.
        assert_eq!(hotlist(directory, &["compile", "--out", "store"]).status.code(), Some(2));
        let both = ["compile", "--config", "hotlist.yaml", "--feed", "a", "--out", "store"];
        assert_eq!(hotlist(directory, &both).status.code(), Some(2));
        let (_, error) = fails(directory, &["compile", "nowhere.txt", "--out", "store"]);
        assert!(error.contains("nowhere.txt"), "{error}");
    }

    /// Each unused line is reported, and the other lines are not affected.
    #[test]
    fn unusable_and_generic_lines_are_told_with_their_place() {
        let feed = "evil.example\nwhat is this\n127.0.0.1\nworse.example\n";
        let directory = directory(&[("feed.txt", feed)]);
        let directory = directory.path();
        let out = works(directory, &COMPILE);
        assert!(out.contains("feed.txt:2: ") && out.contains("(what is this)\n"), "{out}");
        assert!(out.contains("feed.txt:3: too generic: ") && out.contains("(127.0.0.1)\n"), "{out}");
        assert_line(&out, &["feed:", "2 indicators", "new segment"]);
        let out = works(directory, &[&COMPILE[..], &["--allow-generic"]].concat());
        assert!(!out.contains("too generic"), "{out}");
        assert!(out.contains("feed: 3 indicators"), "{out}");
        let arguments: Vec<String> = chain(directory, "feed");
        let paths: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let shown = works(directory, &[&["inspect"], &paths[..], &["--find", "127.0.0.1"]].concat());
        assert_line(&shown, &["matches", "127.0.0.1", "feed"]);
    }

    /// With a configuration the feeds are those of `intel.files`, with the names and options that stand there.
    #[test]
    fn a_configuration_names_the_feeds() {
        let config = "sources: { a: { type: otlp, address: '127.0.0.1:0' } }\n\
                      sinks: { s: { type: blackhole, inputs: [a] } }\n\
                      intel: { files: [one.txt, two.txt, gone.txt] }\n";
        let directory =
            directory(&[("hotlist.yaml", config), ("one.txt", "evil.example\n"), ("two.txt", "203.0.113.7\n")]);
        let directory = directory.path();
        let (out, error) = fails(directory, &["compile", "--config", "hotlist.yaml", "--out", "store"]);
        assert!(out.contains("gone.txt"), "{out}");
        assert_line(&out, &["one:", "1 indicator", "new segment"]);
        assert_line(&out, &["two:", "1 indicator", "new segment"]);
        assert_line(&error, &["not compiled"]);
        std::fs::write(directory.join("gone.txt"), "there.example\n").unwrap();
        let out = works(directory, &["compile", "--config", "hotlist.yaml", "--out", "store"]);
        assert_line(&out, &["one:", "unchanged"]);
        assert_line(&out, &["two:", "unchanged"]);
        assert_line(&out, &["gone:", "1 indicator", "new segment"]);
        assert_eq!(works(directory, &["compact", "--store", "store"]).lines().count(), 3);
    }

    /// A damaged segment is reported with what to do, and doing that repairs the store.
    #[test]
    fn a_damaged_segment_is_told_with_how_to_mend_it() {
        let directory = directory(&[("feed.txt", &numbered(0..20))]);
        let directory = directory.path();
        works(directory, &COMPILE);
        let path = segments(directory).remove(0);
        let whole = std::fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damaged[100] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let (_, error) = fails(directory, &["inspect", path.to_str().unwrap()]);
        assert_line(&error, &[".seg", "damaged"]);
        std::fs::write(directory.join("feed.txt"), numbered(0..21)).unwrap();
        let (out, _) = fails(directory, &COMPILE);
        assert_line(&out, &["`feed`", "damaged", "remove store/feeds/feed.json"]);

        std::fs::write(directory.join("feed.txt"), numbered(0..20)).unwrap();
        std::fs::remove_file(directory.join("store/feeds/feed.json")).unwrap();
        works(directory, &COMPILE);
        assert_eq!(std::fs::read(&path).unwrap(), whole, "the damaged file was replaced");

        // A list of segments that is none.
        std::fs::write(directory.join("store/feeds/feed.json"), "{").unwrap();
        let (out, _) = fails(directory, &COMPILE);
        assert_line(&out, &["store/feeds/feed.json: ", "remove it"]);
        // A segment that is gone.
        std::fs::remove_file(directory.join("store/feeds/feed.json")).unwrap();
        works(directory, &COMPILE);
        std::fs::remove_file(&path).unwrap();
        let (out, _) = fails(directory, &COMPILE);
        assert_line(&out, &["`feed`", "remove store/feeds/feed.json"]);
    }

    /// A pattern whose values must be found together is marked as such everywhere.
    #[test]
    fn inspect_and_explain_say_what_is_found_only_together() {
        let feed = "value\n\"[domain-name:value = 'evil.example' AND network-traffic:dst_port = 4444]\"\n";
        let event = r#"{"dns.question.name":"evil.example","destination.port":443}"#;
        let whole = r#"{"dns.question.name":"evil.example","destination.port":4444}"#;
        let directory = directory(&[("feed.csv", feed), ("half.json", event), ("whole.json", whole)]);
        let directory = directory.path();
        let pattern = "domain evil.example AND number 4444 at network-traffic:dst_port";
        works(directory, &["compile", "feed.csv", "--out", "store"]);
        let segment = chain(directory, "feed").remove(0);
        for path in ["feed.csv", segment.as_str()] {
            let shown = works(directory, &["inspect", path, "--find", "evil.example"]);
            let words: Vec<&str> = shown.split_whitespace().collect();
            assert!(words.join(" ").contains(&format!("; found only together: {pattern}")), "{shown}");
        }
        let half = works(directory, &["explain", "-i", "feed.csv", "-e", "half.json"]);
        assert!(half.starts_with("NO HIT: "), "{half}");
        assert_line(&half, &["found only in part", "1"]);
        assert!(half.contains(&format!("      needs: {pattern}\n")), "{half}");
        let whole = works(directory, &["explain", "-i", "feed.csv", "-e", "whole.json"]);
        assert!(whole.starts_with("HIT: 1 indicator\n") && !whole.contains("found only in part"), "{whole}");
    }
}
