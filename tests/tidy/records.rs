//! The changelog and the decision records keep their form.

use std::path::Path;

use super::{assert_none, files, root};

/// The problems of a changelog's form: <https://keepachangelog.com/en/1.1.0/>.
fn changelog_problems(text: &str) -> Vec<String> {
    const GROUPS: [&str; 6] = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    let mut problems = Vec::new();
    if !text.starts_with("# Changelog\n") {
        problems.push("the first line is not `# Changelog`".to_owned());
    }
    let mut releases = 0;
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        if let Some(heading) = line.strip_prefix("## ") {
            releases += 1;
            let version = heading.strip_prefix('[').and_then(|rest| rest.split_once("] - "));
            let released = version.is_some_and(|(version, date)| {
                version.split('.').count() == 3
                    && version.split('.').all(|part| part.parse::<u32>().is_ok())
                    && date.split('-').map(str::len).eq([4, 2, 2])
            });
            if releases == 1 && heading != "[Unreleased]" {
                problems.push(format!("line {number}: the first section is not `## [Unreleased]`"));
            }
            if releases > 1 && !released {
                problems.push(format!("line {number}: a release is `## [1.2.3] - 2026-01-31`"));
            }
        } else if let Some(group) = line.strip_prefix("### ")
            && !GROUPS.contains(&group)
        {
            problems.push(format!("line {number}: `{group}` is none of {GROUPS:?}"));
        }
    }
    if releases == 0 {
        problems.push("there is no section `## [Unreleased]`".to_owned());
    }
    problems
}

#[test]
fn the_changelog_keeps_its_form() {
    assert_none("CHANGELOG.md", changelog_problems(&std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap()));
    assert_eq!(changelog_problems("# Changelog\n## [Unreleased]\n### Fixed\n## [1.0.0] - 2026-01-31\n").len(), 0);
    assert_eq!(changelog_problems("# Changes\n## [1.0.0]\n### Misc\n## 1.0 - now\n").len(), 4);
}

#[test]
fn decision_records_are_numbered_without_gaps_and_open_with_title_and_status() {
    let mut offences = Vec::new();
    let records = files("docs/adr", &["md"]);
    assert!(!records.is_empty());
    for (number, (path, text)) in (1..).zip(&records) {
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        if !name.starts_with(&format!("{number:04}-")) {
            offences.push(format!("{path}: number {number:04} comes next"));
        }
        if !text.starts_with(&format!("# {number}. ")) || !text.lines().any(|line| line.starts_with("Status: ")) {
            offences.push(format!("{path}: it opens with `# {number}. Title` and has a line `Status: …`"));
        }
    }
    assert_none("decision records", offences);
}
