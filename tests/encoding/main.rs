//! The encodings' laws: a walk equals decoding first, a splice equals decoding and adding, and nothing panics.

#[cfg(test)]
mod common;
#[cfg(test)]
mod json;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod named_lists;
#[cfg(test)]
mod otlp;
#[cfg(test)]
mod otlp_json;
#[cfg(test)]
mod otlp_json_signals;
#[cfg(test)]
mod otlp_json_values;
#[cfg(test)]
mod otlp_json_writer;
#[cfg(test)]
#[path = "../support/vector.rs"]
mod peer;
#[cfg(test)]
mod real;
#[cfg(test)]
#[path = "../support/shared.rs"]
mod shared;
#[cfg(test)]
mod transcode;
#[cfg(test)]
mod vector;
