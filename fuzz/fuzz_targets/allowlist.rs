//! Allowlists: any file is a list or none, every entry is used or reported, and every kind of value can be asked for.
#![no_main]

use hotlist::intel::allowlist::{Subject, read};
use hotlist::observable::Kind;
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let import = match read(bytes, "list") {
        Ok(import) => import,
        Err(error) => return drop(error.to_string()),
    };
    // Of equal keys this has the last, and the list was refused.
    let Ok(document) = serde_json::from_slice::<Value>(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)) else {
        return;
    };
    let entries = document["list"].as_array().expect("it was read as a list");
    assert_eq!(import.list.len() + import.unusable.len(), entries.len());
    assert!(import.unusable.iter().all(|unusable| unusable.index < entries.len() && !unusable.reason.is_empty()));
    for entry in entries.iter().filter_map(Value::as_str).take(8) {
        // Inside the entry, below it, around it, and at it.
        for value in [entry.to_owned(), format!("a.{entry}"), format!("https://{entry}/a"), format!("a@{entry}")] {
            for kind in Kind::ALL {
                let subject = Subject::new(kind, value.as_bytes(), entry.trim());
                if let Some(found) = import.list.find(&subject) {
                    assert!(!import.list.is_empty() && !found.is_empty(), "{value} as {kind}");
                }
            }
        }
    }
});
