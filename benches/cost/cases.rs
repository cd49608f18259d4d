//! The cases: shapes of events, each in encodings and for sinks. A new one is a line of [`SHAPES`].

use bytes::Bytes;
use hotlist::encoding::wire::put_bytes;
use hotlist::observable::Kind;
use hotlist::schema::{FieldKind, FieldTable};
use serde_json::{Value, json};

use crate::encode::{self, Encoding, Record};
use crate::values::{BEGINNINGS, PIECES, long};
use crate::work::one_of_many;
use crate::{Outcome, Sink};

/// The bound that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The normal event, which the others are compared with. It hits nothing.
    Normal,
    /// Any input.
    Any,
    /// Any input, in which at least one record hits: otherwise the case does not do what it says.
    Hits,
    /// Tiny records, each of which hits.
    TinyHits,
}

impl Bound {
    /// Whether some record must hit, or none may; `None` where either may be.
    pub fn hits(self) -> Option<bool> {
        match self {
            Bound::Normal => Some(false),
            Bound::Any => None,
            Bound::Hits | Bound::TinyHits => Some(true),
        }
    }
}

/// One input and what is done with it.
#[derive(Clone)]
pub struct Case {
    pub shape: String,
    pub bound: Bound,
    pub encoding: Encoding,
    pub sink: Sink,
    /// Whether every text of the event is scanned (`match.text: all`).
    pub scans_texts: bool,
    make: Make,
}

/// How the input of a case is made.
#[derive(Clone)]
enum Make {
    Records(fn(usize) -> Vec<Record>),
    Request(fn(usize) -> Vec<u8>),
    /// One value at a field: in one record, or in records of 200 bytes.
    Value {
        field: String,
        beginning: &'static str,
        piece: &'static str,
        is_long: bool,
    },
}

impl Case {
    /// `shape, encoding, sink`.
    pub fn name(&self) -> String {
        format!("{}, {:?}, {:?}", self.shape, self.encoding, self.sink)
    }

    /// The request, of about so many bytes.
    pub fn input(&self, bytes: usize) -> Outcome<Bytes> {
        match &self.make {
            Make::Records(make) => self.encoding.request(&make(bytes)),
            Make::Request(make) => Ok(make(bytes).into()),
            Make::Value { field, beginning, piece, is_long: true } => {
                self.encoding.request(&[one(field, Value::String(long(beginning, piece, bytes)))])
            }
            Make::Value { field, beginning, piece, is_long: false } => {
                let record = one(field, Value::String(long(beginning, piece, 200)));
                self.encoding.request(&vec![record; bytes / 230 + 1])
            }
        }
    }
}

