//! Protobuf's wire format on slices: reading fields with every length checked, writing varints and fields.
//!
//! The walkers read messages without decoding them, so this is all of protobuf that the hot path needs. Facts: the
//! encoding page of the Protocol Buffers documentation. Unknown fields are stepped over, groups included.

/// A message that ends inside a field, or a tag or varint that protobuf does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not protobuf at byte {at}: a tag, varint or length there is cut short or not allowed; check what sent it")]
pub struct Malformed {
    /// Where reading stopped, counted from the start of the message.
    pub at: usize,
}

/// A field's content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Payload<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: a string, bytes or a message.
    Bytes(&'a [u8]),
    /// Wire types 3 and 4: a group, stepped over.
    Group,
    /// Wire type 5.
    Fixed32(u32),
}

/// One field of a message, with where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// The field number, never 0.
    pub number: u32,
    /// Its content.
    pub payload: Payload<'a>,
    /// Where its tag starts.
    pub start: usize,
    /// Where its content ends; that of wire type 2 starts at `end` less its length.
    pub end: usize,
}

/// Reads the fields of one message in order.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

/// Groups within groups that are read. Decoders allow 100 levels (C++, Java, Rust) to 10,000 (Go).
const MAX_GROUPS: usize = 10_000;

impl<'a> Fields<'a> {
    /// A reader at the start of `message`.
    #[inline]
    pub fn new(message: &'a [u8]) -> Fields<'a> {
        Fields { message, at: 0 }
    }

    /// The next field, `None` at the end of the message.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.at == self.message.len() {
            return Ok(None);
        }
        let start = self.at;
        let tag = self.varint()?;
        let (number, wire_type) = (tag >> 3, tag & 7);
        if number == 0 || tag > u64::from(u32::MAX) {
            return Err(Malformed { at: start });
        }
        let payload = match wire_type {
            2 => Payload::Bytes(self.length_delimited()?),
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.array()?)),
            5 => Payload::Fixed32(u32::from_le_bytes(self.array()?)),
            3 => {
                // invariant: the tag fits 32 bits.
                self.skip_group(number as u32)?;
                Payload::Group
            }
            _ => return Err(Malformed { at: start }),
        };
        Ok(Some(Field { number: number as u32, payload, start, end: self.at }))
    }

    /// Takes the next field when it is of wire type 2, its tag is the one byte `tag` and its length takes at most two
    /// bytes, as nearly all in an event are. `None` says nothing: ask [`Fields::next_field`].
    #[inline]
    pub fn take_short(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&[found, low], rest) = self.message.get(self.at..)?.split_first_chunk::<2>()?;
        if found != tag {
            return None;
        }
        let (content, after) = if low < 0x80 {
            rest.split_at_checked(usize::from(low))?
        } else {
            let (&high, rest) = rest.split_first().filter(|(high, _)| **high < 0x80)?;
            rest.split_at_checked(usize::from(low & 0x7f) | usize::from(high) << 7)?
        };
        self.at = self.message.len() - after.len();
        Some(content)
    }

    /// Whether every field was taken.
    #[inline]
    pub fn is_at_end(&self) -> bool {
        self.at == self.message.len()
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.message.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let start = self.at;
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let &byte = self.message.get(self.at).ok_or(Malformed { at: start })?;
            self.at += 1;
            // The tenth byte holds bit 63 only.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed { at: start })
    }

    #[inline]
    fn length_delimited(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.varint()?;
        let rest = self.message.get(self.at..).unwrap_or_default();
        // A length beyond usize is beyond the slice too.
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let content = rest.get(..length).ok_or(Malformed { at: self.at })?;
        self.at += length;
        Ok(content)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = self.message.get(self.at..).unwrap_or_default();
        let bytes = rest.first_chunk::<N>().ok_or(Malformed { at: self.at })?;
        self.at += N;
        Ok(*bytes)
    }

    /// Steps over a group up to its end tag. Iterative, so that nesting costs heap and not stack, and no more heap than
    /// [`MAX_GROUPS`] takes: a level of nesting may be one byte of the message.
    #[cold]
    fn skip_group(&mut self, number: u32) -> Result<(), Malformed> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            let start = self.at;
            let tag = self.varint()?;
            let number = u32::try_from(tag >> 3).map_err(|_| Malformed { at: start })?;
            match tag & 7 {
                0 => drop(self.varint()?),
                1 => drop(self.array::<8>()?),
                2 => drop(self.length_delimited()?),
                3 if open.len() < MAX_GROUPS => open.push(number),
                4 if number == innermost => drop(open.pop()),
                5 => drop(self.array::<4>()?),
                _ => return Err(Malformed { at: start }),
            }
        }
        Ok(())
    }
}

