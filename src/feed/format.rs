//! The formats of feeds, one file each.

pub(super) mod adblock;
pub(super) mod csv;
pub(super) mod dnsmasq;
pub(super) mod hosts;
pub(super) mod json;
pub(super) mod list;
pub(super) mod misp;
pub(super) mod rpz;
pub(super) mod stix;
pub(super) mod unbound;
pub(super) mod zeek;
