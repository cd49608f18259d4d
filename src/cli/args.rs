//! What each subcommand takes. The doc comments are the help texts.

mod control;

pub use control::{
    ControlPlaneArgs, KeygenArgs, NodesArgs, NodesCommand, PromoteArgs, PublicationsArgs, PublishArgs, PublishMode,
    RemoveNodeArgs, RollbackArgs, WaitArgs,
};

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use crate::observable::Kind;

/// Run the sidecar: take events, match them, tag the hits and pass everything on.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist run --config hotlist.yaml\n  hotlist run --watch-config --config /etc/hotlist/hotlist.yaml"
)]
pub struct RunArgs {
    /// The configuration, *.yaml or *.toml. Relative paths in it start at the working directory.
    #[arg(short, long, value_name = "FILE", env = "HOTLIST_CONFIG")]
    pub config: PathBuf,
    /// Reload the configuration when its file changes, as SIGHUP does. A refused one is tried again when a file that it names
    /// changes.
    #[arg(long)]
    pub watch_config: bool,
}

/// Check a configuration and say everything that is wrong with it.
///
/// Nothing is bound or fetched. Prints one line a problem, or one line that says ok. The files that `run` needs are
/// read: certificates and keys, headers, allowlists. With --feeds the files of indicators are, too: one line for
/// everything in them that is not used, and one a feed that sums it up. Exits with 1 if a file cannot be used at all, if
/// nothing of a feed is used, or if no file matches an entry. --strict reads them, too, and exits with 1 as well if an
/// entry of an allowlist cannot be used, or if nothing would be matched.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist validate hotlist.yaml\n  hotlist validate --config hotlist.yaml\n  hotlist validate --no-files --config hotlist.yaml\n  hotlist validate --feeds --config hotlist.yaml\n  hotlist validate --feeds feeds/ bad.csv.gz"
)]
pub struct ValidateArgs {
    /// The configuration, *.yaml or *.toml.
    #[arg(short, long, value_name = "FILE", env = "HOTLIST_CONFIG", required_unless_present = "paths")]
    pub config: Option<PathBuf>,
    /// Read the configured files of indicators, too.
    #[arg(long)]
    pub feeds: bool,
    /// Look at no file but the configuration: it is for another machine.
    #[arg(long, conflicts_with_all = ["feeds", "strict"])]
    pub no_files: bool,
    /// Fail on what `run` only warns of: files that are not there, and feeds of which nothing is used. Implies --feeds.
    #[arg(long)]
    pub strict: bool,
    /// A configuration (`*.yaml`, `*.yml`, `*.toml`), as with --config; or with --feeds, files or directories of indicators,
    /// and then no configuration is read.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Check everything that must work for a configuration to run.
///
/// Addresses are free (or bound by a sidecar that answers at `admin.address`), files can be used, certificates are valid,
/// indicators load, disks have space, descriptors suffice, next hops and the control plane answer, clocks agree. Nothing is
/// changed: an OTLP next hop gets a request without events. Exits with 0 when nothing failed, warnings or not, with 1
/// when something did, and with 64 when the configuration is not valid.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist check --config hotlist.yaml\n  hotlist check --config hotlist.yaml --json"
)]
pub struct CheckArgs {
    /// The configuration, *.yaml or *.toml.
    #[arg(short, long, value_name = "FILE", env = "HOTLIST_CONFIG")]
    pub config: PathBuf,
    /// Write one JSON object instead of ticks.
    #[arg(long)]
    pub json: bool,
}

/// Watch a running sidecar: hits as they happen, and rates.
///
/// At most 100 hits each second are shown; the rest is counted as not shown. The admin listener serves this on a loopback
/// address or a Unix socket only.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist tap --admin http://127.0.0.1:9465\n  hotlist tap --admin unix:/run/hotlist/admin.sock --json"
)]
pub struct TapArgs {
    /// The sidecar's `admin.address`: `http://127.0.0.1:9465` or `unix:/path`.
    #[arg(long, value_name = "URL")]
    pub admin: String,
    /// One JSON object for each hit, and one with rates each second.
    #[arg(long)]
    pub json: bool,
}

/// Match files of events against indicators, offline.
///
/// Writes one JSON line for each hit, or every event with its tags; a summary goes to standard error. Exits with 0
/// whether or not anything hit.
///
/// With --indicators it says what is in the files. Not applied then: the import guard, rules (enabled feeds, the columns of
/// collections), validity, revocations in a feed, the C2 rule, allowlists without --allowlist, the confidence floor, and
/// the rule that events of kind `enrichment` do not hit. Domains match exactly without --subdomains, and URLs do not
/// yield their hosts without --url-hosts.
///
/// With --config it says what `run` would do with the same events if they arrived now: all of the above is applied, with the
/// match settings of the configuration, and on a node of a fleet the manifest and segments of its cache are matched.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist scan --indicators feeds/ --events events.ndjson\n  hotlist scan --indicators bad.txt --subdomains --events - < events.ndjson\n  hotlist scan --config hotlist.yaml --events events.ndjson"
)]
#[group(skip)]
#[command(group = ArgGroup::new("intel").required(true).args(["indicators", "config"]))]
pub struct ScanArgs {
    /// Files or directories of indicators, each format told from its content; segments (`*.seg`), too, in the order in
    /// which they are given.
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    pub indicators: Vec<PathBuf>,
    /// A configuration: match as `run` does.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Files or directories of events, one JSON document a line; `-` is standard input.
    #[arg(short, long, value_name = "FILE|DIR|-", num_args = 1.., default_value = "-")]
    pub events: Vec<PathBuf>,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Emit::Hits)]
    pub emit: Emit,
    /// Let every domain indicator match the names below it, too.
    #[arg(long, alias = "match-subdomains", conflicts_with = "config")]
    pub subdomains: bool,
    /// Let a URL in an event yield its host as a domain or an address, too.
    #[arg(long, alias = "match-url-hosts", conflicts_with = "config")]
    pub url_hosts: bool,
    /// Files or directories of allowlists (MISP warninglists) that apply, besides those of the configuration.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub allowlist: Vec<PathBuf>,
    /// Write the summary as a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What `scan` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// One JSON line a hit.
    Hits,
    /// Every event, tagged where it hit.
    Events,
}

