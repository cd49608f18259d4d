//! Rejected files: any bytes are lines, each an entry or a reason, and an entry is written as it was read.
#![no_main]

use hotlist::sink::rejected::lines;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut last = 0;
    lines(bytes, |line| {
        assert!(line.number > last, "numbers ascend");
        last = line.number;
        match line.entry {
            Ok(entry) => {
                let written = serde_json::to_vec(&entry).expect("it was read from JSON");
                let mut again = Vec::new();
                lines(&written[..], |line| again.push(line.entry)).expect("memory can be read");
                assert_eq!(again, [Ok(entry)]);
            }
            Err(reason) => assert!(!reason.is_empty()),
        }
    })
    .expect("memory can be read");
    assert!(last <= bytes.split_inclusive(|byte| *byte == b'\n').count());
});
