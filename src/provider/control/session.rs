//! The task that follows the control plane: answers responses, starts and supersedes jobs, and reports the status.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff};
use jiff::Timestamp;
use metrics::{counter, gauge};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use super::CountStatistics;
use super::apply::Apply;
use super::idle_runtime::IdleRuntime;
use super::job::{self, JobContext, JobOutcome, JobResult, JobTask};
use super::link::{self, Dialer, Event, FetchRoutes, Link, Stream, StreamLoss};
use super::refusal::ManifestRefusal;
use super::settings::Settings;
use super::slot::{RefusedVersion, Slot};
use super::status::{SlotStatus, Status};
use super::verify::{self, VerifiedManifest};
use crate::escape::Escaped;
use crate::intel::manifest::{Mode, Signature, Signed};
use crate::names::random_id;
use crate::proto::control::v1::{self as proto, SyncRequest, SyncResponse};
use crate::telemetry::{self, Throttle};

/// The maximum length of a nonce in bytes.
const MAX_NONCE: usize = 256;
/// The interval of expiry checks.
const TICK: Duration = Duration::from_secs(1);
/// The maximum length of a sent refusal, in characters.
const MAX_REASON: usize = 2000;

pub(super) struct Session<A> {
    settings: Arc<Settings>,
    /// The id of this process: by it a control plane sees that the next stream comes from the same process.
    instance: String,
    shared: Arc<JobContext<A>>,
    dialer: Dialer,
    link: Link,
    slots: [Slot; 2],
    finished: mpsc::UnboundedReceiver<JobResult>,
    count: CountStatistics,
    status: watch::Sender<Status>,
    /// The reason that there is no stream.
    cause: Option<String>,
    /// The time at which the last stream was opened.
    opened: Option<Instant>,
    /// The time of the last response from the control plane.
    heard: Option<(Instant, Timestamp)>,
    /// Pauses between attempts to connect.
    delays: ExponentialBackoff,
    /// Pauses before refused versions are retried.
    retries: ExponentialBackoff,
    retry_at: Option<Instant>,
}

impl<A: Apply> Session<A> {
    pub(super) fn new(
        settings: Settings,
        shared: Arc<JobContext<A>>,
        dialer: Dialer,
        slots: [Slot; 2],
        finished: mpsc::UnboundedReceiver<JobResult>,
        count: CountStatistics,
    ) -> (Session<A>, watch::Receiver<Status>) {
        let (status, watched) = watch::channel(Status::default());
        let ((first, longest), (first_retry, longest_retry)) = (settings.timing.back_off, settings.timing.retry);
        let mut session = Session {
            settings: Arc::new(settings),
            instance: format!("{:016x}{:016x}", random_id(), random_id()),
            shared,
            dialer,
            link: Link::Waiting(Box::pin(std::future::ready(()))),
            slots,
            finished,
            count,
            status,
            cause: None,
            opened: None,
            heard: None,
            delays: link::delays(first, longest).build(),
            retries: link::delays(first_retry, longest_retry).build(),
            retry_at: None,
        };
        session.check_expiry();
        (session, watched)
    }

    pub(super) fn idle_runtime(&self) -> Arc<IdleRuntime> {
        Arc::clone(&self.shared.idle_runtime)
    }

