//! Files without a stated format: the format is detected from arbitrary bytes, and the importer reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hotlist_fuzz::feed(None, bytes));
