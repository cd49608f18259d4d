//! The state of one node on one stream: its identity, the content of its slots, and its record in the store.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use jiff::Timestamp;
use metrics::counter;
use tonic::Status;

use super::identity::Identity;
use super::slot::{Content, DesiredContent, EMPTY, Slot, SlotAnswer};
use crate::intel::manifest::Mode;
use crate::names::Name;
use crate::proto::control::v1 as proto;
use crate::store::{
    InstanceRecord, Labels, NodeRecord, PublicationSet, SlotRecord, StatisticsRecord, Store, StoreError, TENANT,
    check_labels,
};
use crate::telemetry::{self, Throttle};

/// The maximum length of a stored refusal, in characters.
const MAX_REASON: usize = 2048;
/// The maximum length of the node's software version in bytes.
const MAX_SOFTWARE: usize = 128;
/// The maximum length of a process id in bytes.
const MAX_INSTANCE: usize = 64;

pub(super) struct Session {
    tenant: Option<Name>,
    name: Name,
    labels: Labels,
    software: String,
    stream: u64,
    /// The process that opened the stream.
    process: InstanceRecord,
    nonces: u64,
    slots: BTreeMap<Mode, (Slot, LastRefusal)>,
    heard: Timestamp,
    statistics: Option<StatisticsRecord>,
    /// The node's record in the store before this stream.
    before: Option<NodeRecord>,
}

/// An update of the node's record in the store.
pub(super) struct NodeUpdate {
    tenant: Option<Name>,
    name: Name,
    node: NodeRecord,
}

/// The last refusal; version 0 for none.
#[derive(Clone, Debug, Default)]
struct LastRefusal {
    version: u64,
    code: u32,
    reason: String,
}

impl Session {
    /// Identifies the node from the certificate, and where that is silent, from the node's own data.
    pub(super) fn open(
        identity: &Identity,
        address: Option<SocketAddr>,
        node: proto::Node,
        stream: u64,
        now: Timestamp,
    ) -> Result<Session, Status> {
        let invalid = |error: String| Status::invalid_argument(error);
        let proto::Node { name, labels, software, instance } = node;
        let name = Name::parse(&name).map_err(|error| invalid(format!("node.name: {error}")))?;
        identity.check_node("sync", &name)?;
        check_labels(labels.iter()).map_err(|error| invalid(format!("node.{error}")))?;
        if software.len() > MAX_SOFTWARE {
            return Err(invalid(format!("node.software: at most {MAX_SOFTWARE} bytes are accepted")));
        }
        if instance.len() > MAX_INSTANCE || !instance.bytes().all(|byte| byte.is_ascii_graphic()) {
            let wanted = format!("node.instance: at most {MAX_INSTANCE} printable ASCII characters are accepted");
            return Err(invalid(wanted));
        }
        let id = if instance.is_empty() { format!("stream-{stream:016x}") } else { instance };
        let address = address.map_or_else(String::new, |address| address.to_string());
        let process = InstanceRecord { id, address, since: now, heard: now };
        let mut labels: Labels = labels.into_iter().collect();
        let tenant = match identity.tenant()? {
            Some(tenant) => {
                labels.insert(TENANT.to_owned(), tenant.to_string());
                Some(tenant.clone())
            }
            None => {
                let tenant = labels.get(TENANT).map(|tenant| Name::parse(tenant)).transpose();
                tenant.map_err(|error| invalid(format!("node.labels: tenant: {error}")))?
            }
        };
        let (slots, statistics) = (BTreeMap::new(), None);
        let (nonces, before) = (0, None);
        Ok(Session { tenant, name, labels, software, stream, process, nonces, slots, heard: now, statistics, before })
    }

    /// Returns the process that opened the stream.
    pub(super) fn process(&self) -> &InstanceRecord {
        &self.process
    }

    /// Returns the tenant, if any, and the name of the node.
    pub(super) fn name(&self) -> (Option<&str>, &str) {
        (self.tenant.as_ref().map(Name::as_str), self.name.as_str())
    }

    /// Reads the earlier record, for the reason of a refusal of which the node remembers only the version.
    pub(super) fn remember(&mut self, store: &Store) {
        self.before = store.read_node(self.tenant.as_ref(), &self.name);
    }

