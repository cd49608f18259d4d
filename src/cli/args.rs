//! The arguments of each subcommand. The doc comments are the help texts.

mod control;
mod scan;

pub use control::{
    ControlPlaneArgs, KeygenArgs, NodesArgs, NodesCommand, PromoteArgs, PublicationsArgs, PublishArgs, RemoveNodeArgs,
    RollbackArgs, WaitArgs,
};
pub use scan::{Emit, ScanArgs, TimeBound};

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use crate::observable::Kind;
use crate::schema::{Field, FieldKind};

/// Run the sidecar: receive events, match them, tag the hits and forward all events.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist run --config hotlist.yaml\n  hotlist run --watch-config --config /etc/hotlist/hotlist.yaml"
)]
pub struct RunArgs {
    /// The configuration, *.yaml or *.toml. Relative paths in it are relative to the working directory.
    #[arg(short, long, value_name = "FILE", env = "HOTLIST_CONFIG")]
    pub config: PathBuf,
    /// Reload the configuration when its file changes, as SIGHUP does. After a refused reload, also when a file that the
    /// configuration names changes.
    #[arg(long)]
    pub watch_config: bool,
}

/// Check a configuration and report all of its problems.
///
/// Nothing is bound or fetched. Prints one line per problem, or one line that ends in ok. The files that `run` needs are
/// read: certificates and keys, headers, allowlists. --feeds also reads the indicator files: it prints one line for
/// each entry that is not used, and one summary line per feed. The exit code is 1 if a file cannot be used at all, if
/// nothing of a feed is used, or if no file matches an entry. --strict implies --feeds, and also exits with 1 if an
/// allowlist entry cannot be used, if no enabled rule selects an entry, or if nothing would be matched.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist validate hotlist.yaml\n  hotlist validate --config hotlist.yaml\n  hotlist validate --no-files --config hotlist.yaml\n  hotlist validate --feeds --config hotlist.yaml\n  hotlist validate --feeds feeds/ bad.csv.gz"
)]
pub struct ValidateArgs {
    /// The configuration, *.yaml or *.toml.
    #[arg(short, long, value_name = "FILE", env = "HOTLIST_CONFIG", required_unless_present = "paths")]
    pub config: Option<PathBuf>,
    /// Also read the configured indicator files.
    #[arg(long)]
    pub feeds: bool,
    /// Read no file except the configuration, e.g. because it is for another machine.
    #[arg(long, conflicts_with_all = ["feeds", "strict"])]
    pub no_files: bool,
    /// With --feeds: fail if a feed loses more than this share of its lines, as `5%`.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub max_unusable: Option<f64>,
    /// Fail where `run` only warns: missing files, and feeds of which nothing is used. Implies --feeds.
    #[arg(long)]
    pub strict: bool,
    /// A configuration (`*.yaml`, `*.yml`, `*.toml`), as with --config. With --feeds, indicator files or directories; then
    /// no configuration is read.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Check everything that a configuration needs to run.
///
/// Checks that addresses are free (or bound by a sidecar that answers at `admin.address`), files can be used,
/// certificates are valid, indicators load, disks have space, file descriptors suffice, next hops and the control plane
/// answer, and clocks agree. Nothing is changed: an OTLP next hop receives a request without events. Exits with 0 when
/// no check failed (warnings allowed), with 1 when a check failed, and with 64 when the configuration is not valid.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist check --config hotlist.yaml\n  hotlist check --config hotlist.yaml --json"
)]
pub struct CheckArgs {
    /// The configuration, *.yaml or *.toml.
    #[arg(short, long, value_name = "FILE", env = "HOTLIST_CONFIG")]
    pub config: PathBuf,
    /// Write one JSON object instead of a list.
    #[arg(long)]
    pub json: bool,
}

/// Watch a running sidecar: hits as they happen, and rates.
///
/// At most 100 hits per second are shown; the others are counted as not shown. The admin listener serves this stream
/// only on a loopback address or a Unix socket.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist tap --admin http://127.0.0.1:9465\n  hotlist tap --admin unix:/run/hotlist/admin.sock --json"
)]
pub struct TapArgs {
    /// The sidecar's `admin.address`: `http://127.0.0.1:9465`, `https://127.0.0.1:9465` with `admin.tls`, or `unix:/path`.
    #[arg(long, value_name = "URL")]
    pub admin: String,
    /// Write one JSON object per hit, and one with rates each second.
    #[arg(long)]
    pub json: bool,
    /// TLS.
    #[command(flatten)]
    pub tls: ClientTlsArgs,
}

