//! `hotlist demo`: a complete pipeline on this machine, in which only the events and indicators are invented.
//!
//! A sender speaks OTLP/gRPC to the same [`App`] that `hotlist run` builds, from an ordinary configuration; a receiver
//! on another loopback port is the next hop. The output is what that receiver got, and every figure is measured in
//! this run.

mod events;
mod example;
mod next_hop;
mod report;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::args::DemoArgs;
use super::{Failure, progress};
use crate::app::{App, Environment};
use crate::config::{Config, Format, Log, LogLevel};
use crate::encoding::{Rope, otlp};
use crate::pipeline::{Batch, MatchedMessage};
use crate::sink::GrpcSink;
use crate::telemetry;
use events::Events;
use next_hop::NextHop;
use report::{Figures, Report};

/// Events per request, as collectors send them.
const BATCH: usize = 500;
/// Concurrent requests.
const IN_FLIGHT: usize = 4;

pub(super) fn run(
    args: &DemoArgs,
    environment: &dyn Fn(&str) -> Option<String>,
    seed: u64,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let log = Log { level: LogLevel::Warn, ..Log::default() };
    telemetry::init_log(log, environment(telemetry::LOG_VARIABLE).as_deref()).map_err(anyhow::Error::new)?;
    let metrics = telemetry::init_metrics().map_err(anyhow::Error::new)?;
    report::write_start(args.events, out).map_err(Failure::of_output)?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory; set TMPDIR to one")?;
    example::write_indicators(directory.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(show(args, directory.path(), Environment { seed, clock: Timestamp::now, metrics }, out))
}

/// The configuration, as text that is parsed like a configuration file. JSON is YAML.
fn configuration(directory: &Path, next_hop: &str) -> String {
    let indicators = directory.join("indicators");
    let document = json!({
        "sources": { "agents": { "type": "otlp", "address": "127.0.0.1:0" } },
        "intel": { "files": [format!("{}/*", glob::Pattern::escape(&indicators.to_string_lossy()))] },
        "match": { "subdomains": true, "url_hosts": true },
        "sinks": {
            "next": { "type": "otlp", "inputs": ["agents"], "endpoint": format!("http://{next_hop}") },
            "hits": { "type": "ndjson", "inputs": ["agents"], "path": directory.join("hits.ndjson"), "only": "hits" },
        },
        "admin": { "address": "127.0.0.1:0" },
    });
    // `$` begins a variable, and may occur in the path of a temporary directory.
    document.to_string().replace('$', "$$")
}

async fn show(args: &DemoArgs, directory: &Path, environment: Environment, out: &mut dyn Write) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let metrics = environment.metrics.clone();
    let (next_hop, mut tagged) = NextHop::bind().context("cannot listen on a loopback port as the next hop")?;
    let config = Config::parse(&configuration(directory, &next_hop.address()), Format::Yaml, &|_| None)?;
    let app = App::build(config, environment).await.map_err(anyhow::Error::new)?;
    let address = app.source_addresses().first().context("the configuration has no source")?.to_string();
    let admin = app.admin_address().map(ToString::to_string);

    let received = next_hop.received();
    let (stop, stopped) = watch::channel(false);
    let wait = |mut stopped: watch::Receiver<bool>| async move {
        // An error means that the sender is dropped, which is also a stop.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let (stop_next_hop, next_hop_stopped) = watch::channel(false);
    let serving = tokio::spawn(app.run(wait(stopped)));
    let receiving = tokio::spawn(next_hop.serve(wait(next_hop_stopped)));

    let interrupted = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(interrupted);

    let mut report = Report::new(args.full);
    let bar = progress::bar(args.events, "events");
    let started = Instant::now();
    let sending = send(&address, args.events, &bar);
    tokio::pin!(sending);
    let sent = loop {
        tokio::select! {
            sent = &mut sending => break sent,
            Some(event) = tagged.recv() => report.take(event),
            () = &mut interrupted => break Err(anyhow::anyhow!("interrupted before all events were sent")),
        }
    };
    let elapsed = started.elapsed();
    bar.finish_and_clear();
    sent?;
    // The next hop sends before it answers, so everything that it received is in the channel by now.
    drain(&mut tagged, &mut report);

    let figures = figures(&metrics, args.events, received.get(), elapsed);
    report.write(&figures, out).map_err(Failure::of_output)?;
    if !args.keep {
        report::write_next_steps(out).map_err(Failure::of_output)?;
    } else {
        let place = report::DemoAddresses { address: &address, admin, directory };
        report::write_how_to_send(&place, out).and_then(|()| out.flush()).map_err(Failure::of_output)?;
        loop {
            tokio::select! {
                Some(event) = tagged.recv() => {
                    report::write_live(&event, out).and_then(|()| out.flush()).map_err(Failure::of_output)?;
                }
                () = &mut interrupted => break,
            }
        }
    }
    // The sidecar drains first: its next hop must still answer the requests in flight.
    let _ = stop.send(true);
    serving.await.context("the sidecar's task failed")?.map_err(anyhow::Error::new)?;
    let _ = stop_next_hop.send(true);
    receiving.await.context("the next hop's task failed")?.map_err(anyhow::Error::new)?;
    Ok(())
}

/// Sends generated events to the sidecar in concurrent requests, and waits for each response.
async fn send(address: &str, events: u64, bar: &ProgressBar) -> anyhow::Result<()> {
    let endpoint = crate::config::Endpoint::parse(&format!("http://{address}"))?;
    // The sidecar's own client takes the place of a collector: it sends the same bytes as any OTLP exporter.
    let client = GrpcSink::otlp(endpoint, crate::sink::grpc::Settings::default());
    let mut source = Events::new()?;
    let mut left = usize::try_from(events).context("too many events")?;
    let requests = std::iter::from_fn(move || {
        let count = left.min(BATCH);
        left -= count;
        (count > 0).then(|| (count, request(&source.next_batch(count, Timestamp::now()))))
    });
    stream::iter(requests)
        .map(|(count, message)| {
            let client = &client;
            async move {
                let batch = Arc::new(Batch::from(MatchedMessage {
                    message: Rope::from(message),
                    records: count,
                    ..MatchedMessage::default()
                }));
                client.deliver("demo-sender", &batch).await?;
                bar.inc(count as u64);
                anyhow::Ok(())
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await
}

fn request(events: &[Value]) -> Bytes {
    let now = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
    Bytes::from(otlp::request_of(events.iter().map(|event| (now, event))))
}

fn drain(tagged: &mut mpsc::Receiver<Value>, report: &mut Report) {
    while let Ok(event) = tagged.try_recv() {
        report.take(event);
    }
}

/// Reads the counters of the process as Prometheus would.
fn figures(metrics: &PrometheusHandle, sent: u64, received: u64, elapsed: Duration) -> Figures {
    let text = metrics.render();
    let sum = |name: &str| report::sum(&text, name);
    Figures {
        sent,
        received,
        events: sum(telemetry::EVENTS_TOTAL) as u64,
        observables: sum(telemetry::OBSERVABLES_TOTAL) as u64,
        passes: sum(telemetry::PREFILTER_PASSES_TOTAL) as u64,
        hits: sum(telemetry::HITS_TOTAL) as u64,
        indicators: sum(telemetry::INDICATORS) as u64,
        suppressed: report::by_label(&text, telemetry::SUPPRESSIONS_TOTAL, "reason"),
        matching: Duration::from_secs_f64(report::stage_seconds(&text, "match")),
        elapsed,
    }
}
