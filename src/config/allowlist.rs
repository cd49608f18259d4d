//! `intel.allowlists`: lists of values that are known to be harmless or shared.

use schemars::JsonSchema;
use serde::Serialize;

use super::reader::{Item, pattern};

/// Files of allowlists. A bare string is a table with only `path`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AllowlistFiles {
    /// A path or a glob (`allowlists/*.json`) of MISP warninglists. Relative paths start at the working directory.
    pub path: String,
    /// The list's name in hits, metrics and `explain`. Absent: the name in each file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The treatment of a hit whose value the list covers: `suppress` (the hit is dropped) or `annotate` (the hit names the list). Absent: lists of clouds, CDNs, dynamic DNS, disposable mail and sinkholes annotate, others suppress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<AllowlistAction>,
    /// Whether the lists are used.
    #[schemars(extend("default" = true))]
    pub enabled: bool,
}

/// The treatment of a hit whose value an allowlist covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AllowlistAction {
    /// It is not a hit.
    Suppress,
    /// It stays a hit and names the list.
    Annotate,
}

impl AllowlistFiles {
    pub(super) const KEYS: &[&'static str] = &["path", "name", "action", "enabled"];

    /// The files of a bare path or glob, everything else at its default.
    pub fn new(path: String) -> AllowlistFiles {
        AllowlistFiles { path, name: None, action: None, enabled: true }
    }

    pub(super) fn read(item: &Item<'_>) -> Option<AllowlistFiles> {
        if !item.is_table() {
            return item.parsed("a path, or a table with a `path`", pattern).map(AllowlistFiles::new);
        }
        let table = item.table(AllowlistFiles::KEYS)?;
        let words = [("suppress", AllowlistAction::Suppress), ("annotate", AllowlistAction::Annotate)];
        let rest = AllowlistFiles {
            path: String::new(),
            name: table.get("name").and_then(|item| item.text()),
            action: table.get("action").and_then(|item| item.word(&words)),
            enabled: table.or("enabled", true, Item::boolean),
        };
        let path = table.required("path", "a path or a glob, e.g. `allowlists/*.json`")?;
        Some(AllowlistFiles { path: path.parsed("a path", pattern)?, ..rest })
    }
}
