//! The client of the control stream: keeps a node at the version that the control plane says, and serves the last good
//! one while there is no control plane.
//!
//! One task owns everything that changes (`session`). For each slot it has at most one job at work (`job`): fetch the
//! segments that are not on disk (`fetch`), have the program make a candidate ready and put it into service
//! (`apply`), write it down (`cache`). A newer response supersedes a job; what it was doing is dropped, and its late
//! result changes nothing. `judge` says which manifests are taken at all.

mod apply;
mod background;
mod cache;
mod fetch;
mod job;
mod judge;
mod last_good;
mod link;
mod liveness;
mod refusal;
mod restore;
mod session;
mod settings;
mod slot;
mod status;

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::config::Endpoint;
use crate::escape::Escaped;
use crate::intel::manifest::Mode;
use crate::net::tls::{self, TlsError};

pub use apply::{Apply, Candidate};
pub use cache::{Cache, CacheError, Highest, KeptError, check as check_cache, is_cache};
pub use last_good::{LastGood, LastGoodError, last_good};
pub use refusal::Refusal;
pub use settings::{Settings, SettingsError, Timing, host_name};
pub use status::{SlotStatus, Status};

use background::Background;
use job::Shared;
use link::Dialer;
use session::Session;
use slot::Slot;

/// What a node counted since it started, and what it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Events that were judged.
    pub events: u64,
    /// Hits.
    pub hits: u64,
    /// Indicators in the snapshot that serves.
    pub indicators: u64,
    /// Age of the newest feed that serves, in seconds.
    pub newest_feed_age_seconds: u64,
    /// Whether what serves finds the canary; `None`: there is none.
    pub canary_found: Option<bool>,
}

/// Says what was counted so far; it must be quick.
pub type Count = Box<dyn Fn() -> Statistics + Send>;

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The cache cannot be used.
    #[error("intel.control.cache: {0}")]
    Cache(#[from] CacheError),
    /// The certificates cannot be used.
    #[error("intel.control.tls: {0}")]
    Tls(#[from] TlsError),
    /// There can be no threads for reloads.
    #[error("intel.control: there can be no threads for reloads: {0}")]
    Background(#[source] std::io::Error),
}

/// A client that serves the last good manifests and has not dialled yet.
pub struct Client<A: Apply> {
    session: Session<A>,
    status: watch::Receiver<Status>,
}

impl<A: Apply> Client<A> {
    /// Opens the cache and puts the last good manifest of each slot into service. Reads every byte of their segments
    /// and waits for `apply`, so it blocks for as long as that takes. A last good manifest that cannot be served is
    /// logged, and is no error.
    ///
    /// # Errors
    /// The cache cannot be used or is in use, or the certificates cannot be used.
    pub fn open(settings: Settings, apply: Arc<A>, count: Count) -> Result<Client<A>, OpenError> {
        let tls = match &settings.endpoint {
            Endpoint::Https { host, .. } => {
                Some(tls::Connector::load("the control stream", &settings.tls.clone().unwrap_or_default(), host)?)
            }
            Endpoint::Http { .. } | Endpoint::Unix(_) => None,
        };
        if settings.trusted.is_empty() && !settings.endpoint.is_private() {
            tracing::warn!(endpoint = %Escaped(&settings.endpoint), "manifests come over the network, unsigned and without encryption: give `trusted_keys`, or an `https://` endpoint");
        }
        let cache = Cache::open(&settings.cache, settings.cache_bytes)?;
        // Without a bound of its own: each job sends one small message, and a slot has one job and those it superseded.
        let (done, finished) = mpsc::unbounded_channel();
        let background = Background::start().map_err(OpenError::Background)?;
        let shared = Arc::new(Shared::new(cache, apply, settings.timing, Arc::new(background), done));
        let slots = Mode::ALL.map(|mode| {
            let mut slot = Slot::new(mode);
            restore::restore(&shared, &settings, &mut slot);
            slot
        });
        let dialer = Dialer::new(settings.endpoint.clone(), tls, settings.timing);
        let (session, status) = Session::new(settings, shared, dialer, slots, finished, count);
        Ok(Client { session, status })
    }

    /// What there is to say about it, and every change.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Follows the control plane on a thread of its own until `stop` resolves. Then what is not in service yet never will
    /// be, and when this returns, nothing of it is at work any more and the cache is free. Needs a tokio runtime.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) {
        let background = self.session.background();
        background.follow(self.session.run(stop)).await;
    }
}
