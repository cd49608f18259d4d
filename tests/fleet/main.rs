//! The fleet: the binary as control plane, as sidecars and as the operator's tool, all together, between real sockets,
//! with real signals.

// Marked as tests because clippy allows `unwrap` only in what is.
#[cfg(test)]
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../support/authority.rs"]
mod authority;
#[cfg(test)]
mod canary;
#[cfg(test)]
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../control/certificates.rs"]
mod certificates;
#[cfg(test)]
#[path = "../sidecar/chance.rs"]
mod chance;
#[cfg(test)]
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../sidecar/client.rs"]
mod client;
#[cfg(test)]
mod common;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod mixed;
#[cfg(test)]
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../sidecar/next_hop.rs"]
mod next_hop;
#[cfg(test)]
mod predict;
#[cfg(test)]
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../sidecar/process.rs"]
mod process;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod publishes;
#[cfg(test)]
mod revocations;
#[cfg(test)]
mod shadow;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod versions;
