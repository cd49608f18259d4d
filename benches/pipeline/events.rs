//! The events and the indicators: invented, the same in every run, and as different from each other as real ones.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;

/// Events in a request.
pub const BATCH: usize = 500;
/// 2026-01-01T00:00:00Z.
const START: u64 = 1_767_225_600_000_000_000;

/// Numbers that look random (SplitMix64) and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn address(&mut self) -> String {
        let [a, b, c, d, ..] = self.next().to_le_bytes();
        format!("{}.{b}.{c}.{d}", 11 + a % 110)
    }

    fn domain(&mut self, top: &str) -> String {
        let number = self.next();
        format!(
            "{}-{:x}.{}.{top}",
            ["www", "cdn", "api", "mail"][(number % 4) as usize],
            number >> 40,
            word(number >> 8)
        )
    }

    fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits + 16);
        while text.len() < digits {
            text.push_str(&format!("{:016x}", self.next()));
        }
        text.truncate(digits);
        text
    }
}

/// A pronounceable word.
fn word(mut number: u64) -> String {
    const SYLLABLES: [&str; 16] =
        ["ba", "co", "di", "fe", "gu", "ha", "jo", "ki", "le", "mu", "na", "po", "qui", "re", "su", "ta"];
    let mut text = String::new();
    for _ in 0..4 {
        text.push_str(SYLLABLES[(number % 16) as usize]);
        number /= 16;
    }
    text
}

/// Requests of [`BATCH`] events each, encoded, `count` distinct events in all.
pub fn batches(count: usize) -> Vec<Bytes> {
    let mut numbers = Numbers(1);
    let mut batches = Vec::with_capacity(count.div_ceil(BATCH));
    for first in (0..count).step_by(BATCH) {
        let log_records = (first..first + BATCH).map(|number| record(number as u64, &mut numbers)).collect();
        let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
        let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
        batches.push(Bytes::from(ExportLogsServiceRequest { resource_logs }.encode_to_vec()));
    }
    batches
}

/// One ECS event of about 1.2 kB with 17 observables, its body a nested document.
fn record(number: u64, numbers: &mut Numbers) -> LogRecord {
    let time = START + number * 1_000_003;
    let (host, user) = (numbers.next() % 5000, word(numbers.next()));
    let (domain, path) = (numbers.domain("example.net"), word(numbers.next()));
    let url = format!("https://{domain}/{path}/index.php?id={}", numbers.next() % 100_000);
    let body = object([
        (
            "@timestamp",
            text(format!("2026-01-01T{:02}:{:02}:{:02}.000Z", number / 3600 % 24, number / 60 % 60, number % 60)),
        ),
        ("message", text(format!("{user} opened {url} from host {host}, status {}", 200 + numbers.next() % 4))),
        (
            "event",
            object([
                ("kind", text("event")),
                ("category", array([text("network"), text("web")])),
                ("action", text("http-request")),
                ("dataset", text("proxy.access")),
                ("duration", whole(numbers.next() % 1_000_000)),
            ]),
        ),
        (
            "host",
            object([("name", text(format!("host-{host}.corp.example"))), ("ip", array([text(numbers.address())]))]),
        ),
        (
            "source",
            object([
                ("ip", text(numbers.address())),
                ("port", whole(numbers.next() % 65536)),
                ("bytes", whole(number)),
            ]),
        ),
        (
            "destination",
            object([("ip", text(numbers.address())), ("port", whole(443)), ("domain", text(domain.clone()))]),
        ),
        ("client", object([("ip", text(numbers.address()))])),
        ("server", object([("ip", text(numbers.address())), ("domain", text(numbers.domain("example.org")))])),
        (
            "dns",
            object([
                ("question", object([("name", text(numbers.domain("example.com"))), ("type", text("A"))])),
                ("resolved_ip", array([text(numbers.address()), text(numbers.address())])),
            ]),
        ),
        ("url", object([("full", text(url)), ("domain", text(domain))])),
        ("user", object([("name", text(user.clone())), ("email", text(format!("{user}@mail.example")))])),
        (
            "file",
            object([
                ("name", text(format!("{path}.exe"))),
                ("hash", object([("sha256", text(numbers.hex(64))), ("md5", text(numbers.hex(32)))])),
            ]),
        ),
        (
            "process",
            object([
                ("name", text("browser")),
                ("pid", whole(numbers.next() % 100_000)),
                ("hash", object([("sha1", text(numbers.hex(40)))])),
            ]),
        ),
        ("user_agent", object([("original", text("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101"))])),
        ("tags", array([text("proxy"), text("forwarded")])),
    ]);
    LogRecord { time_unix_nano: time, body: Some(body), ..LogRecord::default() }
}

fn text(text: impl Into<String>) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.into())) }
}

fn whole(number: u64) -> AnyValue {
    AnyValue { value: Some(Value::IntValue(number as i64)) }
}

fn array(values: impl IntoIterator<Item = AnyValue>) -> AnyValue {
    AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: values.into_iter().collect() })) }
}

fn object<const N: usize>(fields: [(&str, AnyValue); N]) -> AnyValue {
    let values = fields
        .into_iter()
        .map(|(key, value)| KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() })
        .collect();
    AnyValue { value: Some(Value::KvlistValue(KeyValueList { values })) }
}

/// A plain list, one value a line: addresses, domains, URLs and hashes in equal parts, none of them in an event.
pub fn write_indicators(path: &Path, count: usize) -> Result<()> {
    // Another seed than the events have; domains end otherwise, so that no chance makes a hit.
    let mut numbers = Numbers(1 << 40);
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..count {
        match number % 4 {
            // Events keep to first bytes 11 to 120.
            0 => {
                let [a, b, c, d, ..] = numbers.next().to_le_bytes();
                writeln!(file, "{}.{b}.{c}.{d}", 128 + a % 40)?;
            }
            1 => writeln!(file, "{}", numbers.domain("malware.example"))?,
            2 => writeln!(file, "http://{}/{}", numbers.domain("phish.example"), numbers.hex(8))?,
            _ => writeln!(file, "{}", numbers.hex(64))?,
        }
    }
    file.flush()?;
    Ok(())
}