    pub(super) async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        let mut tick = interval(TICK);
        let every = self.settings.timing.report;
        let mut report = interval_at(Instant::now() + every, every);
        [&mut tick, &mut report].into_iter().for_each(|one| one.set_missed_tick_behavior(MissedTickBehavior::Delay));
        loop {
            let retry_at = self.retry_at;
            tokio::select! {
                () = &mut stop => break,
                event = self.link.next() => self.on_event(event).await,
                Some(done) = self.finished.recv() => self.on_done(done),
                _ = report.tick() => self.report(),
                _ = tick.tick() => self.check_expiry(),
                () = tokio::time::sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => {
                    self.retry_at = None;
                    if self.link.stream().is_some() {
                        // A control plane sends a refused version again only on a new stream.
                        self.lose(StreamLoss { cause: "a refused version is tried again".to_owned(), reason: "retry" });
                    }
                }
            }
            self.publish_status();
        }
        self.slots.iter_mut().for_each(Slot::drop_job);
        gauge!(telemetry::CONTROL_CONNECTED).set(0.0);
        self.shared.wait_for_jobs().await;
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::Due => self.link = Link::Dialling(Box::pin(self.dialer.clone().open(self.hello()))),
            Event::Opened(stream) => self.opened(stream),
            Event::Response(response) => self.on_response(response).await,
            Event::Lost(lost) => self.lose(lost),
        }
    }

    /// Returns the first requests on a stream: the node, and the content of each slot.
    fn hello(&self) -> Vec<SyncRequest> {
        let Settings { node, labels, .. } = &*self.settings;
        let labels: HashMap<String, String> =
            labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let (software, instance) = (env!("CARGO_PKG_VERSION").to_owned(), self.instance.clone());
        let node = proto::Node { name: node.clone(), labels, software, instance };
        let mut node = Some(node);
        self.slots.iter().map(|slot| SyncRequest { node: node.take(), ..self.report_of(slot) }).collect()
    }

    fn opened(&mut self, stream: Stream) {
        tracing::info!(endpoint = %self.settings.endpoint, "control stream open");
        self.link = Link::Open(Box::new(stream));
        self.cause = None;
        self.opened = Some(Instant::now());
        self.record_contact();
    }

    /// Handles the end of the stream; the next attempt is due after a pause.
    fn lose(&mut self, lost: StreamLoss) {
        let StreamLoss { cause, reason } = lost;
        counter!(telemetry::CONTROL_DISCONNECTS_TOTAL, "reason" => reason).increment(1);
        if self.link.stream().is_some() {
            // A control plane that accepts streams only to close them is also dialled with growing pauses.
            let (first, longest) = self.settings.timing.back_off;
            if self.opened.is_some_and(|opened| opened.elapsed() >= longest) {
                self.delays = link::delays(first, longest).build();
            }
            self.record_contact();
        }
        let pause = match reason {
            "retry" => Duration::ZERO,
            _ => self.delays.next().unwrap_or(self.settings.timing.back_off.1).min(self.settings.timing.back_off.1),
        };
        // An unchanged cause is not logged again.
        if self.cause.as_ref() != Some(&cause) && reason != "retry" {
            let endpoint = &self.settings.endpoint;
            tracing::warn!(%endpoint, cause, "no control stream; the last good version stays active");
        }
        self.cause = Some(cause);
        self.slots.iter_mut().for_each(Slot::on_stream_end);
        self.link = Link::Waiting(Box::pin(tokio::time::sleep(pause)));
    }

    fn record_contact(&mut self) {
        self.heard = Some((Instant::now(), Timestamp::now()));
    }

    async fn on_response(&mut self, response: SyncResponse) {
        self.record_contact();
        let SyncResponse { slot, version, nonce, manifest, signatures } = response;
        if nonce.is_empty() || nonce.len() > MAX_NONCE {
            let cause = format!("a response has a nonce of {} bytes, not of 1 to {MAX_NONCE}", nonce.len());
            return self.lose(StreamLoss { cause, reason: "protocol" });
        }
        let Some(at) = position(slot) else {
            let request = SyncRequest { slot, ..SyncRequest::default() };
            return self.refuse(request, version, &nonce, &ManifestRefusal::Slot(slot));
        };
        let signed = Signed {
            manifest: manifest.into(),
            signatures: signatures
                .into_iter()
                .map(|proto::Signature { key_id, signature }| Signature { key_id, signature: signature.into() })
                .collect(),
        };
        match self.verify(at, version, signed).await {
            Ok(None) => self.clear(at, nonce),
            Ok(Some(verified)) => self.accept(at, verified, nonce),
            // The active job continues: a refused response supersedes nothing.
            Err(refusal) => self.refuse_in(at, version, nonce, &refusal),
        }
    }

    /// Verifies a manifest. `None` means that the slot is to be cleared.
    async fn verify(
        &mut self,
        at: usize,
        version: u64,
        signed: Signed,
    ) -> Result<Option<VerifiedManifest>, ManifestRefusal> {
        let mode = self.slots[at].mode;
        if version == 0 {
            return if mode == Mode::Shadow { Ok(None) } else { Err(ManifestRefusal::Empty) };
        }
        // Parsing a large manifest takes tens of milliseconds.
        let settings = Arc::clone(&self.settings);
        let verified =
            self.shared.idle_runtime.run_blocking(move || verify::check_signed(signed, mode, &settings)).await;
        let verified = verified.unwrap_or_else(|error| {
            Err(ManifestRefusal::Apply(format!(
                "this node failed to process it: {error}; please report this bug in Hotlist"
            )))
        })?;
        if verified.manifest.version != version {
            return Err(ManifestRefusal::Versions { response: version, manifest: verified.manifest.version });
        }
        let slot = &self.slots[at];
        let is_serving = slot.serving.as_ref().is_some_and(|serving| serving.digest == verified.digest);
        if !is_serving {
            self.shared.cache().check_versions_known()?;
            verify::check_fresh(&verified, slot.seen, Timestamp::now())?;
        }
        Ok(Some(verified))
    }

    fn accept(&mut self, at: usize, verified: VerifiedManifest, nonce: String) {
        let Some(routes) = self.link.stream().map(|stream| Arc::new(FetchRoutes::new(stream, self.dialer.clone())))
        else {
            return;
        };
        let slot = &mut self.slots[at];
        // A manifest with other signatures is recorded again, so that it is valid after a restart with other keys.
        if slot.serving.as_ref().is_some_and(|serving| {
            serving.digest == verified.digest && (serving.signed == verified.signed || slot.is_expired)
        }) {
            slot.drop_job();
            slot.refused = None;
            return self.acknowledge(at, nonce);
        }
        if let Some(job) = slot.job_for(Some(verified.digest)) {
            job.nonce = Some(nonce);
            return;
        }
        let version = verified.manifest.version;
        tracing::info!(slot = %slot.mode, version, segments = verified.manifest.segments.len(), "fetching new version");
        if slot.seen.is_none_or(|seen| seen.version < version) {
            slot.seen = Some(verified.as_highest());
        }
        let (number, gate) = slot.supersede(Some(verified.digest), version, nonce);
        job::start(&self.shared, slot.mode, number, gate, JobTask::Serve(verified, routes));
    }

    fn clear(&mut self, at: usize, nonce: String) {
        let slot = &mut self.slots[at];
        if let Some(job) = slot.job_for(None) {
            job.nonce = Some(nonce);
            return;
        }
        let (number, gate) = slot.supersede(None, 0, nonce);
        job::start(&self.shared, slot.mode, number, gate, JobTask::Clear);
    }

    fn on_done(&mut self, done: JobResult) {
        let JobResult { mode, number, outcome } = done;
        let Some(at) = Mode::ALL.iter().position(|known| *known == mode) else { return };
        let slot = &mut self.slots[at];
        // A superseded job may still have published, which is recorded.
        let job = slot.finish(number);
        match outcome {
            JobOutcome::Activated(verified, unrecorded) => {
                tracing::info!(slot = %mode, version = verified.manifest.version, "version active");
                if let Some(error) = &unrecorded {
                    tracing::error!(slot = %mode, error = %Escaped(&error), "cannot record the active version: after a restart an older version will be active");
                }
                slot.is_unrecorded = unrecorded.is_some();
                slot.serving = Some(verified);
                slot.refused = None;
                let (first, longest) = self.settings.timing.retry;
                self.retries = link::delays(first, longest).build();
                self.check_expiry();
            }
            JobOutcome::Cleared => {
                tracing::info!(slot = %mode, "slot cleared");
                slot.serving = None;
                slot.refused = None;
                slot.is_unrecorded = false;
                self.check_expiry();
            }
            JobOutcome::Refused(refusal) => {
                if let Some(job) = job {
                    self.refuse_in(at, job.version, job.nonce.unwrap_or_default(), &refusal);
                }
                return;
            }
            JobOutcome::Dropped => return,
        }
        if let Some(nonce) = job.and_then(|job| job.nonce) {
            self.acknowledge(at, nonce);
        }
    }

    /// Acknowledges a response: its version is active.
    fn acknowledge(&mut self, at: usize, nonce: String) {
        // The statistics include whether the canary is found in the acknowledged version.
        self.send(SyncRequest { nonce, refused_version: 0, ..self.report_of(&self.slots[at]) });
    }

    /// Records and reports a refusal. An empty nonce means that no response of this stream asked for it.
    fn refuse_in(&mut self, at: usize, version: u64, nonce: String, refusal: &ManifestRefusal) {
        let slot = &mut self.slots[at];
        let may_pass = refusal.may_pass();
        slot.refused = Some(RefusedVersion { version, reason: refusal.to_string(), may_pass });
        if may_pass && self.retry_at.is_none() {
            let pause = self.retries.next().unwrap_or(self.settings.timing.retry.1);
            self.retry_at = Some(Instant::now() + pause);
        }
        let slot = &self.slots[at];
        let request = SyncRequest { refused_version: 0, statistics: None, ..self.report_of(slot) };
        self.refuse(request, version, &nonce, refusal);
    }

    fn refuse(&mut self, request: SyncRequest, version: u64, nonce: &str, refusal: &ManifestRefusal) {
        static REFUSED: Throttle = Throttle::new();
        let slot = position(request.slot).map_or("none", |at| self.slots[at].mode.as_str());
        counter!(telemetry::CONTROL_REFUSED_TOTAL, "slot" => slot, "reason" => refusal.reason()).increment(1);
        if let Some(left_out) = REFUSED.pass() {
            tracing::error!(slot, version, error = %Escaped(&refusal), left_out, "version refused; the previous version stays active");
        }
        if !nonce.is_empty() {
            let message = refusal.to_string().chars().take(MAX_REASON).collect();
            let error = Some(proto::Error { code: refusal.code() as u32, message });
            self.send(SyncRequest { nonce: nonce.to_owned(), error, ..request });
        }
    }

    /// Describes the content of a slot, as a request without a nonce.
    fn report_of(&self, slot: &Slot) -> SyncRequest {
        let super::Statistics { events, hits, indicators, newest_feed_age_seconds, canary_found } = (self.count)();
        let canary = i32::from(match canary_found {
            None => proto::Canary::Unspecified,
            Some(true) => proto::Canary::Found,
            Some(false) => proto::Canary::Missing,
        });
        SyncRequest {
            slot: proto_slot(slot.mode).into(),
            version: slot.version(),
            refused_version: slot.refused_version(),
            statistics: Some(proto::Statistics { events, hits, indicators, newest_feed_age_seconds, canary }),
            ..SyncRequest::default()
        }
    }

    fn report(&mut self) {
        if self.link.stream().is_some() {
            self.send(self.report_of(&self.slots[0]));
        }
    }

    fn send(&mut self, request: SyncRequest) {
        if self.link.stream().is_some_and(|stream| !stream.send(request)) {
            self.lose(StreamLoss { cause: "the control plane does not read requests".to_owned(), reason: "protocol" });
        }
    }

    fn check_expiry(&mut self) {
        let now = Timestamp::now();
        for slot in &mut self.slots {
            let serving = slot.serving.as_ref().map(|serving| Arc::clone(&serving.manifest));
            let is_expired = serving.as_ref().is_some_and(|manifest| manifest.is_expired(now));
            if slot.expire(is_expired) {
                tracing::error!(slot = %slot.mode, version = slot.version(), "the active version has expired and stays active: publish a new version");
            }
            gauge!(telemetry::CONTROL_EXPIRED, "slot" => slot.mode.as_str()).set(f64::from(u8::from(is_expired)));
            gauge!(telemetry::CONTROL_VERSION, "slot" => slot.mode.as_str()).set(slot.version() as f64);
        }
        self.publish_status();
    }

    /// Publishes the status, if it changed.
    fn publish_status(&self) {
        let is_connected = self.link.stream().is_some();
        gauge!(telemetry::CONTROL_CONNECTED).set(f64::from(u8::from(is_connected)));
        if let Some((heard, _)) = self.heard {
            let silence = if is_connected { Duration::ZERO } else { heard.elapsed() };
            gauge!(telemetry::CONTROL_STALENESS_SECONDS).set(silence.as_secs_f64());
        }
        let of = |slot: &Slot| SlotStatus {
            mode: slot.mode,
            version: slot.version(),
            expired: slot.serving.as_ref().and_then(|serving| serving.manifest.expires).filter(|_| slot.is_expired),
            is_kept: !slot.is_unrecorded,
            pending: slot.job.as_ref().map(|job| job.version),
            refused: slot.refused.as_ref().map(|refused| (refused.version, refused.reason.clone())),
        };
        let status = Status {
            endpoint: self.settings.endpoint.to_string(),
            is_connected,
            cause: self.cause.clone(),
            heard: self.heard.map(|(_, heard)| heard),
            slots: self.slots.iter().map(of).collect(),
        };
        self.status.send_if_modified(|shown| std::mem::replace(shown, status.clone()) != status);
    }
}

fn proto_slot(mode: Mode) -> proto::Slot {
    match mode {
        Mode::Serve => proto::Slot::Serve,
        Mode::Shadow => proto::Slot::Shadow,
    }
}

/// Returns the index of a message's slot in `slots`.
fn position(slot: i32) -> Option<usize> {
    Mode::ALL.iter().position(|mode| i32::from(proto_slot(*mode)) == slot)
}
