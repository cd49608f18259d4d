//! The limits of a manifest, which bound the memory that a node needs for it.

/// The longest manifest, in bytes.
pub const MAX_BYTES: usize = 4 << 20;
/// The most segments; a merge makes few of many.
pub const MAX_SEGMENTS: usize = 4096;
/// The most revocations; more belong into a segment.
pub const MAX_REVOCATIONS: usize = 100_000;
/// The most rules, one a feed.
pub const MAX_RULES: usize = 10_000;
/// The longest audience, in characters.
pub const MAX_AUDIENCE: usize = 128;
/// The longest name of a feed, in bytes.
pub const MAX_FEED: usize = 255;
/// The longest id or value of a revocation, in bytes.
pub const MAX_TEXT: usize = 16 << 10;
/// The longest segment, in bytes: 1 TiB. The sum over all segments cannot overflow.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 40;
/// The most signatures that are looked at.
pub const MAX_SIGNATURES: usize = 64;
