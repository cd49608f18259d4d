//! `hotlist compile`, `hotlist compact`, and `hotlist inspect` of what they write, as a person at a terminal uses them.

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};

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
        assert!(error.contains("canonical forms of version 0") && error.contains("`hotlist compile`"), "{error}");
        let again = works(directory, &COMPILE);
        assert!(again.starts_with("feed: 20 indicators in a new segment "), "{again}");
        assert_eq!(works(directory, &COMPILE), "feed: unchanged: 20 indicators in 1 segment\n");
        // What shrank is still noticed.
        make_old(directory, "feed");
        std::fs::write(directory.join("feed.txt"), numbered(0..5)).unwrap();
        let (out, _) = fails(directory, &COMPILE);
        assert!(out.contains("fell from 20 indicators to 5"), "{out}");
    }

    /// A store grows by what changed, and says so; what did not change leaves it as it is.
    #[test]
    fn changes_become_segments_and_no_change_becomes_none() {
        let directory = directory(&[("feed.txt", &numbered(0..20))]);
        let directory = directory.path();
        let first = works(directory, &COMPILE);
        assert!(first.starts_with("feed: 20 indicators in a new segment "), "{first}");
        let [full] = &segments(directory)[..] else { panic!("one segment") };
        let digest = full.file_stem().unwrap().to_str().unwrap();
        assert!(first.contains(digest) && digest.len() == 64, "{first}");
        let bytes = full.metadata().unwrap().len();
        assert!(first.ends_with(&format!("({bytes} bytes)\n")), "{first}");

        assert_eq!(works(directory, &COMPILE), "feed: unchanged: 20 indicators in 1 segment\n");
        // Another order is no change of what the feed says.
        let turned = format!("{}{}", numbered(10..20), numbered(0..10));
        std::fs::write(directory.join("feed.txt"), turned).unwrap();
        assert_eq!(works(directory, &COMPILE), "feed: unchanged: 20 indicators in 1 segment\n");
        assert_eq!(segments(directory).len(), 1);

        // Three come, two go.
        std::fs::write(directory.join("feed.txt"), numbered(2..23)).unwrap();
        let second = works(directory, &COMPILE);
        assert!(second.starts_with("feed: 21 indicators: 3 added and 2 withdrawn in segment "), "{second}");
        assert!(second.ends_with(", number 2 of its chain\n"), "{second}");
        let two = chain(directory, "feed");
        assert_eq!((two.len(), segments(directory).len()), (2, 2));

        // Alone the first still has what the second withdraws; in the order of the chain it has not.
        let find = |paths: &[&str], value: &str| works(directory, &[&["inspect"], paths, &["--find", value]].concat());
        let (full, delta) = (two[0].as_str(), two[1].as_str());
        assert!(find(&[full], "host1.evil.example").contains("matches domain host1.evil.example of feed feed"));
        let shown = find(&[full, delta], "host1.evil.example");
        assert!(shown.contains("\"host1.evil.example\" matches none of them"), "{shown}");
        assert!(shown.contains("  withdraws 2 indicators of earlier segments\n"), "{shown}");
        assert!(find(&[full, delta], "host22.evil.example").contains("matches domain host22.evil.example"));

        let compacted = works(directory, &["compact", "--store", "store"]);
        assert!(
            compacted.starts_with("feed: merged 2 segments of ") && compacted.contains(" into one of "),
            "{compacted}"
        );
        let one = chain(directory, "feed");
        let [whole] = &one[..] else { panic!("one segment") };
        assert!(find(&[whole], "host1.evil.example").contains("matches none of them"));
        assert!(find(&[whole], "host22.evil.example").contains("matches domain host22.evil.example"));
        assert_eq!(works(directory, &["compact", "--store", "store", "feed"]), "feed: not merged: 1 segment\n");
        assert_eq!(works(directory, &COMPILE), "feed: unchanged: 21 indicators in 1 segment\n");
        let (_, error) = fails(directory, &["compact", "--store", "store", "other"]);
        assert!(error.contains("no feed `other`; see store/feeds"), "{error}");
    }

    /// How values are looked for, and where, is part of what was compiled.
    #[test]
    fn other_options_are_another_feed_of_the_same_file() {
        let directory = directory(&[("feed.txt", &numbered(0..4))]);
        let directory = directory.path();
        works(directory, &COMPILE);
        for option in ["--collection", "--subdomains"] {
            let changed = works(directory, &[&COMPILE[..], &[option]].concat());
            assert!(changed.starts_with("feed: 4 indicators in a new segment "), "{option}: {changed}");
            let newest = chain(directory, "feed").remove(0);
            let shown = works(directory, &["inspect", &newest, "--find", "x.host1.evil.example"]);
            assert_eq!(shown.contains("  collection feed, 4 indicators\n"), option == "--collection", "{shown}");
            let again = works(directory, &[&COMPILE[..], &[option]].concat());
            assert_eq!(again, "feed: unchanged: 4 indicators in 1 segment\n");
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
        assert!(out.contains("feed `feed` fell from 20 indicators to 9; give --allow-shrink"), "{out}");
        assert!(error.contains("1 of 1 feed was not compiled"), "{error}");
        std::fs::write(&feed, "# nothing today\n").unwrap();
        let (out, _) = fails(directory, &COMPILE);
        assert!(out.contains("feed `feed` has no indicator; the store keeps what it has of the feed"), "{out}");
        let (out, _) = fails(directory, &[&COMPILE[..], &["--allow-shrink"]].concat());
        assert!(out.contains("feed `feed` has no indicator"), "{out}");
        std::fs::write(&feed, "{\"a\":").unwrap();
        let (out, _) = fails(directory, &COMPILE);
        assert!(out.contains("feed `feed`: ") && out.contains("; the store keeps what it has of the feed"), "{out}");
        assert_eq!((segments(directory), chain(directory, "feed")), before);

        std::fs::write(&feed, numbered(0..9)).unwrap();
        let shrunk = works(directory, &[&COMPILE[..], &["--allow-shrink"]].concat());
        assert!(shrunk.starts_with("feed: 9 indicators"), "{shrunk}");
        // The other feeds of the same run are compiled.
        std::fs::write(directory.join("good.txt"), "evil.example\n").unwrap();
        std::fs::write(&feed, "").unwrap();
        let (out, error) = fails(directory, &["compile", "feed.txt", "good.txt", "--out", "store"]);
        assert!(out.contains("good: 1 indicator in a new segment "), "{out}");
        assert!(error.contains("1 of 2 feeds were not compiled"), "{error}");
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
        assert!(out.contains("feed: 2 indicators in a new segment "), "{out}");
        let out = works(directory, &[&COMPILE[..], &["--allow-generic"]].concat());
        assert!(!out.contains("too generic"), "{out}");
        assert!(out.contains("feed: 3 indicators"), "{out}");
        let arguments: Vec<String> = chain(directory, "feed");
        let paths: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let shown = works(directory, &[&["inspect"], &paths[..], &["--find", "127.0.0.1"]].concat());
        assert!(shown.contains("matches ip 127.0.0.1 of feed feed"), "{shown}");
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
        assert!(out.contains("one: 1 indicator in a new segment "), "{out}");
        assert!(out.contains("two: 1 indicator in a new segment "), "{out}");
        assert!(error.contains("were not compiled"), "{error}");
        std::fs::write(directory.join("gone.txt"), "there.example\n").unwrap();
        let out = works(directory, &["compile", "--config", "hotlist.yaml", "--out", "store"]);
        for line in ["one: unchanged", "two: unchanged", "gone: 1 indicator in a new segment "] {
            assert!(out.contains(line), "{line} is not in:\n{out}");
        }
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
        assert!(error.contains(".seg") && error.contains("the segment is damaged"), "{error}");
        std::fs::write(directory.join("feed.txt"), numbered(0..21)).unwrap();
        let (out, _) = fails(directory, &COMPILE);
        assert!(out.contains("feed `feed`: the segment is damaged"), "{out}");
        assert!(out.contains("; remove store/feeds/feed.json to compile the feed from nothing"), "{out}");

        std::fs::write(directory.join("feed.txt"), numbered(0..20)).unwrap();
        std::fs::remove_file(directory.join("store/feeds/feed.json")).unwrap();
        works(directory, &COMPILE);
        assert_eq!(std::fs::read(&path).unwrap(), whole, "the damaged file was replaced");

        // A list of segments that is none.
        std::fs::write(directory.join("store/feeds/feed.json"), "{").unwrap();
        let (out, _) = fails(directory, &COMPILE);
        assert!(
            out.contains("store/feeds/feed.json: ") && out.contains("remove it to compile the feed from nothing"),
            "{out}"
        );
        // A segment that is gone.
        std::fs::remove_file(directory.join("store/feeds/feed.json")).unwrap();
        works(directory, &COMPILE);
        std::fs::remove_file(&path).unwrap();
        let (out, _) = fails(directory, &COMPILE);
        assert!(out.contains("; remove store/feeds/feed.json to compile the feed from nothing"), "{out}");
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
        assert!(half.starts_with("NO HIT: only a part of a composite indicator was found\n"), "{half}");
        assert!(half.contains("found only in part: 1\n"), "{half}");
        assert!(half.contains(&format!("      needs: {pattern}\n")), "{half}");
        let whole = works(directory, &["explain", "-i", "feed.csv", "-e", "whole.json"]);
        assert!(whole.starts_with("HIT: 1 indicator\n") && !whole.contains("found only in part"), "{whole}");
    }
}
