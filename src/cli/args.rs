//! What each subcommand takes. The doc comments are the help texts.

mod control;

pub use control::{ControlPlaneArgs, KeygenArgs, NodesArgs, PromoteArgs, PublishArgs, PublishMode, RollbackArgs};

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use crate::observable::Kind;

/// Run the sidecar: take events, match them, tag the hits and pass everything on.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hotlist run --config hotlist.yaml")]
pub struct RunArgs {
    /// The configuration, *.yaml or *.toml. Relative paths in it start at the working directory.
    #[arg(short, long, value_name = "FILE", env = "HOTLIST_CONFIG")]
    pub config: PathBuf,
}

/// Check a configuration and say everything that is wrong with it.
///
/// Nothing is bound or fetched. Prints one line a problem, or one line that says ok. The files that `run` needs are
/// read: certificates and keys, headers, allowlists. With --feeds the files of indicators are, too: one line for
/// everything in them that is not used, and one a feed that sums it up. Exits with 1 if a file cannot be used at all.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist validate --config hotlist.yaml\n  hotlist validate --no-files --config hotlist.yaml\n  hotlist validate --feeds --config hotlist.yaml\n  hotlist validate --feeds feeds/ bad.csv.gz"
)]
pub struct ValidateArgs {
    /// The configuration, *.yaml or *.toml.
    #[arg(short, long, value_name = "FILE", env = "HOTLIST_CONFIG", required_unless_present = "paths")]
    pub config: Option<PathBuf>,
    /// Read the configured files of indicators, too.
    #[arg(long)]
    pub feeds: bool,
    /// Look at no file but the configuration: it is for another machine.
    #[arg(long, conflicts_with = "feeds")]
    pub no_files: bool,
    /// Files or directories of indicators to read; no configuration is.
    #[arg(value_name = "PATH", requires = "feeds")]
    pub paths: Vec<PathBuf>,
}

/// Match files of events against indicators, offline.
///
/// Writes one JSON line a hit, or every event with its tags. No rule, validity or import guard is applied, and
/// no allowlist that is not named: this says what is in the files. Exits with 0 whether or not anything hit.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist scan --indicators feeds/ --events events.ndjson\n  hotlist scan --indicators bad.txt --match-subdomains --events - < events.ndjson"
)]
pub struct ScanArgs {
    /// Files or directories of indicators, each format told from its content.
    #[arg(short, long, value_name = "PATH", required = true, num_args = 1..)]
    pub indicators: Vec<PathBuf>,
    /// Files or directories of events, one JSON document a line; `-` is standard input.
    #[arg(short, long, value_name = "FILE|DIR|-", num_args = 1.., default_value = "-")]
    pub events: Vec<PathBuf>,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Emit::Hits)]
    pub emit: Emit,
    /// Let every domain indicator match the names below it, too.
    #[arg(long)]
    pub match_subdomains: bool,
    /// Let a URL in an event yield its host as a domain or an address, too.
    #[arg(long)]
    pub match_url_hosts: bool,
    /// Files or directories of allowlists (MISP warninglists) that apply. Without it none does.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub allowlist: Vec<PathBuf>,
}

/// What `scan` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// One JSON line a hit.
    Hits,
    /// Every event, tagged where it hit.
    Events,
}

/// Say what happens to one event: observables, look-ups, matches, and what policy dropped and why.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist explain --indicators feeds/ --event event.json\n  hotlist explain --config hotlist.yaml --event - < event.json"
)]
#[group(skip)]
#[command(group = ArgGroup::new("intel").required(true).args(["indicators", "config"]))]
pub struct ExplainArgs {
    /// Files or directories of indicators, matched as `scan` does.
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    pub indicators: Vec<PathBuf>,
    /// A configuration, whose indicators are matched as `run` does.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Files or directories of allowlists (MISP warninglists) that apply beside those of the configuration.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub allowlist: Vec<PathBuf>,
    /// The event, one JSON document; `-` is standard input.
    #[arg(short, long, value_name = "FILE|-", default_value = "-")]
    pub event: PathBuf,
}

/// Say what is in files of indicators: how many of which kind, and every line that cannot be used.
///
/// Of a segment: its feeds, how many of which kind, its parts with their sizes.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist inspect feeds/\n  hotlist inspect feeds/bad.csv --find evil.example\n  hotlist inspect store/segments/*.seg --find evil.example"
)]
pub struct InspectArgs {
    /// Files or directories of indicators, or segments.
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Show the indicators that this value would match.
    #[arg(long, value_name = "VALUE")]
    pub find: Option<String>,
}

/// Compile feeds into segments, which control planes hand out and sidecars map into memory.
///
/// A feed whose files did not change makes no new segment, one that changed makes one of what was added and withdrawn.
/// Prints a line for everything that is not used, and one a feed. A feed that cannot be read, is empty or fell to less
/// than half keeps what the store has of it, and the exit code is 1.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist compile feeds/ --out store\n  hotlist compile bad-domains.txt --feed blocklist --subdomains --out store\n  hotlist compile --config hotlist.yaml --out store"
)]
#[group(skip)]
#[command(group = ArgGroup::new("feeds").required(true).args(["paths", "config"]))]
pub struct CompileArgs {
    /// Files or directories of indicators, each format told from its content. A file is a feed of its own name.
    #[arg(value_name = "FEED")]
    pub paths: Vec<PathBuf>,
    /// The store, a directory; it is made if it is not there.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Compile the feeds that `intel.files` of a configuration names, with the options that stand there.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// All files are one feed of this name.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub feed: Option<String>,
    /// They are collections: looked for only at the fields that are checked for collections.
    #[arg(long, conflicts_with = "config")]
    pub collection: bool,
    /// Every domain stands for the names below it, too.
    #[arg(long, conflicts_with = "config")]
    pub subdomains: bool,
    /// Every URL stands for longer paths, too.
    #[arg(long, conflicts_with = "config")]
    pub url_prefix: bool,
    /// The kind of values that come without a type, such as `user` or `domain`. Without it, it is told from each value.
    #[arg(long, value_name = "KIND", conflicts_with = "config", value_parser = kind)]
    pub kind: Option<Kind>,
    /// Take indicators that the import guard refuses: private addresses, public suffixes, resolvers and the like.
    #[arg(long, conflicts_with = "config")]
    pub allow_generic: bool,
    /// Take a feed that fell to less than half.
    #[arg(long)]
    pub allow_shrink: bool,
}

