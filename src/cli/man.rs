//! `hotlist man`: man pages, generated from the definition of the command line.

use std::fs;
use std::io::Write;

use anyhow::Context;
use clap::CommandFactory;

use super::args::ManArgs;
use super::{Cli, Failure};
use crate::escape::Escaped;

/// Writes one page for the program and one for each of its commands.
pub(super) fn run(args: &ManArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let directory = &args.directory;
    let failed = || format!("cannot write man pages into {}", directory.display());
    fs::create_dir_all(directory).with_context(failed)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory).with_context(failed)?;
    writeln!(
        out,
        "wrote man pages into {}; read one with `man {}/hotlist.1`",
        Escaped(directory.display()),
        Escaped(directory.display())
    )
    .and_then(|()| out.flush())
    .map_err(Failure::of_output)
}
