//! Rewrites the `:authority` of requests over a Unix socket into one that HTTP/2 servers accept.
//!
//! gRPC clients send the path of the socket as `:authority`, percent-encoded or not. That is not a valid authority of
//! RFC 3986, so the HTTP/2 library resets the stream before any handler sees it. Hotlist never uses the authority, so
//! invalid characters are replaced by `-` on arrival. Both characters have the same length in every encoding of HPACK
//! (RFC 7541), so the tables of both ends stay identical, and nothing has to be buffered.

use std::mem;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
/// The index of `:authority` in the static table (RFC 7541 appendix A).
const AUTHORITY: u64 = 1;
const NAME: &[u8] = b":authority";

/// Rewrites the bytes that a client sends after its preface, in pieces of any length.
#[derive(Debug)]
pub(super) struct AuthorityRewriter {
    frame: Frame,
    block: Block,
}

/// The position of the next byte in a frame.
#[derive(Debug)]
enum Frame {
    Header {
        bytes: [u8; 9],
        found: usize,
    },
    PadLength {
        left: usize,
        priority: usize,
    },
    /// The fields of PRIORITY.
    Priority {
        left: usize,
        priority: usize,
        padding: usize,
    },
    /// The fragment of a header block, and the padding after it.
    Fragment {
        left: usize,
        padding: usize,
    },
    /// Bytes that are not rewritten.
    Rest {
        left: usize,
    },
}

/// The position of the next byte in a header block.
#[derive(Debug, Default)]
enum Block {
    #[default]
    Start,
    /// The rest of an integer (RFC 7541 section 5.1).
    Integer {
        value: u64,
        shift: u32,
        then: IntegerUse,
    },
    /// The first byte of the length of a string.
    Length(StringRole),
    Text {
        left: u64,
        huffman: Option<Huffman>,
        role: StringRole,
    },
}

/// The meaning of an integer.
#[derive(Clone, Copy, Debug)]
enum IntegerUse {
    Ignore,
    NameIndex,
    Length { is_huffman: bool, role: StringRole },
}

/// The meaning of a string.
#[derive(Clone, Copy, Debug)]
enum StringRole {
    /// A name, with the number of its bytes that match `:authority` so far.
    Name {
        matches: Option<usize>,
    },
    Value {
        is_authority: bool,
    },
}

/// The Huffman decoder of a string, bit by bit.
#[derive(Clone, Copy, Debug, Default)]
struct Huffman {
    /// The bits of the current code, and their number.
    code: u32,
    bits: u32,
    /// Codes of more than eight bits are not decoded: such text is not rewritten.
    lost: bool,
}

impl Default for AuthorityRewriter {
    fn default() -> AuthorityRewriter {
        AuthorityRewriter { frame: Frame::Header { bytes: [0; 9], found: 0 }, block: Block::Start }
    }
}

impl AuthorityRewriter {
    /// Rewrites the next bytes of the connection in place.
    pub(super) fn rewrite(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = bytes.get_mut(taken..).unwrap_or_default();
        }
    }

    /// Consumes some bytes, at least one, and returns how many.
    fn step(&mut self, bytes: &mut [u8]) -> usize {
        let many = |left: usize| left.min(bytes.len());
        match &mut self.frame {
            Frame::Header { bytes: header, found } => {
                let (Some(slot), Some(byte)) = (header.get_mut(*found), bytes.first()) else { return bytes.len() };
                *slot = *byte;
                *found += 1;
                if *found == header.len() {
                    let header = *header;
                    self.begin(header);
                }
                1
            }
            Frame::PadLength { left, priority } => {
                let padding = usize::from(bytes.first().copied().unwrap_or_default());
                self.frame = Frame::Priority { left: left.saturating_sub(1), priority: *priority, padding };
                self.settle();
                1
            }
            Frame::Priority { left, priority, .. } => {
                let taken = many(*priority);
                *priority -= taken;
                *left = left.saturating_sub(taken);
                self.settle();
                taken.max(1)
            }
            Frame::Fragment { left, .. } => {
                let taken = many(*left);
                *left -= taken;
                for byte in bytes.iter_mut().take(taken) {
                    self.block.step(byte);
                }
                self.settle();
                taken.max(1)
            }
            Frame::Rest { left } => {
                let taken = many(*left);
                *left -= taken;
                self.settle();
                taken.max(1)
            }
        }
    }

    fn begin(&mut self, header: [u8; 9]) {
        let [a, b, c, kind, flags, ..] = header;
        let left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let priority = if kind == HEADERS && flags & PRIORITY != 0 { 5 } else { 0 };
        if kind == HEADERS {
            self.block = Block::Start;
        }
        self.frame = match kind {
            HEADERS if flags & PADDED != 0 && left > 0 => Frame::PadLength { left, priority },
            HEADERS => Frame::Priority { left, priority, padding: 0 },
            CONTINUATION => Frame::Fragment { left, padding: 0 },
            _ => Frame::Rest { left },
        };
        self.settle();
    }

    /// Moves to the next part of the frame, or to the next frame, when the current one is complete.
    fn settle(&mut self) {
        loop {
            self.frame = match self.frame {
                Frame::Priority { left, priority: 0, padding } => {
                    Frame::Fragment { left: left.saturating_sub(padding), padding: padding.min(left) }
                }
                Frame::Fragment { left: 0, padding } => Frame::Rest { left: padding },
                Frame::Rest { left: 0 } => Frame::Header { bytes: [0; 9], found: 0 },
                _ => return,
            };
        }
    }
}

