//! Manifests: any bytes are refused with a reason, or are a manifest that is read again from the bytes that it is written
//! to.
#![no_main]

use hotlist::intel::manifest::Manifest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match Manifest::parse(bytes) {
        Ok(manifest) => {
            let written = manifest.to_bytes().expect("it keeps to the bounds");
            assert_eq!(Manifest::parse(&written).expect("our own"), manifest);
            assert_eq!(manifest.to_bytes().expect("it keeps to the bounds"), written);
            assert!(
                manifest.segment_bytes() >= manifest.segments.iter().map(|segment| segment.bytes).max().unwrap_or(0)
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
