//! Finds values at fields that no schema has: the paths that hold an address, a URL, a hash, an e-mail address or a
//! name below a public suffix, and the paths of texts that contain one. Users see which fields they could add, and which
//! texts are not scanned; the values are not matched.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::encoding::{Envelope, Format, document_of, envelope};
use crate::observable::{Kind, domain, email, hash, ip, url};
use crate::schema::{Field, FieldKind, FieldSet, FieldTable, NodeId, PathTrie};
use crate::text::{self, TokenKind};

/// The longest document that is looked into.
const LONGEST: usize = 64 << 10;
/// The most different paths that are kept.
const MOST_PATHS: usize = 256;

/// The paths of events that hold values that could be indicators, with the kind of the value and how often each was seen,
/// and the paths of texts that have such values in them.
#[derive(Clone, Debug)]
pub struct Survey {
    known: PathTrie,
    /// The rows whose values are compared as a whole, or read if they are a document: what is in their text is not looked up.
    texts_of: FieldSet,
    found: BTreeMap<String, (Kind, u64)>,
    texts: BTreeMap<String, u64>,
}

impl Survey {
    /// Of the paths that `table` does not have.
    pub fn new(table: &FieldTable) -> Survey {
        let known = table.trie(|_, _| true);
        let is_text =
            |field: &Field| matches!(field.kind, FieldKind::Json | FieldKind::Of(Kind::Text)) && !field.is_text;
        let texts_of: Vec<_> = table.iter().filter(|(_, field)| is_text(field)).map(|(id, _)| id).collect();
        let texts_of = FieldSet::from_fields(&texts_of);
        Survey { known, texts_of, found: BTreeMap::new(), texts: BTreeMap::new() }
    }

    /// Adds the first record of a batch.
    pub fn add_first_record(&mut self, format: Format, message: &Bytes) {
        let envelope: Envelope = match format {
            Format::Otlp => envelope::OTLP,
            Format::Vector => envelope::VECTOR,
            Format::Filter => envelope::FILTER,
        };
        let mut first = None;
        let _ = envelope.try_records(message, |span| {
            if first.is_none() {
                first = Some(message.slice(span.record.payload()));
            }
            Ok::<(), crate::encoding::EnvelopeError>(())
        });
        if let Some(record) = first.filter(|record| record.len() <= LONGEST) {
            self.add(&document_of(format, &record));
        }
    }

    /// Adds a JSON document.
    pub fn add(&mut self, document: &[u8]) {
        if document.len() > LONGEST {
            return;
        }
        let Ok(document) = serde_json::from_slice::<Value>(document) else { return };
        self.leaves(&document, &mut String::new(), None);
    }

    /// Adds only the texts of a JSON document.
    pub fn add_texts(&mut self, document: &[u8]) {
        let found = std::mem::take(&mut self.found);
        self.add(document);
        self.found = found;
    }

    /// The values below a path. `element`: the path that the element of a list of named values around is named by.
    fn leaves(&mut self, value: &Value, path: &mut String, element: Option<&str>) {
        match value {
            Value::Object(members) => {
                let list = self.known.step(PathTrie::ROOT, path.as_bytes()).filter(|node| self.known.is_list(*node));
                let name = list.and_then(|list| name_in(&self.known, members, list));
                let named = name.map(|name| format!("{path}.{name}"));
                let element = if list.is_some() { named.as_deref() } else { element };
                for (key, value) in members {
                    let end = path.len();
                    if end > 0 {
                        path.push('.');
                    }
                    path.push_str(key);
                    self.leaves(value, path, element);
                    path.truncate(end);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.leaves(item, path, element)),
            Value::String(text) => self.leaf(text, path, element),
            _ => {}
        }
    }

    fn leaf(&mut self, text: &str, path: &str, element: Option<&str>) {
        let node_of = |path: &str| self.known.step(PathTrie::ROOT, path.as_bytes());
        let own = node_of(path);
        let element = element.filter(|_| own.is_some_and(|node| self.known.is_value(node)));
        let named = element.and_then(node_of);
        let known = named.or(own).and_then(|node| self.known.field(node));
        let path = element.filter(|_| named.is_some() || known.is_none()).unwrap_or(path);
        let is_text = known.is_none_or(|field| self.texts_of.contains(field)) && !text.starts_with(['{', '[']);
        if let Some(kind) = kind_of(text).filter(|_| known.is_none()) {
            if self.found.len() < MOST_PATHS || self.found.contains_key(path) {
                self.found.entry(path.to_owned()).or_insert((kind, 0)).1 += 1;
            }
        } else if is_text && has_token(text) && (self.texts.len() < MOST_PATHS || self.texts.contains_key(path)) {
            *self.texts.entry(path.to_owned()).or_default() += 1;
        }
    }

    /// The paths that were seen most often, at most so many, with the kind of a value.
    pub fn most_frequent(&self, most: usize) -> Vec<(&str, Kind)> {
        let mut all: Vec<_> = self.found.iter().collect();
        all.sort_by(|(_, (_, one)), (_, (_, other))| other.cmp(one));
        all.into_iter().take(most).map(|(path, (kind, _))| (path.as_str(), *kind)).collect()
    }

    /// The paths of texts that had a value in them that could be an indicator most often, at most so many.
    pub fn most_frequent_texts(&self, most: usize) -> Vec<&str> {
        let mut all: Vec<_> = self.texts.iter().collect();
        all.sort_by(|(_, one), (_, other)| other.cmp(one));
        all.into_iter().take(most).map(|(path, _)| path.as_str()).collect()
    }
}

/// The first name that stands in an object at `node`, which is an element of a list of named values or inside of one.
fn name_in<'v>(known: &PathTrie, members: &'v Map<String, Value>, node: NodeId) -> Option<&'v str> {
    members.iter().find_map(|(key, value)| {
        let child = known.step(node, key.as_bytes())?;
        match value {
            Value::String(name) if known.is_name(child) => Some(name.as_str()),
            Value::Object(members) if known.is_above(child) => name_in(known, members, child),
            _ => None,
        }
    })
}

