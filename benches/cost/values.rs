//! Texts that are dear to a careless reader of values: pieces that are repeated to any length.

/// Pieces of text. Each is put at a field of every kind, as one long value and in many records of a short one.
pub const PIECES: [&str; 40] = [
    "a",
    "A",
    "0",
    "1",
    "f",
    ".",
    "@",
    " ",
    "/",
    "\\",
    "%",
    "-",
    "[",
    "\"",
    "é",
    "İ",
    "\u{3000}",
    "\u{200b}",
    "\0",
    "a.",
    "é.",
    "a@",
    "a,",
    "a=",
    "%41",
    "xn--",
    "x@.x,",
    "x@é.é,",
    "a@b.c ",
    "1.1.1.1,",
    "::1,",
    "1.",
    "f:",
    "hxxp://",
    "http://a@",
    "a[.]b",
    "http://a%41[b/",
    "?a=b&",
    "../",
    "\u{202e}a",
];

/// What a value begins with, so that readers come to what follows.
pub const BEGINNINGS: [&str; 8] =
    ["", "http://www.example.com/", "http://", "x@", "\"x\" <", "SHA256=", "::ffff:", "evil.example."];

/// The piece repeated to so many bytes, after the beginning.
pub fn long(beginning: &str, piece: &str, bytes: usize) -> String {
    let times = bytes.saturating_sub(beginning.len()) / piece.len();
    format!("{beginning}{}", piece.repeat(times.max(1)))
}
