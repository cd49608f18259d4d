//! Divides the process's file descriptors: sources get what all other parts leave.

use crate::config::{Config, SinkKind};
use crate::net::socket::descriptors;
use crate::source::Limits;

/// For the process itself: runtimes, signals, the log, file watches, probes and scrapes.
const OWN: u64 = 40;
/// Per source: a listener and its certificates.
const OF_SOURCE: u64 = 4;
/// Per sink to a next hop: its connections, their replacements, names, certificates and the rejected file.
const OF_NEXT_HOP: u64 = 8;
/// Per sink that writes a file: the file, the file before a rotation, and their directory.
const OF_FILE: u64 = 4;
/// Files of indicators and allowlists while they are read.
const OF_FEEDS: u64 = 8;
/// The client of the control plane: its connections, its cache and fetches.
const OF_CONTROL: u64 = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SourceShare {
    connections: usize,
    /// Connections that wait for a place, and as many that are being closed.
    waiting: usize,
}

/// Limits the connections of each source by the process's limit of open files.
pub(super) fn bound(config: &Config, limits: Limits) -> Limits {
    match share(config, limits.max_connections, descriptors::limit()) {
        None => limits,
        Some(SourceShare { connections, waiting }) => Limits {
            max_connections: connections,
            max_connections_per_peer: limits.max_connections_per_peer.min(connections.div_ceil(2)),
            max_waiting: Some(waiting),
            ..limits
        },
    }
}

/// Warns when sources have fewer connections than configured.
pub(super) fn warn_of_low_limit(config: &Config) {
    let (limit, wanted) = (descriptors::limit(), config.limits.max_connections);
    if let Some(SourceShare { connections, .. }) = share(config, wanted, limit) {
        let needed = needed(config, wanted);
        tracing::warn!(
            limit,
            needed,
            connections,
            "the limit of open files is too low for `limits.max_connections`, each source accepts fewer connections: raise it to the needed number (`ulimit -n`, `LimitNOFILE` of systemd, `--ulimit nofile` of Docker), or lower `limits.max_connections`"
        );
    }
}

/// Returns the share of each source of `limit` descriptors when it wants so many connections. `None` if there are enough.
fn share(config: &Config, wanted: usize, limit: u64) -> Option<SourceShare> {
    if limit >= needed(config, wanted) {
        return None;
    }
    let left = limit.saturating_sub(reserved(config)) / (config.sources.len().max(1) as u64);
    // Most are for served connections. Few are waiting or being closed at any time.
    let connections = usize::try_from(left * 3 / 5).unwrap_or(usize::MAX).clamp(1, wanted);
    let waiting = usize::try_from(left / 5).unwrap_or(usize::MAX).clamp(1, wanted);
    Some(SourceShare { connections, waiting })
}

/// Returns the number of descriptors that a configuration may need.
pub fn wanted(config: &Config) -> u64 {
    needed(config, config.limits.max_connections)
}

/// The descriptors that suffice in any case: as many connections may wait, and as many may be closing, as are served.
fn needed(config: &Config, wanted: usize) -> u64 {
    reserved(config) + 3 * wanted as u64 * config.sources.len() as u64
}

/// The descriptors for everything except the sources' connections.
fn reserved(config: &Config) -> u64 {
    let sinks = config.sinks.iter().map(|sink| match &sink.kind {
        SinkKind::Ndjson(_) => OF_FILE,
        SinkKind::Blackhole => 0,
        _ => OF_NEXT_HOP,
    });
    let control = if config.intel.control.is_some() { OF_CONTROL } else { 0 };
    OWN + OF_SOURCE * config.sources.len() as u64 + sinks.sum::<u64>() + OF_FEEDS + control
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Format;

    const TEXT: &str = r#"
sources:
  a: { type: otlp, address: "127.0.0.1:0" }
  b: { type: vector, address: "127.0.0.1:0" }
sinks:
  next: { type: otlp, inputs: [a, b], endpoint: "http://127.0.0.1:1" }
  hits: { type: ndjson, inputs: [a, b], only: hits }
"#;

    /// Guarantee: whatever the limit, all sources together with everything else stay below it, as long as it is enough
    /// for a process at all; a source has one connection at least, and never more than configured.
    #[test]
    fn sources_get_what_is_left() {
        let config = Config::parse(TEXT, Format::Yaml, &|_| None).unwrap();
        let reserved = reserved(&config);
        let sources = config.sources.len() as u64;
        assert_eq!(needed(&config, 1024), reserved + 3 * 1024 * 2);
        assert_eq!(share(&config, 1024, needed(&config, 1024)), None);
        for limit in [0, 16, 64, 100, 128, 256, 1024, 4096] {
            let SourceShare { connections, waiting } = share(&config, 1024, limit).unwrap();
            assert!((1..=1024).contains(&connections) && (1..=1024).contains(&waiting), "{limit}");
            if limit >= reserved + 10 * sources {
                let most = reserved + sources * (connections + 2 * waiting) as u64;
                assert!(most <= limit && most + 20 >= limit.min(most + 20), "{limit}: {most}");
            }
        }
    }
}