/// Whether a text has a token that could be an indicator.
fn has_token(text: &str) -> bool {
    let mut is_found = false;
    text::tokens(text.as_bytes(), &mut |token| {
        is_found |= match token.kind {
            TokenKind::Domain => text.as_bytes().get(token.at).is_some_and(text::is_known_name),
            TokenKind::Ip => !token.is_version,
            _ => true,
        };
    });
    is_found
}

/// The kind of a value, if it can have no other.
fn kind_of(text: &str) -> Option<Kind> {
    if text.len() > 2048 {
        return None;
    }
    let (bytes, mut scratch) = (text.as_bytes(), Vec::new());
    if ip::canonical(bytes).is_some() {
        return Some(Kind::Ip);
    }
    if text.contains("://") {
        return url::event_url(bytes).filter(|url| url.host().contains('.')).map(|_| Kind::Url);
    }
    if text.contains('@') {
        let is_address = !text.contains(' ') && email::event_addresses(bytes, &mut scratch, &mut |_| {}).is_none();
        return is_address.then_some(Kind::Email);
    }
    if let Some((kind, _)) = hash::canonical(bytes, &mut scratch).filter(|(kind, _)| *kind != Kind::Ssdeep) {
        return Some(kind);
    }
    let name = domain::canonical(bytes, &mut scratch)?;
    let suffix = psl::suffix(name).filter(|suffix| suffix.is_known())?;
    (suffix.as_bytes().len() < name.len()).then_some(Kind::Domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_no_row_names_are_found_with_their_kinds() {
        let table = FieldTable::embedded(true).unwrap();
        let mut survey = Survey::new(&table);
        let event = serde_json::json!({
            "source": { "ip": "192.0.2.1" }, "client_addr": "192.0.2.1", "n": 1, "none": null, "word": "curl/8.1",
            "deep": [{ "sum": "a".repeat(64) }, { "sum": "x" }], "to": "a@example.com", "link": "http://example.com/",
            "site": "www.example.com", "file": "run.sh.bak"
        });
        survey.add(event.to_string().as_bytes());
        survey.add(br#"{"client_addr":"192.0.2.2"}"#);
        survey.add(b"no document");
        let found = survey.most_frequent(9);
        assert_eq!(found[0], ("client_addr", Kind::Ip));
        let rest: Vec<_> = found[1..].to_vec();
        let expected = [("deep.sum", Kind::Sha256), ("link", Kind::Url), ("site", Kind::Domain), ("to", Kind::Email)];
        assert_eq!(rest, expected);
        assert_eq!(survey.most_frequent(1).len(), 1);
    }

    #[test]
    fn a_value_of_a_list_is_at_its_name() {
        let mut table = FieldTable::default();
        let rows = "path,kind,ecs,role,collection,cti,stix_paths\nlist,- name@k value@v,,,,,\nlist.ip,ip,,,yes,yes,\n";
        table.add_schema("mine", rows).unwrap();
        let mut survey = Survey::new(&table);
        let event = serde_json::json!({ "list": [
            { "v": "192.0.2.1", "k": "ip" }, { "v": "192.0.2.2", "k": "peer" }, { "v": "192.0.2.3" },
            { "k": "note", "v": "see 192.0.2.4", "x": "192.0.2.5" }
        ] });
        survey.add(event.to_string().as_bytes());
        assert_eq!(survey.most_frequent(9), [("list.peer", Kind::Ip), ("list.v", Kind::Ip), ("list.x", Kind::Ip)]);
        assert_eq!(survey.most_frequent_texts(9), ["list.note"]);
    }

    #[test]
    fn texts_with_values_in_them_are_found() {
        let mut survey = Survey::new(&FieldTable::embedded(true).unwrap());
        let event = serde_json::json!({
            "log": "GET from 192.0.2.1", "lines": ["see www.example.com", "x"], "agent": "Chrome/120.0.0.0", "run": "setup.exe -q",
            "addr": "192.0.2.1", "process": { "command_line": "curl http://example.com/" }, "user.name": "x example.com"
        });
        survey.add(event.to_string().as_bytes());
        assert_eq!(survey.most_frequent_texts(9), ["lines", "log", "process.command_line"]);
        survey.add_texts(br#"{"log":"GET http://example.com/","peer":"192.0.2.1"}"#);
        assert_eq!(survey.most_frequent_texts(1), ["log"]);
        assert_eq!(survey.most_frequent(9), [("addr", Kind::Ip)]);
    }
}
