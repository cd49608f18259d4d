//! Wires the parts: a configuration becomes an [`App`], which runs until it drains.
//!
//! [`App::build`] binds every socket, opens every output and loads the indicators, so that any error prevents the start.
//! [`App::run`] serves until the shutdown future resolves, then turns readiness off, stops accepting, completes the
//! requests in flight within the grace period and returns.

mod blind_spots;
mod canary;
mod control;
pub mod descriptors;
mod effective_config;
mod follow;
mod match_stage;
mod offline;
pub mod probe;
mod reload;
mod reloadable_sinks;
mod shutdown_announcement;
mod source_tasks;
mod unchecked_sources;
mod wiring;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admin::{Admin, AdminError, AdminPages};
use crate::config::{self, Config, FailureMode, SourceKind};
use crate::intel::snapshot::ReuseError;
use crate::net::socket::Listener;
use crate::net::tls::TlsError;
use crate::pipeline::Deliver;
use crate::provider::control::Client;
use crate::provider::files::{self, AllowlistSet, FeedReporter, FeedSet, FeedWatcherHandle, Settings};
use crate::provider::offer::SnapshotApplier;
use crate::publisher::{self, Activate, BuildSettings, SnapshotPublisher};
use crate::readiness::{self, Readiness};
use crate::schema::{FieldError, FieldTable};
use crate::source::health::Health;
use crate::source::{
    BoundSource, FilterSource, Limits, OtlpSource, ServeError, SharedResources, VectorSource, bind_beside, filter,
};
use crate::task;
use canary::Canary;
use effective_config::EffectiveConfig;
use match_stage::MatchStage;
use reloadable_sinks::ReloadableSinks;
use source_tasks::{SourceTasks, wait};
use unchecked_sources::{SourceStage, UncheckedSources};
use wiring::ConfiguredSink;

pub use offline::{OfflineDetector, offline};
pub use reload::Reload;
pub use shutdown_announcement::ShutdownAnnouncement;
pub use wiring::{budgets, field_table, policy};

/// The interval of logging fields, feeds and patterns that never matched.
const BLIND_SPOTS_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// The interval of checking the canary.
const CANARY_EVERY: Duration = Duration::from_secs(60);

/// The grace period for the client of the control stream at shutdown.
const CLIENT_GRACE: Duration = Duration::from_millis(500);

/// The interval of folding histogram samples into counts. Until then each sample takes 16 bytes, even without scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The reason that the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A source cannot be bound.
    #[error("source `{id}`: {cause}; set a free `sources.{id}.address`")]
    Source {
        /// The source's id.
        id: String,
        cause: io::Error,
    },
    /// The certificate of a source cannot be used.
    #[error("sources.{id}.tls: {cause}")]
    SourceTls {
        /// The source's id.
        id: String,
        cause: TlsError,
    },
    /// A sink cannot be opened.
    #[error("sink `{id}`: {cause}; fix `sinks.{id}`")]
    Sink {
        /// The sink's id.
        id: String,
        cause: String,
    },
    /// The admin listener cannot be bound.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The field table cannot be used.
    #[error("match.fields: {0}")]
    Fields(#[from] FieldError),
    /// The indicators cannot be indexed.
    #[error("intel.files: {0}")]
    Snapshot(#[from] ReuseError),
    /// The indicators exceed `intel.max_bytes`.
    #[error("{0}")]
    TooLarge(String),
    /// The client of the control plane cannot start.
    #[error("{0}")]
    Control(String),
    /// The limits are not valid, or the system cannot start threads.
    #[error("limits: {0}")]
    Limits(io::Error),
}

/// The reason that the process stopped other than by a drain.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A source failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The admin listener failed.
    #[error("the admin listener stopped: {0}")]
    Admin(AdminError),
    /// A task panicked because of a bug.
    #[error("a listener's task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error(
        "the background task `{0}` panicked because of a bug in Hotlist: please report it with the log, and restart the process"
    )]
    Background(&'static str),
}

/// The result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All requests in flight were completed.
    Clean,
    /// The grace period ended first; requests in flight were not acknowledged.
    Cut,
}

/// The inputs of an app besides its configuration.
pub struct Environment {
    /// Seeds the hashes of this process.
    pub seed: u64,
    /// The arrival time, for events without a time.
    pub clock: fn() -> Timestamp,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
}

