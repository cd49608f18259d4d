//! How many URL schemes may stand in a feed: a snapshot numbers them, and no single feed may use the numbers up.

use std::collections::HashSet;

use super::Import;
use crate::intel::indicator::TermValue;

/// The schemes of nearly all URLs; they are not counted.
const USUAL: [&str; 5] = ["http", "https", "ftp", "ws", "wss"];

/// The longest scheme. The longest that is registered with IANA has 33 characters.
const MAX_BYTES: usize = 40;

/// The schemes seen so far.
pub struct Schemes {
    known: HashSet<Box<str>>,
    most: usize,
}

impl Schemes {
    /// The most schemes of one file, besides the usual ones.
    pub const OF_A_FILE: usize = 64;
    /// The most schemes of all files together, besides the usual ones.
    pub const OF_ALL_FILES: usize = 1024;

    /// None seen yet, and so many let through.
    pub fn new(most: usize) -> Schemes {
        Schemes { known: HashSet::new(), most }
    }

    /// Takes note of schemes that are in use already.
    #[must_use]
    pub fn with<'a>(mut self, schemes: impl IntoIterator<Item = &'a str>) -> Schemes {
        self.known.extend(schemes.into_iter().filter(|scheme| !USUAL.contains(scheme)).map(Box::from));
        self
    }

    /// Lets a value pass unless it is a URL with a scheme too many; an error says why not.
    pub fn admit(&mut self, value: &TermValue) -> Result<(), String> {
        let TermValue::Url(url) = value else { return Ok(()) };
        let Some(scheme) = url.scheme().filter(|scheme| !USUAL.contains(scheme)) else { return Ok(()) };
        if self.known.contains(scheme) {
            return Ok(());
        }
        if scheme.len() > MAX_BYTES {
            return Err(format!("a URL scheme of {} characters; no scheme has more than {MAX_BYTES}", scheme.len()));
        }
        if self.known.len() >= self.most {
            return Err(format!("a URL scheme beside {} others; so many do not exist", self.most));
        }
        self.known.insert(scheme.into());
        Ok(())
    }

    /// Takes the URLs with a scheme too many out of an import, and lists them.
    pub fn screen(&mut self, import: &mut Import) {
        let mut refused = Vec::new();
        for indicator in &mut import.indicators {
            let line = indicator.line;
            indicator.retain(|term| match self.admit(&term.value) {
                Ok(()) => true,
                Err(reason) => {
                    refused.push((line, reason, term.value.to_string()));
                    false
                }
            });
        }
        if !refused.is_empty() {
            import.indicators.retain(|indicator| !indicator.terms.is_empty());
        }
        refused.into_iter().for_each(|(line, reason, value)| import.list(line, reason, &value));
    }
}
