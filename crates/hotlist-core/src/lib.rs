//! The matching of Hotlist as a library: finds indicators of compromise in log events, and tags what hits.
//!
//! Everything here is pure: time, files and readers are arguments. There is no runtime, clock, environment, metric or log.
//! `clippy.toml` of this package lists what must not be called.
//!
//! # Embedding
//!
//! `examples/embed.rs` is a whole program. Its steps:
//!
//! 1. Read indicators. [`intel::term::value`] brings a written value to its canonical form, or refuses it;
//!    [`intel::pattern`] compiles a STIX pattern; [`intel::guard`] finds which indicators would hit everything.
//! 2. Compile them with [`intel::snapshot::SnapshotBuilder`] to a [`intel::snapshot::Snapshot`], over a
//!    [`schema::FieldTable`] that says which fields of an event are checked, as what.
//! 3. Match with a [`detect::Detector`]: [`detect::Detector::event`] takes one JSON event, [`detect::Detector::batch`] a
//!    message of OTLP, Vector or Hotlist's own Filter protocol. A [`policy::Policy`] decides which findings are hits.
//! 4. Read the hits of the [`detect::Verdict`], or get the event back with them in `threat.enrichments`:
//!    [`detect::Detector::tag_document`].
//!
//! The interface follows the program's needs and may change with each version.

// The rest of the workspace is a program, whose items need a doc only where it adds something.
#![warn(missing_docs)]

pub mod alert_key;
pub mod asset;
pub mod circumstances;
pub mod detect;
pub mod encoding;
pub mod enrich;
pub mod escape;
pub mod intel;
pub mod matcher;
pub mod observable;
pub mod policy;
pub mod rules;
pub mod schema;
pub mod severity;
mod severity_scale;
mod tally;
pub mod text;
pub mod work;
