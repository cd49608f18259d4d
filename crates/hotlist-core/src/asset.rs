//! The asset of a finding: the machine, workload or account of ours that an event is about.
//!
//! For a connection, it is the endpoint that is not the stranger, if that lies in our networks: what a firewall or a sensor
//! logs is about the machines that talk, and not about the firewall. For anything else, and if both ends are strangers, it
//! is what the event says of its workload, host and account. `schema/facts/assets.csv` lists the fields that say so.

use std::net::IpAddr;
use std::sync::Arc;

use crate::observable::{Kind, ip};
use crate::schema::Role;
use crate::schema::facts::{AssetField, AssetPart, Side};

/// By what an asset is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssetType {
    /// By an address.
    Address,
    /// By the id of a host.
    HostId,
    /// By the name of a host.
    HostName,
    /// By the controller of pods, with its namespace and cluster.
    Workload,
    /// By an account.
    User,
}

impl AssetType {
    /// The word in enrichments and in alert keys.
    pub fn as_str(self) -> &'static str {
        match self {
            AssetType::Address => "ip",
            AssetType::HostId => "host.id",
            AssetType::HostName => "host.name",
            AssetType::Workload => "workload",
            AssetType::User => "user",
        }
    }
}

/// An asset. Its name is in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asset {
    /// By what it is known.
    pub asset_type: AssetType,
    /// What it is called.
    pub name: Arc<str>,
}

/// The assets that an event names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssetFacts {
    /// The address of each side, if it lies in our networks.
    initiator: Option<Asset>,
    responder: Option<Asset>,
    /// The address of an endpoint whose side is not known, if it lies in our networks.
    endpoint: Option<Asset>,
    /// Whether the event is about a connection, or was seen by another machine than those that it is about.
    is_connection: bool,
    /// Its workload, else its host, else its account, else an address of the host.
    about: Option<Asset>,
}

impl AssetFacts {
    /// The asset of a finding of this kind at a field with this role.
    pub fn of_finding(&self, role: Role, kind: Kind) -> Option<&Asset> {
        let either = || self.initiator.as_ref().or(self.responder.as_ref()).or(self.endpoint.as_ref());
        let other = match role {
            Role::Responder => self.initiator.as_ref(),
            Role::Initiator | Role::Forwarded => self.responder.as_ref(),
            Role::Asset => None,
            Role::None | Role::Verdict | Role::Direction => {
                (self.is_connection || matches!(kind, Kind::Ip | Kind::Domain | Kind::Url)).then(either).flatten()
            }
        };
        other.or(self.about.as_ref()).or_else(either)
    }

    /// Bytes of memory that the names take.
    pub(crate) fn bytes(&self) -> usize {
        let assets = [&self.initiator, &self.responder, &self.endpoint, &self.about];
        assets.into_iter().flatten().map(|asset| asset.name.len() + 2 * size_of::<usize>()).sum()
    }
}

/// What was read of an event so far. The order in which its fields are read does not matter.
#[derive(Clone, Debug, Default)]
pub struct AssetCandidates {
    /// Of the initiator, of the responder, and without a side.
    endpoints: [Option<(u32, IpAddr)>; 3],
    has_endpoint: [bool; 3],
    has_observer: bool,
    slots: [Option<Candidate>; SLOTS],
}

#[derive(Clone, Debug)]
struct Candidate {
    field: AssetField,
    text: String,
}

/// Parts that exclude each other share a slot.
const SLOTS: usize = 8;
const HOST: usize = 0;
const ADDRESS: usize = 1;
const CLUSTER: usize = 2;
const NAMESPACE: usize = 3;
const WORKLOAD: usize = 4;
const OBJECT_KIND: usize = 5;
const OBJECT_NAME: usize = 6;
const USER: usize = 7;

/// The longest name of an asset, in bytes. Longer values of fields are not read.
pub const LONGEST: usize = 256;

/// What products write where they know no name, and names that every machine has.
const NO_NAMES: [&str; 9] = ["", "-", "unknown", "none", "null", "(null)", "n/a", "localhost", "localhost.localdomain"];

/// The kinds of objects that run pods, as the API of Kubernetes has them, and their singular forms.
const WORKLOAD_KINDS: [&str; 8] =
    ["deployment", "statefulset", "daemonset", "cronjob", "replicaset", "job", "replicationcontroller", "pod"];

impl AssetCandidates {
    /// Adds the address of an endpoint. `rank` says how much the field counts, and `is_internal` whether the address lies in our
    /// networks.
    pub fn add_endpoint(&mut self, side: Option<Side>, rank: u32, address: IpAddr, is_internal: bool) {
        let side = side.map_or(2, |side| side as usize);
        if let Some(has) = self.has_endpoint.get_mut(side) {
            *has = true;
        }
        if let Some(known) = self.endpoints.get_mut(side)
            && is_internal
            && names_one_machine(address)
            && known.is_none_or(|(known, _)| rank < known)
        {
            *known = Some((rank, address));
        }
    }

