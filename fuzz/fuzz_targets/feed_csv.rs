//! The importer of `csv`: any bytes are imported or refused, line by line.
#![no_main]

use hotlist::feed::FeedFormat;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hotlist_fuzz::feed(Some(FeedFormat::Csv), bytes));
