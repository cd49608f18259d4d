//! The messages of OTLP as data: each field's name in JSON, its number and its type. Here are the logs, and what all
//! signals have in common.
//!
//! From `opentelemetry/proto/{collector/logs,logs,common,resource}/v1` of opentelemetry-proto 1.x. The `strindex` fields
//! are not here: they are for profiles only.

mod metric;
mod trace;

pub(super) use metric::REQUEST as METRICS;
pub(super) use trace::REQUEST as TRACES;

/// A message type.
pub(super) struct Message {
    fields: &'static [Field],
    /// The fields that lead from the message to a string which can hold what should have been the message; none where
    /// there is no such string.
    pub(super) text_at: &'static [u32],
}

impl Message {
    /// The field that a key of an object names, in either spelling.
    pub(super) fn field(&self, key: &[u8]) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name.as_bytes() == key || is_snake_case(field.name.as_bytes(), key))
    }

    /// Whether this is `AnyValue`.
    pub(super) fn is_any(&self) -> bool {
        std::ptr::eq(self, &ANY_VALUE)
    }
}

pub(super) struct Field {
    /// In lowerCamelCase.
    pub(super) name: &'static str,
    /// Below 16 for a message, so that its tag takes one byte.
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) label: Label,
}

impl Field {
    /// The parts of a message that can be set once: the field, or all members of its `oneof` together.
    pub(super) fn slot(&self) -> u32 {
        if matches!(self.label, Label::Member | Label::Choice) { 0 } else { self.number }
    }
}

/// A field's type.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    Bool,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Fixed32,
    Fixed64,
    Sfixed64,
    Double,
    /// An enum, with what gives the number of a name.
    Enum(fn(&str) -> Option<i32>),
    /// Bytes that JSON has as base64.
    Base64,
    /// An identifier of so many bytes that JSON has as hexadecimal digits.
    Hex(usize),
    Message(&'static Message),
}

/// How often a field stands in its message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    /// At most once; not written when it is its type's default.
    Single,
    /// At most once; written also when it is its type's default.
    Optional,
    /// As a member of the one `oneof` of `AnyValue`, which has room for text.
    Member,
    /// As a member of the one `oneof` of another message.
    Choice,
    /// Any number of times.
    Repeated,
    /// Any number of times, and it leads to the records, so that there is no batch without it.
    Envelope,
}

const fn single(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, label: Label::Single }
}

const fn optional(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, label: Label::Optional }
}

const fn choice(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, label: Label::Choice }
}

const fn member(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, label: Label::Member }
}

const fn repeated(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, label: Label::Repeated }
}

const fn envelope(name: &'static str, number: u32, message: &'static Message) -> Field {
    Field { name, number, kind: Kind::Message(message), label: Label::Envelope }
}

/// `ExportLogsServiceRequest`.
pub(super) static LOGS: Message = Message { fields: &[envelope("resourceLogs", 1, &RESOURCE_LOGS)], text_at: &[] };

static RESOURCE_LOGS: Message = Message {
    fields: &[
        single("resource", 1, Kind::Message(&RESOURCE)),
        envelope("scopeLogs", 2, &SCOPE_LOGS),
        single("schemaUrl", 3, Kind::Text),
    ],
    text_at: &[],
};

static RESOURCE: Message = Message {
    fields: &[
        repeated("attributes", 1, Kind::Message(&KEY_VALUE)),
        single("droppedAttributesCount", 2, Kind::Uint32),
        repeated("entityRefs", 3, Kind::Message(&ENTITY_REF)),
    ],
    text_at: &[],
};

static ENTITY_REF: Message = Message {
    fields: &[
        single("schemaUrl", 1, Kind::Text),
        single("type", 2, Kind::Text),
        repeated("idKeys", 3, Kind::Text),
        repeated("descriptionKeys", 4, Kind::Text),
    ],
    text_at: &[],
};

static SCOPE_LOGS: Message = Message {
    fields: &[
        single("scope", 1, Kind::Message(&SCOPE)),
        envelope("logRecords", 2, &LOG_RECORD),
        single("schemaUrl", 3, Kind::Text),
    ],
    text_at: &[],
};