/// TLS of a command that connects to a running process.
#[derive(Clone, Debug, Default, Args)]
pub struct ClientTlsArgs {
    /// The certificate authorities for an `https` address, in PEM. Without it, those that the system trusts.
    #[arg(long, value_name = "FILE", global = true)]
    pub ca_file: Option<PathBuf>,
    /// The client certificate with its chain, in PEM.
    #[arg(long, value_name = "FILE", requires = "key_file", global = true)]
    pub cert_file: Option<PathBuf>,
    /// The private key of the client certificate, in PEM, unencrypted.
    #[arg(long, value_name = "FILE", requires = "cert_file", global = true)]
    pub key_file: Option<PathBuf>,
}

/// Explain what happens to one event: the verdict, the matches and their sources, and what policy dropped and why.
///
/// Also lists every value at a checked field, with the forms that were looked up. --config gives the verdict of `run`,
/// including import guard, policy, allowlists and the cache of a fleet node; --indicators gives the verdict of `scan`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist explain --indicators feeds/ --events event.json\n  hotlist explain --config hotlist.yaml --events - < event.json"
)]
#[group(skip)]
#[command(group = ArgGroup::new("intel").required(true).args(["indicators", "config"]))]
pub struct ExplainArgs {
    /// Indicator files, directories or segments, matched as `scan` does.
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    pub indicators: Vec<PathBuf>,
    /// A configuration, whose indicators are matched as `run` does.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Let each domain indicator also match its subdomains.
    #[arg(long, conflicts_with = "config")]
    pub subdomains: bool,
    /// Also match the host of each URL in the event, as a domain or an address.
    #[arg(long, conflicts_with = "config")]
    pub url_hosts: bool,
    /// Also scan every string of the event for addresses, names, URLs, hashes and e-mail addresses. An event that is not a
    /// JSON document is one text.
    #[arg(long, conflicts_with = "config")]
    pub text: bool,
    /// Also read defanged forms in text, such as `hxxp://evil[.]example`.
    #[arg(long, conflicts_with = "config")]
    pub text_refang: bool,
    /// Allowlist files or directories (MISP warninglists) to apply, in addition to those of the configuration.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub allowlist: Vec<PathBuf>,
    /// Also look at this field of events, as `match.fields` does, e.g. `client_addr=ip`. Repeat it for more.
    #[arg(long = "field", value_name = "PATH=KIND", value_parser = own_field)]
    pub fields: Vec<Field>,
    /// The event, one JSON document; `-` is standard input.
    #[arg(short, long, alias = "event", value_name = "FILE|-", default_value = "-")]
    pub events: PathBuf,
    /// Write one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Write a starting pair of configurations for a log collector and Hotlist.
///
/// The collector reads JSON lines from --logs and sends them to Hotlist, which tags the events that hit and forwards
/// all events to --endpoint. Existing files are never overwritten. Without --endpoint, `receiver.yaml` is also written:
/// the configuration of a second Hotlist that takes the place of the back end and prints the events that arrive.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist init --collector fluent-bit\n  hotlist init --collector otel --logs /var/log/app/*.json\n  hotlist init --collector vector --endpoint https://siem.example:4317"
)]
pub struct InitArgs {
    /// The log collector.
    #[arg(long, value_enum)]
    pub collector: Collector,
    /// The output directory. It is created if it does not exist.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// The files that the collector reads, one JSON document per line. Relative paths are relative to its working directory.
    #[arg(long, value_name = "GLOB", default_value = "logs/*.ndjson")]
    pub logs: String,
    /// The OTLP/gRPC back end that receives all events: `https://host:port`, `http://host:port` or `unix:/path`.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
}

/// A log collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Collector {
    /// Fluent Bit, over OTLP/gRPC.
    FluentBit,
    /// Vector, over its native protocol.
    Vector,
    /// The OpenTelemetry Collector, over OTLP/HTTP.
    Otel,
}

/// Show what indicator files contain: the number of indicators of each kind, and every line that cannot be used.
///
/// For a segment: its feeds, the number of indicators of each kind, and the sizes of its parts.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist inspect feeds/\n  hotlist inspect feeds/bad.csv --find evil.example\n  hotlist inspect store/segments/*.seg --find hxxps://evil[.]example/login"
)]
pub struct InspectArgs {
    /// Indicator files, directories or segments.
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Show the indicators that would match this value. It may be defanged, as in `hxxp://evil[.]example`.
    #[arg(long, value_name = "VALUE")]
    pub find: Option<String>,
    /// Show each file, however many there are, and every line that cannot be used.
    #[arg(long)]
    pub all: bool,
    /// Write one JSON object: how each file was read, its content, and the parts that cannot be used.
    #[arg(long, conflicts_with = "find")]
    pub json: bool,
}

