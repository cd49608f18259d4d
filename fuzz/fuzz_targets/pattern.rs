//! STIX patterns: a text compiles to terms, and a program over them that survives its bytes, or is refused with its
//! place.
#![no_main]

use hotlist::intel::pattern::program::Program;
use hotlist::intel::pattern::{PatternError, compile};
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
            assert!(compiled.left_out.iter().all(|error| matches!(error, PatternError::Value { .. })));
            compiled.left_out.iter().for_each(checked);
            if let Some(program) = compiled.program {
                assert_eq!(program.atoms(), compiled.terms.len());
                assert_eq!(Program::from_bytes(&program.to_bytes()), Ok(program));
            }
        }
        Err(error) => checked(&error),
    }
});
