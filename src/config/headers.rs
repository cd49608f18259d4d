//! `sinks.<id>.headers` and `sinks.<id>.forward_metadata`: the headers that a sink sends with each batch.

use std::path::PathBuf;

use base64::Engine as _;
use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::problem::Fault;
use super::reader::{Item, Table};
use super::secret::{MASK, Secret};
use super::show;

/// A header of each request to the next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name, in lower case as HTTP/2 has it.
    pub name: HeaderName,
    /// Where its value comes from.
    pub value: HeaderSource,
}

/// Where a header's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum HeaderSource {
    Literal(Secret),
    File(HeaderFile),
}

/// A header whose value stands in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HeaderFile {
    /// The file with the value; white space around the value is removed. The file is read again when the value is older than a second.
    pub file: PathBuf,
}

impl HeaderFile {
    pub(super) const KEYS: &[&'static str] = &["file"];
}

/// Writes `headers`.
pub(super) fn write_all<S: Serializer>(headers: &[Header], serializer: S) -> Result<S::Ok, S::Error> {
    show::as_table(headers, |header| (header.name.as_str(), &header.value), serializer)
}

/// Writes `forward_metadata`.
pub(super) fn write_names<S: Serializer>(names: &[HeaderName], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(HeaderName::as_str))
}

/// The schema of `headers`.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let file = generator.subschema_for::<HeaderFile>();
    json_schema!({ "type": "object", "additionalProperties": { "anyOf": [{ "type": "string" }, file] } })
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
    for (key, item) in item.secret_table()?.iter() {
        let Some(name) = name(key, &item) else { continue };
        if headers.iter().any(|header| header.name == name) {
            report(&item, key, "is duplicated in another letter case; remove one");
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
            report(&item, &text, "is duplicated; remove one");
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
        Err(_) => report(item, text, "is not a header name; give letters, digits, `-`, `_` and `.` only"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Format, Problem, SinkKind};

    /// The problems of a text, without the file's name.
    fn problems(text: &str) -> Vec<String> {
        match Config::parse(text, Format::Yaml, &|_| None) {
            Ok(config) => panic!("no problem in {text}: {config:?}"),
            Err(errors) => errors.problems.iter().map(Problem::to_string).collect(),
        }
    }

    /// Headers are read with values from text, environment and file, and a secret is nowhere in what prints.
    #[test]
    fn headers_are_read_and_their_values_are_never_shown() {
        let text = "sources: { a: { type: otlp, address: '127.0.0.1:1' } }
sinks:
  s:
    type: otlp
    inputs: [a]
    endpoint: 'http://127.0.0.1:2'
    headers: { X-Key: hush-literal, authorization: { file: /run/token }, x-env: 'Bearer ${TOKEN}' }
    forward_metadata: [X-Tenant, x-trace-bin]
";
        let environment = |name: &str| (name == "TOKEN").then(|| "hush-variable".to_owned());
        let config = Config::parse(text, Format::Yaml, &environment).unwrap();
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("hush") && shown.contains("***"), "{shown}");
        let SinkKind::Otlp(sink) = &config.sinks[0].kind else { panic!("{config:?}") };
        let found: Vec<(&str, String)> = sink
            .headers
            .iter()
            .map(|header| match &header.value {
                HeaderSource::Literal(secret) => (header.name.as_str(), secret.reveal().to_owned()),
                HeaderSource::File(from) => (header.name.as_str(), from.file.display().to_string()),
            })
            .collect();
        let expected = [("x-key", "hush-literal"), ("authorization", "/run/token"), ("x-env", "Bearer hush-variable")];
        assert_eq!(found, expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(sink.forward_metadata, ["x-tenant", "x-trace-bin"]);
    }

    /// A value that cannot be a header is reported by its name, without the value.
    #[test]
    fn bad_headers_are_named_and_their_values_are_not() {
        let text = "sources: { a: { type: otlp, address: '127.0.0.1:1' } }
sinks:
  s:
    type: otlp
    inputs: [a]
    endpoint: 'http://127.0.0.1:2'
    headers: { grpc-timeout: hush1, te: hush2, ':path': hush3, x: \"hush\\n4\", y-bin: 'hush 5', z: '', n: 777, k: v, K: hush6 }
    forward_metadata: [k, 'grpc-encoding', content-type, a, a]
";
        let problems = problems(text);
        let words = [
            "belongs to HTTP/2 or gRPC",
            "belongs to HTTP/2 or gRPC",
            "`:path` is not a header name",
            "headers.x: `***` has characters",
            "headers.y-bin: `***` is not base64",
            "headers.z: `***` is empty",
            "headers.n: expected a string in quotes",
            "`K` is duplicated",
            "`k` is also in `headers`",
            "`grpc-encoding` belongs to",
            "`content-type` belongs to",
            "`a` is duplicated",
        ];
        assert_eq!(problems.len(), words.len(), "{problems:#?}");
        for (problem, word) in problems.iter().zip(words) {
            assert!(problem.contains(word) && !problem.contains("hush") && !problem.contains("777"), "{problem}");
        }
    }

    #[test]
    fn a_rejected_file_is_nobody_elses() {
        let text = "sources: { a: { type: otlp, address: '127.0.0.1:1' } }
sinks:
  s: { type: otlp, inputs: [a], endpoint: 'http://127.0.0.1:2', rejected: { path: x.ndjson } }
  t: { type: ndjson, inputs: [a], path: x.ndjson }
  u: { type: otlp, inputs: [a], endpoint: 'http://127.0.0.1:3', rejected: { path: '-' } }
";
        let problems = problems(text);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("sinks.t.path: "), "{problems:?}");
        assert!(problems[1].contains("sinks.u.rejected.path: `-` "), "{problems:?}");
    }
}
