//! `hotlist rejected`: lists records that a next hop permanently rejected, and resends them once the cause is fixed.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http::HeaderName;
use serde_json::{Value, json};

use super::Failure;
use super::args::{RejectedAction, RejectedArgs, RejectedListArgs, RejectedResendArgs};
use super::table::Rows;
use super::tls;
use crate::config::{Endpoint, without_credentials};
use crate::counted::count;
use crate::encoding::{Format, Rope};
use crate::escape::Escaped;
use crate::net::tls::{HTTP_1, HTTP_2};
use crate::pipeline::{Batch, MatchedMessage, Signal};
use crate::sink::grpc::Settings;
use crate::sink::rejected::{self, Entry, Line};
use crate::sink::{GrpcSink, Headers};

/// The maximum length of a record in the table, in characters.
const EXCERPT: usize = 100;

pub(super) fn run(args: &RejectedArgs, out: &mut dyn Write, log: &mut dyn Write) -> Result<(), Failure> {
    match &args.action {
        RejectedAction::List(args) => list(args, out, log),
        RejectedAction::Resend(args) => resend(args, out, log),
    }
}

fn list(args: &RejectedListArgs, out: &mut dyn Write, log: &mut dyn Write) -> Result<(), Failure> {
    for path in &args.files {
        let mut table = Rows::new(["N", "TIME", "SINK", "STATUS", "REASON", "BYTES", "RECORD"]);
        let mut written = Ok(());
        rejected::read(path, |line| {
            let Line { number, entry, .. } = line;
            match entry {
                Err(problem) => {
                    // A failing standard error is ignored.
                    let _ = writeln!(log, "{}:{number}: cannot be read: {}", Escaped(path.display()), Escaped(problem));
                }
                Ok(entry) if args.json => {
                    if written.is_ok() {
                        written = writeln!(out, "{}", as_json(path, number, &entry));
                    }
                }
                Ok(entry) => {
                    let Entry { time, sink, status, message, request, partial, .. } = &entry;
                    let (number, bytes) = (number.to_string(), request.len().to_string());
                    let time = format!("{time:.0}");
                    let mut records = records(&entry);
                    let (status, record) = match partial {
                        Some(rejected) => (format!("partial ({rejected} of {})", records.len()), records.join(" ")),
                        None => (excerpt(status), records.pop().unwrap_or_default()),
                    };
                    let (sink, record) = (excerpt(sink), excerpt(&record));
                    table.add([number, time, sink, status, excerpt(message), bytes, record]);
                }
            }
        })
        .map_err(anyhow::Error::new)?;
        written.map_err(Failure::of_output)?;
        if !args.json {
            let text = if table.is_empty() { "no rejected records\n".to_owned() } else { table.to_string() };
            write!(out, "{}:\n{text}", Escaped(path.display())).map_err(Failure::of_output)?;
        }
    }
    out.flush().map_err(Failure::of_output)
}

