//! The cost of a walk, compared with decoding: ns of one thread an event, on ECS events of about 1.2 kB in batches of
//! 500.
//!
//! `cargo bench --bench walk [-- --json]`; the least of several runs counts, ratios are of the same run. With
//! `--json` the last line is a JSON object of the figures.

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hotlist::encoding::Tags;
use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::otlp::{render_record, request_of, tag_record, walk_record};
use hotlist::encoding::{Value, json};
use hotlist::schema::{FieldId, FieldTable, NodeId, PathTrie};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Member;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;
use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Events in a batch.
const BATCH: usize = 500;

/// A network event with 17 observables and the other fields that agents usually add.
fn event(index: usize) -> serde_json::Value {
    let (high, low) = (index / 250 % 250, index % 250);
    serde_json::json!({
        "@timestamp": "2024-05-14T09:21:37.482Z",
        "agent": {"ephemeral_id": "cbcdd98f-456d-47bb-9f43-cf589ccd810d", "id": "8652330e-4de6-4596-a16f-4463a6c56e9e",
            "name": "edge-7", "type": "filebeat", "version": "8.13.0"},
        "data_stream": {"dataset": "proxy.access", "namespace": "prod", "type": "logs"},
        "destination": {"ip": format!("203.0.{high}.{low}"), "port": 443, "domain": format!("cdn{low}.example.com"), "bytes": 18_234},
        "dns": {"question": {"name": format!("cdn{low}.example.com"), "type": "A"}, "resolved_ip": [format!("203.0.{high}.{low}")]},
        "ecs": {"version": "8.11.0"},
        "event": {"action": "allowed", "category": ["network", "web"], "dataset": "proxy.access", "duration": 182_000_000,
            "kind": "event", "outcome": "success", "type": ["connection"]},
        "file": {"hash": {"sha256": format!("{index:064x}"), "md5": format!("{index:032x}")}, "name": "update.exe"},
        "host": {"name": format!("ws-{low}"), "ip": [format!("10.1.{high}.{low}")]},
        "http": {"request": {"method": "GET", "referrer": "-"}, "response": {"status_code": 200, "body": {"bytes": 17_911}}},
        "related": {"ip": [format!("10.1.{high}.{low}"), format!("203.0.{high}.{low}")], "user": [format!("user{low}")]},
        "source": {"ip": format!("10.1.{high}.{low}"), "port": 51_514},
        "url": {"full": format!("https://cdn{low}.example.com/a/{index}"), "domain": format!("cdn{low}.example.com")},
        "user": {"name": format!("user{low}"), "email": format!("user{low}@example.com")},
    })
}

/// What a consumer of values does at least: look at the bytes.
#[derive(Default)]
struct Sum {
    values: usize,
    bytes: usize,
}

impl Sum {
    fn take(&mut self, field: FieldId, value: Value<'_>) {
        self.values += 1;
        self.bytes += usize::from(field.0);
        match value {
            Value::Text(text) => self.bytes += text.len() + usize::from(text.first().copied().unwrap_or_default()),
            Value::Int(value) => self.bytes ^= value as usize,
            Value::Double(value) => self.bytes ^= value.to_bits() as usize,
            Value::Bool(value) => self.bytes += usize::from(value),
            Value::Time(time) => self.bytes ^= time.as_nanosecond() as usize,
        }
    }
}

fn decoded(members: &[KeyValue], node: NodeId, trie: &PathTrie, sum: &mut Sum) {
    for member in members {
        if let (Some(node), Some(value)) = (trie.step(node, member.key.as_bytes()), &member.value) {
            decoded_value(value, node, trie, sum);
        }
    }
}

fn decoded_value(value: &AnyValue, node: NodeId, trie: &PathTrie, sum: &mut Sum) {
    let scalar = match &value.value {
        Some(Member::KvlistValue(list)) => return decoded(&list.values, node, trie, sum),
        Some(Member::ArrayValue(list)) => {
            return list.values.iter().for_each(|value| decoded_value(value, node, trie, sum));
        }
        Some(Member::StringValue(text)) => Value::Text(text.as_bytes()),
        Some(Member::IntValue(value)) => Value::Int(*value),
        _ => return,
    };
    if let Some(field) = trie.field(node) {
        sum.take(field, scalar);
    }
}

