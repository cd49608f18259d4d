//! Enrichments on their way into records. Most of one is the same in every record that its indicator hits: a [`Frame`] has
//! that, made once, and is written in each encoding without another form between.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Codec;
use crate::alert_key::AlertKey;

/// The parts of an enrichment.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A word that is known beforehand.
    Word(&'static str),
    /// A text.
    Text(Arc<str>),
    /// A list of texts.
    Texts(Vec<Arc<str>>),
    /// A list.
    List(Vec<Node>),
    /// The boolean.
    True,
    /// A number.
    Number(u64),
    /// Members, in order. No key has anything that JSON escapes.
    Object(Vec<(&'static str, Node)>),
    /// The value of the event.
    EventValue,
    /// The time of the event.
    EventTime,
    /// The first byte of the value in its text.
    EventStart,
    /// The byte behind it.
    EventEnd,
    /// The name of the event's asset.
    EventAsset,
    /// The key of the event's alert.
    EventAlertKey,
}

/// The flat values of a hit that are the same in every event: the field, the severity, the detection type, and the indicator.
/// The alert key follows.
pub type FlatValues = [Arc<str>; FLAT_LISTS - 1];

/// How many lists of flat values there are.
pub(super) const FLAT_LISTS: usize = 5;

/// An enrichment without what each event says for itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    root: Node,
    /// The object of `osint` that comes with it, in OCSF.
    osint: Option<Node>,
    flat: Option<FlatValues>,
    bytes: usize,
    /// How often the value, the time and the asset of the event stand in it.
    of_event: [usize; 3],
}

/// An enrichment of one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Enrichment {
    frame: Arc<Frame>,
    value: Arc<[u8]>,
    time: Arc<str>,
    /// Where the value stands in its text.
    place: (usize, usize),
    asset: Option<Arc<str>>,
    alert_key: AlertKey,
}

/// Enrichments to bring into a record.
#[derive(Clone, Copy, Debug)]
pub enum Brought<'a> {
    /// As JSON.
    Values(&'a [Value]),
    /// As a hit has them.
    Hits(&'a [Enrichment]),
}

/// The additions for a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HitElement {
    Enrichment,
    /// The object of `osint`.
    Osint,
}

impl Frame {
    /// The values that an event fills in.
    pub fn new(root: Node) -> Frame {
        Frame::with(root, None, None)
    }

    /// The same, with an object of `osint`, in which the event fills in nothing, and with flat values.
    pub fn with(root: Node, osint: Option<Node>, flat: Option<FlatValues>) -> Frame {
        let of_event = root.of_event();
        let flat_bytes = |text: &Arc<str>| AROUND + bytes_of(text);
        let flats: usize = flat.iter().flatten().map(flat_bytes).sum::<usize>() + flat.iter().len() * KEY_BYTES;
        let bytes = root.bytes() + osint.as_ref().map_or(0, Node::bytes) + flats;
        Frame { root, osint, flat, bytes, of_event }
    }

    /// At least as many bytes as it takes in memory, and in any encoding without what the event says.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Enrichment {
    /// For an event that has this value at this time.
    pub fn new(frame: Arc<Frame>, value: Arc<[u8]>, time: Arc<str>) -> Enrichment {
        Enrichment { frame, value, time, place: (0, 0), asset: None, alert_key: AlertKey::default() }
    }

    /// The same, of the alert with this key about the asset with this name.
    #[must_use]
    pub fn of_alert(self, alert_key: AlertKey, asset: Option<Arc<str>>) -> Enrichment {
        Enrichment { alert_key, asset, ..self }
    }

    /// The same, for a value that stands in a text, from its first byte to the byte behind it.
    #[must_use]
    pub fn in_text(self, start: usize, end: usize) -> Enrichment {
        Enrichment { place: (start, end), ..self }
    }

    /// At least as many bytes as it takes as JSON, and with tags and lengths of up to three bytes as protobuf.
    pub fn bytes(&self) -> usize {
        let [values, times, assets] = self.frame.of_event;
        let value = || bytes_of(&String::from_utf8_lossy(&self.value)) - AROUND;
        let time = || bytes_of(&self.time) - AROUND;
        let once = |times: usize, bytes: &dyn Fn() -> usize| if times == 0 { 0 } else { times * bytes() };
        let asset = || bytes_of(self.asset()) - AROUND;
        self.frame.bytes + once(values, &value) + once(times, &time) + once(assets, &asset)
    }

    /// As JSON.
    pub fn to_value(&self) -> Value {
        self.frame.root.to_value(self)
    }

    /// Its flat values.
    pub(super) fn flat(&self) -> Option<[&str; FLAT_LISTS]> {
        let [matched, severity, detection, indicator] = self.frame.flat.as_ref()?;
        Some([matched, severity, detection, indicator, self.alert_key.as_str()])
    }

