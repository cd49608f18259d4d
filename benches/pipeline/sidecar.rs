//! Hotlist in the middle: the real thing, built from a configuration as `hotlist run` does.

use std::path::Path;

use anyhow::{Context, Result};
use hotlist::app::{App, Environment};
use hotlist::config::{Config, Format};
use hotlist::telemetry;
use jiff::Timestamp;

use crate::child::tell;

/// Says its address and serves until it is killed. `indicators` is a plain list, one value a line.
pub fn run(to: &str, indicators: &Path) -> Result<()> {
    std::fs::metadata(indicators).with_context(|| format!("{} cannot be read", indicators.display()))?;
    let config = format!(
        r#"
        sources: {{ agents: {{ type: otlp, address: "127.0.0.1:0" }} }}
        intel: {{ files: ["{}"] }}
        sinks: {{ next: {{ type: otlp, inputs: [agents], endpoint: "{to}" }} }}
        "#,
        indicators.display()
    );
    let config = Config::parse(&config, Format::Yaml, &|_| None)?;
    let environment = Environment { seed: 7, clock: Timestamp::now, metrics: telemetry::init_metrics()? };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = App::build(config, environment).await?;
        let addresses = app.source_addresses();
        tell(addresses.first().context("the source has no address")?)?;
        app.run(std::future::pending()).await?;
        Ok(())
    })
}
