//! URLs in parts: an event that has the host of a URL, and what follows it, in fields of their own.
//!
//! A walk hands over the values of a record in any order, so the parts are kept until its end and composed then. A whole
//! URL in the record ([`PlanPart::Whole`]) replaces only the composed URLs that it says as well: another one would hide
//! them. A part that is not composed is handed over with the reason.

use std::ops::Range;

use crate::intel::snapshot::{PlanPart, Snapshot, UrlRow};
use crate::observable::malformed::is_placeholder;
use crate::observable::url::{self, CanonicalUrl};
use crate::observable::{Malformed, domain};
use crate::schema::FieldId;

/// The most parts of URLs that are kept of one record.
const MOST_PARTS: usize = 64;

/// The most bytes of them, as so many times the longest value.
const MOST_LONGEST: usize = 8;

/// The most whole URLs that are kept of one record. Of more, a composed URL may be reported twice.
const MOST_WHOLE: usize = 4;

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
    /// Bytes of `values`.
    part_bytes: usize,
    whole: Vec<Range<usize>>,
    composed: Vec<u8>,
}

impl UrlParts {
    /// Keeps a value of the record: a part of a URL, or a whole one. Returns why a part is left out.
    #[inline(never)]
    pub(super) fn keep(&mut self, part: PlanPart, field: FieldId, raw: &[u8], longest: usize) -> Option<Malformed> {
        match part {
            PlanPart::None => {}
            PlanPart::Whole => {
                if raw.len() <= longest && self.whole.len() < MOST_WHOLE {
                    let range = self.copy(raw);
                    self.whole.push(range);
                }
            }
            PlanPart::Part if raw.len() > longest => return Some(Malformed::TooLong),
            PlanPart::Part => {
                let bytes = self.part_bytes + raw.len();
                if self.values.len() == MOST_PARTS || bytes > MOST_LONGEST * longest {
                    return Some(Malformed::TooMany);
                }
                self.part_bytes = bytes;
                let range = self.copy(raw);
                self.values.push((field, range));
            }
        }
        None
    }

    fn copy(&mut self, raw: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(raw);
        start..self.bytes.len()
    }

    /// Whether there is nothing to compose.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.whole.is_empty()
    }

    /// Composes the URLs of the record, and forgets the parts. Hands each URL over with the field of its path, or the
    /// reason why it is not composed. One that a whole URL of the record says as well is left out; `is_exact` asks for
    /// canonical forms where the texts differ.
    #[inline(never)]
    pub(super) fn compose(
        &mut self,
        snapshot: &Snapshot,
        is_exact: bool,
        mut take: impl FnMut(FieldId, Result<&[u8], Malformed>),
    ) {
        let mut room = COMPOSED.0 * self.part_bytes + COMPOSED.1;
        let mut url = std::mem::take(&mut self.composed);
        for row in self.rows(snapshot.url_rows()) {
            let of = |field| self.values.iter().filter(move |(of, _)| *of == field).map(|(_, range)| self.at(range));
            let (hosts, paths) = (of(row.host).count(), of(row.path).count());
            let query = row.query.and_then(|query| of(query).next()).filter(|query| !query.is_empty());
            for (at, path) in of(row.path).enumerate().filter(|(_, path)| !path.is_empty()) {
                // Lists of one length belong together. Otherwise it is not known whose a path is: it may be that of any host.
                let is_its = |number: usize| hosts != paths || number == at;
                for (_, host) in of(row.host).enumerate().filter(|(number, _)| is_its(*number)) {
                    let parts = Parts { host, path, query };
                    if is_placeholder(host) || self.whole.iter().any(|whole| parts.is_said_by(self.at(whole))) {
                        continue;
                    }
                    if host.len() > LONGEST_HOST {
                        take(row.path, Err(Malformed::TooLong));
                        continue;
                    }
                    let Some(rest) = room.checked_sub(parts.len()) else {
                        take(row.path, Err(Malformed::TooMany));
                        continue;
                    };
                    room = rest;
                    parts.compose(&mut url);
                    if !is_exact || !self.whole.iter().any(|whole| is_same_url(self.at(whole), &url)) {
                        take(row.path, Ok(&url));
                    }
                }
            }
        }
        self.composed = url;
        self.bytes.clear();
        self.values.clear();
        self.whole.clear();
        self.part_bytes = 0;
    }

    /// The rows of the paths that the record has. Most records with parts have a path and no row for it, or one.
    fn rows<'r>(&self, rows: &'r [UrlRow]) -> impl Iterator<Item = &'r UrlRow> + use<'r, '_> {
        self.values.iter().enumerate().flat_map(move |(at, (path, _))| {
            let is_first = self.values.iter().take(at).all(|(before, _)| before != path);
            let from = if is_first { rows.partition_point(|row| row.path < *path) } else { rows.len() };
            rows.get(from..).unwrap_or_default().iter().take_while(move |row| row.path == *path)
        })
    }

    fn at(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default().trim_ascii()
    }
}

