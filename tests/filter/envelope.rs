//! Laws of the bytes: what is walked and answered is what decoding, changing and encoding would give.

use bytes::Bytes;
use hotlist::encoding::filter::{self, Verdict};
use hotlist::proto::filter::v1::{Answer, FilterRequest, FilterResponse, Hit, Refusal};
use proptest::prelude::*;
use prost::Message;

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

prop_compose! {
    /// A request, and for each event what it becomes, if anything, and whether it is a hit then.
    fn batches()(
        id in prop_oneof![Just(0), any::<u64>()],
        events in prop::collection::vec((bytes(), prop::option::of((bytes(), any::<bool>()))), 0..12),
        answer in 0..3,
    ) -> (FilterRequest, Vec<Option<(Bytes, bool)>>) {
        let (events, changed) = events.into_iter().unzip();
        (FilterRequest { id, events, answer }, changed)
    }
}

proptest! {
    /// Law: an answer decodes to what the types would hold.
    #[test]
    fn the_answer_is_that_of_the_types(
        (request, changed) in batches(),
        snapshot in prop_oneof![Just(String::new()), any::<String>()],
        malformed in prop::collection::vec(0usize..1 << 32, 0..5),
    ) {
        let wire = Bytes::from(request.encode_to_vec());
        let those = |hit: bool| {
            let changed = changed.iter().enumerate();
            changed.filter_map(move |(place, changed)| {
                changed.as_ref().filter(|(_, is_hit)| *is_hit == hit).map(|(event, _)| (place, event))
            })
        };
        let hits = || those(true);
        let marked: Vec<_> = those(false).collect();
        let verdict = Verdict { snapshot: &snapshot, malformed: &malformed, marked: &marked };
        let (id, answer) = filter::answer(&wire, hits(), &verdict).unwrap();
        let is_hits = request.answer == Answer::Hits as i32;
        let events = request.events.iter().zip(&changed);
        let events = events.map(|(event, changed)| changed.as_ref().map_or(event, |(event, _)| event).clone());
        let events = if is_hits { Vec::new() } else { events.collect() };
        let of_hits = hits().map(|(place, event)| Hit { index: place as u32, event: event.clone() });
        let hits = if is_hits { of_hits.collect() } else { Vec::new() };
        let malformed = malformed.into_iter().map(|place| place as u32).collect();
        let expected = FilterResponse { id: request.id, events, hits, snapshot, malformed, refusal: None };
        prop_assert_eq!(id, request.id);
        prop_assert_eq!(FilterResponse::decode(answer.to_bytes()).unwrap(), expected);
        prop_assert_eq!(filter::leading_id(&wire[..wire.len().min(filter::LEADING_ID_LEN)]).unwrap_or(0), request.id);
    }

    /// Law: a refusal decodes as one.
    #[test]
    fn a_refusal_is_that_of_the_types(id: u64, code in 1u8..17, message: String) {
        let written = filter::refusal(id, code, &message);
        let refusal = Some(Refusal { code: code.into(), message });
        prop_assert_eq!(FilterResponse::decode(written).unwrap(), FilterResponse { id, refusal, ..Default::default() });
    }

    /// Law: no bytes make it panic, and what is walked is what prost decodes.
    #[test]
    fn arbitrary_bytes_never_panic(wire in bytes()) {
        let mut events = Vec::new();
        if let Ok(head) = filter::events(&wire, |span| events.push(wire.slice(span.content())))
            && let Ok(decoded) = FilterRequest::decode(wire.clone())
        {
            prop_assert_eq!((head.id, events), (decoded.id, decoded.events));
        }
        let _ = filter::answer(&wire, [], &Verdict::default());
        let _ = filter::leading_id(&wire);
    }
}
