//! Protobuf written in one go, though a message's length stands before it and is known after it.
//!
//! The contents of all fields go into one buffer, without the tags and lengths of long messages: those are kept next to
//! it and put in at the end, in one pass. Short messages get theirs at once, at the cost of moving less than 128 bytes,
//! so that there are no more long ones than the bytes can account for.

use crate::encoding::wire::{framed_len, put_header};

/// The first length that takes two bytes.
const LONG: usize = 0x80;

/// Bytes that are free before a value is written, besides its text: more than tags and lengths of the value and of every
/// message that can be open around it take.
const MARGIN: usize = 2048;

/// The buffer and what belongs between its bytes.
#[derive(Debug, Default)]
pub(super) struct Tape {
    bytes: Vec<u8>,
    /// The long messages and the open ones, in the order of their starts.
    messages: Vec<Header>,
    /// Bytes that the headers of the long messages will take.
    header_bytes: usize,
}

#[derive(Debug)]
struct Header {
    /// Where in the buffer it belongs.
    at: usize,
    number: u32,
    /// 0 while the message is open.
    length: usize,
}

/// A place on the tape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    message: usize,
    byte: usize,
    /// Encoded bytes before it.
    encoded: usize,
}

impl Mark {
    /// The same place once what stood between two others, not around it, is gone.
    pub(super) fn without(self, start: Mark, end: Mark) -> Mark {
        if self.encoded < end.encoded {
            return self;
        }
        Mark {
            message: self.message - (end.message - start.message),
            byte: self.byte - (end.byte - start.byte),
            encoded: self.encoded - (end.encoded - start.encoded),
        }
    }
}

/// A message that is not yet at its end.
#[must_use]
pub(super) struct Opened(Mark);