/// `InstrumentationScope`.
static SCOPE: Message = Message {
    fields: &[
        single("name", 1, Kind::Text),
        single("version", 2, Kind::Text),
        repeated("attributes", 3, Kind::Message(&KEY_VALUE)),
        single("droppedAttributesCount", 4, Kind::Uint32),
    ],
    text_at: &[],
};

static LOG_RECORD: Message = Message {
    fields: &[
        single("timeUnixNano", 1, Kind::Fixed64),
        single("observedTimeUnixNano", 11, Kind::Fixed64),
        single("severityNumber", 2, Kind::Enum(severity)),
        single("severityText", 3, Kind::Text),
        single("body", 5, Kind::Message(&ANY_VALUE)),
        repeated("attributes", 6, Kind::Message(&KEY_VALUE)),
        single("droppedAttributesCount", 7, Kind::Uint32),
        single("flags", 8, Kind::Fixed32),
        single("traceId", 9, Kind::Hex(16)),
        single("spanId", 10, Kind::Hex(8)),
        single("eventName", 12, Kind::Text),
    ],
    text_at: &[],
};

static ANY_VALUE: Message = Message {
    fields: &[
        member("stringValue", 1, Kind::Text),
        member("boolValue", 2, Kind::Bool),
        member("intValue", 3, Kind::Int64),
        member("doubleValue", 4, Kind::Double),
        member("arrayValue", 5, Kind::Message(&ARRAY_VALUE)),
        member("kvlistValue", 6, Kind::Message(&KEY_VALUE_LIST)),
        member("bytesValue", 7, Kind::Base64),
    ],
    text_at: &[1],
};

static ARRAY_VALUE: Message = Message { fields: &[repeated("values", 1, Kind::Message(&ANY_VALUE))], text_at: &[] };

static KEY_VALUE_LIST: Message = Message { fields: &[repeated("values", 1, Kind::Message(&KEY_VALUE))], text_at: &[] };

static KEY_VALUE: Message = Message {
    fields: &[single("key", 1, Kind::Text), single("value", 2, Kind::Message(&ANY_VALUE))],
    text_at: &[2, 1],
};

/// The names of `SeverityNumber`, four numbers each, the first of them 1.
const SEVERITIES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// The number of a name of `SeverityNumber`.
fn severity(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SEVERITY_NUMBER_")?;
    if name == "UNSPECIFIED" {
        return Some(0);
    }
    let (base, step) = match name.as_bytes().split_last()? {
        (digit @ b'2'..=b'4', _) => (name.get(..name.len() - 1)?, i32::from(digit - b'1')),
        _ => (name, 0),
    };
    let place = SEVERITIES.iter().position(|severity| *severity == base)?;
    Some(1 + 4 * place as i32 + step)
}

/// Whether `key` is a name in lowerCamelCase spelled in snake_case.
fn is_snake_case(name: &[u8], key: &[u8]) -> bool {
    let mut key = key.iter();
    let mut next = || key.next().copied();
    let same = name.iter().all(|byte| {
        if byte.is_ascii_uppercase() {
            next() == Some(b'_') && next() == Some(byte.to_ascii_lowercase())
        } else {
            next() == Some(*byte)
        }
    });
    same && next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_two_names_and_no_third() {
        let number = |key: &str| LOG_RECORD.field(key.as_bytes()).map(|field| field.number);
        assert_eq!(number("observedTimeUnixNano"), Some(11));
        assert_eq!(number("observed_time_unix_nano"), Some(11));
        for other in ["observedTime_unix_nano", "observed_time_unix_nan", "observed_time_unix_nanoo", "Body", "", "_"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn the_tag_of_every_message_takes_one_byte() {
        let messages =
            [&LOGS, &RESOURCE_LOGS, &RESOURCE, &ENTITY_REF, &SCOPE_LOGS, &SCOPE, &LOG_RECORD, &ANY_VALUE, &KEY_VALUE];
        let all = messages.into_iter().chain(metric::ALL).chain(trace::ALL);
        for field in all.flat_map(|message| message.fields) {
            let is_message = matches!(field.kind, Kind::Message(_));
            assert!((1..if is_message { 16 } else { 32 }).contains(&field.number), "{}", field.name);
        }
    }
}
