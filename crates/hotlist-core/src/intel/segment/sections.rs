//! The head of a segment and its table of sections.

use sha2::{Digest as _, Sha256};

use super::bytes::{u16_at, u32_at, u64_at};
use super::{Digest, SegmentError};
use crate::observable::CANONICAL_VERSION;

/// The first bytes.
const MAGIC: [u8; 8] = [0x89, b'H', b'L', b'S', b'\r', b'\n', 0x1a, b'\n'];
/// The version of the format.
pub(super) const VERSION: u16 = 1;
/// Bytes before the table of sections.
const HEAD: usize = 48;
/// Bytes of an entry of that table.
const ENTRY: usize = 24;
/// Bytes behind the last section.
const TRAILER: usize = 32;

/// The content of a section. The number is that of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub(super) enum SectionKind {
    Feeds = 1,
    Paths = 2,
    Schemes = 3,
    Contexts = 4,
    ContextOf = 5,
    Optional = 6,
    Revoked = 7,
    Fingerprints = 8,
    Keys = 9,
    Networks4 = 10,
    Networks6 = 11,
    Postings = 12,
    Comparisons = 13,
    Tombstones = 14,
}

impl SectionKind {
    const ALL: [SectionKind; 14] = [
        SectionKind::Feeds,
        SectionKind::Paths,
        SectionKind::Schemes,
        SectionKind::Contexts,
        SectionKind::ContextOf,
        SectionKind::Optional,
        SectionKind::Revoked,
        SectionKind::Fingerprints,
        SectionKind::Keys,
        SectionKind::Networks4,
        SectionKind::Networks6,
        SectionKind::Postings,
        SectionKind::Comparisons,
        SectionKind::Tombstones,
    ];
}

/// The parameters of [`SectionKind::Optional`].
pub(super) mod optional {
    pub(in super::super) const VALID_FROM: u16 = 0;
    pub(in super::super) const VALID_UNTIL: u16 = 1;
    pub(in super::super) const PORT: u16 = 2;
    pub(in super::super) const ID: u16 = 3;
    pub(in super::super) const PROGRAM: u16 = 4;
}

/// One section, by where it begins and ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) kind: SectionKind,
    pub(super) parameter: u16,
    pub(super) range: (usize, usize),
}

#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) hash_key: [u8; 16],
    pub(super) indicators: u32,
    pub(super) sections: Vec<Section>,
}

impl Head {
    pub(super) fn section(&self, kind: SectionKind, parameter: u16) -> Option<(usize, usize)> {
        let found = self.sections.iter().find(|section| section.kind == kind && section.parameter == parameter);
        found.map(|section| section.range)
    }

