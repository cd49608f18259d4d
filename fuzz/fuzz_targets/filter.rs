//! Filter requests: walk, and write the answer with any events tagged. What is not tagged comes back byte for byte, in its
//! place, and nothing of the request but its id and its events does.
#![no_main]

use bytes::Bytes;
use hotlist::encoding::filter::{self, Answer, Verdict};
use hotlist::encoding::wire::{Fields, Payload};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let request = Bytes::copy_from_slice(bytes);
    let mut events = Vec::new();
    let walked = filter::events(&request, |span| events.push(request.slice(span.content())));
    // Every second event is taken for one that hits.
    let tagged: Vec<(usize, Bytes)> =
        (0..events.len()).step_by(2).map(|place| (place, [&b"tagged "[..], &events[place]].concat().into())).collect();
    // Every fourth is one that does not hit and was changed.
    let marked: Vec<(usize, Bytes)> =
        (1..events.len()).step_by(4).map(|place| (place, [&b"marked "[..], &events[place]].concat().into())).collect();
    let changed: Vec<(usize, &Bytes)> = marked.iter().map(|(place, event)| (*place, event)).collect();
    let verdict = Verdict { snapshot: "acme@7", malformed: &[1, 3], marked: &changed };
    let answer = filter::answer(&request, tagged.iter().map(|(place, event)| (*place, event)), &verdict);
    assert_eq!(answer.is_ok(), walked.is_ok());
    let (Ok((id, answer)), Ok(head)) = (answer, walked) else { return };
    assert_eq!(id, head.id);
    let expected: Vec<Bytes> = match head.answer {
        Answer::Hits => tagged.into_iter().map(|(_, event)| event).collect(),
        Answer::Events => events
            .iter()
            .enumerate()
            .map(|(place, event)| match place % 4 {
                0 | 2 => [&b"tagged "[..], event].concat().into(),
                1 => [&b"marked "[..], event].concat().into(),
                _ => event.clone(),
            })
            .collect(),
    };
    let answer = answer.to_bytes();
    let (mut fields, mut found) = (Fields::new(&answer), Vec::new());
    while let Some(field) = fields.next_field().expect("the answer is protobuf") {
        match (field.number, field.payload) {
            (1, Payload::Varint(number)) => assert_eq!(number, id),
            (2, Payload::Bytes(event)) => found.push(event.to_vec()),
            (3, Payload::Bytes(hit)) => {
                let mut of_hit = Fields::new(hit);
                while let Some(field) = of_hit.next_field().expect("a hit is protobuf") {
                    if let (2, Payload::Bytes(event)) = (field.number, field.payload) {
                        found.push(event.to_vec());
                    }
                }
            }
            (7, Payload::Bytes(snapshot)) => assert_eq!(snapshot, b"acme@7"),
            (5, Payload::Bytes(malformed)) => assert_eq!(malformed, [1, 3]),
            other => panic!("{other:?} is no field of an answer"),
        }
    }
    assert_eq!(found, expected);
});
