//! `hotlist config`: the schema of configurations, and one with every default filled in.

use std::io::Write;

use anyhow::Context;

use super::Failure;
use super::args::{ConfigAction, ConfigArgs};
use crate::config::Config;

pub(super) fn run(
    args: &ConfigArgs,
    environment: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let text = match &args.action {
        ConfigAction::Schema => {
            serde_json::to_string_pretty(&Config::schema()).context("cannot write the schema")? + "\n"
        }
        ConfigAction::Show(args) => {
            Config::load(&args.config, environment)?.to_yaml().context(args.config.display().to_string())?
        }
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::of_output)
}