struct Parts<'p> {
    host: &'p [u8],
    path: &'p [u8],
    query: Option<&'p [u8]>,
}

impl Parts<'_> {
    /// The most bytes of the URL.
    fn len(&self) -> usize {
        self.host.len() + self.path.len() + self.query.map_or(0, <[u8]>::len) + 2
    }

    fn compose(&self, url: &mut Vec<u8>) {
        url.clear();
        if !is_whole(self.path) {
            url.extend_from_slice(self.host);
            if !self.path.starts_with(b"/") && !self.path.starts_with(b"?") {
                url.push(b'/');
            }
        }
        url.extend_from_slice(self.path);
        if let Some(query) = self.query {
            if !query.starts_with(b"?") {
                url.push(b'?');
            }
            url.extend_from_slice(query);
        }
    }

    /// Whether a whole URL has the same host, path and query, by comparing bytes. `true` is certain.
    fn is_said_by(&self, whole: &[u8]) -> bool {
        if is_whole(self.path) {
            return self.path == whole && self.query.is_none();
        }
        let Some((_, rest)) = domain::split_scheme(whole) else { return false };
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).unwrap_or(rest.len());
        let (host, rest) = rest.split_at(end);
        let is_host = host.get(..self.host.len()).is_some_and(|same| same.eq_ignore_ascii_case(self.host))
            && matches!(host.get(self.host.len()), None | Some(b':'));
        let Some(rest) = rest.strip_prefix(self.path).filter(|_| is_host) else { return false };
        match (rest.split_first(), self.query) {
            (None, None) | (Some((b'#', _)), None) => true,
            (Some((b'?', _)), None) => !self.path.contains(&b'?'),
            (Some((b'?', rest)), Some(query)) => {
                let rest = rest.strip_prefix(query.strip_prefix(b"?").unwrap_or(query));
                rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'#')))
            }
            _ => false,
        }
    }
}

/// Whether what a request asks for is a whole URL already, as proxies get it (RFC 9112, section 3.2.2).
fn is_whole(path: &[u8]) -> bool {
    let scheme = path.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(0);
    scheme > 0 && path.get(scheme..).is_some_and(|rest| rest.starts_with(b"://"))
}

/// Whether a whole URL has the host and the path of a composed one, and its port and query where the composed one has
/// these.
#[cold]
fn is_same_url(whole: &[u8], composed: &[u8]) -> bool {
    let (Some(whole), Some(composed)) = (url::event_url(whole), url::event_url(composed)) else { return false };
    let split = |url: &CanonicalUrl| {
        let (authority, rest) = url.rest().split_at(domain::authority_end(url.rest().as_bytes()));
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        (authority.len(), path.to_owned(), query.map(str::to_owned))
    };
    let ((authority, path, query), (of_authority, of_path, of_query)) = (split(&whole), split(&composed));
    let schemes = composed.scheme().is_none() || composed.scheme() == whole.scheme();
    let has_port = composed.host().len() < of_authority;
    let ports = !has_port || whole.rest().get(..authority) == composed.rest().get(..of_authority);
    schemes && whole.host() == composed.host() && ports && path == of_path && (of_query.is_none() || query == of_query)
}