/// The content of a message that is one field of wire type 2, whose tag is the one byte `tag` and whose length takes at
/// most two bytes. `None` says nothing: ask [`Fields::next_field`].
#[inline(always)]
pub fn only_short(message: &[u8], tag: u8) -> Option<&[u8]> {
    let (&[found, low], rest) = message.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    if low < 0x80 {
        return (rest.len() == usize::from(low)).then_some(rest);
    }
    let (&high, rest) = rest.split_first()?;
    (high < 0x80 && rest.len() == (usize::from(low & 0x7f) | usize::from(high) << 7)).then_some(rest)
}

/// Bytes that `value` takes as a varint.
#[inline]
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends `value` as a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the tag and length of a length-delimited field (wire type 2).
pub fn put_header(out: &mut Vec<u8>, number: u32, length: usize) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, length as u64);
}

/// Appends a whole length-delimited field.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    put_header(out, number, content.len());
    out.extend_from_slice(content);
}

/// Appends a whole length-delimited field whose content `put` appends. Gives what `put` gives.
pub fn put_nested<R>(out: &mut Vec<u8>, number: u32, put: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    put_varint(out, u64::from(number) << 3 | 2);
    // One byte for the length. What is longer than that says moves up.
    let start = out.len();
    out.push(0);
    let result = put(out);
    let length = out.len() - start - 1;
    if length < 0x80 {
        if let Some(low) = out.get_mut(start) {
            *low = length as u8;
        }
    } else {
        let more = varint_len(length as u64) - 1;
        out.resize(out.len() + more, 0);
        out.copy_within(start + 1..start + 1 + length, start + 1 + more);
        let mut rest = length;
        for byte in out.iter_mut().skip(start).take(more) {
            *byte = rest as u8 | 0x80;
            rest >>= 7;
        }
        if let Some(last) = out.get_mut(start + more) {
            *last = rest as u8;
        }
    }
    result
}

