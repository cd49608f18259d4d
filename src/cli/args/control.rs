//! What the subcommands of a control plane take.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Run a control plane: tell sidecars which indicators to serve, from a store directory.
///
/// Several may serve one store. An address that other hosts can reach needs --tls-cert, --tls-key and --tls-client-ca:
/// nodes and operators show certificates there.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist control-plane --store store\n  hotlist control-plane --store store --listen unix:control.sock --admin none"
)]
pub struct ControlPlaneArgs {
    /// The store. Directories that are missing in it are made.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// Where to listen: `127.0.0.1:14400`, `[::1]:14400` or `unix:/path`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:14400")]
    pub listen: String,
    /// Our certificate, with its chain, in PEM. The files are loaded anew when they change.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key in PEM, not encrypted.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The authorities of clients in PEM. Clients without a certificate of one of them are refused.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// Where to serve /livez, /readyz and /metrics; `none` for nowhere. Absent: at 127.0.0.1:9466, unless that is taken,
    /// which the log says.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
    /// The most nodes of a tenant that the store keeps.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub tenant_nodes: u32,
    /// The most bytes of a tenant's alerts and files of nodes in the store: `8GiB`, `500MiB`.
    #[arg(long, value_name = "SIZE", default_value = "8GiB")]
    pub tenant_bytes: String,
    /// Remove the file of a node that has sent nothing for this time: `30d`, `12h`. `never` keeps all files.
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub forget_nodes_after: String,
}

/// List the nodes that a control plane knows of, or remove one that is gone.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist nodes\n  hotlist nodes --endpoint https://control.example:14400 --ca-file ca.pem --tenant acme --json\n  hotlist nodes remove web-3 --tenant acme"
)]
pub struct NodesArgs {
    /// What to do. Without it, the nodes are listed.
    #[command(subcommand)]
    pub command: Option<NodesCommand>,
    /// The control plane: `https://host:port`, `http://host:port` or `unix:/path`.
    #[arg(long, value_name = "URL", global = true, default_value = "http://127.0.0.1:14400")]
    pub endpoint: String,
    /// Only nodes of this tenant.
    #[arg(long, value_name = "TENANT", global = true)]
    pub tenant: Option<String>,
    /// One JSON object a node instead of a table.
    #[arg(long)]
    pub json: bool,
    /// The authorities of an `https` endpoint in PEM. Absent: those that the system trusts.
    #[arg(long, value_name = "FILE", global = true)]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, with its chain, in PEM. It needs the role admin.
    #[arg(long, value_name = "FILE", requires = "key_file", global = true)]
    pub cert_file: Option<PathBuf>,
    /// Its private key in PEM, not encrypted.
    #[arg(long, value_name = "FILE", requires = "cert_file", global = true)]
    pub key_file: Option<PathBuf>,
}

/// What to do with nodes.
#[derive(Clone, Debug, Subcommand)]
pub enum NodesCommand {
    /// Remove a node that is gone from the list.
    ///
    /// A node that is connected is refused. One that syncs again later is listed again.
    Remove(RemoveNodeArgs),
}

/// Which node to remove.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hotlist nodes remove web-3 --tenant acme --alerts")]
pub struct RemoveNodeArgs {
    /// Its name. Its tenant is that of --tenant.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Remove its alerts from the store, too. Otherwise they stay.
    #[arg(long)]
    pub alerts: bool,
}

/// Publish a manifest: nodes that it is for get it at once.
///
/// Its version is above all that its audience has had in this store. Prints the version.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist publish --store store --name acme --audience acme --rule urlhaus --expires 30d\n  hotlist publish --store store --name eu --audience acme --label zone=eu --key signing.pem --wait --timeout 5m"
)]
pub struct PublishArgs {
    /// The store.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// What to call it: 1 to 63 of a-z, 0-9, `.` and `-`. What has this name and mode now is superseded.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// A label that nodes must have to get it. Without any, all nodes do.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// Whom it is for; nodes take manifests of their own audience only.
    #[arg(long, value_name = "AUDIENCE")]
    pub audience: String,
    /// A feed that was compiled into the store. Without any, and without --segment, all of them.
    #[arg(long = "feed", value_name = "FEED", conflicts_with = "segments")]
    pub feeds: Vec<String>,
    /// A segment of the store, by its digest. The order counts: later ones take back what earlier ones have.
    #[arg(long = "segment", value_name = "HEX")]
    pub segments: Vec<String>,
    /// Enables a feed, or with `=collection` a collection. Feeds without a rule do not match. Without any, and without
    /// --segment, all feeds that are published are enabled.
    #[arg(long = "rule", value_name = "FEED[=collection]")]
    pub rules: Vec<String>,
    /// Sign with this private key (Ed25519, PEM), as `hotlist keygen` makes it.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How long nodes may take it: `30d`, `12h`. Without it, for ever.
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// What it is for.
    #[arg(long, value_enum, default_value_t = PublishMode::Serve)]
    pub mode: PublishMode,
    /// Why, or what is in it, for `hotlist publications`: at most 200 characters.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// How the roll-out is waited for.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// How a roll-out is waited for.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Wait until every connected node that it is for has answered, and show what became of it. The exit code is 1 when
    /// a node refused it or does not find its canary in it, when no node has it, and when the time is over.
    #[arg(long)]
    pub wait: bool,
    /// How long to wait: `2m`, `30s`.
    #[arg(long, value_name = "TIME", default_value = "2m", requires = "wait")]
    pub timeout: String,
}

/// What a publication is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PublishMode {
    /// It judges events.
    Serve,
    /// It matches beside the one that judges, and its hits are only counted and sampled.
    Shadow,
}

/// Let what is in the shadow serve.
///
/// Under a version of its own; the shadow is emptied. Prints the version.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hotlist promote --store store --name acme --key signing.pem")]
pub struct PromoteArgs {
    /// The store.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// The publication.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Sign with this private key.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How long nodes may take it. Without it, as long as was said before.
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// Why, for `hotlist publications`: at most 200 characters.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// How the roll-out is waited for.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Put what served before in force again.
///
/// Under a version of its own, as nodes take no lower ones. The last 16 versions are kept. Prints the version.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hotlist rollback --store store --name acme --to 41 --key signing.pem")]
pub struct RollbackArgs {
    /// The store.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// The publication.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// The version whose content is wanted, as `hotlist publications` lists it.
    #[arg(long, value_name = "VERSION")]
    pub to: u64,
    /// Sign with this private key.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How long nodes may take it. Without it, as long as was said before.
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// Why, for `hotlist publications`: at most 200 characters.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// How the roll-out is waited for.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// List what was published: the versions that `hotlist rollback` can go back to, and which of them are active.
///
/// Of each publication and mode the store keeps the active version and the last 16 before it.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist publications --store store\n  hotlist publications --store store --name acme --json"
)]
pub struct PublicationsArgs {
    /// The store.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// Only this publication.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// One JSON object a version instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Make a pair of keys to sign manifests with.
///
/// The private key goes to FILE, which only its owner can read, the public key to FILE.pub. Prints the key's id.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hotlist keygen --out signing.pem")]
pub struct KeygenArgs {
    /// The file of the private key. It must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}