/// Reads `path=kind`.
fn own_field(text: &str) -> Result<Field, String> {
    let expected = "give the path and the kind of its values, e.g. `client_addr=ip`";
    let (path, kind) = text.rsplit_once('=').ok_or_else(|| expected.to_owned())?;
    if path.split('.').any(|key| key.is_empty() || key.trim() != key) {
        return Err(format!("`{path}` is not a path of keys joined by dots; {expected}"));
    }
    let read = FieldKind::parse(kind).filter(|kind| !matches!(kind, FieldKind::NotRead | FieldKind::UrlPart));
    let kind = read.ok_or_else(|| format!("`{kind}` is not a kind; the kinds are those of `match.fields`"))?;
    Ok(Field::own(path, kind))
}

/// Reads `5%` or `5`.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end().parse::<f64>();
    number.ok().filter(|number| (0.0..=100.0).contains(number)).ok_or_else(|| "give a share of 0% to 100%".to_owned())
}

/// List the fields of events that are matched: the schema, the kind, the ECS field that each means, and for what it is
/// checked.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist fields\n  hotlist fields --schema zeek\n  hotlist fields --config hotlist.yaml --json"
)]
pub struct FieldsArgs {
    /// List only the fields of this schema.
    #[arg(long, value_name = "SCHEMA", value_parser = clap::builder::PossibleValuesParser::new(crate::schema::names()))]
    pub schema: Option<String>,
    /// List the fields of this configuration, its own fields included.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write one JSON object per line.
    #[arg(long)]
    pub json: bool,
}

/// Compile feeds into segments, which control planes distribute and sidecars map into memory.
///
/// A feed whose files did not change gets no new segment; a changed feed gets a segment with what was added and
/// withdrawn. Prints one line for each entry that is not used, and one line per feed. If a feed cannot be read, is
/// empty, or shrank to less than half, the store keeps its previous version and the exit code is 1.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist compile feeds/ --store store\n  hotlist compile bad-domains.txt --feed blocklist --subdomains --store store\n  hotlist compile --config hotlist.yaml --store store"
)]
#[group(skip)]
#[command(group = ArgGroup::new("feeds").required(true).args(["paths", "config"]))]
pub struct CompileArgs {
    /// Indicator files or directories. The format of each file is detected from its content. Each file is a feed, named
    /// after the file.
    #[arg(value_name = "FEED")]
    pub paths: Vec<PathBuf>,
    /// The store directory. It is created if it does not exist.
    #[arg(short, long, alias = "out", short_alias = 'o', value_name = "DIR")]
    pub store: PathBuf,
    /// Compile the feeds that `intel.files` of this configuration names, with their options.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Compile all files as one feed of this name.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub feed: Option<String>,
    /// The files are collections: they match only at the fields that are checked for collections.
    #[arg(long, conflicts_with = "config")]
    pub collection: bool,
    /// Let each domain also match its subdomains.
    #[arg(long, conflicts_with = "config")]
    pub subdomains: bool,
    /// Let each URL also match longer paths.
    #[arg(long, conflicts_with = "config")]
    pub url_prefix: bool,
    /// The kind of values without a type, such as `user` or `domain`. Without it, the kind is detected from each value.
    #[arg(long, value_name = "KIND", conflicts_with = "config", value_parser = kind)]
    pub kind: Option<Kind>,
    /// Accept indicators that the import guard refuses: private addresses, public suffixes, public resolvers and similar.
    #[arg(long, conflicts_with = "config")]
    pub allow_generic: bool,
    /// Accept a feed that shrank to less than half.
    #[arg(long)]
    pub allow_shrink: bool,
}

/// Merge the segments of each feed into one.
///
/// The old segments stay in the store, since sidecars may still fetch them.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  hotlist compact --store store\n  hotlist compact --store store urlhaus")]
pub struct CompactArgs {
    /// The store directory.
    #[arg(short, long, value_name = "DIR")]
    pub store: PathBuf,
    /// Merge the segments of these feeds only.
    #[arg(value_name = "FEED")]
    pub feeds: Vec<String>,
}