/// Appends a whole varint field (wire type 0).
pub fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Appends a whole field of eight bytes (wire type 1).
pub fn put_fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a whole field of four bytes (wire type 5).
pub fn put_fixed32(out: &mut Vec<u8>, number: u32, value: u32) {
    put_varint(out, u64::from(number) << 3 | 5);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Bytes that a length-delimited field takes with its tag and length, for a field number below 16.
#[inline]
pub fn framed_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(message: &[u8]) -> Result<Vec<Field<'_>>, Malformed> {
        let mut fields = Fields::new(message);
        let mut found = Vec::new();
        while let Some(field) = fields.next_field()? {
            found.push(field);
        }
        Ok(found)
    }

    #[test]
    fn each_wire_type_is_read_and_groups_are_stepped_over() {
        let message = [
            &[0x08, 0x96, 0x01][..],
            &[0x11, 1, 0, 0, 0, 0, 0, 0, 0],
            &[0x1a, 2, b'h', b'i'],
            &[0x23, 0x08, 1, 0x2b, 0x2c, 0x12, 1, 9, 0x24],
            &[0x35, 2, 0, 0, 0],
        ]
        .concat();
        let payloads: Vec<_> = read(&message).unwrap().iter().map(|field| (field.number, field.payload)).collect();
        let expected = [
            (1, Payload::Varint(150)),
            (2, Payload::Fixed64(1)),
            (3, Payload::Bytes(b"hi")),
            (4, Payload::Group),
            (6, Payload::Fixed32(2)),
        ];
        assert_eq!(payloads, expected);
    }

    #[test]
    fn what_protobuf_forbids_is_refused_with_its_place() {
        let cases: [(&[u8], usize); 9] = [
            (&[0x00], 0),                                                     // field number 0
            (&[0x0c], 0),                                                     // end of a group that never began
            (&[0x0e], 0),                                                     // wire type 6
            (&[0x08], 1),                                                     // no value
            (&[0x0a, 5, 1], 2),                                               // longer than the message
            (&[0x09, 1], 1),                                                  // half a fixed64
            (&[0x0b, 0x14], 1),                                               // another group's end
            (&[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], 1),        // more than 64 bits
            (&[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0], 11), // a length of 2^64 - 1
        ];
        for (message, at) in cases {
            assert_eq!(read(message), Err(Malformed { at }), "{message:02x?}");
        }
    }

    /// Guarantee: groups within groups are read to a bounded depth, since the list of the open ones takes more memory than
    /// the message.
    #[test]
    fn groups_are_nested_to_a_bounded_depth() {
        let nested = |depth| [vec![0x0b; depth], vec![0x0c; depth]].concat();
        assert_eq!(read(&nested(MAX_GROUPS)).unwrap()[0].payload, Payload::Group);
        assert_eq!(read(&nested(MAX_GROUPS + 1)), Err(Malformed { at: MAX_GROUPS }));
        assert_eq!(read(&vec![0x0b; 1 << 20]), Err(Malformed { at: MAX_GROUPS }));
    }

    proptest! {
        /// Every value is read back as it was written, at the announced length.
        #[test]
        fn varints_round_trip(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let mut message = vec![0x08];
            put_varint(&mut message, value);
            prop_assert_eq!(message.len(), 1 + varint_len(value));
            prop_assert_eq!(read(&message).unwrap()[0].payload, Payload::Varint(value));
        }

        /// The field around appended bytes is right, at every length and depth.
        #[test]
        fn nested_is_written_as_from_inside_out(before: Vec<u8>, length in 0usize..40_000, shift in 0u32..16, depth in 0usize..4) {
            fn put(out: &mut Vec<u8>, content: &[u8], depth: usize) {
                match depth {
                    0 => out.extend_from_slice(content),
                    _ => put_nested(out, 20, |out| put(out, content, depth - 1)),
                }
            }
            let content = vec![7; length >> shift];
            let mut out = before.clone();
            put(&mut out, &content, depth);
            let plain = (0..depth).fold(content, |content, _| {
                let mut out = Vec::new();
                put_bytes(&mut out, 20, &content);
                out
            });
            prop_assert_eq!(out, [before, plain].concat());
        }

        /// The short cut takes what the plain path takes, or nothing.
        #[test]
        fn the_short_cut_is_the_plain_path(content: Vec<u8>, cut in 0usize..300, junk: Vec<u8>) {
            let mut framed = Vec::new();
            put_bytes(&mut framed, 1, &content);
            framed.truncate(framed.len().saturating_sub(cut));
            for message in [&framed, &junk] {
                let tag = 0x0a;
                let (mut short, mut plain) = (Fields::new(message), Fields::new(message));
                if let Some(content) = short.take_short(tag) {
                    let field = plain.next_field().unwrap().unwrap();
                    prop_assert_eq!((field.number, field.payload), (1, Payload::Bytes(content)));
                    prop_assert_eq!(short.at, plain.at);
                } else {
                    prop_assert_eq!(short.at, 0);
                }
                let mut short = Fields::new(message);
                let only = short.take_short(tag).filter(|_| short.is_at_end());
                prop_assert_eq!(only_short(message, tag), only);
            }
        }

        /// Arbitrary bytes are read or refused, never a panic, and fields cover the message without gap.
        #[test]
        fn arbitrary_bytes_never_panic(message: Vec<u8>) {
            if let Ok(fields) = read(&message) {
                let mut at = 0;
                for field in fields {
                    prop_assert_eq!(field.start, at);
                    at = field.end;
                }
                prop_assert_eq!(at, message.len());
            }
        }
    }
}
