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
    /// The version that is being fetched or made ready; 0: the slot is being emptied.
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
            match slot.pending {
                Some(0) => write!(f, ", is being emptied")?,
                Some(pending) => write!(f, ", version {pending} is on its way")?,
                None => {}
            }
            if let Some((version, reason)) = &slot.refused {
                write!(f, ", version {version} was refused: {reason}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_everything_that_is_not_as_it_should_be() {
        let slot =
            |mode, version, pending| SlotStatus { mode, version, expired: None, is_kept: true, pending, refused: None };
        let mut status = Status {
            endpoint: "unix:/c".to_owned(),
            is_connected: true,
            slots: vec![slot(Mode::Serve, 3, Some(4)), slot(Mode::Shadow, 0, None)],
            ..Status::default()
        };
        assert_eq!(status.to_string(), "connected to unix:/c; serve: version 3, version 4 is on its way");
        assert!(status.is_good(), "what is on its way is no fault");
        status.slots[1] = slot(Mode::Shadow, 5, Some(0));
        status.slots[0].refused = Some((4, "no; mend it".to_owned()));
        status.slots[0].is_kept = false;
        (status.is_connected, status.cause) = (false, Some("nobody listens".to_owned()));
        status.heard = Some(Timestamp::from_second(1_700_000_000).unwrap());
        assert_eq!(
            status.to_string(),
            "no connection to unix:/c: nobody listens (last heard at 2023-11-14T22:13:20Z); serve: version 3, could not \
             be written down, version 4 is on its way, version 4 was refused: no; mend it; shadow: version 5, is being emptied"
        );
        assert!(!status.is_good());
    }
}
