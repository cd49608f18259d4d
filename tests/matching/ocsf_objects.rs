//! The objects of OCSF that Hotlist writes, as far as it writes them: attributes, types, requirements and enums of OCSF's
//! own schema, and what an object has that they do not allow.

use serde_json::Value;

/// The type of an attribute, as far as it is asked for here.
#[derive(Clone, Copy, PartialEq)]
pub enum Type {
    String,
    Json,
    /// An integer, and the captions of its enum in the attribute next to it.
    Enum(&'static str, &'static [(i64, &'static str)]),
    OneOf(&'static [&'static str]),
    List(Object),
}

pub type Object = &'static [(&'static str, Type, bool)];

/// `objects/enrichment.json` of <https://github.com/ocsf/ocsf-schema>, 1.0.0 to 1.8.0: attribute, type by `dictionary.json`,
/// whether it is required. 1.3.0 and later have `created_time`, `desc`, `reputation`, `short_desc` and `src_url`, too.
pub const ENRICHMENT: Object = &[
    ("data", Type::Json, true),
    ("name", Type::String, true),
    ("provider", Type::String, false),
    ("type", Type::String, false),
    ("value", Type::String, true),
];

/// `objects/osint.json`, 1.3.0 to 1.8.0, without the attributes whose types are objects.
pub const OSINT: Object = &[
    ("comment", Type::String, false),
    ("confidence", Type::String, false),
    ("confidence_id", Type::Enum("confidence", CONFIDENCES), false),
    ("kill_chain", Type::List(KILL_CHAIN_PHASE), false),
    ("name", Type::String, false),
    ("src_url", Type::String, false),
    ("tlp", Type::OneOf(&["AMBER", "AMBER STRICT", "CLEAR", "GREEN", "RED", "WHITE"]), false),
    ("type", Type::String, false),
    ("type_id", Type::Enum("type", TYPES), true),
    ("uid", Type::String, false),
    ("value", Type::String, true),
    ("vendor_name", Type::String, false),
];

/// `objects/kill_chain_phase.json`.
const KILL_CHAIN_PHASE: Object = &[("phase", Type::String, false), ("phase_id", Type::Enum("phase", PHASES), true)];

/// `type_id` of `objects/osint.json`.
const TYPES: &[(i64, &str)] = &[
    (0, "Unknown"),
    (1, "IP Address"),
    (2, "Domain"),
    (3, "Hostname"),
    (4, "Hash"),
    (5, "URL"),
    (6, "User Agent"),
    (7, "Digital Certificate"),
    (8, "Email"),
    (9, "Email Address"),
    (10, "Vulnerability"),
];

/// `confidence_id` of `dictionary.json`.
const CONFIDENCES: &[(i64, &str)] = &[(0, "Unknown"), (1, "Low"), (2, "Medium"), (3, "High")];

/// `phase_id` of `dictionary.json`.
const PHASES: &[(i64, &str)] = &[
    (0, "Unknown"),
    (1, "Reconnaissance"),
    (2, "Weaponization"),
    (3, "Delivery"),
    (4, "Exploitation"),
    (5, "Installation"),
    (6, "Command & Control"),
    (7, "Actions on Objectives"),
];

/// What an object of OCSF has that its schema does not allow. In an enum 99 is `Other`, with a caption of the source's own.
pub fn faults(object: &Value, schema: Object) -> Vec<String> {
    let Some(members) = object.as_object() else { return vec![format!("no object: {object}")] };
    let unknown = members.keys().filter(|key| !schema.iter().any(|(name, ..)| name == key));
    let mut faults: Vec<String> = unknown.map(|key| format!("unknown attribute {key}")).collect();
    for (name, kind, is_required) in schema {
        let Some(value) = members.get(*name) else {
            faults.extend(is_required.then(|| format!("{name} is missing")));
            continue;
        };
        let fits = match kind {
            Type::String => value.is_string(),
            Type::Json => !value.is_null(),
            Type::Enum(sibling, captions) => value.as_i64().is_some_and(|number| {
                let caption = members.get(*sibling).and_then(Value::as_str);
                let known = captions.iter().find(|(known, _)| *known == number);
                known.map_or(number == 99, |(_, known)| caption.is_none_or(|caption| caption == *known))
            }),
            Type::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Type::List(inner) => {
                let elements = value.as_array();
                faults.extend(elements.into_iter().flatten().flat_map(|element| self::faults(element, inner)));
                elements.is_some()
            }
        };
        faults.extend((!fits).then(|| format!("{name}: {value}")));
    }
    faults
}
