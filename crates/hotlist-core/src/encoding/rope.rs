//! A message in several parts, so that unchanged bytes are never copied.

use bytes::{Bytes, BytesMut};

/// Bytes in order, as slices of the request that arrived and of freshly written records.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    parts: Vec<Bytes>,
    len: usize,
}

impl Rope {
    /// Appends a part; an empty one is dropped.
    pub fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.len += part.len();
            self.parts.push(part);
        }
    }

    /// Total bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The parts in order.
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// The message as one contiguous buffer: the part itself when there is one only, else a copy.
    pub fn to_bytes(&self) -> Bytes {
        match self.parts.as_slice() {
            [] => Bytes::new(),
            [only] => only.clone(),
            parts => {
                let mut joined = BytesMut::with_capacity(self.len);
                parts.iter().for_each(|part| joined.extend_from_slice(part));
                joined.freeze()
            }
        }
    }
}

impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Rope {
        let mut rope = Rope::default();
        rope.push(bytes);
        rope
    }
}
