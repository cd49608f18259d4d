//! The Sync call: one task per stream reads the node's requests, follows the publications, and sends responses. A response
//! is built only when there is room for it, so a slow node gets the newest content, never a queue.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use metrics::gauge;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::identity::Identity;
use super::quotas::{Permit, PermitKind, count_reason};
use super::session::Session;
use super::{Caller, EXPIRED, ServerState, caller, draining, permit, refused};
use crate::escape::Escaped;
use crate::net::socket::Connection;
use crate::proto::control::v1::{SyncRequest, SyncResponse};
use crate::store::{InstanceRecord, StoreError, WRITE_AGAIN};
use crate::telemetry::{self, Throttle};

/// The time limit for a node to read the reason that its stream ends.
const LAST_WORD: Duration = Duration::from_secs(1);
/// The minimum interval of updates of a node's record in the store.
const WRITE_PAUSE: Duration = Duration::from_secs(1);

type Responses = mpsc::Sender<Result<SyncResponse, Status>>;

/// The stream of a node.
struct Stream {
    shared: Arc<ServerState>,
    session: Option<Session>,
    /// The time of the last update of the record; `None`: never.
    written: Option<Instant>,
    /// Whether the record must be updated.
    news: bool,
    /// Whether another process uses the name at the same time.
    is_duplicate: bool,
}

pub(super) fn open(
    shared: &Arc<ServerState>,
    request: Request<Streaming<SyncRequest>>,
) -> Result<ReceiverStream<Result<SyncResponse, Status>>, Status> {
    let caller = caller(&request);
    caller.identity.tenant()?;
    let permit = permit(shared, "sync", PermitKind::Sync, &caller)?;
    let connection = request.extensions().get::<Connection>().cloned();
    let (sender, responses) = mpsc::channel(1);
    let run = run(Arc::clone(shared), caller, connection, request.into_inner(), sender, permit);
    shared.tasks.spawn(run);
    Ok(ReceiverStream::new(responses))
}

async fn run(
    shared: Arc<ServerState>,
    caller: Caller,
    connection: Option<Connection>,
    mut requests: Streaming<SyncRequest>,
    responses: Responses,
    permit: Permit,
) {
    gauge!(telemetry::CONTROL_PLANE_NODES).increment(1.0);
    let mut stream = Stream { shared, session: None, written: None, news: false, is_duplicate: false };
    let ended = tokio::select! {
        ended = stream.follow(&caller, &mut requests, &responses) => ended,
        () = drained(connection) => Err(draining()),
        () = expired(&caller.identity) => Err(Status::unauthenticated(EXPIRED)),
    };
    if let Err(status) = ended {
        refused("sync", &status);
        // A peer that does not read is not waited for.
        let _ = timeout(LAST_WORD, responses.send(Err(status))).await;
    }
    // The permit is released before the node sees the end.
    drop(permit);
    drop(responses);
    stream.write(false).await.unwrap_or_else(|error| log_store_error(&error));
    stream.note_duplicates(&[]);
    gauge!(telemetry::CONTROL_PLANE_NODES).decrement(1.0);
}

async fn drained(connection: Option<Connection>) {
    match connection {
        Some(connection) => connection.draining().await,
        None => std::future::pending().await,
    }
}

