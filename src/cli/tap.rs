//! `hotlist tap`: shows hits and rates of a running sidecar, live.

use std::io::Write;

use anyhow::Context;
use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use serde_json::Value;

use super::admin::AdminClient;
use super::args::TapArgs;
use super::{Failure, progress};
use crate::counted::count;
use crate::escape::Escaped;

/// The maximum length of a line from the sidecar.
const MAX_LINE: usize = 1 << 20;
/// The interval of the lines of rates, in seconds.
const RATES_EVERY: u64 = 5;

/// Events and hits since the last line of rates.
#[derive(Default)]
struct Rates {
    seconds: u64,
    events: u64,
    hits: u64,
    not_shown: u64,
}

pub(super) fn run(args: &TapArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let client = AdminClient::new(&args.admin, &args.tls)?;
    let endpoint = client.endpoint();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let mut body = client.get("/tap").await.map_err(anyhow::Error::new)?;
        progress::write_line(&format!("watching {endpoint}; Ctrl-C ends it"));
        let (mut held, mut rates) = (BytesMut::new(), Rates::default());
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { break };
            held.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = memchr::memchr(b'\n', &held) {
                let line = held.split_to(end);
                held.advance(1);
                let written = match args.json {
                    true => out.write_all(&line).and_then(|()| writeln!(out)),
                    false => show(&line, &mut rates, out),
                };
                written.and_then(|()| out.flush()).map_err(Failure::of_output)?;
            }
            if held.len() > MAX_LINE {
                return Err(Failure::Other(anyhow::anyhow!("{endpoint} sends lines of more than {MAX_LINE} bytes")));
            }
        }
        progress::write_line("the sidecar closed the stream: it shut down or was restarted");
        Ok(())
    })
}

fn show(line: &[u8], rates: &mut Rates, out: &mut dyn Write) -> std::io::Result<()> {
    let value: Value = serde_json::from_slice(line).unwrap_or_default();
    let text = |key: &str| Escaped(value[key].as_str().unwrap_or_default().to_owned());
    let number = |key: &str| value[key].as_u64().unwrap_or_default();
    if value["type"] == "hit" {
        let shown = value["value"].as_str().unwrap_or_default();
        let (time, kind, field) = (text("time"), text("kind"), text("field"));
        return writeln!(out, "{time} {kind} {} of feed {} at {field} = {shown:?}", text("indicator"), text("feed"));
    }
    rates.seconds += 1;
    rates.events += number("events");
    rates.hits += number("hits");
    rates.not_shown += number("not_shown");
    if rates.seconds < RATES_EVERY {
        return Ok(());
    }
    let Rates { seconds, events, hits, not_shown } = std::mem::take(rates);
    let not_shown = match not_shown {
        0 => String::new(),
        number => format!(", {number} not shown"),
    };
    let hits = count(hits, "hit", "hits");
    writeln!(out, "-- {} events/s; {hits} in {seconds} s{not_shown}", events / seconds)
}
