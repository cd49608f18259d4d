//! Parses the log filter of the environment. A word that is neither a level nor a module of this program is refused as a
//! mistake, because it would silence the log if it were treated as a module name.

use tracing_subscriber::EnvFilter;

/// The levels, including the one that turns the log off.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Parses directives such as `debug` or `hotlist=trace,info`.
///
/// # Errors
/// A directive is not valid; the text names it.
pub(super) fn parse(text: &str) -> Result<EnvFilter, String> {
    for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive));
        let is_ours = directive == "hotlist" || directive.starts_with("hotlist::");
        if !is_level && !is_ours && !directive.contains(['=', '[']) {
            return Err(format!("`{directive}` is not a level ({})", LEVELS.join(", ")));
        }
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_taken_and_other_words_are_not() {
        for good in ["debug", "INFO", "off", "hotlist=trace,info", "hotlist::sink", "h2=warn, debug", "[span]=debug"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["verbose", "infos", "debug,quiet", "hotlist=loud", "1x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let error = parse("verbose").unwrap_err();
        assert!(error.contains("`verbose`") && error.contains("(off, error, warn, info, debug, trace)"), "{error}");
    }
}
