//! Log files: any bytes are decompressed and split into events, the same in whatever pieces they arrive.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hotlist_fuzz::logs::check(bytes));
