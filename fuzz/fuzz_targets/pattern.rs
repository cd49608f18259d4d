//! STIX patterns: a text compiles to terms, and a program over them that survives its bytes, or is refused with its
//! place. What compiles goes into a segment, and comes out of its bytes as it was.
#![no_main]

use hotlist::intel::indicator::{Feed, Indicator};
use hotlist::intel::pattern::program::Program;
use hotlist::intel::pattern::{Compiled, PatternError, compile};
use hotlist::intel::segment::{HashKey, Segment, SegmentBuilder};
use hotlist_fuzz::TABLE;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let places = text.chars().count() + 1;
    let checked = |error: &PatternError| {
        let (PatternError::Syntax { position, .. }
        | PatternError::Unsupported { position, .. }
        | PatternError::Value { position, .. }) = error;
        assert!((1..=places).contains(position), "{error}");
    };
    match compile(text, &TABLE) {
        Ok(compiled) => {
            assert!(!compiled.terms.is_empty());
            assert!(!compiled.left_out.iter().any(|error| matches!(error, PatternError::Syntax { .. })));
            compiled.left_out.iter().for_each(checked);
            if let Some(program) = &compiled.program {
                assert_eq!(program.atoms(), compiled.terms.len());
                assert_eq!(Program::from_bytes(&program.to_bytes()).as_ref(), Ok(program));
            }
            stored(compiled);
        }
        Err(error) => checked(&error),
    }
});

fn stored(compiled: Compiled) {
    let indicator = Indicator {
        id: None,
        terms: compiled.terms,
        program: compiled.program.map(Box::new),
        context: Default::default(),
        valid_from: None,
        valid_until: None,
        revoked: false,
        port: None,
        line: 1,
    };
    let mut builder = SegmentBuilder::with_fingerprints();
    builder.feed(&Feed::named("f"));
    builder.add(&indicator).expect("one indicator fits");
    let bytes = builder.finish(HashKey::Content).expect("one indicator fits");
    let segment = Segment::from_bytes(bytes, None).expect("what was written opens");
    let composite = segment.composite(0);
    assert_eq!(composite.as_ref().map(|composite| &composite.program), indicator.program.as_deref());
    if let Some(composite) = composite {
        assert_eq!(composite.terms, indicator.terms);
    }
}
