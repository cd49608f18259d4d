//! The command line: the subcommands and their exit codes.
//!
//! `args` holds the arguments; each subcommand has its own file. `anyhow` is used only here.

mod admin;
pub mod args;
mod check;
mod completions;
mod config;
mod demo;
mod explain;
mod fields;
#[cfg(feature = "control-plane")]
mod fleet;
mod indicators;
mod init;
mod inspect;
mod man;
mod page;
mod process;
mod progress;
mod rejected;
mod report;
mod run;
mod scan;
mod service;
mod summary;
mod table;
mod tap;
mod tls;
mod validate;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ConfigErrors;
use crate::escape::{Printable, Style};
use crate::telemetry;

/// The exit codes, part of the command line's contract.
pub mod exit {
    pub const OK: u8 = 0;
    pub const FAILED: u8 = 1;
    /// The arguments are not valid.
    pub const USAGE: u8 = 2;
    /// The configuration is not valid (`EX_USAGE` of sysexits.h, as other proxies use it).
    pub const CONFIG: u8 = 64;
}

/// Checks every observable of every log event against indicators of compromise and tags the hits.
#[derive(Debug, Parser)]
#[command(
    name = "hotlist",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 64 bad config"
)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a configuration and report all of its problems.
    Validate(args::ValidateArgs),
    /// Run the sidecar: receive events, match them, tag the hits and forward all events.
    Run(args::RunArgs),
    /// Check everything that a configuration needs to run.
    Check(args::CheckArgs),
    /// Watch a running sidecar: hits as they happen, and rates.
    Tap(args::TapArgs),
    /// Match log files against indicators, offline.
    Scan(args::ScanArgs),
    /// Run a complete pipeline on this machine, with invented indicators and events.
    Demo(args::DemoArgs),
    /// Explain what happens to one event: the verdict, the matches and their sources, and what policy dropped and why.
    Explain(args::ExplainArgs),
    /// Write a starting pair of configurations for a log collector and Hotlist.
    Init(args::InitArgs),
    /// Show what indicator files contain: the number of indicators of each kind, and every line that cannot be used.
    Inspect(args::InspectArgs),
    /// List the fields of events that are matched, with schema, kind and meaning.
    Fields(args::FieldsArgs),
    /// Print the schema of configurations, or a configuration with every default filled in.
    Config(args::ConfigArgs),
    /// Print a completion script for a shell.
    Completions(args::CompletionsArgs),
    /// Write the man pages of this program and its commands.
    Man(args::ManArgs),
    /// List or resend records that a next hop permanently rejected.
    Rejected(args::RejectedArgs),
    /// Those of a control plane and its store.
    #[cfg(feature = "control-plane")]
    #[command(flatten)]
    Fleet(fleet::FleetCommand),
}

/// The reason that a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is not valid.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The reader of standard output closed it (`hotlist … | head`), which is not reported as an error.
    #[error("standard output was closed")]
    OutputClosed,
    /// There are hits, and the user asked for this exit code then; not reported as an error.
    #[error("there are hits")]
    Hits(u8),
    #[error("{}", each_cause_once(.0))]
    Other(#[from] anyhow::Error),
}

/// Joins an error with its causes, leaving out causes whose text is already included.
fn each_cause_once(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

impl Failure {
    /// Converts an error of standard output.
    pub fn of_output(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Other(anyhow::Error::new(error).context("cannot write to standard output")),
        }
    }

    /// Returns the exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) => exit::CONFIG,
            Failure::OutputClosed => exit::OK,
            Failure::Hits(code) => *code,
            Failure::Other(_) => exit::FAILED,
        }
    }
}

/// Runs the command line. Errors go to standard error.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output; a reader that closed it is not an error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    let done = match cli.command {
        Command::Validate(args) => validate::run(&args, &environment, &mut lines()),
        Command::Check(args) => {
            check::run(&args, &environment, random(), &mut Printable::new(buffered(), style(args.json)))
        }
        Command::Tap(args) => tap::run(&args, &mut Printable::new(io::stdout().lock(), style(args.json))),
        Command::Run(args) => run::run(&args, environment, random()),
        Command::Demo(args) => demo::run(&args, &environment, random(), &mut lines()),
        Command::Scan(args) => scan::run(&args, &environment, random(), &mut buffered()),
        Command::Explain(args) => {
            explain::run(&args, &environment, random(), &mut Printable::new(buffered(), style(args.json)))
        }
        Command::Init(args) => init::run(&args, &mut text()),
        Command::Inspect(args) => inspect::run(&args, random(), &mut text()),
        Command::Fields(args) => fields::run(&args, &environment, &mut Printable::new(buffered(), style(args.json))),
        Command::Config(args) => config::run(&args, &environment, &mut buffered()),
        Command::Completions(args) => completions::run(&args, &mut buffered()),
        Command::Man(args) => man::run(&args, &mut text()),
        Command::Rejected(args) => {
            let (mut out, mut log) =
                (Printable::new(buffered(), style(args.is_json())), Printable::new(io::stderr(), Style::Text));
            rejected::run(&args, &mut out, &mut log)
        }
        #[cfg(feature = "control-plane")]
        Command::Fleet(command) => fleet::run(command),
    };
    match done {
        Ok(()) => {
            telemetry::write_final_message("");
            ExitCode::from(exit::OK)
        }
        Err(failure) => {
            telemetry::write_final_message(&match failure {
                Failure::OutputClosed | Failure::Hits(_) => String::new(),
                _ => failure.to_string(),
            });
            ExitCode::from(failure.exit_code())
        }
    }
}

