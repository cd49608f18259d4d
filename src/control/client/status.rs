//! What there is to say about the client: for readiness, where it never counts, and for people.

use std::fmt;

use jiff::Timestamp;

use crate::intel::manifest::Mode;

/// The state of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Where the control plane is.
    pub endpoint: String,
    /// Whether the stream is open.
    pub is_connected: bool,
    /// Why it is not.
    pub cause: Option<String>,
    /// When the control plane was heard last in this process.
    pub heard: Option<Timestamp>,
    /// Both slots, `serve` first.
    pub slots: Vec<SlotStatus>,
}

/// The state of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotStatus {
    /// Which.
    pub mode: Mode,
    /// The version that serves; 0 is none.
    pub version: u64,
    /// When that expired, if it did. It goes on serving.
    pub expired: Option<Timestamp>,
    /// Whether it serves after a restart, too.
    pub is_kept: bool,
    /// The version that is being fetched or made ready.
    pub pending: Option<u64>,
    /// The version that was refused last, since something newer served, and why.
    pub refused: Option<(u64, String)>,
}

impl Status {
    /// Whether everything is as it should be.
    pub fn is_good(&self) -> bool {
        let is_good = |slot: &SlotStatus| slot.expired.is_none() && slot.refused.is_none() && slot.is_kept;
        self.is_connected && self.slots.iter().all(is_good)
    }
}

/// One line.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_connected, &self.cause) {
            (true, _) => write!(f, "connected to {}", self.endpoint)?,
            (false, None) => write!(f, "not connected to {} yet", self.endpoint)?,
            (false, Some(cause)) => write!(f, "no connection to {}: {cause}", self.endpoint)?,
        }
        if let (false, Some(heard)) = (self.is_connected, self.heard) {
            write!(f, " (last heard at {heard:.0})")?;
        }
        let told = |slot: &&SlotStatus| slot.mode == Mode::Serve || slot.version > 0 || slot.refused.is_some();
        for slot in self.slots.iter().filter(told) {
            match slot.version {
                0 => write!(f, "; {}: nothing", slot.mode)?,
                version => write!(f, "; {}: version {version}", slot.mode)?,
            }
            if let Some(expired) = slot.expired {
                write!(f, ", expired at {expired:.0}")?;
            }
            if !slot.is_kept {
                write!(f, ", could not be written down")?;
            }
            if let Some(pending) = slot.pending {
                write!(f, ", version {pending} is on its way")?;
            }
            if let Some((version, reason)) = &slot.refused {
                write!(f, ", version {version} was refused: {reason}")?;
            }
        }
        Ok(())
    }
}
