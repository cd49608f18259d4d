//! What is known of a slot: what serves, what is at work, and what was refused.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::apply::Gate;
use super::cache::Highest;
use super::judge::Judged;
use crate::intel::manifest::{Digest, Mode};

/// How often it is said that what serves has expired.
const TOLD_EVERY: Duration = Duration::from_secs(3600);

/// One slot.
pub(super) struct Slot {
    pub(super) mode: Mode,
    pub(super) serving: Option<Judged>,
    /// The highest version that was taken, whether it served or not.
    pub(super) seen: Option<Highest>,
    pub(super) job: Option<Job>,
    /// The version that was refused last.
    pub(super) refused: Option<Refused>,
    /// What serves could not be written down.
    pub(super) is_unkept: bool,
    pub(super) is_expired: bool,
    told: Option<Instant>,
    jobs: u64,
}

/// A job at work.
pub(super) struct Job {
    number: u64,
    /// Of the manifest; `None` empties the slot.
    digest: Option<Digest>,
    pub(super) version: u64,
    pub(super) gate: Arc<Gate>,
    /// What its end answers; `None` when the stream that asked is gone.
    pub(super) nonce: Option<String>,
}

/// A version that was refused.
pub(super) struct Refused {
    pub(super) version: u64,
    pub(super) reason: String,
    /// It is tried again.
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
            is_unkept: false,
            is_expired: false,
            told: None,
            jobs: 0,
        }
    }

    /// The version that serves; 0 is none.
    pub(super) fn version(&self) -> u64 {
        self.serving.as_ref().map_or(0, |serving| serving.manifest.version)
    }

    /// The version that should not be sent again.
    pub(super) fn refused_version(&self) -> u64 {
        self.refused.as_ref().filter(|refused| !refused.may_pass).map_or(0, |refused| refused.version)
    }

    /// Supersedes what is at work with a new job, and gives its number and gate.
    pub(super) fn supersede(&mut self, digest: Option<Digest>, version: u64, nonce: String) -> (u64, Arc<Gate>) {
        self.drop_job();
        self.jobs += 1;
        let gate = Arc::new(if digest.is_some() { Gate::default() } else { Gate::preparing() });
        let job = Job { number: self.jobs, digest, version, gate: Arc::clone(&gate), nonce: Some(nonce) };
        self.job = Some(job);
        (self.jobs, gate)
    }

    /// What is at work is not wanted any more.
    pub(super) fn drop_job(&mut self) {
        if let Some(job) = self.job.take() {
            job.gate.supersede();
        }
    }

    /// The stream is gone: only what needs no more of it goes on.
    pub(super) fn break_off(&mut self) {
        self.job.take_if(|job| job.gate.break_off());
        if let Some(job) = &mut self.job {
            job.nonce = None;
        }
    }

    /// The job that does this already.
    pub(super) fn at_work(&mut self, digest: Option<Digest>) -> Option<&mut Job> {
        self.job.as_mut().filter(|job| job.digest == digest)
    }

    /// Takes the job of this number, if nothing newer came since.
    pub(super) fn finish(&mut self, number: u64) -> Option<Job> {
        self.job.take_if(|job| job.number == number)
    }

    /// Notes whether what serves has expired, and says whether that should be said again.
    pub(super) fn expire(&mut self, is_expired: bool) -> bool {
        self.is_expired = is_expired;
        let is_due = is_expired && self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY);
        if is_due {
            self.told = Some(Instant::now());
        }
        if !is_expired {
            self.told = None;
        }
        is_due
    }
}
