//! Plans the look-ups of each field: the keys of its values, and whether they are parts of a URL.

use crate::intel::keys::{KeyPlan, MatchOptions};
use crate::schema::{self, Field, FieldId, FieldSet, FieldTable, UrlPart};

/// How the values of a field are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPlan {
    /// Their keys; [`KeyPlan::Tokens`] of values that are scanned as text in addition to `inner`.
    pub plan: KeyPlan,
    /// The keys of a value as a whole.
    pub inner: KeyPlan,
    /// Their part in the URL of their event.
    pub part: PlanPart,
    /// The number of its schema in [`names`](schema::names); 255 for none, or for more than one.
    pub schema: u8,
    /// Whether the registered domain of its values is matched, too ([`MatchOptions::registered_domains`]).
    pub derives: bool,
}

/// The fields of ECS with a registered domain next to them.
const BESIDE_REGISTERED: [&str; 6] =
    ["dns.question.name", "client.domain", "destination.domain", "server.domain", "source.domain", "url.domain"];

/// The part of a field in the URL of its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanPart {
    /// Nothing.
    None,
    /// Part of it.
    Part,
    /// All of it: parts that say the same need not be composed.
    Whole,
}

/// The fields that together are a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UrlRow {
    /// The part after the host; findings are reported here.
    pub path: FieldId,
    /// The host.
    pub host: FieldId,
    /// The part after the path.
    pub query: Option<FieldId>,
}

impl FieldPlan {
    pub(super) fn of_field(field: &Field, options: MatchOptions) -> FieldPlan {
        let is_whole = matches!(field.meaning(), "url.full" | "url.original") && field.url_parts.is_empty();
        let part = if is_whole { PlanPart::Whole } else { PlanPart::None };
        let schema = match field.schemas[..] {
            // The two tables of ECS are one schema.
            ["ecs" | "ecs-extra"] => Some(0),
            [name] => schema::number(name),
            _ => None,
        };
        let schema = schema.unwrap_or(u8::MAX);
        let derives = options.registered_domains && BESIDE_REGISTERED.contains(&field.meaning());
        let inner = KeyPlan::of_field(field);
        let plan = if field.is_text { KeyPlan::Tokens } else { inner };
        FieldPlan { plan, inner, part, schema, derives }
    }
}

/// The URLs in parts, in the order of their paths. Their fields become wanted.
pub(super) fn url_rows(table: &FieldTable, plans: &mut [FieldPlan], wanted: &mut FieldSet) -> Vec<UrlRow> {
    let mut rows = Vec::new();
    for (path, field) in table.iter() {
        for part in &field.url_parts {
            let UrlPart::After(host) = part else { continue };
            let Some(host) = table.id(host) else { continue };
            let query = UrlPart::Query(field.name.clone());
            let query = table.iter().find(|(_, other)| other.url_parts.contains(&query)).map(|(id, _)| id);
            rows.push(UrlRow { path, host, query });
        }
    }
    for row in &rows {
        for field in [Some(row.path), Some(row.host), row.query].into_iter().flatten() {
            wanted.insert(field);
            if let Some(plan) = plans.get_mut(usize::from(field.0)) {
                plan.part = PlanPart::Part;
            }
        }
    }
    rows
}
