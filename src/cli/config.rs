//! `hotlist config`: the schema of configurations, and a configuration with every default filled in.

use std::io::Write;

use anyhow::Context;
use http_body_util::{BodyExt, Limited};

use super::Failure;
use super::admin::AdminClient;
use super::args::{ClientTlsArgs, ConfigAction, ConfigArgs, ConfigShowArgs};
use crate::config::Config;

/// The maximum size of a shown configuration, in bytes, which is above the maximum size of a configuration file.
const LARGEST: usize = 16 << 20;

pub(super) fn run(
    args: &ConfigArgs,
    environment: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let text = match &args.action {
        ConfigAction::Schema => {
            serde_json::to_string_pretty(&Config::schema()).context("cannot write the schema")? + "\n"
        }
        ConfigAction::Show(ConfigShowArgs { admin: Some(admin), tls, .. }) => active(admin, tls)?,
        ConfigAction::Show(ConfigShowArgs { config: Some(config), .. }) => {
            Config::load(config, environment)?.to_yaml().context(config.display().to_string())?
        }
        ConfigAction::Show(_) => return Err(Failure::Other(anyhow::anyhow!("give `--config FILE` or `--admin URL`"))),
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::of_output)
}

/// Returns the active configuration of a running sidecar.
fn active(given: &str, tls: &ClientTlsArgs) -> anyhow::Result<String> {
    let client = AdminClient::new(given, tls)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let body = client.get("/config").await?;
        let whole = Limited::new(body, LARGEST).collect().await;
        let bytes = whole
            .map_err(|error| anyhow::anyhow!("{}: the response is incomplete: {error}", client.endpoint()))?
            .to_bytes();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
}