/// Say what happens to one event: the verdict, what matched and where it comes from, and what policy dropped and why.
///
/// Then every value at a field of the table, with the forms that were looked up. With --config the verdict is that of `run`,
/// import guard, policy, allowlists and the cache of a node of a fleet included; with --indicators that of `scan`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist explain --indicators feeds/ --events event.json\n  hotlist explain --config hotlist.yaml --events - < event.json"
)]
#[group(skip)]
#[command(group = ArgGroup::new("intel").required(true).args(["indicators", "config"]))]
pub struct ExplainArgs {
    /// Files or directories of indicators, or segments, matched as `scan` does.
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    pub indicators: Vec<PathBuf>,
    /// A configuration, whose indicators are matched as `run` does.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Let every domain indicator match the names below it, too.
    #[arg(long, conflicts_with = "config")]
    pub subdomains: bool,
    /// Let a URL in the event yield its host as a domain or an address, too.
    #[arg(long, conflicts_with = "config")]
    pub url_hosts: bool,
    /// Files or directories of allowlists (MISP warninglists) that apply, besides those of the configuration.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub allowlist: Vec<PathBuf>,
    /// The event, one JSON document; `-` is standard input.
    #[arg(short, long, alias = "event", value_name = "FILE|-", default_value = "-")]
    pub events: PathBuf,
    /// Write one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Write a pair of configurations for a log collector and Hotlist, to start with.
///
/// The collector reads JSON lines from --logs and sends them to Hotlist, which tags the events that hit and passes
/// everything on to --endpoint. A file that is there already is never overwritten. Without --endpoint, `receiver.yaml`
/// is written, too: a second Hotlist that stands in for the back end and prints what arrives.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist init --collector fluent-bit\n  hotlist init --collector otel --logs /var/log/app/*.json\n  hotlist init --collector vector --endpoint https://siem.example:4317"
)]
pub struct InitArgs {
    /// The collector.
    #[arg(long, value_enum)]
    pub collector: Collector,
    /// Where to write. It is made if it is not there.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// The files that the collector reads, one JSON document per line. Relative paths start where it is started.
    #[arg(long, value_name = "GLOB", default_value = "logs/*.ndjson")]
    pub logs: String,
    /// The OTLP/gRPC back end that takes all events: `https://host:port`, `http://host:port` or `unix:/path`.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
}

/// A log collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Collector {
    /// Fluent Bit, over OTLP/gRPC.
    FluentBit,
    /// Vector, by its own protocol.
    Vector,
    /// The OpenTelemetry Collector, over OTLP/HTTP.
    Otel,
}

/// Say what is in files of indicators: how many of which kind, and every line that cannot be used.
///
/// Of a segment: its feeds, how many of which kind, its parts with their sizes.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist inspect feeds/\n  hotlist inspect feeds/bad.csv --find evil.example\n  hotlist inspect store/segments/*.seg --find hxxps://evil[.]example/login"
)]
pub struct InspectArgs {
    /// Files or directories of indicators, or segments.
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Show the indicators that this value would match. It may be defanged, as in `hxxp://evil[.]example`.
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
    after_help = "Examples:\n  hotlist compile feeds/ --store store\n  hotlist compile bad-domains.txt --feed blocklist --subdomains --store store\n  hotlist compile --config hotlist.yaml --store store"
)]
#[group(skip)]
#[command(group = ArgGroup::new("feeds").required(true).args(["paths", "config"]))]
pub struct CompileArgs {
    /// Files or directories of indicators, each format told from its content. A file is a feed of its own name.
    #[arg(value_name = "FEED")]
    pub paths: Vec<PathBuf>,
    /// The store, a directory; it is made if it is not there.
    #[arg(short, long, alias = "out", short_alias = 'o', value_name = "DIR")]
    pub store: PathBuf,
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
    /// Print a configuration as YAML with every default filled in, variables replaced, and `***` for secrets: that of a file,
    /// or the one that is active in a running sidecar.
    Show(ConfigShowArgs),
}

/// Print a configuration with every default filled in: that of a file, or the one that is active in a running sidecar.
#[derive(Clone, Debug, Args)]
pub struct ConfigShowArgs {
    /// The configuration, *.yaml, *.toml or *.json.
    #[arg(short, long, value_name = "FILE", env = "HOTLIST_CONFIG", required_unless_present = "admin")]
    pub config: Option<PathBuf>,
    /// The `admin.address` of a running sidecar, whose active configuration is printed: `http://127.0.0.1:9465` or
    /// `unix:/path`.
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
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

/// Write man pages of this program and its commands.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hotlist man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The directory. It is made if it is not there.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
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
    /// How OTLP records are sent, as `protocol` of a sink.
    #[arg(long, value_parser = ["grpc", "http"], default_value = "grpc")]
    pub protocol: String,
    /// What stands before `/v1/logs` with `--protocol http`, such as `/otlp`.
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    pub base_path: String,
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
