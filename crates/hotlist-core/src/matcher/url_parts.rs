//! URLs in parts: an event that has no full URL, but its host and what follows in fields of their own.
//!
//! A walk hands over the values of a record in any order, so the parts are kept until its end and composed then. A full
//! URL in the record ([`PlanPart::Whole`]) makes composing needless.

use std::ops::Range;

use crate::intel::snapshot::{PlanPart, Snapshot};
use crate::schema::FieldId;

/// The most parts of URLs that are kept of one record.
const MOST_PARTS: usize = 64;

/// The longest host that is composed: a name of 253 octets (RFC 1035), with a port.
const LONGEST_HOST: usize = 259;

/// How many bytes the URLs of a record may have together: so many times its parts, and so many more. One host is that of
/// every path, so without a bound a few bytes for each path would cost a whole URL.
const COMPOSED: (usize, usize) = (2, 512);

/// The parts of the URLs of one record.
#[derive(Default)]
pub(super) struct UrlParts {
    bytes: Vec<u8>,
    values: Vec<(FieldId, Range<usize>)>,
    has_url: bool,
    /// A composed URL.
    composed: Vec<u8>,
}

impl UrlParts {
    /// Keeps a value of the record: a part of a URL, or the sign that there is a whole one.
    #[inline(never)]
    pub(super) fn keep(&mut self, part: PlanPart, field: FieldId, raw: &[u8], longest: usize) {
        match part {
            PlanPart::None => {}
            PlanPart::Whole => self.has_url = true,
            PlanPart::Part if raw.len() <= longest && self.values.len() < MOST_PARTS => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(raw);
                self.values.push((field, start..self.bytes.len()));
            }
            PlanPart::Part => {}
        }
    }

    /// Whether there is nothing to compose.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && !self.has_url
    }

    /// Composes the URLs of the record, hands each over with the field of its path, and forgets the parts. Returns the field
    /// of the first path that there was no room for.
    #[inline(never)]
    pub(super) fn compose(&mut self, snapshot: &Snapshot, mut take: impl FnMut(FieldId, &[u8])) -> Option<FieldId> {
        let mut left_out = None;
        if !self.has_url {
            let mut room = COMPOSED.0 * self.bytes.len() + COMPOSED.1;
            for row in snapshot.url_rows() {
                let values =
                    |field| self.values.iter().filter(move |(of, _)| *of == field).map(|(_, range)| range.clone());
                let part = |range: Range<usize>| self.bytes.get(range).unwrap_or_default().trim_ascii();
                let hosts = values(row.host).count();
                let query = row.query.and_then(|query| values(query).next()).map(part);
                for (at, path) in values(row.path).enumerate() {
                    // One host is that of every path; of several, each path has its own, or it is not known whose it is.
                    let host = values(row.host)
                        .nth(if hosts == 1 { 0 } else { at })
                        .filter(|_| hosts == 1 || hosts == values(row.path).count());
                    let (Some(host), path) = (host.map(part), part(path)) else { continue };
                    if host.len() < 2 || host.len() > LONGEST_HOST || path.is_empty() {
                        continue;
                    }
                    let needed = host.len() + path.len() + query.map_or(0, <[u8]>::len) + 2;
                    let Some(rest) = room.checked_sub(needed) else {
                        left_out = left_out.or(Some(row.path));
                        continue;
                    };
                    room = rest;
                    self.composed.clear();
                    if !is_whole(path) {
                        self.composed.extend_from_slice(host);
                        if !path.starts_with(b"/") && !path.starts_with(b"?") {
                            self.composed.push(b'/');
                        }
                    }
                    self.composed.extend_from_slice(path);
                    if let Some(query) = query.filter(|query| !query.is_empty()) {
                        if !query.starts_with(b"?") {
                            self.composed.push(b'?');
                        }
                        self.composed.extend_from_slice(query);
                    }
                    take(row.path, &self.composed);
                }
            }
        }
        self.bytes.clear();
        self.values.clear();
        self.has_url = false;
        left_out
    }
}

/// Whether what a request asks for is a whole URL already, as proxies get it (RFC 9112, section 3.2.2).
fn is_whole(path: &[u8]) -> bool {
    let scheme = path.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(0);
    scheme > 0 && path.get(scheme..).is_some_and(|rest| rest.starts_with(b"://"))
}
