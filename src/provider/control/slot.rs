//! The client's state of a slot: the active version, the active job, and the refused version.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::apply::CancelGate;
use super::cache::HighestVersion;
use super::verify::VerifiedManifest;
use crate::intel::manifest::{Digest, Mode};

/// The interval of the warning that the active version has expired.
const WARN_EVERY: Duration = Duration::from_secs(3600);

pub(super) struct Slot {
    pub(super) mode: Mode,
    pub(super) serving: Option<VerifiedManifest>,
    /// The highest accepted version, whether or not it was activated.
    pub(super) seen: Option<HighestVersion>,
    pub(super) job: Option<ActiveJob>,
    /// The version that was refused last.
    pub(super) refused: Option<RefusedVersion>,
    /// Whether the active version could not be recorded.
    pub(super) is_unrecorded: bool,
    pub(super) is_expired: bool,
    warned: Option<Instant>,
    jobs: u64,
}

pub(super) struct ActiveJob {
    number: u64,
    /// The digest of the manifest; `None` clears the slot.
    digest: Option<Digest>,
    pub(super) version: u64,
    pub(super) gate: Arc<CancelGate>,
    /// The nonce to answer at its end; `None` when the stream of the response ended.
    pub(super) nonce: Option<String>,
}

pub(super) struct RefusedVersion {
    pub(super) version: u64,
    pub(super) reason: String,
    /// Whether the version is retried.
    pub(super) may_pass: bool,
}

impl Slot {
    pub(super) fn new(mode: Mode) -> Slot {
        Slot {
            mode,
            serving: None,
            seen: None,
            job: None,
            refused: None,
            is_unrecorded: false,
            is_expired: false,
            warned: None,
            jobs: 0,
        }
    }

    /// Returns the active version; 0 for none.
    pub(super) fn version(&self) -> u64 {
        self.serving.as_ref().map_or(0, |serving| serving.manifest.version)
    }

    /// Returns the version that should not be sent again.
    pub(super) fn refused_version(&self) -> u64 {
        self.refused.as_ref().filter(|refused| !refused.may_pass).map_or(0, |refused| refused.version)
    }

    /// Supersedes the active job with a new one, and returns its number and gate.
    pub(super) fn supersede(&mut self, digest: Option<Digest>, version: u64, nonce: String) -> (u64, Arc<CancelGate>) {
        self.drop_job();
        self.jobs += 1;
        let gate = Arc::new(if digest.is_some() { CancelGate::default() } else { CancelGate::preparing() });
        let job = ActiveJob { number: self.jobs, digest, version, gate: Arc::clone(&gate), nonce: Some(nonce) };
        self.job = Some(job);
        (self.jobs, gate)
    }

    /// Supersedes the active job without a new one.
    pub(super) fn drop_job(&mut self) {
        if let Some(job) = self.job.take() {
            job.gate.supersede();
        }
    }

    /// Handles the end of the stream: only a job that no longer needs the stream continues.
    pub(super) fn on_stream_end(&mut self) {
        self.job.take_if(|job| job.gate.on_stream_end());
        if let Some(job) = &mut self.job {
            job.nonce = None;
        }
    }

    /// Returns the active job if it has the same goal.
    pub(super) fn job_for(&mut self, digest: Option<Digest>) -> Option<&mut ActiveJob> {
        self.job.as_mut().filter(|job| job.digest == digest)
    }

    /// Removes the job of this number, unless it was superseded.
    pub(super) fn finish(&mut self, number: u64) -> Option<ActiveJob> {
        self.job.take_if(|job| job.number == number)
    }

    /// Records whether the active version has expired, and returns whether to warn again.
    pub(super) fn expire(&mut self, is_expired: bool) -> bool {
        self.is_expired = is_expired;
        let is_due = is_expired && self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY);
        if is_due {
            self.warned = Some(Instant::now());
        }
        if !is_expired {
            self.warned = None;
        }
        is_due
    }
}
