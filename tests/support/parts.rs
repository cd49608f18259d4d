//! Checks of output for people: the parts that matter, not the sentence around them.

/// Asserts that one line of a text has these parts in this order.
#[track_caller]
pub fn assert_line(text: &str, parts: &[&str]) {
    let has_all = |line: &str| {
        let mut rest = line;
        parts.iter().all(|part| {
            let after = rest.split_once(part).map(|(_, after)| after);
            rest = after.unwrap_or_default();
            after.is_some()
        })
    };
    assert!(text.lines().any(has_all), "no line has {parts:?} in this order:\n{text}");
}
