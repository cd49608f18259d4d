//! `hotlist validate`: reports all problems of a configuration or of feeds, without starting anything.

mod feeds;
mod files;

use std::io::Write;
use std::path::Path;

use crate::config::{Config, RuleWarning};
use crate::escape::Escaped;

use super::Failure;
use super::args::ValidateArgs;

pub(super) use files::problems;

/// Prints one line that summarises the configuration, or fails with all of its problems, or with all unusable files.
/// Then checks feeds, if requested.
pub(super) fn run(
    args: &ValidateArgs,
    environment: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let path = match (&*args.paths, &args.config) {
        ([], Some(config)) => config,
        ([path], _) if is_configuration(path) => path,
        ([], None) => return Err(Failure::Other(anyhow::anyhow!("give a configuration: `--config FILE`"))),
        (paths, _) if args.feeds => return feeds::given(paths, args.max_unusable, out),
        ([path, ..], _) => {
            return Err(Failure::Other(anyhow::anyhow!(
                "{}: is not a configuration (`*.yaml`, `*.yml` or `*.toml`); give one, or check files of indicators with \
                 `hotlist validate --feeds PATH`",
                path.display()
            )));
        }
    };
    let config = Config::load(path, environment)?;
    let found = if args.no_files { Vec::new() } else { problems(&config) };
    if !found.is_empty() {
        let lines: Vec<String> =
            found.iter().map(|problem| format!("{}: {}", Escaped(path.display()), Escaped(problem))).collect();
        return Err(Failure::Other(anyhow::anyhow!(lines.join("\n"))));
    }
    let count = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    let warnings = config.rule_warnings();
    let is_idle = warnings.contains(&RuleWarning::NoneEnabled);
    let enabled = config.intel.files.iter().filter(|files| files.enabled).count();
    writeln!(
        out,
        "{}: ok: {}, {}, {}{}",
        path.display(),
        count(config.sources.len(), "source", "sources"),
        count(config.sinks.len(), "sink", "sinks"),
        count(enabled, "enabled entry of indicator files", "enabled entries of indicator files"),
        match &config.intel.control {
            _ if is_idle => " (nothing will be matched)",
            Some(_) => " and a control plane",
            None if enabled == 0 => " (nothing will be matched)",
            None => "",
        },
    )
    .map_err(Failure::of_output)?;
    for warning in &warnings {
        writeln!(out, "{}: warning: {}", path.display(), Escaped(warning)).map_err(Failure::of_output)?;
    }
    if args.feeds || args.strict || args.max_unusable.is_some() {
        feeds::configured(&config, args.strict, args.max_unusable, out)
    } else {
        Ok(())
    }
}

/// Returns whether a file name has the extension of a configuration.
fn is_configuration(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ["yaml", "yml", "toml"].iter().any(|known| ending == *known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args_for(config: std::path::PathBuf) -> ValidateArgs {
        ValidateArgs {
            config: Some(config),
            feeds: false,
            no_files: false,
            max_unusable: None,
            strict: false,
            paths: Vec::new(),
        }
    }

    fn validate(name: &str, text: &str) -> (Result<(), Failure>, String) {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join(name);
        std::fs::write(&config, text).unwrap();
        let mut out = Vec::new();
        let done = run(&args_for(config), &|_| None, &mut out);
        let shown = String::from_utf8(out).unwrap().replace(directory.path().to_str().unwrap(), "DIR");
        (done, shown)
    }

    #[test]
    fn a_good_configuration_is_summed_up_in_one_line() {
        let (done, shown) = validate("h.yaml", include_str!("../../examples/hotlist.yaml"));
        done.unwrap();
        let counts = shown.strip_prefix("DIR/h.yaml: ok: ").unwrap();
        assert!(counts.starts_with("1 source, 2 sinks, 1 enabled entry "), "{shown}");
        assert_eq!(shown.lines().count(), 1);
    }

    #[test]
    fn no_indicators_at_all_is_said_loudly() {
        let text =
            "sources: { a: { type: otlp, address: '127.0.0.1:1' } }\nsinks: { s: { type: blackhole, inputs: [a] } }\n";
        let (done, shown) = validate("h.yml", text);
        done.unwrap();
        assert!(shown.contains(" 0 enabled entries ") && shown.ends_with("(nothing will be matched)\n"), "{shown}");
    }

    /// Guarantee: entries that no enabled rule selects are named, and a warning says that no rule is enabled; neither is
    /// an error.
    #[test]
    fn what_rules_leave_out_is_named() {
        let text = "sources: { a: { type: otlp, address: '127.0.0.1:1' } }\nsinks: { s: { type: blackhole, inputs: [a] } }\n\
                    intel: { files: [one.csv, two.csv] }\n";
        let (done, shown) = validate("h.yaml", &format!("{text}rules: {{ r: {{ feeds: [one] }} }}\n"));
        done.unwrap();
        let [summary, warning] = shown.lines().collect::<Vec<_>>()[..] else { panic!("{shown}") };
        assert!(summary.contains("ok: ") && !summary.contains("nothing"), "{shown}");
        assert!(warning.contains("warning: intel.files[1]") && warning.contains("two.csv"), "{shown}");
        let (done, shown) = validate("h.yaml", &format!("{text}rules: {{ r: {{ feeds: ['*'], enabled: false }} }}\n"));
        done.unwrap();
        assert!(shown.contains("(nothing will be matched)") && shown.contains("NOTHING IS MATCHED"), "{shown}");
    }

    #[test]
    fn a_control_plane_is_a_source_of_indicators() {
        let text = "sources: { a: { type: otlp, address: '127.0.0.1:1' } }\nsinks: { s: { type: blackhole, inputs: [a] } }\n\
                    intel: { control: { endpoint: 'http://127.0.0.1:14400', audience: acme, cache: cache } }\n";
        let (done, shown) = validate("h.yaml", text);
        done.unwrap();
        assert!(shown.contains(" 0 enabled entries ") && shown.ends_with(" and a control plane\n"), "{shown}");
    }

    #[test]
    fn a_bad_configuration_fails_with_its_own_exit_code_and_prints_nothing() {
        let (done, shown) = validate("h.toml", "a = \n");
        assert_eq!(done.unwrap_err().exit_code(), super::super::exit::CONFIG);
        assert_eq!(shown, "");
    }

    #[test]
    fn a_reader_that_went_away_is_told_apart() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hotlist.yaml");
        let failure = run(&args_for(config), &|_| None, &mut Closed).unwrap_err();
        assert!(matches!(failure, Failure::OutputClosed));
    }
}