impl Block {
    fn step(&mut self, byte: &mut u8) {
        *self = match mem::take(self) {
            Block::Start => match *byte {
                first if first & 0x80 != 0 => Block::integer(first, 7, IntegerUse::Ignore),
                first if first & 0xc0 == 0x40 => Block::integer(first, 6, IntegerUse::NameIndex),
                first if first & 0xe0 == 0x20 => Block::integer(first, 5, IntegerUse::Ignore),
                first => Block::integer(first, 4, IntegerUse::NameIndex),
            },
            Block::Integer { value, shift, then } => {
                let value = value.saturating_add(u64::from(*byte & 0x7f).checked_shl(shift).unwrap_or(u64::MAX));
                match *byte & 0x80 {
                    0 => then.with(value),
                    _ => Block::Integer { value, shift: (shift + 7).min(63), then },
                }
            }
            Block::Length(role) => Block::integer(*byte, 7, IntegerUse::Length { is_huffman: *byte & 0x80 != 0, role }),
            Block::Text { left, mut huffman, mut role } => {
                match (&mut huffman, &mut role) {
                    (Some(huffman), StringRole::Value { is_authority: true }) => huffman.rewrite(byte),
                    (None, StringRole::Value { is_authority: true }) => *byte = allowed(*byte),
                    (None, StringRole::Name { matches }) => {
                        *matches = matches.filter(|at| NAME.get(*at) == Some(byte)).map(|at| at + 1);
                    }
                    (Some(_), StringRole::Name { matches }) => *matches = None,
                    (_, StringRole::Value { is_authority: false }) => {}
                }
                Block::text(left - 1, huffman, role)
            }
        };
    }

    /// Starts an integer in the low bits of a byte.
    fn integer(first: u8, prefix: u32, then: IntegerUse) -> Block {
        let most = (1u64 << prefix) - 1;
        match u64::from(first) & most {
            value if value == most => Block::Integer { value, shift: 0, then },
            value => then.with(value),
        }
    }

    fn text(left: u64, huffman: Option<Huffman>, role: StringRole) -> Block {
        match (left, role) {
            (1.., role) => Block::Text { left, huffman, role },
            (0, StringRole::Name { matches }) => {
                Block::Length(StringRole::Value { is_authority: matches == Some(NAME.len()) })
            }
            (0, StringRole::Value { .. }) => Block::Start,
        }
    }
}

impl IntegerUse {
    fn with(self, value: u64) -> Block {
        match self {
            IntegerUse::Ignore => Block::Start,
            IntegerUse::NameIndex if value == 0 => Block::Length(StringRole::Name { matches: Some(0) }),
            IntegerUse::NameIndex => Block::Length(StringRole::Value { is_authority: value == AUTHORITY }),
            IntegerUse::Length { is_huffman, role } => Block::text(value, is_huffman.then(Huffman::default), role),
        }
    }
}

fn allowed(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-' { byte } else { b'-' }
}

impl Huffman {
    /// Decodes the bits of a byte, and flips the one bit that turns an invalid character into a valid one of the same
    /// length: `/` becomes `3`, `:` becomes `B`, `%` becomes `.` and a space `-`.
    fn rewrite(&mut self, byte: &mut u8) {
        for at in (0..8).rev() {
            if self.lost {
                return;
            }
            (self.code, self.bits) = (self.code << 1 | u32::from(*byte >> at & 1), self.bits + 1);
            // RFC 7541 appendix B: these are the first bits of a space and of `%`, `/`, and `:`.
            if matches!((self.bits, self.code), (5, 0b01010) | (6, 0b011000) | (7, 0b1011100)) {
                *byte ^= 1 << at;
                self.code ^= 1;
            }
            // In this order, ten codes have five bits, 26 have six, 32 have seven and six have eight.
            let ends = match self.bits {
                5 => self.code < 0x0a,
                6 => self.code < 0x2e,
                7 => self.code < 0x7c,
                8 => self.code < 0xfe,
                _ => false,
            };
            if ends {
                *self = Huffman::default();
            } else {
                self.lost = self.bits >= 8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, u8::from(kind != SETTINGS)], payload].concat()
    }

    /// A literal string of HPACK without Huffman code.
    fn text(text: &str) -> Vec<u8> {
        let mut bytes = match text.len() {
            short @ 0..127 => vec![short as u8],
            long => {
                let mut rest = long - 127;
                let mut bytes = vec![127];
                while rest >= 128 {
                    bytes.push((rest % 128) as u8 | 0x80);
                    rest /= 128;
                }
                bytes.push(rest as u8);
                bytes
            }
        };
        bytes.extend(text.as_bytes());
        bytes
    }

