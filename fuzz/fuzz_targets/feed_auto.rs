//! Files of which nobody says the format: it is told from any bytes, and the importer takes them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hotlist_fuzz::feed(None, bytes));