/// A shape of events: its name, its bound, and the records of so many bytes.
type Shape = (&'static str, Bound, fn(usize) -> Vec<Record>);

/// Shapes that are tried in every encoding for every sink.
const SHAPES: [Shape; 23] = [
    ("normal event", Bound::Normal, |bytes| vec![normal(); bytes / 330 + 1]),
    ("tiny records without a field", Bound::Any, |bytes| vec![one("x", json!(1)); bytes / 12]),
    ("tiny records with a domain", Bound::Any, |bytes| vec![one("url.domain", json!("a.bc")); bytes / 26]),
    ("tiny records that hit", Bound::TinyHits, |bytes| vec![one("source.ip", json!("203.0.113.66")); bytes / 34]),
    ("tiny records that hit by a suffix", Bound::TinyHits, |bytes| {
        vec![one("url.domain", json!("a.b.evil.example")); bytes / 38]
    }),
    ("tiny records that hit different indicators", Bound::TinyHits, |bytes| {
        (0..bytes / 34).map(|at| one("source.ip", json!(one_of_many(at)))).collect()
    }),
    ("one long host and many paths of URLs", Bound::Any, url_in_parts),
    ("one value of many listed addresses", Bound::Hits, |bytes| {
        vec![one("email.from.address", json!(long("", "mallory@evil.example, ", bytes)))]
    }),
    ("values of many listed IP addresses", Bound::Hits, |bytes| {
        vec![one("source.ip", json!(long("", "203.0.113.66, ", 4000))); bytes / 4000]
    }),
    ("an array of one listed address", Bound::Hits, |bytes| {
        vec![one("related.ip", json!(vec!["203.0.113.66"; bytes / 16]))]
    }),
    ("an array of different listed addresses", Bound::Hits, |bytes| {
        let addresses: Vec<String> = (0..bytes / 18).map(|at| format!("198.51.100.{}", at % 256)).collect();
        vec![one("related.ip", json!(addresses))]
    }),
    ("an array of names below a listed one", Bound::Hits, |bytes| {
        let names: Vec<String> = (0..bytes / 24).map(|at| format!("a{at}.evil.example")).collect();
        vec![one("related.hosts", json!(names))]
    }),
    ("an array of domains", Bound::Any, |bytes| vec![one("related.hosts", json!(vec!["a.b"; bytes / 7]))]),
    ("a hit among many attributes", Bound::Hits, |bytes| {
        let mut record = hit();
        (0..bytes / 20).for_each(|at| drop(record.insert(format!("k{at}"), json!("value"))));
        vec![record]
    }),
    ("a hit among many dotted attributes of one prefix", Bound::Hits, |bytes| {
        let mut record = hit();
        (0..bytes / 34).for_each(|at| drop(record.insert(format!("threat.x{at}.y"), json!("value"))));
        vec![record]
    }),
    ("a hit with enrichments that are there", Bound::Hits, |bytes| {
        let mut record = hit();
        let there = json!({ "matched": { "atomic": "x", "field": "source.ip", "id": "indicator--1" } });
        record.insert("threat".to_owned(), json!({ "enrichments": vec![there; bytes / 70] }));
        vec![record]
    }),
    ("a hit of OCSF with enrichments that are there", Bound::Hits, |bytes| {
        let mut record = hit();
        let there = json!({ "type": "threat-match", "data": { "matched": { "id": "indicator--1" } } });
        record.insert("class_uid".to_owned(), json!(4001));
        record.insert("enrichments".to_owned(), json!(vec![there; bytes / 75]));
        vec![record]
    }),
    ("a hit with tags that are there", Bound::Hits, |bytes| {
        let mut record = hit();
        let tags: Vec<String> = (0..bytes / 10).map(|at| format!("t{at}")).collect();
        record.insert("tags".to_owned(), json!(tags));
        vec![record]
    }),
    ("a hit next to a long text", Bound::Hits, |bytes| {
        let mut record = hit();
        record.insert("message".to_owned(), json!(long("", "\"\\\u{1}é", bytes)));
        vec![record]
    }),
    ("a hit in small records with long texts", Bound::Hits, |bytes| {
        let mut record = hit();
        record.insert("message".to_owned(), json!("x".repeat(1000)));
        vec![record; bytes / 1050 + 1]
    }),
    ("nesting at wanted keys", Bound::Any, |bytes| {
        let nested = (0..40).fold(json!("203.0.113.66"), |inner, _| json!([inner]));
        vec![one("source.ip", nested); bytes / 120 + 1]
    }),
    ("nesting at other keys", Bound::Any, |bytes| {
        let nested = (0..100).fold(json!("x"), |inner, _| json!({ "k": inner }));
        vec![one("k", nested); bytes / 600 + 1]
    }),
    ("long keys of dots", Bound::Any, |bytes| vec![one(&".".repeat(200), json!("x")); bytes / 210 + 1]),
];

/// Shapes of texts, scanned: also tried in every encoding for every sink.
const TEXTS: [Shape; 22] = [
    ("lines of logs", Bound::Any, |bytes| lines(LINE, bytes)),
    ("words", Bound::Any, |bytes| text("the quick brown fox jumps over it ", bytes)),
    ("addresses", Bound::Any, |bytes| text("192.0.2.1 ", bytes)),
    ("short addresses", Bound::Any, |bytes| text("::1 ", bytes)),
    ("names", Bound::Any, |bytes| text("a.bc ", bytes)),
    ("names with many labels", Bound::Any, |bytes| text("a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.bc ", bytes)),
    ("names that are not ASCII", Bound::Any, |bytes| text("é.bc ", bytes)),
    ("URLs", Bound::Any, |bytes| text("http://a.bc/d ", bytes)),
    ("URLs in URLs", Bound::Any, |bytes| text("http://a.bc/", bytes)),
    ("URLs of a listed host", Bound::Any, |bytes| text("http://evil.example/%41/b ", bytes)),
    ("hashes", Bound::Any, |bytes| text("d41d8cd98f00b204e9800998ecf8427e ", bytes)),
    ("e-mail addresses", Bound::Any, |bytes| text("a@b.cd ", bytes)),
    ("almost tokens", Bound::Any, |bytes| text("a.b1 1.2.3 1.2.3.4.5 ::g a@b x.y- http:// f:f ", bytes)),
    ("pairs", Bound::Any, |bytes| text("src=192.0.2.1 a=b ", bytes)),
    ("CEF with escapes", Bound::Any, |bytes| {
        text("CEF:0|a|b|1|c|d|5|src=192.0.2.1 msg=\\= x\\\\ request=http://a.bc/\n", bytes)
    }),
    ("defanged", Bound::Any, |bytes| text("hxxp://a[.]bc/ 192[.]0[.]2[.]1 ", bytes)),
    ("tiny records with a text", Bound::Any, |bytes| vec![one("k", json!("a.bc")); bytes / 16]),
    ("small texts", Bound::Any, |bytes| vec![one("k", json!(vec!["see a.bc"; bytes / 12]))]),
    ("tiny records with a text that hits", Bound::TinyHits, |bytes| vec![one("k", json!("203.0.113.66")); bytes / 24]),
    ("many hits", Bound::Hits, |bytes| text("203.0.113.66 https://evil.example/x ", bytes)),
    ("lines with a hit", Bound::Hits, |bytes| lines(&LINE.replace("192.0.2.1", "203.0.113.66"), bytes)),
    ("many hits below a long key", Bound::Hits, |bytes| {
        vec![one(&"k".repeat(bytes / 2), json!(vec!["203.0.113.66"; bytes / 32]))]
    }),
];

/// A line of an access log.
const LINE: &str = "Nov 30 11:25:06 web-1 nginx: 192.0.2.1 - - [30/Nov/2026:11:25:06 +0000] \"GET /images/logo.png?v=1.2 HTTP/1.1\" 200 17911 \"https://www.example.com/shop/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\" rt=0.012 host=www.example.com";

fn lines(line: &str, bytes: usize) -> Vec<Record> {
    vec![one("message", json!(line)); bytes / 320 + 1]
}

fn text(piece: &str, bytes: usize) -> Vec<Record> {
    vec![one("message", json!(long("", piece, bytes)))]
}

/// A request of so many bytes in one encoding.
type Request = (&'static str, Bound, Encoding, fn(usize) -> Vec<u8>);

/// Requests that no list of records gives.
const REQUESTS: [Request; 19] = [
    ("a large resource next to tiny records", Bound::Any, Encoding::OtlpBody, |bytes| {
        resource(bytes, &one("x", json!(1)))
    }),
    ("a large resource next to tiny records that hit", Bound::TinyHits, Encoding::OtlpBody, |bytes| {
        resource(bytes, &hit())
    }),
    ("many resources without records", Bound::Any, Encoding::OtlpBody, |bytes| [10, 4, 18, 2, 18, 0].repeat(bytes / 6)),
    ("many resources and scopes with an empty record", Bound::Any, Encoding::OtlpBody, |bytes| {
        // Each group holds an empty message besides its records: the least that must be repeated.
        [10, 8, 10, 0, 18, 4, 10, 0, 18, 0].repeat(bytes / 10)
    }),
    ("many resources with one record", Bound::TinyHits, Encoding::OtlpAttributes, |bytes| {
        let record = encode::attributes(6, &hit());
        let mut records = Vec::new();
        put_bytes(&mut records, 2, &record);
        let request = encode::logs(&[], &records);
        request.repeat(bytes / request.len() + 1)
    }),
    ("empty records", Bound::Any, Encoding::OtlpBody, |bytes| encode::logs(&[], &[18, 0].repeat(bytes / 2)).to_vec()),
    ("groups of protobuf in a record", Bound::Any, Encoding::OtlpBody, |bytes| {
        let mut record = Vec::new();
        put_bytes(&mut record, 2, &[vec![0x7b; bytes / 8], vec![0x7c; bytes / 8]].concat().repeat(4));
        encode::logs(&[], &record).to_vec()
    }),
    ("groups of protobuf in a request", Bound::Any, Encoding::OtlpBody, |bytes| {
        [vec![0x7b; bytes / 8], vec![0x7c; bytes / 8]].concat().repeat(4)
    }),
    ("a hit among entries of nothing", Bound::Hits, Encoding::OtlpAttributes, |bytes| {
        let attribute = encode::attributes(6, &hit());
        encode::logs(&[], &field(2, &[attribute, [0x32, 0].repeat(bytes / 2)].concat())).to_vec()
    }),
    ("a hit among entries with a key", Bound::Hits, Encoding::OtlpAttributes, |bytes| {
        let attribute = encode::attributes(6, &hit());
        encode::logs(&[], &field(2, &[attribute, [0x32, 3, 10, 1, b'a'].repeat(bytes / 5)].concat())).to_vec()
    }),
    ("a hit next to a list of nothing", Bound::Hits, Encoding::OtlpAttributes, |bytes| {
        let attribute = encode::attributes(6, &hit());
        let list =
            field(6, &[field(1, b"threat.enrichments"), field(2, &field(5, &[10, 0].repeat(bytes / 2)))].concat());
        encode::logs(&[], &field(2, &[attribute, list].concat())).to_vec()
    }),
    ("a hit next to an object of nothing", Bound::Hits, Encoding::OtlpAttributes, |bytes| {
        let attribute = encode::attributes(6, &hit());
        let list = field(6, &[field(1, b"threat"), field(2, &field(6, &[10, 0].repeat(bytes / 2)))].concat());
        encode::logs(&[], &field(2, &[attribute, list].concat())).to_vec()
    }),
    ("a hit among members of nothing", Bound::Hits, Encoding::Filter, |bytes| {
        let document = format!("{{{}\"source\":{{\"ip\":\"203.0.113.66\"}}}}", "\"\":0,".repeat(bytes / 5));
        field(2, document.as_bytes())
    }),
    ("a hit next to elements of nothing", Bound::Hits, Encoding::Filter, |bytes| {
        let zeros = "0,".repeat(bytes / 2);
        let document = format!("{{\"source\":{{\"ip\":\"203.0.113.66\"}},\"threat\":{{\"enrichments\":[{zeros}0]}}}}");
        field(2, document.as_bytes())
    }),
    ("one key again and again", Bound::Hits, Encoding::OtlpAttributes, |bytes| {
        let attribute = encode::attributes(6, &one("source.ip", json!("203.0.113.66")));
        let mut records = Vec::new();
        put_bytes(&mut records, 2, &attribute.repeat(bytes / attribute.len()));
        encode::logs(&[], &records).to_vec()
    }),
    ("one key again and again", Bound::Hits, Encoding::Filter, |bytes| {
        let document = format!("{{{}\"a\":1}}", r#""source":{"ip":"203.0.113.66"},"#.repeat(bytes / 31));
        let mut request = Vec::new();
        put_bytes(&mut request, 2, document.as_bytes());
        request
    }),
    ("brackets that are not closed", Bound::Any, Encoding::Filter, |bytes| {
        let mut request = Vec::new();
        put_bytes(&mut request, 2, format!(r#"{{"source":{{"ip":{}"#, "[".repeat(bytes)).as_bytes());
        request
    }),
    ("keys of OTLP/JSON again and again", Bound::Any, Encoding::OtlpJson, |bytes| {
        let again = r#""body":{"stringValue":"a"},"traceId":"","severityText":"x","#.repeat(bytes / 60);
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{again}"a":1}}]}}]}}]}}"#).into_bytes()
    }),
    ("escapes of OTLP/JSON", Bound::Any, Encoding::OtlpJson, |bytes| {
        let text = "\\u0041".repeat(bytes / 6);
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"{text}"}}}}]}}]}}]}}"#)
            .into_bytes()
    }),
];