    fn asset(&self) -> &str {
        self.asset.as_deref().unwrap_or_default()
    }

    fn part(&self, part: HitElement) -> Option<&Node> {
        match part {
            HitElement::Enrichment => Some(&self.frame.root),
            HitElement::Osint => self.frame.osint.as_ref(),
        }
    }
}

impl Brought<'_> {
    /// None.
    pub const NONE: Brought<'static> = Brought::Values(&[]);

    /// How many.
    pub fn len(self) -> usize {
        match self {
            Brought::Values(values) => values.len(),
            Brought::Hits(hits) => hits.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// How many have such a part.
    pub(super) fn count(self, part: HitElement) -> usize {
        match self {
            Brought::Values(values) => values.len(),
            Brought::Hits(hits) => hits.iter().filter(|hit| hit.part(part).is_some()).count(),
        }
    }

    /// Appends that part of each, encoded, by way of `around`.
    pub(super) fn put_each<C: Codec>(
        self,
        part: HitElement,
        out: &mut Vec<u8>,
        around: impl Fn(&mut Vec<u8>, &dyn Fn(&mut Vec<u8>)),
    ) {
        match self {
            Brought::Values(values) => {
                values.iter().for_each(|value| around(out, &|out| out.extend_from_slice(&C::encode(value))));
            }
            Brought::Hits(hits) => {
                let parts = hits.iter().filter_map(|hit| Some((hit, hit.part(part)?)));
                parts.for_each(|(hit, node)| around(out, &|out| node.put::<C>(out, hit)));
            }
        }
    }

    pub(super) fn encoded<C: Codec>(self, part: HitElement) -> Vec<Vec<u8>> {
        match self {
            Brought::Values(values) => values.iter().map(C::encode).collect(),
            Brought::Hits(hits) => {
                let encoded = |hit: &Enrichment| {
                    let mut out = Vec::new();
                    hit.part(part)?.put::<C>(&mut out, hit);
                    Some(out)
                };
                hits.iter().filter_map(encoded).collect()
            }
        }
    }
}

/// Tags and lengths of a member of an OTLP key-value list whose value is another; JSON needs less around a value.
const AROUND: usize = 24;
/// The bytes that JSON adds to a control character.
const ESCAPED: usize = 5;
/// An alert key is 32 digits.
const KEY_BYTES: usize = AROUND + 32;

fn bytes_of(text: &str) -> usize {
    let escaped = |byte: u8| u8::from(byte < b' ' || matches!(byte, b'"' | b'\\' | 0x7f));
    AROUND + text.len() + ESCAPED * text.bytes().map(|byte| usize::from(escaped(byte))).sum::<usize>()
}

impl Node {
    fn bytes(&self) -> usize {
        AROUND
            + match self {
                Node::Word(text) => bytes_of(text),
                Node::Text(text) => bytes_of(text),
                Node::Texts(texts) => texts.iter().map(|text| AROUND + bytes_of(text)).sum(),
                Node::List(nodes) => nodes.iter().map(|node| AROUND + node.bytes()).sum(),
                Node::True
                | Node::Number(_)
                | Node::EventValue
                | Node::EventTime
                | Node::EventStart
                | Node::EventEnd
                | Node::EventAsset => AROUND,
                Node::EventAlertKey => KEY_BYTES,
                Node::Object(members) => members.iter().map(|(key, node)| bytes_of(key) + node.bytes()).sum(),
            }
    }

    fn of_event(&self) -> [usize; 3] {
        fn sum<'n>(nodes: impl Iterator<Item = &'n Node>) -> [usize; 3] {
            nodes
                .map(Node::of_event)
                .fold([0; 3], |[values, times, assets], more| [values + more[0], times + more[1], assets + more[2]])
        }
        match self {
            Node::EventValue => [1, 0, 0],
            Node::EventTime => [0, 1, 0],
            Node::EventAsset => [0, 0, 1],
            Node::Object(members) => sum(members.iter().map(|(_, node)| node)),
            Node::List(nodes) => sum(nodes.iter()),
            Node::Word(_) | Node::Text(_) | Node::Texts(_) | Node::True | Node::Number(_) => [0; 3],
            Node::EventStart | Node::EventEnd | Node::EventAlertKey => [0; 3],
        }
    }

    fn to_value(&self, event: &Enrichment) -> Value {
        match self {
            Node::Word(text) => Value::from(*text),
            Node::Text(text) => Value::from(&**text),
            Node::Texts(texts) => texts.iter().map(|text| &**text).collect(),
            Node::List(nodes) => nodes.iter().map(|node| node.to_value(event)).collect(),
            Node::True => Value::Bool(true),
            Node::Number(number) => Value::from(*number),
            Node::Object(members) => {
                let members = members.iter().map(|(key, node)| ((*key).to_owned(), node.to_value(event)));
                Value::Object(members.collect::<Map<_, _>>())
            }
            Node::EventValue => Value::from(String::from_utf8_lossy(&event.value)),
            Node::EventTime => Value::from(&*event.time),
            Node::EventStart => Value::from(event.place.0),
            Node::EventEnd => Value::from(event.place.1),
            Node::EventAsset => Value::from(event.asset()),
            Node::EventAlertKey => Value::from(event.alert_key.as_str()),
        }
    }

    fn put<C: Codec>(&self, out: &mut Vec<u8>, event: &Enrichment) {
        match self {
            Node::Word(text) => C::put_text(out, text),
            Node::Text(text) => C::put_text(out, text),
            Node::Texts(texts) => C::put_array(out, |out| {
                texts.iter().for_each(|text| C::put_element(out, |out| C::put_text(out, text)));
            }),
            Node::List(nodes) => C::put_array(out, |out| {
                nodes.iter().for_each(|node| C::put_element(out, |out| node.put::<C>(out, event)));
            }),
            Node::True => C::put_true(out),
            Node::Number(number) => out.extend_from_slice(&C::encode(&Value::from(*number))),
            Node::Object(members) => C::put_object(out, |out| {
                members.iter().for_each(|(key, node)| C::put_member(out, key, |out| node.put::<C>(out, event)));
            }),
            Node::EventValue => C::put_text(out, &String::from_utf8_lossy(&event.value)),
            Node::EventTime => C::put_text(out, &event.time),
            Node::EventStart => out.extend_from_slice(&C::encode(&Value::from(event.place.0))),
            Node::EventEnd => out.extend_from_slice(&C::encode(&Value::from(event.place.1))),
            Node::EventAsset => C::put_text(out, event.asset()),
            Node::EventAlertKey => C::put_text(out, event.alert_key.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::json::Json;
    use crate::encoding::otlp::AnyValue;
    use crate::encoding::vector::LogValue;

    fn node() -> impl Strategy<Value = Node> {
        let text = || "\\PC{0,3}|[\"\\\\\n\u{1}\u{7f}a]{0,200}".prop_map(Arc::<str>::from);
        let leaf = prop_oneof![
            Just(Node::Word("word")),
            text().prop_map(Node::Text),
            prop::collection::vec(text(), 0..3).prop_map(Node::Texts),
            Just(Node::True),
            any::<u32>().prop_map(|number| Node::Number(number.into())),
            Just(Node::EventValue),
            Just(Node::EventTime),
            Just(Node::EventStart),
            Just(Node::EventEnd),
            Just(Node::EventAsset),
            Just(Node::EventAlertKey),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|nodes| Node::Object(["a", "b.c", "threat", "é"].into_iter().zip(nodes).collect())),
                prop::collection::vec(inner, 0..4).prop_map(Node::List),
            ]
        })
    }

    proptest! {
        /// An enrichment is written as its JSON value would be encoded, in every encoding, and never longer than
        /// announced.
        #[test]
        fn an_enrichment_is_written_as_its_value(
            root in node(),
            value in prop_oneof!["\\PC{0,200}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..9)],
            time: String,
            place: (usize, usize),
            asset in prop::option::of("\\PC{0,99}|[\"\\\\\n]{0,20}"),
            osint in prop::option::of(prop::collection::vec("\\PC{0,200}|[\"\\\\\n]{0,20}", 0..4)),
            flat in prop::option::of([(); 4].map(|()| any::<String>())),
        ) {
            let osint = osint.map(|texts| Node::List(texts.into_iter().map(|text| Node::Text(text.into())).collect()));
            let flat = flat.map(|values| values.map(Arc::from));
            let frame = Frame::with(root, osint, flat);
            let enrichment = Enrichment::new(Arc::new(frame), value.into(), time.into()).in_text(place.0, place.1);
            let enrichment = enrichment.of_alert(AlertKey::default(), asset.map(Arc::from));
            let plain = enrichment.to_value();
            let hits = [enrichment];
            let written = Brought::Hits(&hits);
            fn bytes<C: Codec>(written: Brought<'_>) -> (Vec<Vec<u8>>, usize) {
                let enrichments = written.encoded::<C>(HitElement::Enrichment);
                let flats = super::super::flat::lists::<C>(written);
                let rest = written.encoded::<C>(HitElement::Osint).into_iter().chain(flats.into_iter().flatten());
                let bytes = enrichments.iter().cloned().chain(rest).map(|one| one.len()).sum();
                (enrichments, bytes)
            }
            for ((written, bytes), plain) in [
                (bytes::<Json>(written), Json::encode(&plain)),
                (bytes::<AnyValue>(written), AnyValue::encode(&plain)),
                (bytes::<LogValue>(written), LogValue::encode(&plain)),
            ] {
                prop_assert_eq!(&written, &[plain]);
                prop_assert!(bytes <= hits[0].bytes());
            }
        }
    }
}