/// Make one segment of the many that a feed has after many changes.
///
/// The old segments stay in the store, since sidecars may still fetch them.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  hotlist compact --store store\n  hotlist compact --store store urlhaus")]
pub struct CompactArgs {
    /// The store.
    #[arg(short, long, value_name = "DIR")]
    pub store: PathBuf,
    /// Only these feeds.
    #[arg(value_name = "FEED")]
    pub feeds: Vec<String>,
}

/// Show the whole thing at work on this machine: a sender, the sidecar, a receiver, made-up indicators and events.
///
/// Prints the hits as the receiver got them, one tagged event in full, and figures measured in this run.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  hotlist demo\n  hotlist demo --events 100000 --keep")]
pub struct DemoArgs {
    /// Keep serving afterwards until Ctrl-C, say how to send events of your own, and print each hit as it arrives.
    #[arg(long)]
    pub keep: bool,
    /// How many events to send.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
}

/// Print the schema of configurations, or a configuration with every default filled in.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist config schema > hotlist.schema.json\n  hotlist config show --config hotlist.yaml"
)]
pub struct ConfigArgs {
    /// What to print.
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// What can be printed of configurations.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigAction {
    /// Print the JSON Schema (draft 2020-12), for editors.
    Schema,
    /// Print a configuration as YAML with every default filled in, variables replaced, and `***` for secrets.
    Show(ConfigShowArgs),
}

/// Print a configuration with every default filled in.
#[derive(Clone, Debug, Args)]
pub struct ConfigShowArgs {
    /// The configuration, *.yaml or *.toml.
    #[arg(short, long, value_name = "FILE", env = "HOTLIST_CONFIG")]
    pub config: PathBuf,
}

/// Print a script that completes this program's arguments in a shell.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist completions bash > /etc/bash_completion.d/hotlist\n  hotlist completions fish > ~/.config/fish/completions/hotlist.fish"
)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Look at records that a next hop refused for good, and send them again.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist rejected list rejected.ndjson\n  hotlist rejected resend rejected.ndjson --endpoint http://127.0.0.1:4317"
)]
pub struct RejectedArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: RejectedAction,
}

impl RejectedArgs {
    /// Whether JSON is written.
    pub(super) fn is_json(&self) -> bool {
        matches!(&self.action, RejectedAction::List(list) if list.json)
    }
}

/// What can be done with rejected files.
#[derive(Clone, Debug, Subcommand)]
pub enum RejectedAction {
    /// Show what is in rejected files. A line that cannot be read is told on standard error.
    List(RejectedListArgs),
    /// Send records again. What is accepted leaves the file, what is refused stays; a sidecar may go on writing to it.
    Resend(RejectedResendArgs),
}

/// Show what is in rejected files.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  hotlist rejected list rejected.ndjson\n  hotlist rejected list --json *.ndjson")]
pub struct RejectedListArgs {
    /// Rejected files.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// One JSON object a record instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Send records again.
///
/// Exits with 0 when all were accepted, with 1 when some stay.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist rejected resend rejected.ndjson --endpoint http://127.0.0.1:4317\n  hotlist rejected resend rejected.ndjson --endpoint http://127.0.0.1:4317 --select 3,5 --dry-run\n  hotlist rejected resend rejected.ndjson --endpoint https://collector.example:4317 --ca-file ca.pem"
)]
pub struct RejectedResendArgs {
    /// The rejected file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where to send: `https://host:port`, `http://host:port` or `unix:/path`. It may be another sidecar.
    #[arg(long, value_name = "URL")]
    pub endpoint: String,
    /// Only these, by the numbers that `list` shows.
    #[arg(long, value_name = "N", value_delimiter = ',', num_args = 1..)]
    pub select: Vec<usize>,
    /// Also the requests of partial successes, which OTLP forbids sending again: the next hop gets the records that it
    /// took at first a second time.
    #[arg(long)]
    pub partial: bool,
    /// A header of each request; `@FILE` takes the value from a file.
    #[arg(long = "header", value_name = "NAME=VALUE|NAME=@FILE")]
    pub headers: Vec<String>,
    /// The authorities of an `https` endpoint in PEM. Absent: those that the system trusts.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, with its chain, in PEM, for an `https` endpoint that asks for one.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Its private key in PEM, not encrypted.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// Send nothing, say what would be sent.
    #[arg(long)]
    pub dry_run: bool,
}

fn kind(word: &str) -> Result<Kind, String> {
    let words = Kind::ALL.map(Kind::as_str).join(", ");
    Kind::parse(word).ok_or_else(|| format!("it is none of {words}"))
}
