//! Lists what is not used of an indicator file, line by line.

use std::io::{self, Write};

use crate::escape::Escaped;
use crate::feed::load::Outcome;

/// Writes `file:line: reason (excerpt)` for each entry that is not used, or the reason that the whole file is not.
pub(super) fn unusable(outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let file = Escaped(outcome.file.path.display());
    let import = match &outcome.import {
        Ok(import) => import,
        Err(error) => return writeln!(out, "{}", Escaped(error)),
    };
    for unusable in &import.unusable {
        writeln!(out, "{file}:{}: {} ({})", unusable.line, Escaped(&unusable.reason), Escaped(&unusable.excerpt))?;
    }
    if import.unlisted > 0 {
        writeln!(out, "{file}: {} more places that cannot be used", import.unlisted)?;
    }
    for (line, refused) in &outcome.refused {
        writeln!(out, "{file}:{line}: too generic: {} ({})", refused.reason, Escaped(&refused.value))?;
    }
    Ok(())
}
