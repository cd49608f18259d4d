//! `sinks.<id>.headers` and `sinks.<id>.forward_metadata`: what a sink says beside the batch.

use std::path::PathBuf;

use base64::Engine as _;
use http::HeaderName;

use super::problem::Fault;
use super::reader::{Item, Table};
use super::secret::{MASK, Secret};

/// A header of each request to the next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name, in lower case as HTTP/2 has it.
    pub name: HeaderName,
    /// Where its value comes from.
    pub value: HeaderSource,
}

/// Where a header's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderSource {
    /// The configuration.
    Literal(Secret),
    /// A file.
    File(HeaderFile),
}

/// A header whose value stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderFile {
    /// The file with the value; white space around it is dropped. It is read again when it is older than a second.
    pub file: PathBuf,
}

impl HeaderFile {
    pub(super) const KEYS: &[&'static str] = &["file"];
}

/// Headers that HTTP/2, gRPC or the sink itself sets (RFC 9113 section 8.2.2, gRPC's `PROTOCOL-HTTP2.md`).
const RESERVED: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Reads `headers`.
pub(super) fn read_headers(item: &Item<'_>) -> Option<Vec<Header>> {
    let mut headers: Vec<Header> = Vec::new();
    for (key, item) in item.any_table()?.iter() {
        let Some(name) = name(key, &item) else { continue };
        if headers.iter().any(|header| header.name == name) {
            report(&item, key, "stands twice, in other letter case; leave one");
            continue;
        }
        headers.extend(value(&name, &item).map(|value| Header { name, value }));
    }
    Some(headers)
}

/// Reads `forward_metadata`; `headers` is what the sink sets by itself.
pub(super) fn read_metadata(item: &Item<'_>, headers: &[Header]) -> Option<Vec<HeaderName>> {
    let mut keys = Vec::new();
    for item in item.list("a list of metadata keys, e.g. `[x-tenant]`")? {
        let Some((text, key)) = item.text().and_then(|text| name(&text, &item).map(|key| (text, key))) else {
            continue;
        };
        if headers.iter().any(|header| header.name == key) {
            report(&item, &text, "is also in `headers`, which would hide it; leave one");
        } else if keys.contains(&key) {
            report(&item, &text, "stands twice; leave one");
        } else {
            keys.push(key);
        }
    }
    Some(keys)
}

fn name(text: &str, item: &Item<'_>) -> Option<HeaderName> {
    let reserved = |name: &str| name.starts_with("grpc-") || RESERVED.contains(&name);
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) if !reserved(name.as_str()) => return Some(name),
        Ok(_) => report(item, text, "belongs to HTTP/2 or gRPC, which set it themselves; leave it out"),
        Err(_) => report(item, text, "is no name of a header; give letters, digits, `-`, `_` and `.` only"),
    }
    None
}

fn value(name: &HeaderName, item: &Item<'_>) -> Option<HeaderSource> {
    if item.is_table() {
        let table: Table<'_> = item.table(HeaderFile::KEYS)?;
        let file = table.required("file", "the path of the file with the value")?.text()?;
        return Some(HeaderSource::File(HeaderFile { file: PathBuf::from(file) }));
    }
    let secret = item.secret()?;
    let text = secret.reveal();
    let fault = |reason: &str| report(item, MASK, reason);
    if text.trim().is_empty() {
        fault("is empty; give a value, or leave the header out");
    } else if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        fault("has characters that no header can have; give printable ASCII on one line");
    } else if name.as_str().ends_with("-bin")
        && base64::engine::general_purpose::STANDARD_NO_PAD.decode(text.trim_end_matches('=')).is_err()
    {
        fault("is not base64, which the value of a `-bin` header is; encode it");
    } else {
        return Some(HeaderSource::Literal(secret));
    }
    None
}

fn report(item: &Item<'_>, value: &str, reason: &str) {
    item.report(Fault::BadValue { value: value.to_owned(), reason: reason.to_owned() });
}
