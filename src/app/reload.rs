//! Replaces the active configuration: first opens, binds and reads everything that the new configuration needs, and then
//! swaps it in without any step that can fail. After a failure the old configuration stays unchanged.

use std::sync::Arc;

use metrics::{counter, gauge};
use tokio::sync::oneshot;

use super::effective_config::EffectiveConfig;
use super::wiring::{self, ConfiguredSink};
use super::{App, Source, SourceTasks, StartError, build_settings, field_table, intel_settings};
use crate::config::{self, Config, ConfigDiff, ConfigErrors, FailureMode, SourceChange};
use crate::escape::Escaped;
use crate::intel::allowlist::Allowlists;
use crate::provider::files::SettingsRefusal;
use crate::readiness;
use crate::schema::FieldTable;
use crate::telemetry;

/// A configuration that is to replace the active one.
pub struct Reload {
    /// The current content of its file.
    pub config: Result<Config, ConfigErrors>,
    /// Receives whether the configuration was applied.
    pub done: oneshot::Sender<bool>,
}

/// The reason that a configuration is refused.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Indicators(#[from] SettingsRefusal),
    #[error(
        "sources.{0}.type: a source cannot change its type in a reload, and no sink accepts its current \
         events: restart the process, or give the source another name"
    )]
    Retyped(String),
}

/// The parts of a new configuration, ready to be used.
struct Prepared {
    table: Arc<FieldTable>,
    sinks: Vec<ConfiguredSink>,
    /// In the order of the configuration. Unchanged sources have no socket here.
    sources: Vec<Option<Source>>,
}

impl App {
    /// Takes a configuration, or says why not and keeps the old one.
    pub(super) async fn reload(&mut self, reload: Reload, serving: &mut SourceTasks) {
        // Log rotation may signal it: sinks reopen their files even when the configuration is refused.
        for ConfiguredSink { sink, .. } in &self.sinks {
            let sink = Arc::clone(sink);
            tokio::spawn(async move { sink.reopen().await });
        }
        let outcome = match reload.config {
            Ok(config) => self.replace(config, serving).await.map_err(|error| error.to_string()),
            Err(errors) => Err(errors.to_string()),
        };
        let result = if outcome.is_ok() { "applied" } else { "refused" };
        match outcome {
            Ok(changed) => tracing::info!(changed = changed.join(" "), "the configuration is reloaded"),
            Err(error) => {
                self.readiness.register(readiness::CONFIGURATION, false);
                let detail = format!("the file was refused, the previous configuration stays active: {error}");
                self.readiness.set(readiness::CONFIGURATION, false, detail);
                tracing::error!(error = %Escaped(&error), "configuration refused; the previous one stays active");
            }
        }
        counter!(telemetry::CONFIG_RELOADS_TOTAL, "result" => result).increment(1);
        // The receiver may be dropped.
        let _ = reload.done.send(result == "applied");
    }

    /// Applies a configuration, and returns the changed keys.
    async fn replace(&mut self, wanted: Config, serving: &mut SourceTasks) -> Result<Vec<String>, ReloadError> {
        let diff = ConfigDiff::between(&self.config, &wanted, &self.source_addresses());
        if let Some(id) = &diff.retyped {
            return Err(ReloadError::Retyped(id.clone()));
        }
        let Prepared { table, sinks, sources } = self.prepare(&diff)?;
        let ConfigDiff { active: config, changed, waiting, stopped, .. } = diff;
        let (publisher, matching) = (Arc::clone(&self.publisher), config.clone());
        let settings = intel_settings(&config, &table);
        let build = build_settings(&config, &table, self.seed);
        let commit = Box::new(move |snapshot, allowlists: Arc<Allowlists>| {
            let rules = wiring::rules(&matching, Arc::clone(&allowlists));
            publisher.configure(build, rules, snapshot, allowlists);
        });
        self.intel.reconfigure(settings, commit).await?;

        self.readiness.set_counts(readiness::SNAPSHOT, config.failure_mode == FailureMode::Closed);
        let mut before = std::mem::take(&mut self.sources);
        // A source that leaves a socket stops accepting before its successor begins.
        for id in &stopped {
            serving.stop(id);
        }
        for (wanted, prepared) in config.sources.iter().zip(sources) {
            let mut source = match prepared {
                Some(source) => source,
                None => {
                    let Some(at) = before.iter().position(|source| source.config.id == wanted.id) else { continue };
                    let source = before.swap_remove(at);
                    source.deliver.set(wiring::fanout(&wanted.id, &sinks));
                    source
                }
            };
            serving.start(&mut source);
            self.sources.push(source);
        }
        wiring::show_sinks(&self.readiness, &sinks);
        self.show(EffectiveConfig { active: config.clone(), waiting });
        (self.config, self.table, self.sinks) = (config, table, sinks);
        Ok(changed)
    }

    /// Shows the active configuration, and the keys that take effect at the next start.
    fn show(&self, settled: EffectiveConfig) {
        for key in &settled.waiting {
            tracing::warn!(key, "configuration change takes effect at the next start only");
        }
        gauge!(telemetry::CONFIG_RESTART_NEEDED).set(settled.waiting.len() as f64);
        if settled.waiting.is_empty() {
            self.readiness.set(readiness::CONFIGURATION, true, "all of it is active");
        } else {
            self.readiness.register(readiness::CONFIGURATION, false);
            let detail = format!("restart to activate {}", settled.waiting.join(", "));
            self.readiness.set(readiness::CONFIGURATION, false, detail);
        }
        self.shown.store(Arc::new(settled));
    }

    /// Opens and binds the new parts. A changed source takes over the socket of its address.
    fn prepare(&self, diff: &ConfigDiff) -> Result<Prepared, ReloadError> {
        let config = &diff.active;
        let table = match diff.matching {
            false => Arc::clone(&self.table),
            true => Arc::new(field_table(&config.r#match).map_err(StartError::Fields)?),
        };
        let sinks = wiring::sinks(config, &self.sinks, &diff.kept_sinks)?;
        let socket = |id: &String| self.sources.iter().find(|source| source.config.id == *id).map(|of| &of.listener);
        let bind = |(wanted, change): (&config::Source, &SourceChange)| match change {
            SourceChange::Kept => Ok(None),
            SourceChange::TakesOver(id) => self.bind(wanted, config, &sinks, socket(id)).map(Some),
            SourceChange::Binds => self.bind(wanted, config, &sinks, None).map(Some),
        };
        let sources = config.sources.iter().zip(&diff.sources).map(bind).collect::<Result<_, StartError>>()?;
        Ok(Prepared { table, sinks, sources })
    }
}
