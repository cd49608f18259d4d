//! The tables that are shipped. Each is a file next to this one, which names its sources.

macro_rules! tables {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!($name, ".csv")))),*] };
}

/// A table: its name, and its CSV text. ECS comes first: the others refer to its fields.
pub(super) const TABLES: &[(&str, &str)] = tables! {
    "ecs" "ecs-extra"
    "zeek" "suricata" "ocsf"
    "windows"
    "cloudtrail" "vpcflow" "route53"
    "gcp" "azure"
    "kubernetes"
};

/// The names of the schemas, in the order of their tables.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|(name, _)| *name)
}
