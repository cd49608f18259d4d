//! Shows the active configuration, and the keys of its file that keep their value until the next start.

use crate::config::Config;

/// The active configuration, and the keys whose values in the file differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EffectiveConfig {
    pub(super) active: Config,
    /// The keys of the file whose values take effect at the next start only.
    pub(super) waiting: Vec<String>,
}

impl EffectiveConfig {
    /// Creates a configuration that is completely active, as at the start.
    pub(super) fn all_active(active: Config) -> EffectiveConfig {
        EffectiveConfig { active, waiting: Vec::new() }
    }

    /// Returns the active configuration as YAML, with a comment that names the keys that are not active.
    pub(super) fn to_yaml(&self) -> String {
        let comment = match self.waiting.is_empty() {
            true => String::new(),
            false => {
                format!("# Changed in the file, takes effect at the next start only: {}\n", self.waiting.join(", "))
            }
        };
        // A secret masks itself when it is written.
        comment + &self.active.to_yaml().unwrap_or_else(|error| format!("# {error}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Format;

    /// Guarantee: what is shown loads as what is active, and names the keys that wait.
    #[test]
    fn what_is_shown_is_what_is_active() {
        let text = "
sources: { a: { type: otlp, address: '127.0.0.1:1' } }
intel: { files: ['a.csv'] }
sinks: { s: { type: blackhole, inputs: [a] } }
";
        let parse =
            |text: &str| Config::parse(text, Format::Yaml, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
        let active = parse(text);
        let waiting = vec!["intel.canary".to_owned(), "log.level".to_owned()];
        let shown = EffectiveConfig { active: active.clone(), waiting }.to_yaml();
        let comment = shown.lines().next().unwrap();
        assert!(comment.starts_with("# ") && comment.ends_with("next start only: intel.canary, log.level"), "{shown}");
        assert_eq!(parse(&shown), active);
        assert!(!EffectiveConfig::all_active(active).to_yaml().contains('#'));
    }
}