/// A process that has bound its sockets and loaded the indicators, and does not accept connections yet.
pub struct App {
    config: Config,
    /// The active configuration, and the keys that take effect at the next start, for `/config`.
    shown: Arc<ArcSwap<EffectiveConfig>>,
    sources: Vec<Source>,
    sinks: Vec<ConfiguredSink>,
    table: Arc<FieldTable>,
    /// Keys the hash of every snapshot.
    seed: u64,
    live: Arc<MatchStage>,
    publisher: Arc<SnapshotPublisher>,
    client: Option<(Client<SnapshotApplier>, follow::Open)>,
    intel: FeedWatcherHandle,
    shared: SharedResources,
    admin: Option<Admin>,
    probes: Option<Admin>,
    readiness: Readiness,
    health: Health,
    metrics: PrometheusHandle,
    reloads: (mpsc::Sender<Reload>, mpsc::Receiver<Reload>),
    shutdown_announcement: ShutdownAnnouncement,
}

struct Source {
    config: config::Source,
    /// Its socket, which a source of the next configuration may take over.
    listener: Listener,
    /// The matching step of its events.
    stream: Arc<SourceStage>,
    /// The sinks of its events, which can change while it serves.
    deliver: Arc<ReloadableSinks>,
    /// The bound listener, until it serves.
    bound: Option<BoundSource>,
}

