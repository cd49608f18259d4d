//! `hotlist completions`: shell completion scripts, generated from the definition of the command line.

use std::io::Write;

use clap::CommandFactory;

use super::args::CompletionsArgs;
use super::{Cli, Failure};

pub(super) fn run(args: &CompletionsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    // Into memory first: the generator panics when a pipe closes.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hotlist", &mut script);
    out.write_all(&script).and_then(|()| out.flush()).map_err(Failure::of_output)
}
