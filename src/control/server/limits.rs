//! Every bound on what callers of a control plane may hold at once, and for how long. docs/control.md has the same table.

use std::time::Duration;

/// The most of one thing that may be held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// By all callers together. A tenant may hold no more than it leaves free for others, so at most half of this.
    pub total: usize,
    /// By one node of a tenant, where the certificate names the node.
    pub node: usize,
    /// By one connection.
    pub connection: usize,
}

/// What callers may hold, and how long they may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections.
    pub connections: Quota,
    /// Sync streams.
    pub syncs: Quota,
    /// Segments that are being sent.
    pub fetches: Quota,
    /// ReportAlerts streams.
    pub alerts: Quota,
    /// Calls of operators.
    pub operators: Quota,
    /// Bytes of requests that have begun to arrive and are not whole yet.
    pub message_bytes: Quota,
    /// How long a Sync stream may take to name its node.
    pub hello: Duration,
    /// How long a message may take to arrive, and a call its first one; a second more for each 32 KiB.
    pub message: Duration,
    /// How long a peer may take without reading anything of an answer; a second more for each 32 KiB.
    pub not_read: Duration,
    /// How long a node that has not answered a response may send nothing.
    pub no_answer: Duration,
    /// How long a ReportAlerts stream may be without a batch.
    pub silent: Duration,
    /// How long the file of a node that sends nothing is kept in the store; `None`: forever.
    pub forget_nodes_after: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: Quota { total: 16_384, node: 16, connection: 1 },
            syncs: Quota { total: 16_384, node: 4, connection: 8 },
            fetches: Quota { total: 1024, node: 32, connection: 16 },
            alerts: Quota { total: 4096, node: 4, connection: 4 },
            operators: Quota { total: 64, node: 4, connection: 4 },
            message_bytes: Quota { total: 256 << 20, node: 16 << 20, connection: 16 << 20 },
            hello: Duration::from_secs(10),
            message: Duration::from_secs(30),
            not_read: Duration::from_secs(60),
            no_answer: Duration::from_secs(300),
            silent: Duration::from_secs(300),
            forget_nodes_after: Some(Duration::from_secs(30 * 24 * 3600)),
        }
    }
}

/// The slowest rate that is waited for, in bytes a second.
const RATE: usize = 32 << 10;

impl Limits {
    /// Returns the time that is added to a time-out for this many bytes.
    pub(super) fn extra(bytes: usize) -> Duration {
        Duration::from_secs((bytes / RATE) as u64)
    }
}