    /// Reads the head; every offset in it lies in the file afterwards.
    pub(super) fn read(bytes: &[u8]) -> Result<Head, SegmentError> {
        let other = |found: &str| SegmentError::Format { found: found.to_owned() };
        let malformed = |what| SegmentError::at("the head", what);
        if bytes.is_empty() {
            return Err(other("it is empty"));
        }
        if !bytes.starts_with(&MAGIC) {
            return Err(other("it begins with other bytes"));
        }
        let version = u16_at(bytes, 8).ok_or(other("it is cut off"))?;
        if version != VERSION {
            return Err(SegmentError::Format { found: format!("it has version {version}") });
        }
        let forms = canonical_version(bytes).ok_or(other("it is cut off"))?;
        if forms != CANONICAL_VERSION {
            return Err(SegmentError::Forms { found: forms });
        }
        let cut_off = || malformed("it is cut off");
        let number = |at| u32_at(bytes, at).ok_or_else(cut_off);
        if u64_at(bytes, 32).ok_or_else(cut_off)? != bytes.len() as u64 {
            return Err(malformed("the file is longer or shorter than it says"));
        }
        if number(44)? != 0 {
            return Err(malformed("something is set that has no meaning"));
        }
        let count = number(12)? as usize;
        let hash_key = bytes.get(16..).and_then(|bytes| bytes.first_chunk()).copied().ok_or_else(cut_off)?;
        let table = count.checked_mul(ENTRY).and_then(|length| bytes.get(HEAD..)?.get(..length)).ok_or_else(cut_off)?;
        let end = bytes.len().checked_sub(TRAILER).ok_or_else(cut_off)?;
        let mut sections: Vec<Section> = Vec::with_capacity(count);
        let mut here = HEAD + table.len();
        for entry in table.chunks_exact(ENTRY) {
            let fields = (u16_at(entry, 0), u16_at(entry, 2), u32_at(entry, 4), u64_at(entry, 8), u64_at(entry, 16));
            let (Some(kind), Some(parameter), Some(0), Some(offset), Some(length)) = fields else {
                return Err(malformed("an entry of the table of sections has something set that has no meaning"));
            };
            let kind = SectionKind::ALL.into_iter().find(|known| *known as u16 == kind);
            let kind = kind.ok_or(malformed("it has a section of a kind that this version does not know"))?;
            if sections.last().is_some_and(|last| (last.kind, last.parameter) >= (kind, parameter)) {
                return Err(malformed("the sections are not in order, or one is duplicated"));
            }
            let from = here.next_multiple_of(8);
            let gap = bytes.get(here..from).unwrap_or(&[1]);
            if offset != from as u64 || gap.iter().any(|byte| *byte != 0) {
                return Err(malformed("the sections do not follow one another"));
            }
            let to = usize::try_from(length).ok().filter(|length| *length > 0);
            let to = to.and_then(|length| from.checked_add(length)).filter(|to| *to <= end);
            here = to.ok_or(malformed("a section is empty, or reaches beyond the file"))?;
            sections.push(Section { kind, parameter, range: (from, here) });
        }
        if here != end {
            return Err(malformed("there are bytes behind the last section"));
        }
        Ok(Head { hash_key, indicators: number(40)?, sections })
    }
}

/// The version of the canonical forms that the head names.
pub(super) fn canonical_version(bytes: &[u8]) -> Option<u16> {
    u16_at(bytes.strip_prefix(&MAGIC)?, 2)
}

/// The whole file.
pub(super) fn write(hash_key: &[u8; 16], indicators: u32, sections: &[(SectionKind, u16, Vec<u8>)]) -> Vec<u8> {
    let mut places = Vec::with_capacity(sections.len());
    let mut end = HEAD + sections.len() * ENTRY;
    for (_, _, section) in sections {
        let from = end.next_multiple_of(8);
        places.push(from);
        end = from + section.len();
    }
    let mut out = Vec::with_capacity(end + TRAILER);
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend(CANONICAL_VERSION.to_le_bytes());
    out.extend((sections.len() as u32).to_le_bytes());
    out.extend(hash_key);
    out.extend(((end + TRAILER) as u64).to_le_bytes());
    out.extend(indicators.to_le_bytes());
    out.extend([0; 4]);
    for ((kind, parameter, section), from) in sections.iter().zip(&places) {
        out.extend((*kind as u16).to_le_bytes());
        out.extend(parameter.to_le_bytes());
        out.extend([0; 4]);
        out.extend((*from as u64).to_le_bytes());
        out.extend((section.len() as u64).to_le_bytes());
    }
    for ((_, _, section), from) in sections.iter().zip(&places) {
        out.resize(*from, 0);
        out.extend_from_slice(section);
    }
    let checksum = Sha256::digest(&out);
    out.extend_from_slice(&checksum);
    out
}

/// The digest of the file, when the checksum at its end holds.
pub(super) fn verify(bytes: &[u8]) -> Result<Digest, SegmentError> {
    let (content, trailer) =
        bytes.len().checked_sub(TRAILER).and_then(|end| bytes.split_at_checked(end)).ok_or(SegmentError::Checksum)?;
    let mut hasher = Sha256::new();
    hasher.update(content);
    let checksum = hasher.clone().finalize();
    hasher.update(trailer);
    match checksum.as_slice() == trailer {
        true => Ok(digest_of(hasher)),
        false => Err(SegmentError::Checksum),
    }
}

/// The digest of the file, whatever is in it.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(bytes);
    digest_of(hasher)
}

fn digest_of(hasher: Sha256) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(&hasher.finalize());
    Digest(digest)
}
