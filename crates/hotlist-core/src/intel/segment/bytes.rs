//! Numbers, varints and texts in a segment: reading without trust, and writing.

use jiff::Timestamp;

/// The longest varint.
const VARINT_BYTES: usize = 5;
/// Bytes of a `time`.
pub const TIME_BYTES: usize = 12;

/// Two bytes at a place.
#[inline]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// Four bytes at a place.
#[inline]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// Eight bytes at a place.
#[inline]
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// Reads one thing after the other; `None` is the end, or what cannot be.
#[derive(Clone, Debug)]
pub struct Cursor<'b> {
    rest: &'b [u8],
}

impl<'b> Cursor<'b> {
    /// From the first byte.
    #[inline]
    pub fn new(bytes: &'b [u8]) -> Cursor<'b> {
        Cursor { rest: bytes }
    }

    #[inline]
    pub fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// The next bytes.
    #[inline]
    pub fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next byte.
    #[inline]
    pub fn u8(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.take(2).and_then(|bytes| u16_at(bytes, 0))
    }

    /// The next four bytes.
    #[inline]
    pub fn u32(&mut self) -> Option<u32> {
        self.take(4).and_then(|bytes| u32_at(bytes, 0))
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.take(8).and_then(|bytes| u64_at(bytes, 0))
    }

    /// The next varint.
    #[inline]
    pub fn varint(&mut self) -> Option<usize> {
        let mut value = 0u64;
        for at in 0..VARINT_BYTES {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                // One way to write each number, so that equal segments are equal bytes.
                return (at == 0 || byte != 0).then(|| usize::try_from(value).ok()).flatten();
            }
        }
        None
    }

    /// The next text.
    pub fn text(&mut self) -> Option<&'b str> {
        let length = self.varint()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// The next time.
    pub fn time(&mut self) -> Option<Timestamp> {
        time_at(self.take(TIME_BYTES)?, 0)
    }
}

/// A time at a place.
pub fn time_at(bytes: &[u8], at: usize) -> Option<Timestamp> {
    let seconds = u64_at(bytes, at)?.cast_signed();
    let nanoseconds = u32_at(bytes, at + 8)?;
    if nanoseconds >= 1_000_000_000 {
        return None;
    }
    Timestamp::from_nanosecond(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)).ok()
}

/// Appends a time.
pub fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    let nanoseconds = time.as_nanosecond();
    let seconds = nanoseconds.div_euclid(1_000_000_000) as i64;
    out.extend(seconds.to_le_bytes());
    out.extend((nanoseconds.rem_euclid(1_000_000_000) as u32).to_le_bytes());
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, value: usize) {
    let mut value = value;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a text.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(number in 0usize..1 << 35, text in ".*", nanoseconds in any::<i64>()) {
            let time = Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap();
            let mut out = Vec::new();
            put_varint(&mut out, number);
            put_text(&mut out, &text);
            put_time(&mut out, time);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.varint(), Some(number));
            prop_assert_eq!(cursor.text(), Some(text.as_str()));
            prop_assert_eq!(cursor.time(), Some(time));
            prop_assert!(cursor.rest().is_empty());
        }
    }

    #[test]
    fn a_number_has_one_spelling_and_a_time_its_bounds() {
        assert_eq!(Cursor::new(&[0x80, 0]).varint(), None);
        assert_eq!(Cursor::new(&[0x80; 6]).varint(), None);
        assert_eq!(Cursor::new(&[5]).text(), None);
        let mut time = [0; TIME_BYTES];
        time[8..].copy_from_slice(&1_000_000_000u32.to_le_bytes());
        assert_eq!(time_at(&time, 0), None);
        assert_eq!(time_at(&[0xff; TIME_BYTES], 0), None);
    }
}