    /// `POST http /x`, and the authority with a literal name or the static one.
    fn block(authority: &str, static_name: bool) -> Vec<u8> {
        let name = if static_name { vec![0x41] } else { [vec![0x40], text(":authority")].concat() };
        let path = [vec![0x44], text("/x%2Fy:z")].concat();
        [vec![0x83, 0x86], path, name, text(authority)].concat()
    }

    /// The reading of the HTTP/2 library: path and authority of the first request.
    async fn read(bytes: Vec<u8>) -> Option<(String, String)> {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        tokio::io::AsyncWriteExt::write_all(&mut client, &[PREFACE, &bytes].concat()).await.unwrap();
        let mut connection = h2::server::handshake(server).await.unwrap();
        let accepted = tokio::time::timeout(std::time::Duration::from_secs(1), connection.accept()).await.ok()??;
        let uri = accepted.unwrap().0.into_parts().0.uri;
        Some((uri.path().to_owned(), uri.authority().unwrap().to_string()))
    }

    fn rewritten(mut bytes: Vec<u8>, pieces: usize) -> Vec<u8> {
        let mut authorities = AuthorityRewriter::default();
        bytes.chunks_mut(pieces.max(1)).for_each(|piece| authorities.rewrite(piece));
        bytes
    }

    const SETTINGS: u8 = 4;
    const END: u8 = 4 | 1;

    /// Scenario: the authorities that gRPC clients send over a Unix socket, in one frame or several, padded or not.
    /// Guarantee: the HTTP/2 library accepts them all, and everything else is unchanged. Without the rewriting, the
    /// library refuses them.
    #[tokio::test(start_paused = true)]
    async fn paths_of_sockets_are_taken() {
        for (authority, static_name) in
            [("%2Frun%2Fhotlist%2Fs.sock", true), ("/run/hotlist/s.sock", false), ("unix:a b", true)]
        {
            let whole = block(authority, static_name);
            let (front, back) = whole.split_at(whole.len() - 5);
            let padded = [vec![3], vec![0, 0, 0, 0, 16], whole.clone(), vec![b'%'; 3]].concat();
            for frames in [
                frame(HEADERS, END, &whole),
                frame(HEADERS, END | PADDED | PRIORITY, &padded),
                [frame(HEADERS, 1, front), frame(CONTINUATION, 4, back)].concat(),
            ] {
                let bytes = [frame(SETTINGS, 0, &[]), frames].concat();
                assert_eq!(read(bytes.clone()).await, None, "{authority}");
                for pieces in [1, 7, 1 << 20] {
                    let (path, found) = read(rewritten(bytes.clone(), pieces)).await.unwrap();
                    assert_eq!((path.as_str(), found.len()), ("/x%2Fy:z", authority.len()), "{found}");
                }
            }
        }
    }

    /// `/run/s` as a client that prefers Huffman code writes it, and a host with a port.
    #[tokio::test(start_paused = true)]
    async fn huffman_code_is_read() {
        // `%2Frun%2Fs` is 010101 00010 1100001 101100 101101 101010 010101 00010 1100001 01000, then padding of ones.
        let bits = "010101000101100001101100101101101010010101000101100001".to_owned() + "01000";
        let padded = format!("{bits:1<width$}", width = bits.len().div_ceil(8) * 8);
        let huffman: Vec<u8> = padded
            .as_bytes()
            .chunks(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect();
        let block = [vec![0x83, 0x86, 0x84, 0x41, 0x80 | huffman.len() as u8], huffman].concat();
        let bytes = [frame(SETTINGS, 0, &[]), frame(HEADERS, END, &block)].concat();
        assert_eq!(read(bytes.clone()).await, None);
        let (_, authority) = read(rewritten(bytes, 3)).await.unwrap();
        assert_eq!(authority, ".2Frun.2Fs");
    }

    proptest! {
        /// Law: whatever a client sends, in pieces of any length, nothing panics, and only header frames are changed.
        #[test]
        fn other_frames_are_not_touched(payloads in prop::collection::vec((2u8..9, prop::collection::vec(any::<u8>(), 0..40)), 0..6),
                                        pieces in 1usize..50) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|(kind, payload)| frame(*kind, 0xff, payload)).collect();
            prop_assert_eq!(rewritten(bytes.clone(), pieces), bytes);
        }

        #[test]
        fn anything_is_safe(bytes: Vec<u8>, pieces in 1usize..50) {
            let length = bytes.len();
            prop_assert_eq!(rewritten(bytes, pieces).len(), length);
        }

        /// Law: a valid authority is not changed.
        #[test]
        fn good_authorities_stay(authority in "[a-z0-9.-]{1,200}", pieces in 1usize..50) {
            let bytes = frame(HEADERS, END, &block(&authority, true));
            prop_assert_eq!(rewritten(bytes.clone(), pieces), bytes);
        }
    }
}
