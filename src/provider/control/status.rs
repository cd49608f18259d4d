//! The status of the client, for readiness (which it never fails) and for people.

use std::fmt;

use jiff::Timestamp;

use crate::intel::manifest::Mode;

/// The status of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The endpoint of the control plane.
    pub endpoint: String,
    /// Whether the stream is open.
    pub is_connected: bool,
    /// The reason that the stream is not open.
    pub cause: Option<String>,
    /// The time of the last response from the control plane in this process.
    pub heard: Option<Timestamp>,
    /// Both slots, `serve` first.
    pub slots: Vec<SlotStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotStatus {
    pub mode: Mode,
    /// The active version; 0 for none.
    pub version: u64,
    /// The time at which the active version expired. It stays active.
    pub expired: Option<Timestamp>,
    /// Whether the active version is recorded, so that it is restored after a restart.
    pub is_kept: bool,
    /// The version that is being fetched or prepared; 0 when the slot is being cleared.
    pub pending: Option<u64>,
    /// The version that was refused last, since a newer version was activated, and the reason.
    pub refused: Option<(u64, String)>,
}

impl Status {
    /// Returns whether the slot has no problem.
    pub fn is_good(&self) -> bool {
        let is_good = |slot: &SlotStatus| slot.expired.is_none() && slot.refused.is_none() && slot.is_kept;
        self.is_connected && self.slots.iter().all(is_good)
    }
}

/// Formats the status as one line.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_connected, &self.cause) {
            (true, _) => write!(f, "connected to {}", self.endpoint)?,
            (false, None) => write!(f, "not connected to {} yet", self.endpoint)?,
            (false, Some(cause)) => write!(f, "no connection to {}: {cause}", self.endpoint)?,
        }
        if let (false, Some(heard)) = (self.is_connected, self.heard) {
            write!(f, " (last response at {heard:.0})")?;
        }
        let is_shown = |slot: &&SlotStatus| slot.mode == Mode::Serve || slot.version > 0 || slot.refused.is_some();
        for slot in self.slots.iter().filter(is_shown) {
            match slot.version {
                0 => write!(f, "; {}: nothing", slot.mode)?,
                version => write!(f, "; {}: version {version}", slot.mode)?,
            }
            if let Some(expired) = slot.expired {
                write!(f, ", expired at {expired:.0}")?;
            }
            if !slot.is_kept {
                write!(f, ", not recorded on disk")?;
            }
            match slot.pending {
                Some(0) => write!(f, ", being cleared")?,
                Some(pending) => write!(f, ", fetching version {pending}")?,
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
        let shown = status.to_string();
        assert_eq!(Vec::from_iter(shown.split("; ")), ["connected to unix:/c", "serve: version 3, fetching version 4"]);
        assert!(status.is_good(), "a pending version is not a problem");
        status.slots[1] = slot(Mode::Shadow, 5, Some(0));
        status.slots[1].expired = Some(Timestamp::from_second(1_600_000_000).unwrap());
        status.slots[0].refused = Some((4, "no; fix it".to_owned()));
        status.slots[0].is_kept = false;
        (status.is_connected, status.cause) = (false, Some("nobody listens".to_owned()));
        status.heard = Some(Timestamp::from_second(1_700_000_000).unwrap());
        let shown = status.to_string();
        let (connection, slots) = shown.split_once("; serve: ").unwrap();
        let (serve, shadow) = slots.split_once("; shadow: ").unwrap();
        for (text, parts) in [
            (connection, &["no connection", "unix:/c", "nobody listens", "2023-11-14T22:13:20Z"][..]),
            (serve, &["version 3", "not recorded on disk", "fetching version 4", "4 was refused: no; fix it"]),
            (shadow, &["version 5", "expired at 2020-09-13T12:26:40Z", "being cleared"]),
        ] {
            assert!(parts.iter().all(|part| text.contains(part)), "{parts:?}: {text}");
        }
        assert!(!status.is_good());
    }
}
