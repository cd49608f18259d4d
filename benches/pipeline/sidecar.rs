//! Hotlist in the middle.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use hotlist::encoding::Rope;
use hotlist::forward::otlp::{OtlpSink, Settings};
use hotlist::forward::{Fanout, Sink, SinkKind};
use hotlist::ingest::{Address, Limits, OtlpSource};

use crate::child::tell;
use crate::next_hop::Identity;

/// Says its address and serves until it is killed. `indicators` is a plain list, one value a line.
pub fn run(to: &str, indicators: &Path) -> Result<()> {
    std::fs::metadata(indicators).with_context(|| format!("{} cannot be read", indicators.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let sink = OtlpSink::new(to.parse()?, Settings::default(), whole);
        let fanout = Fanout::new([Arc::new(Sink::new("next", SinkKind::Otlp(Box::new(sink))))]);
        let address = Address::Tcp(([127, 0, 0, 1], 0).into());
        let bound = OtlpSource::bind(&address, Limits::default(), Arc::new(Identity), Arc::new(fanout))?;
        tell(bound.local_address())?;
        bound.serve(std::future::pending()).await?;
        Ok(())
    })
}

/// Batches of the benchmark are below the limit of the sink.
fn whole(message: &Bytes, _: usize) -> Vec<Rope> {
    vec![Rope::from(message.clone())]
}