fn dom(value: &serde_json::Value, node: NodeId, trie: &PathTrie, sum: &mut Sum) {
    let scalar = match value {
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                if let Some(node) = trie.step(node, key.as_bytes()) {
                    dom(value, node, trie, sum);
                }
            }
            return;
        }
        serde_json::Value::Array(elements) => return elements.iter().for_each(|value| dom(value, node, trie, sum)),
        serde_json::Value::String(text) => Value::Text(text.as_bytes()),
        serde_json::Value::Number(number) => Value::Int(number.as_i64().unwrap_or_default()),
        _ => return,
    };
    if let Some(field) = trie.field(node) {
        sum.take(field, scalar);
    }
}

fn sonic(value: &sonic_rs::Value, node: NodeId, trie: &PathTrie, sum: &mut Sum) {
    if let Some(members) = value.as_object() {
        for (key, value) in members {
            if let Some(node) = trie.step(node, key.as_bytes()) {
                sonic(value, node, trie, sum);
            }
        }
    } else if let Some(elements) = value.as_array() {
        elements.iter().for_each(|value| sonic(value, node, trie, sum));
    } else if let Some(field) = trie.field(node) {
        if let Some(text) = value.as_str() {
            sum.take(field, Value::Text(text.as_bytes()));
        } else if let Some(number) = value.as_i64() {
            sum.take(field, Value::Int(number));
        }
    }
}

/// A serde visitor that ignores what the trie does not want; the parser below it is the caller's choice.
struct Seed<'a> {
    node: NodeId,
    trie: &'a PathTrie,
    sum: &'a mut Sum,
}

impl<'de> serde::de::DeserializeSeed<'de> for Seed<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Seed<'_> {
    type Value = ();
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }
    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(node) = map.next_key_seed(Key(self.node, self.trie))? {
            match node {
                Some(node) => map.next_value_seed(Seed { node, trie: self.trie, sum: self.sum })?,
                None => drop(map.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        Ok(())
    }
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Seed { node: self.node, trie: self.trie, sum: self.sum })?.is_some() {}
        Ok(())
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if let Some(field) = self.trie.field(self.node) {
            self.sum.take(field, Value::Text(text.as_bytes()));
        }
        Ok(())
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.visit_i64::<E>(value as i64)
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        if let Some(field) = self.trie.field(self.node) {
            self.sum.take(field, Value::Int(value));
        }
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

struct Key<'a>(NodeId, &'a PathTrie);

impl<'de> serde::de::DeserializeSeed<'de> for Key<'_> {
    type Value = Option<NodeId>;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Option<NodeId>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl serde::de::Visitor<'_> for Key<'_> {
    type Value = Option<NodeId>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Option<NodeId>, E> {
        Ok(self.1.step(self.0, key.as_bytes()))
    }
}

/// Least time of a run over the batch, in ns an event.
fn least(mut run: impl FnMut()) -> f64 {
    run();
    let (started, mut least) = (Instant::now(), Duration::MAX);
    let mut runs = 0;
    while runs < 20 || started.elapsed() < Duration::from_millis(700) {
        let start = Instant::now();
        run();
        least = least.min(start.elapsed());
        runs += 1;
    }
    least.as_nanos() as f64 / BATCH as f64
}