/// Resolves when the certificate of the stream expires.
async fn expired(identity: &Identity) {
    match identity.left(Timestamp::now()) {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}

impl Stream {
    /// Runs until the node disconnects, or breaks the protocol.
    async fn follow(
        &mut self,
        caller: &Caller,
        requests: &mut Streaming<SyncRequest>,
        responses: &Responses,
    ) -> Result<(), Status> {
        let mut publications = self.shared.publications.subscribe();
        let limits = *self.shared.quotas.limits();
        let first = timeout(limits.hello, requests.message()).await.map_err(|_| {
            count_reason("sync", "no_hello");
            Status::deadline_exceeded("no request arrived; begin the stream with a request that names the node")
        })?;
        let Some(mut first) = first? else { return Ok(()) };
        let node = first
            .node
            .take()
            .ok_or_else(|| Status::invalid_argument("node: missing; name the node in the first request"))?;
        let stream = crate::names::random_id();
        let mut session = Session::open(&caller.identity, caller.address, node, stream, Timestamp::now())?;
        let store = self.shared.store.clone();
        let opened = tokio::task::spawn_blocking(move || {
            session.remember(&store);
            session
        });
        let session = self.session.insert(opened.await.map_err(|error| Status::internal(error.to_string()))?);
        let snapshot = Arc::clone(&publications.borrow_and_update());
        session.take(first, &snapshot, Timestamp::now())?;
        self.write(true).await.map_err(refuse)?;
        // Responses are still sent to a node that has closed its side.
        let (mut look, mut over) = (true, false);
        let mut heard = Instant::now();
        while look || !over {
            let write_at = self.write_at();
            let Some(session) = &mut self.session else { return Ok(()) };
            let answer_by = heard + limits.no_answer;
            tokio::select! {
                request = requests.message(), if !over => match request {
                    Ok(Some(request)) => {
                        let snapshot = Arc::clone(&publications.borrow());
                        session.take(request, &snapshot, Timestamp::now())?;
                        (self.news, look, heard) = (true, true, Instant::now());
                    }
                    Ok(None) => over = true,
                    // The node disconnected, or sent a malformed request.
                    Err(status) => return Err(status),
                },
                changed = publications.changed() => {
                    changed.map_err(|_| Status::unavailable("publications are no longer followed"))?;
                    look = true;
                }
                permit = responses.reserve(), if look => {
                    let Ok(permit) = permit else { return Ok(()) };
                    let snapshot = Arc::clone(&publications.borrow());
                    match session.due(&snapshot) {
                        Some(response) => {
                            permit.send(Ok(response));
                            heard = Instant::now();
                        }
                        None => look = false,
                    }
                }
                () = responses.closed() => return Ok(()),
                () = sleep_until(answer_by), if session.awaits_answer() => {
                    count_reason("sync", "no_answer");
                    return Err(Status::deadline_exceeded("a response was not answered; answer each response with its nonce, and report statistics meanwhile"));
                }
                () = sleep_until(write_at) => self.write(true).await.map_err(refuse)?,
            }
        }
        Ok(())
    }

    fn write_at(&self) -> Instant {
        let pause = if self.news { WRITE_PAUSE } else { WRITE_AGAIN };
        self.written.map_or_else(Instant::now, |written| written + pause)
    }

    /// Updates the record of the node in the store, once the node is identified.
    async fn write(&mut self, connected: bool) -> Result<(), StoreError> {
        let Some(session) = &self.session else { return Ok(()) };
        let (record, store) = (session.record(connected, Timestamp::now()), self.shared.store.clone());
        let written = tokio::task::spawn_blocking(move || record.write(&store)).await.unwrap_or(Ok(Vec::new()));
        (self.written, self.news) = (Some(Instant::now()), false);
        match written {
            Ok(others) => self.note_duplicates(&others),
            Err(error @ (StoreError::TooManyNodes { .. } | StoreError::TenantBytes(_))) => return Err(error),
            // A failed update is retried later; the stream continues.
            Err(error) => log_store_error(&error),
        }
        Ok(())
    }

    /// Logs and counts other processes that use the name of this node.
    fn note_duplicates(&mut self, others: &[InstanceRecord]) {
        static LINES: Throttle = Throttle::once_a_minute();
        let is_duplicate = !others.is_empty();
        match (std::mem::replace(&mut self.is_duplicate, is_duplicate), is_duplicate) {
            (false, true) => gauge!(telemetry::CONTROL_PLANE_DUPLICATE_NODES).increment(1.0),
            (true, false) => gauge!(telemetry::CONTROL_PLANE_DUPLICATE_NODES).decrement(1.0),
            _ => {}
        }
        if let (Some(session), true) = (&self.session, is_duplicate)
            && let Some(left_out) = LINES.pass()
        {
            let (tenant, node) = session.name();
            let (address, others) = (&session.process().address, others.iter().map(|one| &one.address));
            let others: Vec<&String> = others.collect();
            tracing::warn!(
                tenant,
                node,
                address,
                ?others,
                left_out,
                "several processes use the same node name: give each a unique one (`intel.control.node`)"
            );
        }
    }
}

fn refuse(error: StoreError) -> Status {
    log_store_error(&error);
    count_reason("sync", if matches!(error, StoreError::TenantBytes(_)) { "bytes" } else { "nodes" });
    Status::resource_exhausted(
        "the store is full for this tenant (nodes or bytes); ask the operator of this control plane",
    )
}

fn log_store_error(error: &StoreError) {
    static LINES: Throttle = Throttle::new();
    if let Some(left_out) = LINES.pass() {
        tracing::warn!(error = %Escaped(&error), left_out, "cannot update a node's record in the store");
    }
}
