//! The content of a node's slot and the responses sent for it, by the rules of Envoy's xDS protocol (state of the
//! world). This file contains only these rules.

use crate::intel::manifest::Digest;

/// The identity of a slot's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The version; 0 for an empty slot.
    pub version: u64,
    /// The digest of the publication.
    pub fingerprint: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DesiredContent {
    Content(Content),
    /// Nothing: the slot is to be emptied.
    Nothing,
    /// Unknown: the content stays.
    Unknown,
}

/// The meaning of a node's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotAnswer {
    /// The version is active.
    Ack,
    /// The version was refused.
    Nack { refused: u64 },
    /// The answer is to a superseded response, and is ignored.
    Stale,
}

/// An ACK of another version than the sent one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongAck {
    pub sent: u64,
}

/// The state of one slot of one stream.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Whether the node subscribed to the slot.
    asked: bool,
    version: u64,
    sent: Option<(Content, String)>,
    refused: Option<RefusedContent>,
}

/// Content that is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RefusedContent {
    version: u64,
    /// `None`: any content of that version.
    fingerprint: Option<Digest>,
}

pub(super) const EMPTY: Content = Content { version: 0, fingerprint: Digest([0; 32]) };

impl Slot {
    /// Returns whether the node subscribed to the slot on this stream.
    pub(super) fn is_subscribed(&self) -> bool {
        self.asked
    }

    /// Returns the version that the node last reported.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Subscribes the node: it has `version`, and refused `refused` before (0 for none).
    pub(super) fn subscribe(&mut self, version: u64, refused: u64, wanted: DesiredContent) {
        (self.asked, self.version) = (true, version);
        // Of an earlier refusal only the version is known, so the current content of that version counts as refused.
        let fingerprint = match wanted {
            DesiredContent::Content(content) if content.version == refused => Some(content.fingerprint),
            _ => None,
        };
        self.refused = (refused != 0).then_some(RefusedContent { version: refused, fingerprint });
    }

    /// Processes an answer to the response with this `nonce`; `version` is the node's current version.
    pub(super) fn answer(&mut self, nonce: &str, version: u64, refuses: bool) -> Result<SlotAnswer, WrongAck> {
        let Some((content, _)) = self.sent.take_if(|(_, sent)| sent == nonce) else { return Ok(SlotAnswer::Stale) };
        if !refuses && version != content.version {
            return Err(WrongAck { sent: content.version });
        }
        self.version = version;
        if refuses {
            self.refused = Some(RefusedContent { version: content.version, fingerprint: Some(content.fingerprint) });
            return Ok(SlotAnswer::Nack { refused: content.version });
        }
        self.refused = None;
        Ok(SlotAnswer::Ack)
    }

    /// Returns the content to send now, if any.
    pub(super) fn due(&self, wanted: DesiredContent) -> Option<Content> {
        let content = match wanted {
            _ if !self.asked => return None,
            DesiredContent::Unknown => return None,
            DesiredContent::Nothing => EMPTY,
            DesiredContent::Content(content) => content,
        };
        let has = match &self.sent {
            Some((sent, _)) => *sent == content,
            None => self.version == content.version,
        };
        let refused = self.refused.is_some_and(|refused| {
            refused.version == content.version && refused.fingerprint.is_none_or(|of| of == content.fingerprint)
        });
        (!has && !refused).then_some(content)
    }

    /// Returns whether the last response is unanswered.
    pub(super) fn is_unanswered(&self) -> bool {
        self.sent.is_some()
    }

    /// Records that content was sent with this nonce. Answers to earlier responses are stale from now on.
    pub(super) fn sent(&mut self, content: Content, nonce: String) {
        self.sent = Some((content, nonce));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(version: u64) -> Content {
        Content { version, fingerprint: Digest([u8::try_from(version).unwrap(); 32]) }
    }

    fn wanted(version: u64) -> DesiredContent {
        DesiredContent::Content(content(version))
    }

    fn asked(version: u64, refused: u64, now: u64) -> Slot {
        let mut slot = Slot::default();
        assert_eq!(slot.due(wanted(9)), None, "nobody asked");
        slot.subscribe(version, refused, wanted(now));
        slot
    }

    #[test]
    fn what_the_node_has_or_was_sent_is_not_sent_again() {
        let mut slot = asked(3, 0, 4);
        assert_eq!(slot.due(wanted(3)), None);
        assert_eq!(slot.due(DesiredContent::Unknown), None);
        assert_eq!(slot.due(wanted(4)), Some(content(4)));
        slot.sent(content(4), "a".to_owned());
        assert_eq!(slot.due(wanted(4)), None);
        assert_eq!(slot.answer("a", 4, false), Ok(SlotAnswer::Ack));
        assert_eq!((slot.version(), slot.due(wanted(4))), (4, None));
    }

    #[test]
    fn a_newer_response_supersedes_and_the_answer_to_the_older_is_stale() {
        let mut slot = asked(0, 0, 4);
        slot.sent(content(4), "a".to_owned());
        assert_eq!(slot.due(wanted(5)), Some(content(5)));
        slot.sent(content(5), "b".to_owned());
        assert_eq!(slot.answer("a", 4, false), Ok(SlotAnswer::Stale));
        assert_eq!(slot.answer("a", 0, true), Ok(SlotAnswer::Stale));
        assert_eq!((slot.version(), slot.due(wanted(5))), (0, None));
        assert_eq!(slot.answer("b", 5, false), Ok(SlotAnswer::Ack));
        assert_eq!(slot.answer("b", 5, false), Ok(SlotAnswer::Stale), "an answer counts once");
    }

    #[test]
    fn what_was_refused_is_sent_again_only_when_it_changed() {
        let mut slot = asked(3, 0, 4);
        slot.sent(content(4), "a".to_owned());
        assert_eq!(slot.answer("a", 3, true), Ok(SlotAnswer::Nack { refused: 4 }));
        assert_eq!(slot.due(wanted(4)), None);
        assert!(slot.due(wanted(5)).is_some());
        let signed_anew = Content { fingerprint: Digest([0xff; 32]), ..content(4) };
        assert_eq!(slot.due(DesiredContent::Content(signed_anew)), Some(signed_anew));

        let slot = asked(3, 4, 4);
        assert_eq!(slot.due(wanted(4)), None);
        assert_eq!(slot.due(DesiredContent::Content(signed_anew)), Some(signed_anew));
        let slot = asked(3, 4, 3);
        assert_eq!((slot.due(DesiredContent::Content(signed_anew)), slot.due(wanted(5))), (None, Some(content(5))));
    }

    #[test]
    fn a_slot_is_emptied_once() {
        let mut slot = asked(3, 0, 3);
        assert_eq!(slot.due(DesiredContent::Nothing), Some(EMPTY));
        slot.sent(EMPTY, "a".to_owned());
        assert_eq!(slot.due(DesiredContent::Nothing), None);
        assert_eq!(slot.answer("a", 0, false), Ok(SlotAnswer::Ack));
        assert_eq!(slot.due(DesiredContent::Nothing), None);
        assert_eq!(asked(0, 0, 0).due(DesiredContent::Nothing), None);
        let mut slot = asked(0, 0, 4);
        slot.sent(content(4), "a".to_owned());
        assert_eq!(slot.due(DesiredContent::Nothing), Some(EMPTY), "what is being applied is to go");
    }

    #[test]
    fn an_ack_names_what_was_sent() {
        let mut slot = asked(3, 0, 4);
        slot.sent(content(4), "a".to_owned());
        assert_eq!(slot.answer("a", 3, false), Err(WrongAck { sent: 4 }));
    }
}
