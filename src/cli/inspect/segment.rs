//! The output of `hotlist inspect` for a segment.

use std::io::{self, Write};
use std::path::Path;

use crate::counted::count;
use crate::escape::Escaped;
use crate::intel::segment::Segment;
use crate::observable::Kind;

/// Its feeds with their kinds, then its parts.
pub(super) fn describe(path: &Path, segment: &Segment, out: &mut dyn Write) -> io::Result<()> {
    let bytes = segment.as_bytes().len();
    writeln!(out, "{}", Escaped(path.display()))?;
    writeln!(out, "  segment {}", segment.digest())?;
    let indicators = |number: u64| count(number, "indicator", "indicators");
    let contexts = count(segment.contexts() as u64, "context", "contexts");
    write!(out, "  {}, {contexts}, {bytes} bytes", indicators(u64::from(segment.len())))?;
    match segment.len() {
        0 => writeln!(out)?,
        number => writeln!(out, " ({:.0} per indicator)", bytes as f64 / f64::from(number))?,
    }
    if !segment.tombstones().is_empty() {
        writeln!(out, "  withdraws {} of earlier segments", indicators(segment.tombstones().len() as u64))?;
    }
    for feed in segment.feeds() {
        let what = feed.origin.as_str();
        writeln!(out, "  {what} {}, {}", Escaped(&feed.name), indicators(u64::from(feed.len)))?;
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