impl Tape {
    /// Makes the buffer large enough for a value of `text` bytes and for the headers of all messages that may be open, of
    /// a request of `whole` bytes. Says whether `take` granted the memory.
    pub(super) fn reserve(&mut self, text: usize, whole: usize, take: &mut dyn FnMut(usize) -> bool) -> bool {
        let needed = self.bytes.len() + text + MARGIN;
        if needed > self.bytes.capacity() {
            let capacity = needed.max(self.bytes.capacity() * 2).max(whole);
            if !take(capacity) {
                return false;
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        true
    }

    /// Makes the buffer large enough for the message with its headers. Says whether `take` granted the memory.
    pub(super) fn reserve_headers(&mut self, take: &mut dyn FnMut(usize) -> bool) -> bool {
        let capacity = self.bytes.len() + self.header_bytes;
        if capacity > self.bytes.capacity() {
            if !take(capacity) {
                return false;
            }
            self.bytes.reserve_exact(self.header_bytes);
        }
        true
    }

    /// Where scalar fields are appended.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The present end.
    pub(super) fn mark(&self) -> Mark {
        let (message, byte) = (self.messages.len(), self.bytes.len());
        Mark { message, byte, encoded: byte + self.header_bytes }
    }

    /// Begins a message at a field number below 16.
    pub(super) fn open(&mut self, number: u32) -> Opened {
        let opened = Opened(self.mark());
        self.messages.push(Header { at: self.bytes.len(), number, length: 0 });
        opened
    }

    /// Ends the message that was opened last of those that are open.
    pub(super) fn close(&mut self, Opened(start): Opened) {
        let length = self.mark().encoded - start.encoded;
        let is_last = self.messages.len() == start.message + 1;
        let Some(header) = self.messages.get_mut(start.message) else { return };
        if length < LONG && is_last {
            // One byte of tag and one of length; all of the message is in the buffer.
            let short = [(header.number << 3 | 2) as u8, length as u8];
            self.messages.pop();
            self.bytes.extend_from_slice(&short);
            if let Some(message) = self.bytes.get_mut(start.byte..) {
                message.rotate_right(short.len());
            }
        } else {
            header.length = length;
            self.header_bytes += framed_len(length) - length;
        }
    }

    /// Takes out what was written between two marks, both in the innermost open message. Moves what comes after it;
    /// marks there are [`Mark::without`] it from now on.
    pub(super) fn discard(&mut self, start: Mark, end: Mark) {
        let removed = end.byte - start.byte;
        self.bytes.drain(start.byte..end.byte);
        self.messages.drain(start.message..end.message);
        self.messages.iter_mut().skip(start.message).for_each(|header| header.at -= removed);
        self.header_bytes -= end.encoded - start.encoded - removed;
    }

    /// All that was written, when nothing is open any more.
    ///
    /// Headers are put in from the end to the start, in the same buffer: it is as long as the message most often, so that
    /// there need not be two of them.
    pub(super) fn into_message(self) -> Vec<u8> {
        let mut out = self.bytes;
        let (mut from, mut to) = (out.len(), out.len() + self.header_bytes);
        out.reserve_exact(self.header_bytes);
        out.resize(to, 0);
        let mut written = Vec::with_capacity(16);
        for header in self.messages.iter().rev() {
            // invariant: the headers that are not put in yet take `to - from` bytes, so that nothing is overwritten.
            let content = from.saturating_sub(header.at);
            out.copy_within(header.at..from, to - content);
            (from, to) = (header.at, to - content);
            written.clear();
            put_header(&mut written, header.number, header.length);
            to -= written.len();
            if let Some(place) = out.get_mut(to..to + written.len()) {
                place.copy_from_slice(&written);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::encoding::wire::put_bytes;
    use proptest::prelude::*;

    /// The next output: a scalar, a message, or something that is discarded after what follows it in the message.
    #[derive(Clone, Debug)]
    enum Node {
        Scalar(u8, usize),
        Message(u8, Vec<Node>),
        Discarded(Box<Node>),
    }

    fn node() -> impl Strategy<Value = Node> {
        let scalar =
            (1u8..16, prop_oneof![0usize..4, 100usize..140]).prop_map(|(number, size)| Node::Scalar(number, size));
        scalar.prop_recursive(8, 64, 4, |inner| {
            prop_oneof![
                4 => (1u8..16, prop::collection::vec(inner.clone(), 0..4)).prop_map(|(number, nodes)| Node::Message(number, nodes)),
                1 => inner.prop_map(|node| Node::Discarded(Box::new(node))),
            ]
        })
    }

    fn write(tape: &mut Tape, nodes: &[Node]) {
        let mut discard = VecDeque::new();
        for node in nodes {
            let start = tape.mark();
            match node {
                Node::Scalar(number, size) => put_bytes(tape.bytes(), (*number).into(), &vec![b'x'; *size]),
                Node::Message(number, nodes) => {
                    let opened = tape.open((*number).into());
                    write(tape, nodes);
                    tape.close(opened);
                }
                Node::Discarded(node) => {
                    write(tape, std::slice::from_ref(node));
                    discard.push_back((start, tape.mark()));
                }
            }
        }
        while let Some((start, end)) = discard.pop_front() {
            tape.discard(start, end);
            for (from, to) in &mut discard {
                (*from, *to) = (from.without(start, end), to.without(start, end));
            }
        }
    }

    /// The reference: inner messages first, in buffers of their own.
    fn plain(nodes: &[Node]) -> Vec<u8> {
        let mut out = Vec::new();
        for node in nodes {
            match node {
                Node::Scalar(number, size) => put_bytes(&mut out, (*number).into(), &vec![b'x'; *size]),
                Node::Message(number, nodes) => put_bytes(&mut out, (*number).into(), &plain(nodes)),
                Node::Discarded(_) => {}
            }
        }
        out
    }

    proptest! {
        #[test]
        fn a_tape_is_what_buffers_in_buffers_would_be(nodes in prop::collection::vec(node(), 0..6)) {
            let mut tape = Tape::default();
            write(&mut tape, &nodes);
            let foretold = tape.mark().encoded;
            let message = tape.into_message();
            prop_assert_eq!(message.len(), foretold);
            prop_assert_eq!(message, plain(&nodes));
        }
    }
}
