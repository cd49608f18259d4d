//! Records what the matcher does with each value of an event, one paragraph per value. Fields with the same value that
//! are matched in the same way share one paragraph.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::encoding::Value;
use crate::intel::keys::{KeyPlan, KeySpace, show_key};
use crate::matcher::{Outcome, Trace};
use crate::observable::Malformed;
use crate::schema::{FieldId, FieldTable};
use crate::text::TokenKind;

#[derive(Default)]
pub(super) struct LookupLog {
    table: Option<Arc<FieldTable>>,
    values: Vec<LookedUpValue>,
    /// Every form that was looked up.
    keys: BTreeSet<String>,
}

/// One value, and the lookups of its forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LookedUpValue {
    /// The fields that have the value, each once.
    pub(super) fields: Vec<String>,
    /// The kind of the fields.
    pub(super) kind: String,
    /// The value as in the event; text as a JSON string.
    pub(super) value: String,
    /// A sentence for each form that was looked up.
    pub(super) lookups: Vec<String>,
}

impl LookupLog {
    pub(super) fn new(table: &Arc<FieldTable>) -> LookupLog {
        LookupLog { table: Some(Arc::clone(table)), ..LookupLog::default() }
    }

    /// Returns the values, in the order of the event, and every form that was looked up.
    pub(super) fn end(self) -> (Vec<LookedUpValue>, BTreeSet<String>) {
        let mut grouped: Vec<LookedUpValue> = Vec::new();
        for value in self.values {
            let same = |known: &&mut LookedUpValue| {
                (&known.kind, &known.value, &known.lookups) == (&value.kind, &value.value, &value.lookups)
            };
            match grouped.iter_mut().find(same) {
                Some(known) => known
                    .fields
                    .extend(value.fields.into_iter().filter(|field| !known.fields.contains(field)).collect::<Vec<_>>()),
                None => grouped.push(value),
            }
        }
        (grouped, self.keys)
    }

    fn add_lookup(&mut self, sentence: String) {
        if let Some(value) = self.values.last_mut() {
            value.lookups.push(sentence);
        }
    }
}

impl Trace for LookupLog {
    fn value(&mut self, field: FieldId, value: Value<'_>, _: KeyPlan) {
        let Some(table) = &self.table else { return };
        let row = table.get(field);
        let value = match value {
            Value::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
            Value::Int(number) => number.to_string(),
            Value::Double(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Time(time) => time.to_string(),
        };
        let (fields, kind) = (vec![row.name.clone()], row.kind.as_str().to_owned());
        self.values.push(LookedUpValue { fields, kind, value, lookups: Vec::new() });
    }

    fn token(&mut self, path: &dyn Fn() -> Arc<str>, token: &[u8], kind: TokenKind) {
        let value = format!("{:?}", String::from_utf8_lossy(token));
        let (fields, kind) = (vec![path().to_string()], format!("{} in text", kind.as_str()));
        self.values.push(LookedUpValue { fields, kind, value, lookups: Vec::new() });
    }

    fn looked_up(&mut self, space: KeySpace, key: &[u8], outcome: Outcome) {
        let outcome = match outcome {
            Outcome::NoIndicators => "no indicators of this kind are loaded".to_owned(),
            Outcome::Rejected => "not an indicator (prefilter)".to_owned(),
            Outcome::Absent => "not an indicator here (the prefilter passed it, the exact set did not)".to_owned(),
            Outcome::Found(1) => "1 indicator".to_owned(),
            Outcome::Found(many) => format!("{many} indicators"),
        };
        let key = show_key(space, key);
        self.add_lookup(format!("as {} {key}: {outcome}", space.as_str()));
        self.keys.insert(key);
    }

    fn networks(&mut self, address: IpAddr, found: usize) {
        self.add_lookup(format!("networks that cover {address}: {found}"));
    }

    fn malformed(&mut self, reason: Malformed) {
        self.add_lookup(format!("malformed ({}): {}", reason.as_str(), reason.explain()));
    }
}
