//! Providers of indicators: each offers what it has to the owner of the active snapshot, and knows no other provider.
//!
//! [`files`] are the indicator files of `intel.files`, [`control`] is the sidecar's end of the control stream, [`offer`]
//! turns its manifests into candidates.

pub mod control;
pub mod files;
pub mod offer;