    /// Adds the value of a field. That of an [`AssetPart::Endpoint`] is added with [`AssetCandidates::add_endpoint`].
    pub fn add(&mut self, field: AssetField, value: &[u8]) {
        let slot = match field.part {
            AssetPart::Observer => {
                self.has_observer = true;
                return;
            }
            AssetPart::Endpoint => return,
            AssetPart::HostId | AssetPart::HostName => HOST,
            AssetPart::HostAddress => ADDRESS,
            AssetPart::Cluster => CLUSTER,
            AssetPart::Namespace => NAMESPACE,
            AssetPart::Workload | AssetPart::ReplicaSet | AssetPart::Pod => WORKLOAD,
            AssetPart::ObjectKind => OBJECT_KIND,
            AssetPart::ObjectName => OBJECT_NAME,
            AssetPart::User => USER,
        };
        let Some(known) = self.slots.get_mut(slot) else { return };
        if known.as_ref().is_some_and(|known| known.field.rank <= field.rank) || value.len() > LONGEST {
            return;
        }
        let Ok(text) = std::str::from_utf8(value.trim_ascii()) else { return };
        let text = text.to_lowercase();
        let text = match slot {
            HOST => text.trim_end_matches('.').to_owned(),
            ADDRESS => match ip::event_address(text.as_bytes()).filter(|address| names_one_machine(*address)) {
                Some(address) => address.to_string(),
                None => return,
            },
            _ => text,
        };
        if !NO_NAMES.contains(&text.as_str()) {
            *known = Some(Candidate { field, text });
        }
    }

    /// The assets that the event names.
    pub fn into_facts(mut self) -> AssetFacts {
        let [has_initiator, has_responder, has_endpoint] = self.has_endpoint;
        let is_connection = self.has_observer || has_endpoint || has_initiator && has_responder;
        let [initiator, responder, endpoint] = self.endpoints.map(|known| {
            known.map(|(_, address)| Asset { asset_type: AssetType::Address, name: address.to_string().into() })
        });
        AssetFacts { initiator, responder, endpoint, is_connection, about: self.about() }
    }

    fn about(&mut self) -> Option<Asset> {
        let asset = |asset_type: AssetType, name: String| Asset { asset_type, name: name.into() };
        if let Some(name) = self.workload() {
            return Some(asset(AssetType::Workload, name));
        }
        if let Some(Candidate { field, text }) = self.take(HOST) {
            let by_id = field.part == AssetPart::HostId;
            return Some(asset(if by_id { AssetType::HostId } else { AssetType::HostName }, text));
        }
        if let Some(Candidate { text, .. }) = self.take(USER) {
            return Some(asset(AssetType::User, text));
        }
        self.take(ADDRESS).map(|known| asset(AssetType::Address, known.text))
    }

    fn take(&mut self, slot: usize) -> Option<Candidate> {
        self.slots.get_mut(slot).and_then(Option::take)
    }

    /// The workload with its namespace and cluster: `name`, `namespace/name` or `cluster/namespace/name`.
    fn workload(&mut self) -> Option<String> {
        let kind = self.take(OBJECT_KIND).map(|kind| kind.text);
        let kind = kind.as_deref().map(|kind| kind.strip_suffix('s').unwrap_or(kind));
        let object = self.take(OBJECT_NAME).map(|object| object.text);
        let name = match (self.take(WORKLOAD), kind.zip(object)) {
            (Some(Candidate { field, text }), _) => match field.part {
                AssetPart::Pod => controller_of_pod(&text).to_owned(),
                AssetPart::ReplicaSet => controller_of_set(&text).to_owned(),
                _ => text,
            },
            (None, Some(("pod", object))) => controller_of_pod(&object).to_owned(),
            (None, Some(("replicaset" | "job", object))) => controller_of_set(&object).to_owned(),
            (None, Some((kind, object))) if WORKLOAD_KINDS.contains(&kind) => object,
            _ => return None,
        };
        let namespace = self.take(NAMESPACE).map(|namespace| namespace.text);
        Some(match (self.take(CLUSTER), namespace) {
            (Some(cluster), namespace) => format!("{}/{}/{name}", cluster.text, namespace.as_deref().unwrap_or("-")),
            (None, Some(namespace)) => format!("{namespace}/{name}"),
            (None, None) => name,
        })
    }
}

/// Whether an address can be that of one machine: not loopback, link-local or unspecified.
fn names_one_machine(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !(address.is_loopback() || address.is_unspecified() || address.is_link_local()),
        IpAddr::V6(address) => !(address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local()),
    }
}

/// The characters of generated names (`k8s.io/apimachinery/pkg/util/rand`): neither vowels nor what looks like one.
const GENERATED: &str = "bcdfghjklmnpqrstvwxz2456789";
/// Generated names of pods end in so many of them (`k8s.io/apiserver/pkg/storage/names`).
const RANDOM: usize = 5;
/// The hash of a template is a number of 32 bits, whose digits are written so (`k8s.io/kubernetes/pkg/controller`); one that
/// has fewer digits than this is rare.
const HASH: std::ops::RangeInclusive<usize> = 7..=10;

/// The controller of a pod, from its name: `web` of `web-7d4b9c6f5-x2x7q`, `agent` of `agent-x2x7q`, `db` of `db-0`.
fn controller_of_pod(pod: &str) -> &str {
    match pod.rsplit_once('-') {
        Some((set, end)) if !set.is_empty() && end.len() == RANDOM && is_generated(end) => controller_of_set(set),
        Some((set, end)) if !set.is_empty() && is_number(end) => set,
        _ => pod,
    }
}

/// The controller of a replica set or a job, from its name: `web` of `web-7d4b9c6f5`, `backup` of `backup-28391234`.
fn controller_of_set(set: &str) -> &str {
    match set.rsplit_once('-') {
        Some((controller, end))
            if !controller.is_empty() && HASH.contains(&end.len()) && (is_generated(end) || is_number(end)) =>
        {
            controller
        }
        _ => set,
    }
}

fn is_generated(text: &str) -> bool {
    text.chars().all(|character| GENERATED.contains(character))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
