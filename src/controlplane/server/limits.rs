//! The limits on what callers of a control plane may hold, and for how long. docs/control.md has the same table.

use std::time::Duration;

/// The limits on one kind of permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The limit for all callers together. A tenant must leave as much free as it holds, so it holds at most half of this.
    pub total: usize,
    /// The limit per node of a tenant, if the certificate names the node.
    pub node: usize,
    /// The limit per connection.
    pub connection: usize,
}

/// The limits of callers, and time-outs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections: Quota,
    /// Sync streams.
    pub syncs: Quota,
    /// Segments being sent.
    pub fetches: Quota,
    /// ReportAlerts streams.
    pub alerts: Quota,
    /// Calls by operators.
    pub operators: Quota,
    /// Bytes of partially received requests.
    pub message_bytes: Quota,
    /// The time limit for a Sync stream to name its node.
    pub hello: Duration,
    /// The time limit for receiving a message, and for the first message of a call; one second more for each 32 KiB.
    pub message: Duration,
    /// The time limit for a peer to read any part of a response; one second more for each 32 KiB.
    pub not_read: Duration,
    /// The time limit for a silent node to answer a response.
    pub no_answer: Duration,
    /// The time limit for the next batch on a ReportAlerts stream.
    pub silent: Duration,
    /// How long the file of a silent node is kept in the store; `None`: forever.
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

/// The minimum rate that is waited for, in bytes per second.
const RATE: usize = 32 << 10;

impl Limits {
    /// Returns the time that is added to a time-out for this many bytes.
    pub(super) fn extra(bytes: usize) -> Duration {
        Duration::from_secs((bytes / RATE) as u64)
    }
}
