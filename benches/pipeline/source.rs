//! The sources that are compared: how a sidecar is configured for each, and the same events in the encoding of each.

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::ValueEnum;
use hotlist::encoding::{Format, transcode};
use serde_json::{Map, Value, json};

use crate::filter;

/// A protocol by which collectors send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// OTLP/gRPC.
    Otlp,
    /// Vector's own protocol.
    Vector,
    /// OTLP over HTTP/1.1, as protobuf.
    #[value(name = "otlp/http")]
    OtlpHttp,
    /// The Filter stream, which hands the events back.
    Filter,
}

/// Where the next hop listens.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct NextHop {
    /// For OTLP/gRPC; set by the benchmark itself
    #[arg(long, hide = true, default_value = "")]
    pub to: String,
    /// For Vector's protocol; set by the benchmark itself
    #[arg(long, hide = true, default_value = "")]
    pub to_vector: String,
}

impl Source {
    /// As it is given to `--sources`, shown, and called in JSON.
    pub fn name(self) -> String {
        // invariant: no variant is skipped.
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The requests of OTLP with their events in this protocol.
    pub fn encode(self, batches: &[Bytes]) -> Result<Vec<Bytes>> {
        match self {
            Source::Otlp | Source::OtlpHttp => Ok(batches.to_vec()),
            Source::Vector => {
                let encode = |batch: &Bytes| transcode(batch, Format::Otlp, Format::Vector, |_| true);
                batches.iter().map(encode).collect::<Result<Vec<_>, _>>().context("a batch cannot be transcoded")
            }
            Source::Filter => batches.iter().map(filter::request).collect(),
        }
    }

    /// Whether its events are forwarded to the next hop.
    pub fn has_sink(self) -> bool {
        self != Source::Filter
    }

    /// Its type in a configuration, which is that of its sink, too, and where that one sends to.
    fn kind(self, next_hop: &NextHop) -> (&'static str, &str) {
        match self {
            // Both have the type `otlp`, and the sink sends OTLP over gRPC.
            Source::Otlp | Source::OtlpHttp => ("otlp", &next_hop.to),
            Source::Vector => ("vector", &next_hop.to_vector),
            Source::Filter => ("filter", ""),
        }
    }
}

/// The configuration of a sidecar with these sources, in their order and each with its address, and with a sink of its own
/// if it has any.
pub fn configuration(sources: &[Source], next_hop: &NextHop, addresses: &[String]) -> Map<String, Value> {
    let (mut from, mut to) = (Map::new(), Map::new());
    for (number, (source, address)) in sources.iter().zip(addresses).enumerate() {
        let id = format!("source-{number}");
        let (kind, endpoint) = source.kind(next_hop);
        if source.has_sink() {
            to.insert(format!("sink-{number}"), json!({ "type": kind, "inputs": [id], "endpoint": endpoint }));
        }
        from.insert(id, json!({ "type": kind, "address": address }));
    }
    Map::from_iter([("sources".to_owned(), from.into()), ("sinks".to_owned(), to.into())])
}