impl App {
    /// Binds, opens and loads everything that the configuration names.
    ///
    /// # Errors
    /// The first failure.
    pub async fn build(config: Config, environment: Environment) -> Result<App, StartError> {
        let Environment { seed, clock, metrics } = environment;
        let readiness = Readiness::default();
        readiness.register(readiness::LISTENERS, true);
        let admin = match &config.admin {
            Some(admin) => Some(Admin::bind(&admin.address, admin.tls.as_ref())?),
            None => None,
        };
        if let Some(admin) = config.admin.as_ref().filter(|admin| !admin.address.is_local()) {
            let address = &admin.address;
            tracing::warn!(%address, "the admin listener is reachable from other hosts: set `admin.address` to a loopback address, and `probes.address` for probes of other hosts");
        }
        let probes = match &config.probes {
            Some(probes) => Some(Admin::bind_probes(&probes.address, probes.tls.as_ref())?),
            None => None,
        };
        let table = Arc::new(field_table(&config.r#match)?);
        let has_control = config.intel.control.is_some();
        // The snapshot counts when nothing may pass unmatched.
        readiness.register(readiness::SNAPSHOT, config.failure_mode == FailureMode::Closed);
        let mut reporter = FeedReporter::new(readiness.clone(), clock);
        // Loading reads files and sorts millions of keys: not on the threads that will answer probes.
        let settings = intel_settings(&config, &table);
        let load = move || {
            let lists = AllowlistSet::load(&settings.intel);
            let mut feed_set = FeedSet::new(settings, seed);
            let scan = feed_set.scan(None);
            reporter.report(&feed_set, &scan);
            scan.failed.map_or(Ok((feed_set, lists, reporter)), |failed| Err(StartError::Snapshot(failed)))
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        let (feed_set, lists, reporter) = loaded.map_err(|error| StartError::Limits(io::Error::other(error)))??;
        let rules = wiring::rules(&config, lists.serving().clone());
        let files = feed_set.serving().cloned();
        if let Some(files) = &files {
            publisher::within(files, config.intel.max_bytes)
                .map_err(|error| StartError::TooLarge(error.to_string()))?;
        }
        // With a control plane, an empty set of files is not a snapshot.
        let at_first = files.clone().filter(|files| !has_control || !files.is_empty());
        let live = Arc::new(MatchStage::new(rules, at_first, clock));
        let build = build_settings(&config, &table, seed);
        let activate: Arc<dyn Activate> = live.clone();
        let publisher = Arc::new(SnapshotPublisher::new(activate, readiness.clone(), clock, build, has_control, files));
        let published = Arc::clone(&publisher);
        let publish = Box::new(move |snapshot, allowlists| published.set_files(snapshot, allowlists));
        let client = match config.intel.control.clone() {
            None => None,
            Some(control) => {
                readiness.register(readiness::CONTROL, false);
                let (publisher, live) = (Arc::clone(&publisher), Arc::clone(&live));
                let canary = config.intel.canary.clone();
                // Reads every byte of the last good segments.
                let open: follow::Open =
                    Arc::new(move || control::open(&control, canary.clone(), &publisher, &live, clock));
                let first = Arc::clone(&open);
                let opened = tokio::task::spawn_blocking(move || first()).await;
                Some((opened.map_err(|error| StartError::Control(error.to_string()))??, open))
            }
        };
        if config.intel.canary.is_some() {
            readiness.register(readiness::CANARY, false);
        }
        let intel = FeedWatcherHandle::start(feed_set, lists, reporter, publish).map_err(StartError::Limits)?;
        let sinks = wiring::sinks(&config, &[], &[])?;
        descriptors::warn_of_low_limit(&config);
        wiring::show_sinks(&readiness, &sinks);
        let shared = SharedResources::start(&wiring::limits(&config)).map_err(StartError::Limits)?;
        let reloads = mpsc::channel(1);
        let shown = Arc::new(ArcSwap::from_pointee(EffectiveConfig::all_active(config.clone())));
        let health = Health::default();
        let shutdown_announcement = ShutdownAnnouncement::new(readiness.clone(), health.clone(), Arc::clone(&shown));
        [&admin, &probes].into_iter().flatten().for_each(|admin| shutdown_announcement.will_offer(admin.offer()));
        let mut app = App {
            shown,
            config,
            sources: Vec::new(),
            sinks,
            table,
            seed,
            live,
            publisher,
            client,
            intel,
            shared,
            admin,
            probes,
            readiness,
            health,
            metrics,
            reloads,
            shutdown_announcement,
        };
        let sources: Result<Vec<Source>, StartError> =
            app.config.sources.iter().map(|source| app.bind(source, &app.config, &app.sinks, None)).collect();
        app.sources = sources?;
        Ok(app)
    }

    /// Binds a source, or lets it take over a socket.
    fn bind(
        &self,
        source: &config::Source,
        config: &Config,
        sinks: &[ConfiguredSink],
        socket: Option<&Listener>,
    ) -> Result<Source, StartError> {
        let failed = |cause| StartError::Source { id: source.id.clone(), cause };
        let listener = match socket {
            Some(socket) => socket.named(&source.id),
            None => {
                let others: Vec<&Listener> = self.sources.iter().map(|source| &source.listener).collect();
                bind_beside(&source.id, source.address(), &others).map_err(failed)?
            }
        };
        let limits = Limits { max_request_bytes: source.max_request_bytes(), ..wiring::limits(config) };
        let switch = Arc::new(ReloadableSinks::new(wiring::fanout(&source.id, sinks)));
        let deliver: Arc<dyn Deliver> = switch.clone();
        let stream = Arc::new(SourceStage::new(Arc::clone(&self.live)));
        let (live, shared) = (Arc::clone(&stream), &self.shared);
        let bound = match &source.kind {
            SourceKind::Otlp(_) => OtlpSource::on(listener, limits, shared, live, deliver),
            SourceKind::Vector(_) => VectorSource::on(listener, limits, shared, live, deliver, self.health.clone()),
            SourceKind::Filter(of) => {
                let settings = filter::Settings { limits, window: of.window };
                FilterSource::on(listener, settings, shared, live, deliver)
            }
        };
        let bound = wiring::equip(bound.map_err(failed)?, source, &self.health)?;
        let listener = bound.listener().clone();
        self.shutdown_announcement.will_offer(listener.offer());
        Ok(Source { config: source.clone(), listener, stream, deliver: switch, bound: Some(bound) })
    }

    /// Returns the addresses of the sources, in the order of the configuration.
    pub fn source_addresses(&self) -> Vec<config::Address> {
        self.sources.iter().map(|source| source.listener.local_address().clone()).collect()
    }

    /// Returns the address of the admin listener.
    pub fn admin_address(&self) -> Option<&config::Address> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Returns the handle that turns readiness off before the shutdown.
    pub fn shutdown_announcement(&self) -> ShutdownAnnouncement {
        self.shutdown_announcement.clone()
    }

    /// Returns the address of the listener for probes.
    pub fn probes_address(&self) -> Option<&config::Address> {
        self.probes.as_ref().map(Admin::address)
    }

    /// Returns the channel for configurations that shall replace the active one.
    pub fn reloads(&self) -> mpsc::Sender<Reload> {
        self.reloads.0.clone()
    }

    /// Serves until `shutdown` resolves, then drains.
    ///
    /// # Errors
    /// A listener failed.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<Drained, RunError> {
        let mut serving = SourceTasks::default();
        for source in &mut self.sources {
            serving.start(source);
        }
        // Probes are answered until the end: the admin listener has a separate stop.
        let (stop_admin, admin_stopped) = watch::channel(false);
        let mut probes = JoinSet::new();
        for admin in [self.admin.take(), self.probes.take()].into_iter().flatten() {
            let (shown, intel, live) = (Arc::clone(&self.shown), self.intel.clone(), Arc::clone(&self.live));
            let pages = AdminPages {
                readiness: self.readiness.clone(),
                metrics: self.metrics.clone(),
                snapshot: Some(Arc::new(move || live.snapshot_name())),
                config: Arc::new(move || shown.load().to_yaml()),
                confirm: Arc::new(move |feed| {
                    let intel = intel.clone();
                    Box::pin(async move { intel.confirm(&feed).await })
                }),
                tap: Some(self.live.tapped()),
            };
            let stopped = wait(admin_stopped.clone());
            probes.spawn(async move { admin.serve(pages, stopped).await.map_err(RunError::Admin) });
        }
        let (health, mut ready) = (self.health.clone(), self.readiness.watch());
        // Ends when the last handle of readiness is dropped.
        let health_updates = task::background("readiness", async move {
            loop {
                health.set_ready(*ready.borrow_and_update());
                if ready.changed().await.is_err() {
                    break;
                }
            }
        });
        let (stop_client, client_stopped) = watch::channel(false);
        let mut following = JoinSet::new();
        if let Some((client, open)) = self.client.take() {
            following.spawn(follow::follow(client, open, self.readiness.clone(), client_stopped));
        }
        self.readiness.set(readiness::LISTENERS, true, "bound");
        let mut canary = Canary::new(self.config.intel.canary.clone(), self.readiness.clone());
        let mut minutely = tokio::time::interval(CANARY_EVERY);
        minutely.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut streams = UncheckedSources::new(self.readiness.clone());
        let mut often = tokio::time::interval(unchecked_sources::EVERY);
        often.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut daily = tokio::time::interval_at(Instant::now() + BLIND_SPOTS_EVERY, BLIND_SPOTS_EVERY);
        let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
        upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(shutdown);
        let mut failed = None;
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                name = task::failed() => {
                    tracing::error!(task = name, "a background task panicked; exiting");
                    failed = Some(name);
                    break;
                }
                Some(ended) = following.join_next() => ended?,
                Some(reload) = self.reloads.1.recv() => tokio::select! {
                    () = self.reload(reload, &mut serving) => {}
                    () = &mut shutdown => break,
                },
                _ = daily.tick() => self.live.log_blind_spots(),
                _ = often.tick() => {
                    let sources = self.sources.iter().map(|source| (source.config.id.as_str(), &*source.stream));
                    streams.check(sources, std::time::Instant::now());
                }
                _ = minutely.tick() => canary.check(&self.live),
                () = self.live.changed() => canary.check(&self.live),
                _ = upkeep.tick() => self.metrics.run_upkeep(),
                // A source that ends without an error was removed by a reload.
                Some(ended) = serving.tasks.join_next() => ended??,
                Some(ended) = probes.join_next() => ended??,
            }
        }
        health_updates.abort();
        let grace = self.shutdown_announcement.grace_left();
        tracing::info!(grace_seconds = grace.as_secs(), "draining: completing the requests in flight");
        for stop in serving.stops.values() {
            let _ = stop.send(true);
        }
        // Their sockets close when their last owner is dropped.
        self.sources.clear();
        let finish = async {
            while let Some(ended) = serving.tasks.join_next().await {
                ended??;
            }
            Ok::<(), RunError>(())
        };
        let drained = match tokio::time::timeout(grace, finish).await {
            Ok(finished) => {
                finished?;
                tracing::info!("drained: all requests in flight were answered");
                Drained::Clean
            }
            Err(_) => {
                tracing::warn!("grace period ended: dropping requests in flight, without acknowledgement");
                Drained::Cut
            }
        };
        serving.tasks.shutdown().await;
        let _ = stop_client.send(true);
        let _ = tokio::time::timeout(CLIENT_GRACE, async { while following.join_next().await.is_some() {} }).await;
        following.shutdown().await;
        self.live.log_blind_spots();
        let _ = stop_admin.send(true);
        probes.shutdown().await;
        match failed {
            Some(name) => Err(RunError::Background(name)),
            None => Ok(drained),
        }
    }
}

fn intel_settings(config: &Config, table: &Arc<FieldTable>) -> Settings {
    Settings { intel: config.intel.clone(), table: Arc::clone(table), options: files::options(&config.r#match) }
}

/// Returns how the publisher builds snapshots.
fn build_settings(config: &Config, table: &Arc<FieldTable>, seed: u64) -> BuildSettings {
    let (table, options) = (Arc::clone(table), files::options(&config.r#match));
    BuildSettings { table, options, seed, max_bytes: config.intel.max_bytes }
}