/// The kinds at whose fields each piece of text is put: one of each that reads values in a way of its own. What compares
/// texts as they are, and what only composite patterns read, is left out.
const KINDS: [Kind; 6] = [Kind::Ip, Kind::Domain, Kind::Url, Kind::Sha256, Kind::Email, Kind::User];

/// Every case, in an order that never changes.
pub fn all() -> Outcome<Vec<Case>> {
    let mut cases = Vec::new();
    for (shapes, scans_texts) in [(&SHAPES[..], false), (&TEXTS[..], true)] {
        for (shape, bound, make) in shapes {
            let shape = if scans_texts { format!("text: {shape}") } else { (*shape).to_owned() };
            for encoding in Encoding::ALL {
                for sink in encoding.sinks() {
                    let (shape, make) = (shape.clone(), Make::Records(*make));
                    cases.push(Case { shape, bound: *bound, encoding, sink: *sink, scans_texts, make });
                }
            }
        }
    }
    for (shape, bound, encoding, make) in REQUESTS {
        for sink in encoding.sinks() {
            let (shape, make) = (shape.to_owned(), Make::Request(make));
            cases.push(Case { shape, bound, encoding, sink: *sink, scans_texts: false, make });
        }
    }
    cases.extend(fields()?.iter().flat_map(|field| values(field, false)));
    cases.extend(values("message", true));
    Ok(cases)
}

