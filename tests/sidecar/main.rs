//! The sidecar as a process of its own: the real binary on a configuration file, between real sockets, with requests
//! of real collectors, a client that nobody here wrote, and signals.

// Marked as tests because clippy allows `unwrap` only in what is.
#[cfg(test)]
mod allowlists;
#[cfg(test)]
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../support/authority.rs"]
mod authority;
#[cfg(test)]
mod bad_feeds;
#[cfg(test)]
mod chance;
#[cfg(test)]
mod client;
#[cfg(test)]
mod command;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod faults;
#[cfg(test)]
#[path = "../support/held_port.rs"]
mod held_port;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod measure;
#[cfg(test)]
mod next_hop;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod otel_collector;
#[cfg(test)]
#[path = "../support/otelcol.rs"]
mod otelcol;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod own_log;
#[cfg(test)]
#[path = "../support/vector.rs"]
mod peer;
#[cfg(test)]
mod plain_http;
#[cfg(test)]
mod process;
#[cfg(test)]
#[path = "../support/python.rs"]
mod python;
#[cfg(test)]
mod python_client;
#[cfg(test)]
mod quiet;
#[cfg(test)]
mod reconfigure;
#[cfg(test)]
mod rejected;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod room;
#[cfg(test)]
#[path = "../support/shared.rs"]
mod shared;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod vector;