    /// Processes a request of the node.
    pub(super) fn take(
        &mut self,
        request: proto::SyncRequest,
        snapshot: &PublicationSet,
        now: Timestamp,
    ) -> Result<(), Status> {
        self.heard = now;
        let reports = request.statistics.is_some();
        if let Some(of) = request.statistics {
            self.statistics = Some(StatisticsRecord {
                events: of.events,
                hits: of.hits,
                indicators: of.indicators,
                newest_feed_age_seconds: of.newest_feed_age_seconds,
                canary_found: match of.canary() {
                    proto::Canary::Unspecified => None,
                    canary => Some(canary == proto::Canary::Found),
                },
            });
        }
        let mode = match proto::Slot::try_from(request.slot) {
            Ok(proto::Slot::Serve) => Mode::Serve,
            Ok(proto::Slot::Shadow) => Mode::Shadow,
            Ok(proto::Slot::Unspecified) if reports && request.nonce.is_empty() => return Ok(()),
            _ => return Err(Status::invalid_argument("slot: give SLOT_SERVE or SLOT_SHADOW")),
        };
        let wanted = self.wanted(snapshot, mode);
        let (slot, refusal) = self.slots.entry(mode).or_default();
        if !slot.is_subscribed() {
            slot.subscribe(request.version, request.refused_version, wanted);
            let version = request.refused_version;
            let mut before = self.before.iter().flat_map(|before| &before.slots);
            let known = before.find(|of| of.mode == mode && of.refused_version == version);
            let (code, reason) = known.map_or((0, String::new()), |known| (known.code, known.reason.clone()));
            *refusal = LastRefusal { version, code, reason };
            return Ok(());
        }
        if request.nonce.is_empty() {
            // A status report, not an answer.
            return Ok(());
        }
        let answer = slot.answer(&request.nonce, request.version, request.error.is_some()).map_err(|wrong| {
            Status::invalid_argument(format!(
                "version: an answer without an error acknowledges version {}, but has version {}; set `error` to refuse it",
                wrong.sent, request.version
            ))
        })?;
        let word = match answer {
            SlotAnswer::Ack => {
                *refusal = LastRefusal::default();
                "ack"
            }
            SlotAnswer::Nack { refused } => {
                let error = request.error.unwrap_or_default();
                let reason: String = error.message.chars().take(MAX_REASON).collect();
                static LINES: Throttle = Throttle::new();
                if let Some(left_out) = LINES.pass() {
                    let (tenant, node) = (self.tenant.as_ref().map(Name::as_str), self.name.as_str());
                    tracing::warn!(tenant, node, slot = %mode, version = refused, ?reason, left_out, "manifest refused by a node");
                }
                *refusal = LastRefusal { version: refused, code: error.code, reason };
                "nack"
            }
            SlotAnswer::Stale => "stale",
        };
        counter!(telemetry::CONTROL_PLANE_ANSWERS_TOTAL, "slot" => mode.as_str(), "answer" => word).increment(1);
        Ok(())
    }

    /// Returns whether the node has not answered a response.
    pub(super) fn awaits_answer(&self) -> bool {
        self.slots.values().any(|(slot, _)| slot.is_unanswered())
    }

    /// Returns the next response to send, if any.
    pub(super) fn due(&mut self, snapshot: &PublicationSet) -> Option<proto::SyncResponse> {
        for mode in Mode::ALL {
            let wanted = self.wanted(snapshot, mode);
            let Some((slot, _)) = self.slots.get_mut(&mode) else { continue };
            let Some(content) = slot.due(wanted) else { continue };
            self.nonces += 1;
            let nonce = format!("{:016x}-{}", self.stream, self.nonces);
            slot.sent(content, nonce.clone());
            counter!(telemetry::CONTROL_PLANE_PUSHES_TOTAL, "slot" => mode.as_str()).increment(1);
            return Some(self.response(snapshot, mode, content, nonce));
        }
        None
    }

    fn response(&self, snapshot: &PublicationSet, mode: Mode, content: Content, nonce: String) -> proto::SyncResponse {
        let slot = match mode {
            Mode::Serve => proto::Slot::Serve,
            Mode::Shadow => proto::Slot::Shadow,
        };
        let mut response = proto::SyncResponse { nonce, version: content.version, ..Default::default() };
        response.set_slot(slot);
        if content != EMPTY
            && let Some(publication) = snapshot.wanted(&self.labels, mode)
        {
            response.manifest = publication.bytes.clone();
            let signatures = publication.signatures.iter();
            response.signatures = signatures
                .map(|of| proto::Signature { key_id: of.key_id.clone(), signature: of.signature.clone().into() })
                .collect();
        }
        response
    }

    fn wanted(&self, snapshot: &PublicationSet, mode: Mode) -> DesiredContent {
        match snapshot.wanted(&self.labels, mode) {
            Some(of) => DesiredContent::Content(Content { version: of.manifest.version, fingerprint: of.fingerprint }),
            // A node without a manifest would match nothing: the slot `serve` is never emptied.
            None if mode == Mode::Shadow && snapshot.is_sure(mode) => DesiredContent::Nothing,
            None => DesiredContent::Unknown,
        }
    }

    /// Returns the update for the store.
    pub(super) fn record(&self, connected: bool, now: Timestamp) -> NodeUpdate {
        let slots = self.slots.iter().map(|(mode, (slot, refusal))| SlotRecord {
            mode: *mode,
            version: slot.version(),
            refused_version: refusal.version,
            code: refusal.code,
            reason: refusal.reason.clone(),
        });
        let node = NodeRecord {
            tenant: self.tenant.as_ref().map(Name::to_string),
            name: self.name.to_string(),
            labels: self.labels.clone(),
            software: self.software.clone(),
            stream: format!("{:016x}", self.stream),
            instance: self.process.id.clone(),
            instances: vec![InstanceRecord { heard: self.heard, ..self.process.clone() }],
            connected,
            heard: self.heard,
            written: now,
            slots: slots.collect(),
            statistics: self.statistics,
        };
        NodeUpdate { tenant: self.tenant.clone(), name: self.name.clone(), node }
    }
}

impl NodeUpdate {
    /// Writes the update, and returns the other processes that use the name at the same time. Blocks.
    pub(super) fn write(&self, store: &Store) -> Result<Vec<InstanceRecord>, StoreError> {
        let NodeUpdate { tenant, name, node } = self;
        if !node.connected {
            return store.end_node(tenant.as_ref(), name, node).map(|()| Vec::new());
        }
        let known = store.write_node(tenant.as_ref(), name, node)?;
        let all = known.duplicates(node.written);
        // If this process overlaps with others, return the others.
        let is_one = all.iter().any(|one| one.id == node.instance);
        Ok(all.into_iter().filter(|one| is_one && one.id != node.instance).cloned().collect())
    }
}