fn text() -> Printable<io::BufWriter<io::StdoutLock<'static>>> {
    Printable::new(buffered(), Style::Text)
}

/// Standard output, written line by line.
fn lines() -> Printable<io::StdoutLock<'static>> {
    Printable::new(io::stdout().lock(), Style::Text)
}

fn style(json: bool) -> Style {
    if json { Style::Json } else { Style::Text }
}

fn buffered() -> io::BufWriter<io::StdoutLock<'static>> {
    io::BufWriter::with_capacity(1 << 16, io::stdout().lock())
}

/// Returns a random number, which keys the hashes of this process.
pub fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library keys each of its hashers from the system's entropy.
    std::hash::RandomState::new().build_hasher().finish()
}

/// Returns the value of an environment variable that is set to valid Unicode.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use clap::{Args, CommandFactory};

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_each_subcommand_has_an_example_that_parses() {
        let commands = [
            args::RunArgs::augment_args(clap::Command::new("run")),
            args::ValidateArgs::augment_args(clap::Command::new("validate")),
            args::CheckArgs::augment_args(clap::Command::new("check")),
            args::TapArgs::augment_args(clap::Command::new("tap")),
            args::ScanArgs::augment_args(clap::Command::new("scan")),
            args::ExplainArgs::augment_args(clap::Command::new("explain")),
            args::InitArgs::augment_args(clap::Command::new("init")),
            args::InspectArgs::augment_args(clap::Command::new("inspect")),
            args::FieldsArgs::augment_args(clap::Command::new("fields")),
            args::CompileArgs::augment_args(clap::Command::new("compile")),
            args::CompactArgs::augment_args(clap::Command::new("compact")),
            args::DemoArgs::augment_args(clap::Command::new("demo")),
            args::RejectedArgs::augment_args(clap::Command::new("rejected")),
            args::ConfigArgs::augment_args(clap::Command::new("config")),
            args::CompletionsArgs::augment_args(clap::Command::new("completions")),
            args::ManArgs::augment_args(clap::Command::new("man")),
            args::ControlPlaneArgs::augment_args(clap::Command::new("control-plane")),
            args::NodesArgs::augment_args(clap::Command::new("nodes")),
            args::PublicationsArgs::augment_args(clap::Command::new("publications")),
            args::PublishArgs::augment_args(clap::Command::new("publish")),
            args::PromoteArgs::augment_args(clap::Command::new("promote")),
            args::RollbackArgs::augment_args(clap::Command::new("rollback")),
            args::KeygenArgs::augment_args(clap::Command::new("keygen")),
        ];
        for mut command in commands {
            let help = command.render_long_help().to_string();
            let prefix = format!("  hotlist {}", command.get_name());
            let examples: Vec<&str> = help.lines().filter(|line| line.starts_with(&prefix)).collect();
            assert!(!examples.is_empty(), "{help}");
            for example in examples {
                let words = example.split_whitespace().skip(1).take_while(|word| !matches!(*word, "|" | "<" | ">"));
                command.try_get_matches_from_mut(words).unwrap_or_else(|error| panic!("{example}: {error}"));
            }
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read a.txt: {source}; give another")]
        struct Outer {
            source: io::Error,
        }
        let error = anyhow::Error::new(Outer { source: io::Error::other("no such file") }).context("no indicators");
        // The text is the test's own; the subject is how causes are joined.
        let text = Failure::Other(error).to_string();
        assert_eq!(text, "no indicators: cannot read a.txt: no such file; give another");
        let error = anyhow::Error::new(io::Error::other("the disk is full")).context("cannot write");
        assert_eq!(Failure::Other(error).to_string(), "cannot write: the disk is full");
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
        let closed = Failure::of_output(io::ErrorKind::BrokenPipe.into());
        assert_eq!((closed.exit_code(), closed.to_string().as_str()), (0, "standard output was closed"));
        let full = Failure::of_output(io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit_code(), exit::FAILED);
        assert!(full.to_string().contains("standard output: "), "{full}");
    }
}
