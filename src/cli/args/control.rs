//! The arguments of the control plane's subcommands.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::intel::manifest::Mode;

use super::ClientTlsArgs;

/// Run a control plane: distribute indicators to sidecars from a store directory.
///
/// Several control planes may share one store. An address that other hosts can reach needs --tls-cert, --tls-key and
/// --tls-client-ca: nodes and operators authenticate with certificates there.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist control-plane --store store\n  hotlist control-plane --store store --listen unix:control.sock --admin none"
)]
pub struct ControlPlaneArgs {
    /// The store directory. Missing subdirectories are created.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// The address to listen on: `127.0.0.1:14400`, `[::1]:14400` or `unix:/path`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:14400")]
    pub listen: String,
    /// The server certificate with its chain, in PEM. Changed files are reloaded.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the server certificate, in PEM, unencrypted.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The certificate authorities of clients, in PEM. Clients without a certificate from one of them are refused.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// The address that serves /livez, /readyz and /metrics, or `none`. Without it, 127.0.0.1:9466, and if that address is
    /// in use, nothing is served and a warning is logged.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
    /// The maximum number of nodes per tenant in the store.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub tenant_nodes: u32,
    /// The maximum size of a tenant's alerts and node files in the store: `8GiB`, `500MiB`.
    #[arg(long, value_name = "SIZE", default_value = "8GiB")]
    pub tenant_bytes: String,
    /// Remove a node's file after the node has been silent for this time: `30d`, `12h`. `never` keeps all files.
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub forget_nodes_after: String,
}

/// List the nodes that a control plane knows, or remove a node.
///
/// A control plane with client certificates requires one with the role admin.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist nodes\n  hotlist nodes --endpoint https://control.example:14400 --ca-file ca.pem --tenant acme --json\n  hotlist nodes remove web-3 --tenant acme"
)]
pub struct NodesArgs {
    /// The action. Without it, the nodes are listed.
    #[command(subcommand)]
    pub command: Option<NodesCommand>,
    /// The control plane: `https://host:port`, `http://host:port` or `unix:/path`.
    #[arg(long, value_name = "URL", global = true, default_value = "http://127.0.0.1:14400")]
    pub endpoint: String,
    /// Show only nodes of this tenant.
    #[arg(long, value_name = "TENANT", global = true)]
    pub tenant: Option<String>,
    /// Write one JSON object per node instead of a table.
    #[arg(long)]
    pub json: bool,
    /// TLS. The client certificate needs the role admin.
    #[command(flatten)]
    pub tls: ClientTlsArgs,
}

/// An action on nodes.
#[derive(Clone, Debug, Subcommand)]
pub enum NodesCommand {
    /// Remove a node from the list.
    ///
    /// A connected node cannot be removed. A removed node that connects again is listed again.
    Remove(RemoveNodeArgs),
}

/// The node to remove.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hotlist nodes remove web-3 --tenant acme --alerts")]
pub struct RemoveNodeArgs {
    /// The node's name. Its tenant is given by --tenant.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Also remove the node's alerts from the store. Without it, they are kept.
    #[arg(long)]
    pub alerts: bool,
}

/// Publish a manifest: the targeted nodes receive it at once.
///
/// The version is higher than every version that the audience has had in this store. Prints the version.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist publish --store store --name acme --audience acme --rule urlhaus --expires 30d\n  hotlist publish --store store --name eu --audience acme --label zone=eu --key signing.pem --wait --timeout 5m"
)]
pub struct PublishArgs {
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// The publication's name: 1 to 63 of a-z, 0-9, `.` and `-`. The active version of the same name and mode is superseded.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// A label that a node must have to receive the publication. Without any, all nodes receive it.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// The audience. Nodes accept only manifests of their own audience.
    #[arg(long, value_name = "AUDIENCE")]
    pub audience: String,
    /// A feed that was compiled into the store. Without any, and without --segment, all feeds.
    #[arg(long = "feed", value_name = "FEED", conflicts_with = "segments")]
    pub feeds: Vec<String>,
    /// A segment of the store, by its digest. The order matters: later segments withdraw indicators of earlier ones.
    #[arg(long = "segment", value_name = "HEX")]
    pub segments: Vec<String>,
    /// A rule that enables a feed, or with `=collection` a collection. Feeds without a rule do not match. Without any, and
    /// without --segment, all published feeds are enabled.
    #[arg(long = "rule", value_name = "FEED[=collection]")]
    pub rules: Vec<String>,
    /// Sign with this private key (Ed25519, PEM), as `hotlist keygen` creates it.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How long nodes may accept the manifest: `30d`, `12h`. Without it, forever.
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// The slot that the publication is for.
    #[arg(long, value_parser = slot_mode(), default_value = "serve")]
    pub mode: Mode,
    /// A note on the reason or the content, shown by `hotlist publications`: at most 200 characters.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Whether and how long to wait for the roll-out.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Whether and how long to wait for a roll-out, and how to report it.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Wait until every targeted node that is connected has answered, and print the result. The exit code is 1 when a node
    /// refuses the version or does not find its canary in it, when no node has it, and when the time is over.
    #[arg(long)]
    pub wait: bool,
    /// The maximum time to wait: `2m`, `30s`.
    #[arg(long, value_name = "TIME", default_value = "2m", requires = "wait")]
    pub timeout: String,
    /// Write one JSON object for the publication, and with --wait one for the roll-out, instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Reads the slot that a publication is for. The type is of the core, which has no clap to derive this from.
fn slot_mode() -> impl TypedValueParser<Value = Mode> {
    let serve = PossibleValue::new("serve").help("Tag and count the events that hit");
    let shadow =
        PossibleValue::new("shadow").help("Match next to the live publication: hits are only counted and sampled");
    PossibleValuesParser::new([serve, shadow])
        .map(|word| if word == Mode::Shadow.as_str() { Mode::Shadow } else { Mode::Serve })
}

/// Promote the shadow version to live.
///
/// It is published as a new version, and the shadow is emptied. Prints the version.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hotlist promote --store store --name acme --key signing.pem")]
pub struct PromoteArgs {
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// The publication's name.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Sign with this private key.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How long nodes may accept the manifest. Without it, as long as the shadow version.
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// A note on the reason, shown by `hotlist publications`: at most 200 characters.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Whether and how long to wait for the roll-out.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Roll back to an earlier version.
///
/// Its content is published as a new version, because nodes refuse lower versions. The last 16 versions are kept.
/// Prints the version.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hotlist rollback --store store --name acme --to 41 --key signing.pem")]
pub struct RollbackArgs {
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// The publication's name.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// The version to roll back to, as `hotlist publications` lists it.
    #[arg(long, value_name = "VERSION")]
    pub to: u64,
    /// Sign with this private key.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How long nodes may accept the manifest. Without it, as long as the earlier version.
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// A note on the reason, shown by `hotlist publications`: at most 200 characters.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Whether and how long to wait for the roll-out.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// List the published versions, which of them are active, and which `hotlist rollback` can restore.
///
/// For each publication and mode, the store keeps the active version and the 16 versions before it.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  hotlist publications --store store\n  hotlist publications --store store --name acme --json"
)]
pub struct PublicationsArgs {
    /// The store directory.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// Show only this publication.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Write one JSON object per version instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Create a key pair to sign manifests with.
///
/// The private key is written to FILE, readable only by its owner, the public key to FILE.pub. Prints the key's id.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hotlist keygen --out signing.pem")]
pub struct KeygenArgs {
    /// The file of the private key. It must not exist yet.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}
