//! A writer of OTLP/JSON for tests: every request in one of the many ways that the JSON mapping allows.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// The text of a request; `seed` says which of the ways.
pub fn spell(request: &ExportLogsServiceRequest, seed: u64) -> String {
    let mut writer = Writer { out: String::new(), seed };
    let members = |writer: &mut Writer| writer.list(&request.resource_logs, Writer::resource_logs);
    writer.object(vec![("resource_logs", Box::new(members))]);
    writer.out
}

/// A member's name in snake_case, and what writes its value.
type Member<'a> = (&'a str, Box<dyn Fn(&mut Writer) + 'a>);

struct Writer {
    out: String,
    seed: u64,
}

impl Writer {
    fn pick(&mut self, choices: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % choices
    }

    fn space(&mut self) {
        let space = ["", "", "", " ", "\n\t"][self.pick(5) as usize];
        self.out.push_str(space);
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match (character, self.pick(4)) {
                ('"' | '\\', 1..) => self.out.extend(['\\', character]),
                ('/', 1) => self.out.push_str("\\/"),
                ('\n', 1..) => self.out.push_str("\\n"),
                ('"' | '\\' | ..'\u{20}', _) | (_, 0) => {
                    let mut units = [0; 2];
                    for unit in character.encode_utf16(&mut units) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
    }

    /// A number as such or in quotes.
    fn number(&mut self, number: impl std::fmt::Display) {
        let quote = ["", "\""][self.pick(2) as usize];
        self.out.push_str(&format!("{quote}{number}{quote}"));
    }

    /// An object with the members in some order.
    fn object(&mut self, mut members: Vec<Member<'_>>) {
        for at in (1..members.len()).rev() {
            let other = self.pick(at as u64 + 1) as usize;
            members.swap(at, other);
        }
        // Members that mean nothing.
        match self.pick(6) {
            0 => members.push(("unknown", Box::new(|writer| writer.out.push_str(r#"{"body":[{"a":"}"}]}"#)))),
            1 => members.insert(0, ("name", Box::new(|writer| writer.out.push_str("null")))),
            _ => {}
        }
        self.out.push('{');
        for (index, (name, write)) in members.into_iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.space();
            // A name in snake_case is spelled here in camelCase, too.
            let mut words = name.split('_');
            let mut spelled = words.next().unwrap().to_owned();
            for word in words {
                spelled.push_str(&word[..1].to_uppercase());
                spelled.push_str(&word[1..]);
            }
            if self.pick(3) == 0 {
                name.clone_into(&mut spelled);
            }
            self.string(&spelled);
            self.space();
            self.out.push(':');
            self.space();
            write(self);
        }
        self.space();
        self.out.push('}');
    }

    fn list<T>(&mut self, elements: &[T], write: impl Fn(&mut Writer, &T)) {
        self.out.push('[');
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.space();
            write(self, element);
        }
        self.space();
        self.out.push(']');
    }

    fn any_value(&mut self, value: &AnyValue) {
        let member: Member<'_> = match &value.value {
            None => return self.object(vec![]),
            Some(Any::StringValue(text)) => ("string_value", Box::new(move |writer| writer.string(text))),
            Some(Any::BoolValue(value)) => {
                ("bool_value", Box::new(move |writer| writer.out.push_str(&value.to_string())))
            }
            Some(Any::IntValue(value)) => ("int_value", Box::new(move |writer| writer.number(value))),
            Some(Any::DoubleValue(value)) if value.is_infinite() => {
                let name = if *value > 0.0 { "Infinity" } else { "-Infinity" };
                ("double_value", Box::new(move |writer| writer.string(name)))
            }
            Some(Any::DoubleValue(value)) => ("double_value", Box::new(move |writer| writer.number(value))),
            Some(Any::BytesValue(bytes)) => ("bytes_value", Box::new(move |writer| writer.base64(bytes))),
            Some(Any::ArrayValue(array)) => (
                "array_value",
                Box::new(move |writer| {
                    writer.object(vec![(
                        "values",
                        Box::new(|writer| writer.list(&array.values, |writer, value| writer.any_value(value))),
                    )]);
                }),
            ),
            Some(Any::KvlistValue(list)) => (
                "kvlist_value",
                Box::new(move |writer| {
                    writer.object(vec![("values", Box::new(|writer| writer.attributes(&list.values)))]);
                }),
            ),
            Some(Any::StringValueStrindex(_)) => unreachable!("not generated"),
        };
        self.object(vec![member]);
    }

    /// In either alphabet, with padding or without.
    fn base64(&mut self, bytes: &[u8]) {
        let alphabet = ["+/", "-_"][self.pick(2) as usize];
        let digits: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(alphabet.chars()).collect();
        let pad = self.pick(2) == 0;
        self.out.push('"');
        for chunk in bytes.chunks(3) {
            let word = chunk.iter().fold(0, |word, byte| word << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
            self.out.extend((0..=chunk.len()).map(|digit| digits[word >> (18 - 6 * digit) & 63]));
            if pad {
                self.out.push_str(&"=".repeat(3 - chunk.len()));
            }
        }
        self.out.push('"');
    }

    fn hex(&mut self, bytes: &[u8]) {
        let upper = self.pick(2) == 0;
        let digits = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
        let digits: String = bytes.iter().map(digits).collect();
        self.string(&digits);
    }

    fn attributes(&mut self, attributes: &[KeyValue]) {
        self.list(attributes, |writer, attribute| {
            let mut members: Vec<Member<'_>> = vec![("key", Box::new(|writer| writer.string(&attribute.key)))];
            if let Some(value) = &attribute.value {
                members.push(("value", Box::new(|writer| writer.any_value(value))));
            }
            writer.object(members);
        });
    }

    fn severity(&mut self, number: i32) {
        match SeverityNumber::try_from(number) {
            Ok(severity) if self.pick(2) == 0 => self.string(severity.as_str_name()),
            _ => self.number(number),
        }
    }

    fn record(&mut self, record: &LogRecord) {
        let mut members: Vec<Member<'_>> = vec![
            ("time_unix_nano", Box::new(|writer| writer.number(record.time_unix_nano))),
            ("observed_time_unix_nano", Box::new(|writer| writer.number(record.observed_time_unix_nano))),
            ("severity_number", Box::new(|writer| writer.severity(record.severity_number))),
            ("severity_text", Box::new(|writer| writer.string(&record.severity_text))),
            ("attributes", Box::new(|writer| writer.attributes(&record.attributes))),
            ("dropped_attributes_count", Box::new(|writer| writer.number(record.dropped_attributes_count))),
            ("flags", Box::new(|writer| writer.number(record.flags))),
            ("trace_id", Box::new(|writer| writer.hex(&record.trace_id))),
            ("span_id", Box::new(|writer| writer.hex(&record.span_id))),
            ("event_name", Box::new(|writer| writer.string(&record.event_name))),
        ];
        if let Some(body) = &record.body {
            members.push(("body", Box::new(|writer| writer.any_value(body))));
        }
        self.object(members);
    }

    fn resource(&mut self, resource: &Resource) {
        let entity = |writer: &mut Writer, entity: &EntityRef| {
            writer.object(vec![
                ("schema_url", Box::new(|writer| writer.string(&entity.schema_url))),
                ("type", Box::new(|writer| writer.string(&entity.r#type))),
                ("id_keys", Box::new(|writer| writer.list(&entity.id_keys, |writer, key| writer.string(key)))),
                (
                    "description_keys",
                    Box::new(|writer| writer.list(&entity.description_keys, |writer, key| writer.string(key))),
                ),
            ]);
        };
        self.object(vec![
            ("attributes", Box::new(|writer| writer.attributes(&resource.attributes))),
            ("dropped_attributes_count", Box::new(|writer| writer.number(resource.dropped_attributes_count))),
            ("entity_refs", Box::new(|writer| writer.list(&resource.entity_refs, entity))),
        ]);
    }

    fn scope(&mut self, scope: &InstrumentationScope) {
        self.object(vec![
            ("name", Box::new(|writer| writer.string(&scope.name))),
            ("version", Box::new(|writer| writer.string(&scope.version))),
            ("attributes", Box::new(|writer| writer.attributes(&scope.attributes))),
            ("dropped_attributes_count", Box::new(|writer| writer.number(scope.dropped_attributes_count))),
        ]);
    }

    fn scope_logs(&mut self, logs: &ScopeLogs) {
        let mut members: Vec<Member<'_>> = vec![
            ("log_records", Box::new(|writer| writer.list(&logs.log_records, Writer::record))),
            ("schema_url", Box::new(|writer| writer.string(&logs.schema_url))),
        ];
        if let Some(scope) = &logs.scope {
            members.push(("scope", Box::new(|writer| writer.scope(scope))));
        }
        self.object(members);
    }

    fn resource_logs(&mut self, logs: &ResourceLogs) {
        let mut members: Vec<Member<'_>> = vec![
            ("scope_logs", Box::new(|writer| writer.list(&logs.scope_logs, Writer::scope_logs))),
            ("schema_url", Box::new(|writer| writer.string(&logs.schema_url))),
        ];
        if let Some(resource) = &logs.resource {
            members.push(("resource", Box::new(|writer| writer.resource(resource))));
        }
        self.object(members);
    }
}
