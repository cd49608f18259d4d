//! Configurations: any text, as YAML and as TOML, is a configuration or a list of problems with their places.
#![no_main]

use hotlist::config::{Config, Format};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let environment = |name: &str| match name {
        "NUMBER" => Some("17".to_owned()),
        "NESTED" => Some("${NESTED} a: [".to_owned()),
        _ => None,
    };
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
    for format in [Format::Yaml, Format::Toml] {
        match Config::parse(text, format, &environment) {
            Ok(config) => {
                assert!(!config.sources.is_empty() && !config.sinks.is_empty());
                drop(format!("{config:?}"));
            }
            Err(errors) => {
                assert!(!errors.problems.is_empty());
                for problem in &errors.problems {
                    assert!(problem.position.line as usize <= lines, "not one of the {lines} lines: {problem}");
                }
                drop(errors.to_string());
            }
        }
    }
});
