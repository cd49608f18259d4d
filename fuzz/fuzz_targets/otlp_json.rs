//! OTLP/JSON to OTLP: what converts is a batch of records that can be walked, the same each time, at most four times as
//! long; what serde_json takes for an object is refused only for its envelope.
#![no_main]

use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::otlp::{FromJsonError, from_json, render_record, walk_record};
use hotlist_fuzz::{Seen, TRIE};
use serde::de::IgnoredAny;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let converted = match from_json(text) {
        Ok(converted) => converted,
        Err(error) => {
            let is_envelope = matches!(error, FromJsonError::Envelope { .. } | FromJsonError::NotAnObject { .. });
            assert!(
                is_envelope || serde_json::from_slice::<IgnoredAny>(text).is_err(),
                "JSON that is refused: {error}"
            );
            return;
        }
    };
    assert!(converted.message.len() <= 4 * text.len(), "{} bytes of {}", converted.message.len(), text.len());
    assert_eq!(from_json(text), Ok(converted.clone()), "not the same each time");
    let batch = converted.message;
    OTLP.records(&batch, |span| {
        let record = &batch[span.record.payload()];
        assert_eq!(
            walk_record(record, &TRIE, &mut Seen::default()).fault,
            None,
            "a record that was written can be walked"
        );
        serde_json::from_slice::<IgnoredAny>(&render_record(record)).expect("a record renders as JSON");
    })
    .expect("what was written is a batch");
});
