//! The circumstances of an event: which way its connection went, and what was decided about it.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;

use crate::observable::ip;
use crate::schema::facts::Side;
use crate::schema::{Meaning, Role};

/// The direction of a connection, seen from our networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It came from outside.
    Inbound,
    /// It was begun inside.
    Outbound,
}

impl Direction {
    /// The word of the table and of `explain`.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        }
    }
}

/// The decision about an event, as far as the event states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It does not say.
    #[default]
    Unknown,
    /// It passed, or was answered.
    Allowed,
    /// A process was started.
    Executed,
    /// Nobody answered.
    Unanswered,
    /// The file was moved away, cleaned or deleted.
    Quarantined,
    /// It was blocked or refused.
    Denied,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Decision; 6] = [
        Decision::Unknown,
        Decision::Allowed,
        Decision::Executed,
        Decision::Unanswered,
        Decision::Quarantined,
        Decision::Denied,
    ];

    /// The word of the table and of `explain`.
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Unknown => "unknown",
            Decision::Allowed => "allowed",
            Decision::Executed => "executed",
            Decision::Unanswered => "unanswered",
            Decision::Quarantined => "quarantined",
            Decision::Denied => "denied",
        }
    }
}

/// Where the addresses of a side of a connection lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Endpoint {
    has_internal: bool,
    has_external: bool,
}

impl Endpoint {
    fn is_internal(self) -> bool {
        self.has_internal && !self.has_external
    }

    fn is_external(self) -> bool {
        self.has_external && !self.has_internal
    }

    fn is_unknown(self) -> bool {
        !self.has_external && !self.has_internal
    }
}

/// The statements of an event about its connection and the decision about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Circumstances {
    initiator: Endpoint,
    responder: Endpoint,
    /// One bit for each [`Meaning`] that a word of the event has.
    meanings: u16,
}

impl Circumstances {
    /// Adds the meaning of a word of the event.
    pub fn add_meaning(&mut self, meaning: Meaning) {
        self.meanings |= 1 << meaning as u16;
    }

    /// Adds the address of a side, and returns it with whether it is internal. `internal` are our networks; text that is no
    /// address adds nothing.
    pub fn add_endpoint(&mut self, side: Side, text: &[u8], internal: &[IpNet]) -> Option<(IpAddr, bool)> {
        let address = ip::event_address(text)?;
        let endpoint = match side {
            Side::Initiator => &mut self.initiator,
            Side::Responder => &mut self.responder,
        };
        let is_internal = is_internal(address, internal);
        endpoint.has_internal |= is_internal;
        endpoint.has_external |= !is_internal;
        Some((address, is_internal))
    }

    fn says(&self, meaning: Meaning) -> bool {
        self.meanings & (1 << meaning as u16) != 0
    }

    /// The decision. An event with several statements (`event.outcome: success` of a block that succeeded) says what
    /// stopped it.
    pub fn decision(&self) -> Decision {
        let started = self.says(Meaning::Process) && self.says(Meaning::Start)
            || self.says(Meaning::Sysmon) && self.says(Meaning::SysmonFirst);
        if self.says(Meaning::Denied) {
            Decision::Denied
        } else if self.says(Meaning::Quarantined) {
            Decision::Quarantined
        } else if self.says(Meaning::Unanswered) {
            Decision::Unanswered
        } else if started {
            Decision::Executed
        } else if self.says(Meaning::Allowed) {
            Decision::Allowed
        } else {
            Decision::Unknown
        }
    }

    /// The direction of the connection, for a finding at a field with this role: the event's own word, else by the
    /// side, else by where the endpoints lie.
    pub fn direction(&self, role: Role) -> Option<Direction> {
        let (initiator, responder) = (self.initiator, self.responder);
        match (self.says(Meaning::Inbound), self.says(Meaning::Outbound)) {
            (true, false) => return Some(Direction::Inbound),
            (false, true) => return Some(Direction::Outbound),
            _ => {}
        }
        match role {
            // An indicator may name an address of ours; then the other side is the stranger.
            Role::Responder if responder.is_internal() && initiator.is_external() => Some(Direction::Inbound),
            Role::Initiator if initiator.is_internal() && responder.is_external() => Some(Direction::Outbound),
            Role::Responder => Some(Direction::Outbound),
            Role::Initiator | Role::Forwarded => Some(Direction::Inbound),
            Role::None | Role::Asset | Role::Verdict | Role::Direction => {
                if initiator.is_internal() {
                    Some(Direction::Outbound)
                } else if initiator.is_external() && (responder.is_internal() || responder.is_unknown()) {
                    Some(Direction::Inbound)
                } else {
                    None
                }
            }
        }
    }
}

/// Our networks, unless `match.internal_networks` names others: private addresses (RFC 1918, RFC 4193), shared address space
/// (RFC 6598), link-local addresses (RFC 3927, RFC 4291) and loopback.
pub static PRIVATE_NETWORKS: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let networks = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "127.0.0.0/8",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    ];
    networks.iter().filter_map(|network| network.parse().ok()).collect()
});

/// Whether an address lies in our networks.
pub(crate) fn is_internal(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_networks_are_all_read() {
        assert_eq!(PRIVATE_NETWORKS.len(), 9);
        for (address, expected) in
            [("10.1.2.3", true), ("172.32.0.1", false), ("100.127.0.1", true), ("8.8.8.8", false), ("fd00::1", true)]
        {
            assert_eq!(is_internal(address.parse().unwrap(), &PRIVATE_NETWORKS), expected, "{address}");
        }
    }
}
