//! Rules about tests that a plain run leaves out.

use super::{assert_none, files, root, rust_files};

/// What a test may need that a clone does not have; `tests/support` says where each is, and fails where it is missing.
const NEEDS: [&str; 4] =
    ["needs ../shared", "needs the Python client", "needs the OpenTelemetry Collector", "needs grpcurl"];

/// Modules that are not tests of CI, with the reason.
const TOOLS: [(&str, &str); 2] = [
    ("soak", "takes SOAK_SECONDS, half an hour by default; `make prove` runs it"),
    ("seeds", "writes the seeds of the fuzz target"),
];

/// Guarantee: a test is ignored for a reason that is known here, and those that are tools are what CI leaves out.
#[test]
fn an_ignored_test_says_what_it_needs() {
    let mut offences = Vec::new();
    let mut ignored = 0;
    for (path, text) in rust_files() {
        for (number, line) in text.lines().enumerate() {
            let Some(attribute) = line.trim_start().strip_prefix(concat!("#[", "ignore")) else { continue };
            ignored += 1;
            let reason = attribute.strip_prefix(" = \"").and_then(|rest| rest.strip_suffix("\"]")).unwrap_or_default();
            let is_tool = TOOLS.iter().any(|(module, why)| *why == reason && path.ends_with(&format!("/{module}.rs")));
            if !is_tool && !NEEDS.contains(&reason) {
                offences.push(format!("{path}:{}: `{reason}`", number + 1));
            }
        }
    }
    assert!(ignored > 20, "only {ignored} ignored tests were found");
    assert_none("an ignored test has a reason of NEEDS or TOOLS in tests/tidy/ignored.rs", offences);
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(ci.contains("not test(/^(soak|seeds)::/)"), ".ci/run leaves out other tests than TOOLS");
    assert!(TOOLS.iter().all(|(module, _)| ci.contains(&format!("--skip {module}::"))));
}

/// Guarantee: no test passes by saying that it did not run.
#[test]
fn no_test_passes_without_running() {
    let marker = concat!("SKIP", "PED");
    let texts = files("tests", &["rs", "py", "sh"]).into_iter().chain(files("crates", &["rs"]));
    let offences = texts.filter(|(_, text)| text.contains(marker)).map(|(path, _)| path).collect();
    assert_none("mark the test `#[ignore = \"needs …\"]` and take what it needs from tests/support", offences);
}