fn resend(args: &RejectedResendArgs, out: &mut dyn Write, log: &mut dyn Write) -> Result<(), Failure> {
    let wanted: HashSet<usize> = args.select.iter().copied().collect();
    let (mut entries, mut unreadable, mut partial) = (Vec::new(), 0, 0);
    rejected::read(&args.file, |line| {
        let Line { number, digest, entry } = line;
        if !wanted.is_empty() && !wanted.contains(&number) {
            return;
        }
        match entry {
            Ok(Entry { partial: Some(_), .. }) if !args.partial => partial += 1,
            Ok(entry) => entries.push((number, digest, entry)),
            Err(problem) => {
                unreadable += 1;
                let _ = writeln!(
                    log,
                    "{}:{number}: stays, cannot be read: {}",
                    Escaped(args.file.display()),
                    Escaped(problem)
                );
            }
        }
    })
    .map_err(anyhow::Error::new)?;
    if partial > 0 {
        let file = args.file.display();
        let lines = count(partial, "line of a partial success was", "lines of partial successes were");
        let _ = writeln!(
            log,
            "{file}: {lines} not sent, because OTLP forbids sending them again; `--partial` resends them"
        );
    }
    if args.dry_run {
        for (number, _, entry) in &entries {
            let (signal, bytes) = (entry.signal.as_str(), entry.request.len());
            writeln!(
                out,
                "{number}: would be sent to {}: {signal}, {bytes} bytes",
                without_credentials(&args.endpoint)
            )
            .map_err(Failure::of_output)?;
        }
        return out.flush().map_err(Failure::of_output);
    }
    let (otlp, vector) = (sink(args, Format::Otlp)?, sink(args, Format::Vector)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let (mut accepted, mut sent, total) = (HashMap::new(), 0, entries.len());
    for (number, digest, entry) in entries {
        let Entry { format, signal, request, .. } = entry;
        let events = MatchedMessage { format, message: Rope::from(request), records: 1, ..MatchedMessage::default() };
        let batch = Batch { signal, ..Batch::from(events) };
        let sink = if format == Format::Vector { &vector } else { &otlp };
        match runtime.block_on(sink.offer("resend", &batch)) {
            Ok(answer) if answer.rejected == 0 => {
                *accepted.entry(digest).or_default() += 1;
                sent += 1;
            }
            Ok(answer) => {
                drop(writeln!(log, "{number}: stays, rejected in a partial success: {}", Escaped(answer.message)))
            }
            Err(refusal) => drop(writeln!(log, "{number}: stays: {}", Escaped(refusal))),
        }
    }
    if !accepted.is_empty() {
        rejected::remove(&args.file, &accepted).map_err(anyhow::Error::new)?;
    }
    let stays = total - sent + unreadable;
    writeln!(out, "{sent} accepted and removed, {stays} stay in {}", args.file.display())
        .and_then(|()| out.flush())
        .map_err(Failure::of_output)?;
    match stays {
        0 => Ok(()),
        _ => Err(Failure::Other(anyhow::anyhow!("{stays} of {} were not sent", total + unreadable))),
    }
}

fn sink(args: &RejectedResendArgs, format: Format) -> Result<GrpcSink, Failure> {
    let endpoint = Endpoint::parse(&args.endpoint)
        .with_context(|| format!("--endpoint {}", without_credentials(&args.endpoint)))?;
    let mut headers = Headers::default();
    for header in &args.headers {
        let (name, value) = header.split_once('=').context("--header: give NAME=VALUE or NAME=@FILE")?;
        let name: HeaderName =
            name.parse().with_context(|| format!("--header: {name:?} is not a valid header name"))?;
        let added = match value.strip_prefix('@') {
            Some(path) => headers.file(name, path.into()),
            None => headers.fixed(name, value),
        };
        added.context("--header")?;
    }
    let settings = Settings { headers: Arc::new(headers), ..Settings::default() };
    let protocols = if args.protocol == "http" { HTTP_1 } else { HTTP_2 };
    let connector = tls::connector("resend", &args.tls, &endpoint, protocols)?;
    let sink = match format {
        Format::Vector => GrpcSink::vector(endpoint, settings),
        _ if args.protocol == "http" => {
            return Ok(GrpcSink::otlp_http(endpoint, &args.base_path, connector, settings));
        }
        _ => GrpcSink::otlp(endpoint, settings),
    };
    Ok(match connector {
        Some(connector) => sink.with_tls(connector),
        None => sink,
    })
}

fn as_json(path: &Path, number: usize, entry: &Entry) -> Value {
    let value = |record: String| serde_json::from_str(&record).unwrap_or(Value::String(record));
    let mut records: Vec<Value> = records(entry).into_iter().map(value).collect();
    let mut line = json!({
        "file": path.display().to_string(),
        "number": number,
        "time": entry.time.to_string(),
        "sink": entry.sink,
        "endpoint": entry.endpoint,
        "signal": entry.signal.as_str(),
        "status": entry.status,
        "message": entry.message,
        "bytes": entry.request.len(),
    });
    if let Value::Object(line) = &mut line {
        match entry.partial {
            Some(rejected) => line.extend([("partial".into(), rejected.into()), ("records".into(), records.into())]),
            None => line.extend([("record".into(), records.pop().unwrap_or_default())]),
        }
    }
    line
}

/// The records of an entry as text: JSON for log records, the printable part of the bytes for anything else.
fn records(entry: &Entry) -> Vec<String> {
    let logs = entry.signal == Signal::Logs;
    // A record that cannot be walked is shown as bytes.
    match entry.format.records(&entry.request).ok().filter(|records| logs && !records.is_empty()) {
        Some(records) => {
            let text = |record: &Bytes| String::from_utf8_lossy(&entry.format.render_record(record)).into_owned();
            records.iter().map(text).collect()
        }
        None => {
            let printable = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' };
            vec![entry.request.iter().map(printable).collect()]
        }
    }
}

/// Returns the beginning of a text, on one line.
fn excerpt(text: &str) -> String {
    let cut = if text.chars().nth(EXCERPT).is_some() { "…" } else { "" };
    format!("{}{cut}", Escaped(text.chars().take(EXCERPT).collect::<String>()))
}
