//! What `inspect` says of a segment.

use std::io::{self, Write};
use std::path::Path;

use crate::escape::Escaped;
use crate::intel::segment::Segment;
use crate::intel::snapshot::Origin;
use crate::observable::Kind;

/// Its feeds with their kinds, then its parts.
pub(super) fn describe(path: &Path, segment: &Segment, out: &mut dyn Write) -> io::Result<()> {
    let bytes = segment.as_bytes().len();
    writeln!(out, "{}", Escaped(path.display()))?;
    writeln!(out, "  segment {}", segment.digest())?;
    write!(out, "  {} indicators, {} contexts, {bytes} bytes", segment.len(), segment.contexts())?;
    match segment.len() {
        0 => writeln!(out)?,
        indicators => writeln!(out, " ({:.1} an indicator)", bytes as f64 / f64::from(indicators))?,
    }
    if !segment.tombstones().is_empty() {
        writeln!(out, "  withdraws {} indicators of earlier segments", segment.tombstones().len())?;
    }
    for feed in segment.feeds() {
        let what = match feed.origin {
            Origin::Feed => "feed",
            Origin::Collection => "collection",
        };
        writeln!(out, "  {what} {}, {} indicators", Escaped(&feed.name), feed.len)?;
        for (kind, count) in Kind::ALL.iter().zip(feed.values).filter(|(_, count)| *count > 0) {
            writeln!(out, "  {count:>9} {kind}")?;
        }
    }
    writeln!(out, "  parts, in bytes:")?;
    for (part, parameter, bytes) in segment.sections() {
        writeln!(out, "  {bytes:>11} {part} {parameter}")?;
    }
    writeln!(out)
}
