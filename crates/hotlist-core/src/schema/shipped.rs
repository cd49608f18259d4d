//! The tables that are shipped. Each is a file next to this one, which names its sources.

/// A table: its name, and its CSV text. The first ones come first: the others refer to fields of ECS.
pub(super) const TABLES: &[(&str, &str)] =
    &[("ecs", include_str!("ecs.csv")), ("ecs-extra", include_str!("ecs-extra.csv"))];

/// The names of the schemas, in the order of their tables.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|(name, _)| *name)
}
