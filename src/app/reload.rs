//! A new configuration takes the place of the one in force: everything that it needs is opened, bound and read first,
//! and only when nothing can fail any more it is swapped in. Whatever fails leaves the old one as it was.

use std::sync::Arc;

use metrics::counter;
use tokio::sync::oneshot;

use super::wiring::{self, Wired};
use super::{App, Serving, Source, StartError, field_table, intel_settings};
use crate::admin;
use crate::config::{Config, ConfigErrors, FailureMode};
use crate::fields::FieldTable;
use crate::intel::allowlist::Allowlists;
use crate::telemetry;

use super::indicators::Refused;

/// A configuration that is to replace the one in force.
pub struct Reload {
    /// What its file holds now.
    pub config: Result<Config, ConfigErrors>,
    /// Told whether it was taken.
    pub done: oneshot::Sender<bool>,
}

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Indicators(#[from] Refused),
}

/// What a new configuration needs, ready to be used.
struct Prepared {
    table: Arc<FieldTable>,
    sinks: Vec<Wired>,
    /// In the order of the configuration. Those that stay have no socket of their own here.
    sources: Vec<Option<Source>>,
}

impl App {
    /// Takes a configuration, or says why not and keeps the old one.
    pub(super) async fn reload(&mut self, reload: Reload, serving: &mut Serving) {
        // Whoever rotates files may signal it; what becomes of the configuration is another matter.
        for Wired { sink, .. } in &self.sinks {
            let sink = Arc::clone(sink);
            tokio::spawn(async move { sink.reopen().await });
        }
        let outcome = match reload.config {
            Ok(config) => self.replace(config, serving).await.map_err(|error| error.to_string()),
            Err(errors) => Err(errors.to_string()),
        };
        let result = if outcome.is_ok() { "applied" } else { "refused" };
        match outcome {
            Ok(()) => tracing::info!("the configuration is reloaded"),
            Err(error) => tracing::error!("the configuration is refused, the old one stays in force: {error}"),
        }
        counter!(telemetry::CONFIG_RELOADS_TOTAL, "result" => result).increment(1);
        // Whoever asked may be gone.
        let _ = reload.done.send(result == "applied");
    }

    async fn replace(&mut self, config: Config, serving: &mut Serving) -> Result<(), ReloadError> {
        let Prepared { table, sinks, sources } = self.prepare(&config)?;
        let (composer, matching) = (Arc::clone(&self.composer), config.clone());
        let settings = intel_settings(&config, &table);
        let of_commit = settings.clone();
        let commit = Box::new(move |snapshot, allowlists: Arc<Allowlists>| {
            let rules = wiring::rules(&matching, Arc::clone(&allowlists));
            composer.configure(of_commit, rules, snapshot, allowlists);
        });
        self.intel.reconfigure(settings, commit).await?;

        for key in needs_restart(&self.config, &config) {
            tracing::warn!("`{key}` changed: this takes effect at the next start only");
        }
        self.readiness.weigh(admin::SNAPSHOT, config.failure_mode == FailureMode::Closed);
        let mut before = std::mem::take(&mut self.sources);
        for (wanted, prepared) in config.sources.iter().zip(sources) {
            let mut source = match prepared {
                Some(source) => {
                    serving.stop(&wanted.id);
                    source
                }
                None => {
                    let Some(at) = before.iter().position(|source| source.config.id == wanted.id) else { continue };
                    let source = before.swap_remove(at);
                    source.deliver.set(wiring::fanout(&wanted.id, &sinks));
                    Source { config: wanted.clone(), ..source }
                }
            };
            serving.start(&mut source);
            self.sources.push(source);
        }
        for gone in before.iter().filter(|gone| !self.sources.iter().any(|source| source.config.id == gone.config.id)) {
            serving.stop(&gone.config.id);
        }
        wiring::show_sinks(&self.readiness, &sinks);
        self.shown.store(Arc::new(config.clone()));
        (self.config, self.table, self.sinks) = (config, table, sinks);
        Ok(())
    }

    /// Opens and binds what is new.
    fn prepare(&self, config: &Config) -> Result<Prepared, ReloadError> {
        let table = match config.r#match == self.config.r#match {
            true => Arc::clone(&self.table),
            false => Arc::new(field_table(&config.r#match).map_err(StartError::Fields)?),
        };
        let sinks = wiring::sinks(config, &self.sinks)?;
        let stays = |wanted: &crate::config::Source| {
            self.sources
                .iter()
                .any(|source| source.config.id == wanted.id && source.config.address() == wanted.address())
        };
        let bind = |wanted| if stays(wanted) { Ok(None) } else { self.bind(wanted, config, &sinks).map(Some) };
        let sources = config.sources.iter().map(bind).collect::<Result<_, StartError>>()?;
        Ok(Prepared { table, sinks, sources })
    }
}

/// The keys that differ and that a running process cannot change.
fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    let mut differs = |key: &str, differs: bool| keys.extend(differs.then(|| key.to_owned()));
    differs("limits", old.limits != new.limits);
    differs("admin", old.admin != new.admin);
    differs("log", old.log != new.log);
    differs("intel.control", old.intel.control != new.intel.control);
    differs("intel.max_bytes", old.intel.max_bytes != new.intel.max_bytes);
    differs("intel.canary", old.intel.canary != new.intel.canary);
    for source in &new.sources {
        let known = old.sources.iter().find(|known| known.id == source.id && known.address() == source.address());
        differs(&format!("sources.{}", source.id), known.is_some_and(|known| known.kind != source.kind));
    }
    keys
}