fn main() -> Outcome {
    let trie = FieldTable::embedded(true)?.trie(|_, _| true);
    let documents: Vec<_> = (0..BATCH).map(event).collect();
    let texts: Vec<String> = documents.iter().map(ToString::to_string).collect();
    let batch = Bytes::from(request_of(documents.iter().map(|document| (1_715_678_497_482_000_000, document))));
    let mut spans = Vec::new();
    OTLP.records(&batch, |span| spans.push(span))?;
    let enrichment = serde_json::json!({"indicator": {"type": "ipv4-addr", "ip": "203.0.113.5", "name": "203.0.113.5"},
        "matched": {"id": "indicator--1", "field": "destination.ip"}, "feed": {"name": "bench"}});

    let mut otlp = Sum::default();
    let mut walk_otlp = |sum: &mut Sum| -> Outcome {
        OTLP.records(&batch, |span| {
            let info = walk_record(&batch[span.record.payload()], &trie, &mut |field: FieldId, value: Value<'_>| {
                sum.take(field, value)
            });
            black_box(info.fault.is_none());
        })?;
        Ok(())
    };
    walk_otlp(&mut otlp)?;
    let expected = otlp.values;
    let mut figures: Vec<(&str, f64)> = Vec::new();
    let mut measure = |name, run: &mut dyn FnMut(&mut Sum) -> Outcome| -> Outcome {
        let mut sum = Sum::default();
        run(&mut sum)?;
        assert!(sum.values == expected || sum.values == 0, "{name} sees {} values, the walk {expected}", sum.values);
        figures.push((
            name,
            least(|| {
                let outcome = run(&mut sum);
                black_box((outcome.is_ok(), sum.bytes));
            }),
        ));
        Ok(())
    };
    measure("otlp_walk", &mut walk_otlp)?;
    measure("otlp_decode_walk", &mut |sum| {
        let request = ExportLogsServiceRequest::decode(&batch[..])?;
        for record in request.resource_logs.iter().flat_map(|r| &r.scope_logs).flat_map(|s| &s.log_records) {
            if let Some(body) = &record.body {
                decoded_value(body, PathTrie::ROOT, &trie, sum);
            }
        }
        Ok(())
    })?;
    measure("otlp_decode_encode", &mut |_| {
        let request = ExportLogsServiceRequest::decode(&batch[..])?;
        black_box(request.encode_to_vec().len());
        Ok(())
    })?;
    measure("otlp_tag_splice_1_percent", &mut |_| {
        let mut edits = Vec::new();
        for span in spans.iter().step_by(100) {
            let record = &batch[span.record.payload()];
            let tagged = tag_record(record, &Tags::from_enrichments(std::slice::from_ref(&enrichment)));
            edits.push((*span, Bytes::from(tagged.0)));
        }
        black_box(OTLP.splice(&batch, &edits).len());
        Ok(())
    })?;
    measure("otlp_render", &mut |_| {
        spans.iter().for_each(|span| drop(black_box(render_record(&batch[span.record.payload()]))));
        Ok(())
    })?;
    measure("json_walk", &mut |sum| {
        for text in &texts {
            json::walk(text.as_bytes(), &trie, &mut |field: FieldId, value: Value<'_>| sum.take(field, value))?;
        }
        Ok(())
    })?;
    measure("json_serde_json_dom", &mut |sum| {
        for text in &texts {
            dom(&serde_json::from_str(text)?, PathTrie::ROOT, &trie, sum);
        }
        Ok(())
    })?;
    measure("json_serde_json_visitor", &mut |sum| {
        for text in &texts {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            serde::de::DeserializeSeed::deserialize(
                Seed { node: PathTrie::ROOT, trie: &trie, sum },
                &mut deserializer,
            )?;
        }
        Ok(())
    })?;
    measure("json_sonic_dom", &mut |sum| {
        for text in &texts {
            sonic(&sonic_rs::from_str(text)?, PathTrie::ROOT, &trie, sum);
        }
        Ok(())
    })?;
    measure("json_sonic_visitor", &mut |sum| {
        for text in &texts {
            let mut deserializer = sonic_rs::Deserializer::from_str(text);
            serde::de::DeserializeSeed::deserialize(
                Seed { node: PathTrie::ROOT, trie: &trie, sum },
                &mut deserializer,
            )?;
        }
        Ok(())
    })?;
    report(&figures, batch.len(), texts.iter().map(String::len).sum(), expected)?;
    Ok(())
}

fn report(figures: &[(&str, f64)], batch_bytes: usize, text_bytes: usize, values: usize) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} B OTLP, {} B JSON, {:.1} wanted values an event",
        batch_bytes / BATCH,
        text_bytes / BATCH,
        values as f64 / BATCH as f64
    )?;
    writeln!(out, "{:<28}{:>10}{:>16}", "", "ns/event", "x our walk")?;
    let base =
        |prefix: &str| figures.iter().find(|(name, _)| *name == format!("{prefix}_walk")).map_or(1.0, |(_, ns)| *ns);
    for (name, ns) in figures {
        let prefix = name.split('_').next().unwrap_or_default();
        writeln!(out, "{name:<28}{ns:>10.0}{:>16.2}", ns / base(prefix))?;
    }
    if std::env::args().any(|argument| argument == "--json") {
        let object: serde_json::Map<_, _> =
            figures.iter().map(|(name, ns)| ((*name).to_owned(), (*ns).into())).collect();
        writeln!(out, "{}", serde_json::Value::Object(object))?;
    }
    Ok(())
}
