//! The subcommands of a control plane: filling its store, serving and publishing from it, and its nodes.

mod compile;
mod control_plane;
mod nodes;
mod publications;
mod publish;
mod rollout;

use clap::Subcommand;

use super::{Failure, args, buffered, environment, style, text};
use crate::escape::Printable;

/// The subcommands of a control plane.
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Compile feeds into segments, which control planes distribute and sidecars map into memory.
    Compile(args::CompileArgs),
    /// Merge the segments of each feed into one.
    Compact(args::CompactArgs),
    /// Run a control plane: distribute indicators to sidecars from a store directory.
    ControlPlane(args::ControlPlaneArgs),
    /// List the nodes that a control plane knows, or remove a node.
    Nodes(args::NodesArgs),
    /// List the published versions, which of them are active, and which can be restored.
    Publications(args::PublicationsArgs),
    /// Publish a manifest: the targeted nodes receive it at once.
    Publish(args::PublishArgs),
    /// Promote the shadow version to live.
    Promote(args::PromoteArgs),
    /// Roll back to an earlier version.
    Rollback(args::RollbackArgs),
    /// Create a key pair to sign manifests with.
    Keygen(args::KeygenArgs),
}

pub(super) fn run(command: FleetCommand) -> Result<(), Failure> {
    match command {
        FleetCommand::Compile(args) => compile::compile(&args, &environment, &mut text()),
        FleetCommand::Compact(args) => compile::compact(&args, &mut text()),
        FleetCommand::ControlPlane(args) => control_plane::run(&args, &environment),
        FleetCommand::Nodes(args) => nodes::run(&args, &mut Printable::new(buffered(), style(args.json))),
        FleetCommand::Publications(args) => publications::run(&args, &mut Printable::new(buffered(), style(args.json))),
        FleetCommand::Publish(args) => publish::run(&args, &mut text()),
        FleetCommand::Promote(args) => publish::promote(&args, &mut text()),
        FleetCommand::Rollback(args) => publish::rollback(&args, &mut text()),
        FleetCommand::Keygen(args) => publish::keygen(&args, &mut text()),
    }
}