/// Run a complete pipeline on this machine: a sender, the sidecar, a receiver, with invented indicators and events.
///
/// Prints the hits as the receiver got them, one tagged event in full, and figures measured in this run.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  hotlist demo\n  hotlist demo --events 100000 --keep")]
pub struct DemoArgs {
    /// Keep running until Ctrl-C: print how to send your own events, and print each hit as it arrives.
    #[arg(long)]
    pub keep: bool,
    /// The number of events to send.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// Show more hits, with their values, and the whole of one tagged event.
    #[arg(long)]
    pub full: bool,
}

/// Print the schema of configurations, or a configuration with every default filled in.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist config schema > hotlist.schema.json\n  hotlist config show --config hotlist.yaml"
)]
pub struct ConfigArgs {
    /// The configuration or schema to print.
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// The output of `config`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigAction {
    /// Print the JSON Schema (draft 2020-12), for editors.
    Schema,
    /// Print a configuration as YAML with every default filled in, variables replaced, and `***` for secrets: a
    /// configuration file, or the active configuration of a running sidecar.
    Show(ConfigShowArgs),
}

/// Print a configuration with every default filled in: a configuration file, or the active one of a running sidecar.
#[derive(Clone, Debug, Args)]
pub struct ConfigShowArgs {
    /// The configuration, *.yaml, *.toml or *.json.
    #[arg(short, long, value_name = "FILE", env = "HOTLIST_CONFIG", required_unless_present = "admin")]
    pub config: Option<PathBuf>,
    /// The `admin.address` of a running sidecar, to print its active configuration: `http://127.0.0.1:9465`,
    /// `https://127.0.0.1:9465` with `admin.tls`, or `unix:/path`.
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// TLS.
    #[command(flatten)]
    pub tls: ClientTlsArgs,
}

/// Print a completion script for a shell.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist completions bash > /etc/bash_completion.d/hotlist\n  hotlist completions fish > ~/.config/fish/completions/hotlist.fish"
)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Write the man pages of this program and its commands.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hotlist man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The output directory. It is created if it does not exist.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// List or resend records that a next hop permanently rejected.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist rejected list rejected.ndjson\n  hotlist rejected resend rejected.ndjson --endpoint http://127.0.0.1:4317"
)]
pub struct RejectedArgs {
    /// The operation on the rejected records.
    #[command(subcommand)]
    pub action: RejectedAction,
}

impl RejectedArgs {
    /// Whether the output is JSON.
    pub(super) fn is_json(&self) -> bool {
        matches!(&self.action, RejectedAction::List(list) if list.json)
    }
}

/// An action on rejected files.
#[derive(Clone, Debug, Subcommand)]
pub enum RejectedAction {
    /// List the records in rejected files. Malformed lines are reported on standard error.
    List(RejectedListArgs),
    /// Resend records. Accepted records are removed from the file, the others stay. A running sidecar may append to the
    /// file meanwhile.
    Resend(RejectedResendArgs),
}

/// List the records in rejected files.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  hotlist rejected list rejected.ndjson\n  hotlist rejected list --json *.ndjson")]
pub struct RejectedListArgs {
    /// Rejected files.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Write one JSON object per record instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Resend records.
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
    /// The endpoint to send to: `https://host:port`, `http://host:port` or `unix:/path`. It may be another sidecar.
    #[arg(long, value_name = "URL")]
    pub endpoint: String,
    /// The protocol for OTLP records, as `protocol` of a sink.
    #[arg(long, value_parser = ["grpc", "http"], default_value = "grpc")]
    pub protocol: String,
    /// The path prefix before `/v1/logs` with `--protocol http`, such as `/otlp`.
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    pub base_path: String,
    /// Resend only the records with these numbers, as shown by `list`.
    #[arg(long, value_name = "N", value_delimiter = ',', num_args = 1..)]
    pub select: Vec<usize>,
    /// Also resend the requests of partial successes, although OTLP forbids it: the next hop receives the records that it
    /// already accepted a second time.
    #[arg(long)]
    pub partial: bool,
    /// A header for each request; `@FILE` reads the value from a file.
    #[arg(long = "header", value_name = "NAME=VALUE|NAME=@FILE")]
    pub headers: Vec<String>,
    /// TLS.
    #[command(flatten)]
    pub tls: ClientTlsArgs,
    /// Send nothing, only print what would be sent.
    #[arg(long)]
    pub dry_run: bool,
}

fn kind(word: &str) -> Result<Kind, String> {
    let words = Kind::ALL.map(Kind::as_str).join(", ");
    Kind::parse(word).ok_or_else(|| format!("is not a kind; give one of {words}"))
}
