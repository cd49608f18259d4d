//! The arguments of `hotlist scan`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use crate::observable::time;
use crate::schema::Field;

/// Match log files against indicators, offline.
///
/// Reads files, directories and globs, plain or compressed with gzip, zstd or zip: JSON documents (one per line,
/// pretty-printed, in arrays or in pages such as CloudTrail's), and lines of text. Writes one JSON line per hit, or a
/// table, CSV, or every event with its tags; a summary goes to standard error. Exits with 0 whether or not there are
/// hits (--exit-code changes that), and with 1 if a file could not be read to its end.
///
/// --indicators matches the content of the files. Not applied then: the import guard, rules (enabled feeds, the columns
/// of collections), validity, revocations in a feed, the C2 rule, allowlists without --allowlist, the confidence floor,
/// and the rule that events of kind `enrichment` do not hit. Domains match exactly without --subdomains, and the hosts
/// of URLs are not matched without --url-hosts.
///
/// --config matches as `run` would if the same events arrived now: all of the above is applied, with the match settings
/// of the configuration, and on a node of a fleet the manifest and segments of its cache are matched.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist scan --indicators feeds/ --events events.ndjson\n  hotlist scan /var/log/zeek archive.zip --indicators feeds/ --emit table\n  hotlist scan --indicators bad.txt --subdomains --events - < events.ndjson\n  hotlist scan --config hotlist.yaml --events logs/*.json.gz --since 7d\n  hotlist scan --indicators feeds/ --events build.log --exit-code 3"
)]
#[group(skip)]
#[command(group = ArgGroup::new("intel").required(true).args(["indicators", "config"]))]
pub struct ScanArgs {
    /// Indicator files or directories. The format of each file is detected from its content. Segments (`*.seg`) are matched
    /// in the given order.
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    pub indicators: Vec<PathBuf>,
    /// A configuration: match as `run` does.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Log files, directories or globs; `-` is standard input, which is read if there is no path at all.
    #[arg(short, long, value_name = "PATH|-", num_args = 1..)]
    pub events: Vec<PathBuf>,
    /// The same as --events.
    #[arg(value_name = "PATH|-")]
    pub paths: Vec<PathBuf>,
    /// The output.
    #[arg(long, value_enum, default_value_t = Emit::Hits)]
    pub emit: Emit,
    /// Write the output to this file. An existing file is replaced.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Only match events from this time on: RFC 3339, a date (its midnight, UTC), or how long ago, such as `24h` or `7d`.
    /// Events without a time are matched.
    #[arg(long, value_name = "TIME", value_parser = TimeBound::parse)]
    pub since: Option<TimeBound>,
    /// Only match events before this time, given as for --since.
    #[arg(long, value_name = "TIME", value_parser = TimeBound::parse)]
    pub until: Option<TimeBound>,
    /// Let each domain indicator also match its subdomains.
    #[arg(long, alias = "match-subdomains", conflicts_with = "config")]
    pub subdomains: bool,
    /// Also match the host of each URL in an event, as a domain or an address.
    #[arg(long, alias = "match-url-hosts", conflicts_with = "config")]
    pub url_hosts: bool,
    /// Also scan every string of an event for addresses, names, URLs, hashes and e-mail addresses. A line that is not a
    /// JSON document is always scanned.
    #[arg(long, conflicts_with = "config")]
    pub text: bool,
    /// Also read defanged forms in text, such as `hxxp://evil[.]example`.
    #[arg(long, conflicts_with = "config")]
    pub text_refang: bool,
    /// Allowlist files or directories (MISP warninglists) to apply, in addition to those of the configuration.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub allowlist: Vec<PathBuf>,
    /// Also look at this field of events, as `match.fields` does, e.g. `client_addr=ip`. Repeat it for more.
    #[arg(long = "field", value_name = "PATH=KIND", value_parser = super::own_field)]
    pub fields: Vec<Field>,
    /// The exit code if there are hits, for CI.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub exit_code: u8,
    /// The number of threads that match. Without it, one per core. The output does not depend on it.
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Write the summary as a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// The output of `scan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// One JSON line per hit.
    Hits,
    /// A table of the hits, for people.
    Table,
    /// Every event, with its tags if it hits.
    Events,
    /// The hits as CSV, with a header.
    Csv,
}

/// One end of a range of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeBound {
    At(Timestamp),
    /// This long before the command was started.
    Ago(SignedDuration),
}

impl TimeBound {
    /// Reads RFC 3339, a date, or a duration.
    ///
    /// # Errors
    /// The text is neither.
    pub fn parse(text: &str) -> Result<TimeBound, String> {
        let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];
        let ago = units.iter().find_map(|(unit, seconds)| {
            let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
            Some(TimeBound::Ago(SignedDuration::from_secs(i64::from(number) * seconds)))
        });
        ago.or_else(|| time::parse(text.as_bytes()).map(TimeBound::At)).ok_or_else(|| {
            "give a time such as `2026-01-31T08:00:00Z`, a date such as `2026-01-31`, or how long ago, such as `24h` or `7d`"
                .to_owned()
        })
    }

    /// The instant, for a command that was started at `now`.
    pub fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            TimeBound::At(instant) => instant,
            TimeBound::Ago(duration) => now.checked_sub(duration).unwrap_or(Timestamp::MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_instants_dates_and_durations() {
        let now: Timestamp = "2026-01-31T08:00:00Z".parse().unwrap();
        for (text, instant) in [
            ("2026-01-30T10:00:00+02:00", "2026-01-30T08:00:00Z"),
            ("2026-01-30", "2026-01-30T00:00:00Z"),
            ("24h", "2026-01-30T08:00:00Z"),
            ("1d", "2026-01-30T08:00:00Z"),
            ("90m", "2026-01-31T06:30:00Z"),
            ("1w", "2026-01-24T08:00:00Z"),
            ("4294967295w", "-009999-01-02T01:59:59Z"),
        ] {
            assert_eq!(TimeBound::parse(text).unwrap().instant(now), instant.parse().unwrap(), "{text}");
        }
        for text in ["", "h", "-1h", "yesterday", "1.5d", "2026-13-01"] {
            assert!(TimeBound::parse(text).unwrap_err().contains("such as"), "{text}");
        }
    }
}