/// One field of each of [`KINDS`], and of each kind that is no single one, by name.
fn fields() -> Outcome<Vec<String>> {
    let table = FieldTable::shipped()?;
    let named = |kind: FieldKind| {
        let found = table.iter().find(|(_, field)| field.kind == kind).map(|(_, field)| field.name.clone());
        found.ok_or_else(|| format!("no field is of {kind:?}").into())
    };
    let others = [FieldKind::Any, FieldKind::DistinguishedName, FieldKind::Json];
    KINDS.map(FieldKind::Of).into_iter().chain(others).map(named).collect()
}

/// A host as long as any is composed, and paths in an array: each makes a URL.
fn url_in_parts(bytes: usize) -> Vec<Record> {
    let record = json!({ "host": "h".repeat(512), "uri": vec!["/a"; 63] });
    vec![record.as_object().cloned().unwrap_or_default(); bytes / 900 + 1]
}

/// Every piece at a field: alone as a long value, and behind one of the beginnings in short ones. They take turns, so
/// that not all pairs are tried.
fn values(field: &str, scans_texts: bool) -> Vec<Case> {
    let place = if scans_texts { format!("text: {field}") } else { field.to_owned() };
    let mut cases = Vec::new();
    for (at, piece) in PIECES.iter().enumerate() {
        for (size, beginning) in [("long", ""), ("short", BEGINNINGS[at % BEGINNINGS.len()])] {
            let is_long = size == "long";
            cases.push(Case {
                shape: format!("{size} {place} of {:?}", format!("{beginning}{piece}…")),
                bound: Bound::Any,
                encoding: if is_long { Encoding::OtlpAttributes } else { Encoding::Filter },
                sink: Sink::Same,
                scans_texts,
                make: Make::Value { field: field.to_owned(), beginning, piece, is_long },
            });
        }
    }
    cases
}

fn one(key: &str, value: Value) -> Record {
    Record::from_iter([(key.to_owned(), value)])
}

/// A field with a length.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, number, content);
    out
}

fn hit() -> Record {
    one("source.ip", json!("203.0.113.66"))
}

/// A record of eight fields that hits nothing, as a proxy logs it.
fn normal() -> Record {
    let event = json!({
        "source.ip": "192.0.2.1", "destination.ip": "192.0.2.9", "dns.question.name": "www.example.com",
        "url.full": "https://www.example.com/a/b?c=d", "user.name": "alice", "host.name": "web-1",
        "event.action": "allowed", "message": "GET /a/b?c=d HTTP/1.1 200 17911 in 182 ms, served from the cache of the edge",
    });
    event.as_object().cloned().unwrap_or_default()
}

/// Half of the bytes in the attributes of the resource, half in records.
fn resource(bytes: usize, record: &Record) -> Vec<u8> {
    let resource = encode::attributes(1, &one("service.name", json!("x".repeat(bytes / 2))));
    let mut one = Vec::new();
    put_bytes(&mut one, 2, &encode::attributes(6, record));
    encode::logs(&resource, &one.repeat(bytes / 2 / one.len())).to_vec()
}
