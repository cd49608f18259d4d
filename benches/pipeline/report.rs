//! The report of the measurement: two tables, and one line of JSON whose keys stay the same.

use std::io::{self, Write};

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::compare::{Measured, Row};
use crate::source::Source;
use crate::{Options, Role, events};

/// The processes that are compared over OTLP/gRPC, by the name they are shown under.
const COMPARED: [(Role, &str); 3] =
    [(Role::Passthrough, "passthrough"), (Role::DecodeEncode, "decode-encode"), (Role::Sidecar, "sidecar")];

pub fn write(options: &Options, measured: &Measured) -> Result<()> {
    let mut out = io::stdout().lock();
    let find = |role: Role, source: Source| measured.rows.iter().find(|row| row.role == role && row.source == source);
    let cost = |role: Role, source: Source| find(role, source).map_or(f64::NAN, Row::cpu_micros);
    writeln!(
        out,
        "{} events a run, {} distinct, batches of {}, {} runs each, {} indicators",
        options.events,
        options.distinct,
        events::BATCH,
        options.repeat,
        options.indicators
    )?;

    let mut roles = Map::new();
    let to_passthrough = cost(Role::Sidecar, Source::Otlp) / cost(Role::Passthrough, Source::Otlp);
    let to_decode = cost(Role::Sidecar, Source::Otlp) / cost(Role::DecodeEncode, Source::Otlp);
    if options.sources.contains(&Source::Otlp) {
        writeln!(out, "\n{:<16}{:>16}{:>16}", "otlp", "µs CPU/event", "events/s")?;
        for (role, name) in COMPARED {
            let Some(row) = find(role, Source::Otlp) else { continue };
            writeln!(out, "{name:<16}{:>16.3}{:>16.0}", row.cpu_micros(), row.events_per_second())?;
            roles.insert(name.to_owned(), runs(row));
        }
        if options.only.is_none() {
            writeln!(out, "sidecar: {to_passthrough:.2} × passthrough, {to_decode:.2} × decode-encode")?;
        }
    }

    writeln!(
        out,
        "\n{:<16}{:>16}{:>16}{:>16}{:>16}{:>16}{:>16}",
        "µs CPU/event", "bytes/event", "own passthrough", "sidecar", "ratio", "ECS alone", "all to ECS"
    )?;
    let mut sources = Map::new();
    for (source, bytes) in options.sources.iter().zip(&measured.bytes_per_event) {
        let (own, sidecar) = (cost(Role::OwnPassthrough, *source), cost(Role::Sidecar, *source));
        let ratio = sidecar / own;
        let ecs = cost(Role::SidecarEcs, *source);
        let to_ecs = sidecar / ecs;
        writeln!(
            out,
            "{:<16}{bytes:>16.0}{own:>16.3}{sidecar:>16.3}{ratio:>16.2}{ecs:>16.3}{to_ecs:>16.3}",
            source.name()
        )?;
        let figures = json!({
            "bytes_per_event": bytes,
            "own_passthrough": find(Role::OwnPassthrough, *source).map(runs),
            "sidecar": find(Role::Sidecar, *source).map(runs),
            "ratio_to_own_passthrough": ratio,
            "sidecar_ecs": find(Role::SidecarEcs, *source).map(runs),
            "ratio_to_ecs": to_ecs,
        });
        sources.insert(source.name(), figures);
    }

    if options.json {
        let otlp = options.sources.iter().position(|source| *source == Source::Otlp);
        let line = json!({
            "ratio_to_passthrough": to_passthrough,
            "ratio_to_decode_encode": to_decode,
            "events": options.events,
            "distinct": options.distinct,
            "indicators": options.indicators,
            "bytes_per_event": otlp.and_then(|place| measured.bytes_per_event.get(place)),
            "roles": roles,
            "sources": sources,
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn runs(row: &Row) -> Value {
    let all: Vec<f64> = row.runs.iter().map(|run| run.cpu_micros).collect();
    json!({"cpu_us_per_event": row.cpu_micros(), "events_per_second": row.events_per_second(), "runs": all})
}
