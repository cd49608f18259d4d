//! The control stream: how a control plane tells sidecars which indicators to serve.

pub mod client;
