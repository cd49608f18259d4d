//! Words that the project's texts do not use, each with what to write instead. The words for things are in
//! docs/glossary.md.

use std::sync::LazyLock;

use regex::Regex;

/// Where a word is not used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// In texts: documents, messages, help and comments.
    Texts,
    /// In texts, and as a name in code.
    TextsAndNames,
}

use Where::{Texts, TextsAndNames};

/// A pattern for whole words, what to write instead, and where.
pub const WORDS: [(&str, &str, Where); 25] = [
    ("anew", "again; reload, rebuild", TextsAndNames),
    ("once more", "again", TextsAndNames),
    ("mend(s|ed|ing)?", "fix", TextsAndNames),
    ("in force", "active", TextsAndNames),
    ("for ever", "forever", TextsAndNames),
    ("beside", "besides, in addition to; next to (a place)", TextsAndNames),
    ("told", "reported, logged, returned; recognised, detected", TextsAndNames),
    ("tells?", "reports, logs, returns; recognises, detects", Texts),
    ("hears?|heard", "receives", Texts),
    ("whoever", "anyone who", TextsAndNames),
    ("stands? back", "runs at idle priority", TextsAndNames),
    ("stands? (twice|once)", "is duplicated, is unique", Texts),
    ("odd", "malformed", Texts),
    ("of one's own|of ones own", "your own", Texts),
    ("peace", "no threats", Texts),
    ("for nothing", "needlessly; falsely", Texts),
    ("carr(y|ies|ied) over", "reuse", Texts),
    ("puts? back|put into service|puts? in force", "restore, activate", Texts),
    ("goes on|go on|went on", "continues, continue, continued", Texts),
    ("takes? note", "records", Texts),
    ("all the same", "nevertheless", Texts),
    ("judge[sd]?", "evaluate, match", Texts),
    ("aloud|loudly", "with a warning", Texts),
    ("at peace|lies? open", "is not protected", Texts),
    ("the one before|those before", "the previous version", Texts),
];

/// The patterns of the table, made once.
static PATTERNS: LazyLock<Vec<(Regex, &str, Where)>> = LazyLock::new(|| {
    let pattern = |words: &str| Regex::new(&format!(r"(?i)\b({words})\b")).unwrap();
    WORDS.iter().map(|(words, instead, place)| (pattern(words), *instead, *place)).collect()
});

/// Each word of the table in a text, or only those that are not names either, with its line and what to write instead.
pub fn unwanted_words(text: &str, place: Where) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (pattern, instead, _) in PATTERNS.iter().filter(|(.., at)| place == Texts || *at == TextsAndNames) {
        for (number, line) in (1..).zip(text.lines()) {
            found.extend(
                pattern.find(line).map(|word| (number, format!("`{}` (write: {instead}): {line}", word.as_str()))),
            );
        }
    }
    found
}
