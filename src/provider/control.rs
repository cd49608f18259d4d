//! The client of the control stream: keeps a node at the version that the control plane publishes, and at the last good
//! version while the control plane is unreachable.
//!
//! One task owns all changing state (`session`). Each slot has at most one active job (`job`), which fetches missing
//! segments (`fetch`), has the program prepare and activate a candidate (`apply`), and records it (`cache`). A newer
//! response supersedes a job: its work is dropped, and a late result changes nothing. `verify` decides which manifests
//! are accepted.

mod apply;
mod cache;
mod fetch;
mod idle_runtime;
mod job;
mod last_good;
mod link;
mod liveness;
mod refusal;
mod restore;
mod session;
mod settings;
mod slot;
mod status;
mod verify;

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::config::Endpoint;
use crate::escape::Escaped;
use crate::intel::manifest::Mode;
use crate::net::tls::{self, TlsError};

pub use apply::{Apply, Candidate};
pub use cache::{Cache, CacheError, HighestVersion, RecordError, check as check_cache};
pub use last_good::{LastGood, LastGoodError, last_good};
pub use refusal::ManifestRefusal;
pub use settings::{Settings, SettingsError, Timing, host_name};
pub use status::{SlotStatus, Status};

use idle_runtime::IdleRuntime;
use job::JobContext;
use link::Dialer;
use session::Session;
use slot::Slot;

/// Counters since the start of a node, and its active indicators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Events that were matched.
    pub events: u64,
    pub hits: u64,
    /// Indicators in the active snapshot.
    pub indicators: u64,
    /// The age of the newest active feed, in seconds.
    pub newest_feed_age_seconds: u64,
    /// Whether the active snapshot contains the canary; `None` without a canary.
    pub canary_found: Option<bool>,
}

/// Returns the current counters; must be quick.
pub type CountStatistics = Box<dyn Fn() -> Statistics + Send>;

/// The reason that a client cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The cache cannot be used.
    #[error("intel.control.cache: {0}")]
    Cache(#[from] CacheError),
    /// The certificates cannot be used.
    #[error("intel.control.tls: {0}")]
    Tls(#[from] TlsError),
    /// The threads for reloads cannot be started.
    #[error("intel.control: cannot start threads for reloads: {0}")]
    IdleRuntime(#[source] std::io::Error),
}

/// A client that has activated the last good manifests and has not connected yet.
pub struct Client<A: Apply> {
    session: Session<A>,
    status: watch::Receiver<Status>,
}

impl<A: Apply> Client<A> {
    /// Opens the cache and activates the last good manifest of each slot. Blocks while it reads every byte of their
    /// segments and waits for `apply`. A last good manifest that cannot be activated is logged and does not cause an
    /// error.
    ///
    /// # Errors
    /// The cache cannot be used or is in use, or the certificates cannot be used.
    pub fn open(settings: Settings, apply: Arc<A>, count: CountStatistics) -> Result<Client<A>, OpenError> {
        let tls = match &settings.endpoint {
            Endpoint::Https { host, .. } => {
                Some(tls::Connector::load("the control stream", &settings.tls.clone().unwrap_or_default(), host)?)
            }
            Endpoint::Http { .. } | Endpoint::Unix(_) => None,
        };
        if settings.trusted.is_empty() && !settings.endpoint.is_private() {
            tracing::warn!(endpoint = %Escaped(&settings.endpoint), "manifests arrive over the network without signature or encryption: set `trusted_keys`, or an `https://` endpoint");
        }
        let cache = Cache::open(&settings.cache, settings.cache_bytes)?;
        // Unbounded, but each job sends one small message, and a slot has one job and the jobs that it superseded.
        let (done, finished) = mpsc::unbounded_channel();
        let idle_runtime = IdleRuntime::start().map_err(OpenError::IdleRuntime)?;
        let shared = Arc::new(JobContext::new(cache, apply, settings.timing, Arc::new(idle_runtime), done));
        let slots = Mode::ALL.map(|mode| {
            let mut slot = Slot::new(mode);
            restore::restore(&shared, &settings, &mut slot);
            slot
        });
        let dialer = Dialer::new(settings.endpoint.clone(), tls, settings.timing);
        let (session, status) = Session::new(settings, shared, dialer, slots, finished, count);
        Ok(Client { session, status })
    }

    /// Returns the status of the client, and every change of it.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Follows the control plane on a separate thread until `stop` resolves. After that, nothing more is activated; when
    /// this returns, all work has ended and the cache is unlocked. Needs a tokio runtime.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) {
        let idle_runtime = self.session.idle_runtime();
        idle_runtime.follow(self.session.run(stop)).await;
    }
}
