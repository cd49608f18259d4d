//! Hotlist in the middle: the real thing, built from a configuration as `hotlist run` does.

use std::path::Path;

use anyhow::{Context, Result};
use hotlist::app::{App, Environment};
use hotlist::config::{Config, Format};
use hotlist::telemetry;
use jiff::Timestamp;
use serde_json::json;

use crate::child::send_line;
use crate::source::{NextHop, Source, configuration};

/// Says the addresses of its sources and serves until it is killed. `indicators` is a plain list, one value a line;
/// without it nothing is looked for, and batches pass as they are.
pub fn run(sources: &[Source], next_hop: &NextHop, indicators: Option<&Path>, ecs_alone: bool) -> Result<()> {
    let mut config = configuration(sources, next_hop, &vec!["127.0.0.1:0".to_owned(); sources.len()]);
    if let Some(file) = indicators {
        std::fs::metadata(file).with_context(|| format!("{} cannot be read", file.display()))?;
        config.insert("intel".to_owned(), json!({ "files": [file] }));
    }
    if ecs_alone {
        config.insert("match".to_owned(), json!({ "schemas": ["ecs", "ecs-extra"] }));
    }
    // It is the default, but what the pass-through is stands on it.
    config.insert("failure_mode".to_owned(), json!("open"));
    // JSON is YAML.
    let config = Config::parse(&serde_json::to_string(&config)?, Format::Yaml, &|_| None)?;
    let environment = Environment { seed: 7, clock: Timestamp::now, metrics: telemetry::init_metrics()? };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = App::build(config, environment).await?;
        let addresses: Vec<_> = app.source_addresses().iter().map(ToString::to_string).collect();
        send_line(addresses.join(" "))?;
        app.run(std::future::pending()).await?;
        Ok(())
    })
}
