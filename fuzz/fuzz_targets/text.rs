//! Tokens and pairs in text: what is handed over is bounded as the rules say, and no text takes more processor time or memory
//! than a factor of a normal text of as many bytes. A short input is repeated, because what is quadratic shows in 16 KiB.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use hotlist::text::{MOST_PAIRS, Pair, PairFormat, Token, TokenKind, is_known_name, pairs, tokens};
use rustix::time::{ClockId, clock_gettime};

#[path = "../../benches/cost/heap.rs"]
mod heap;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

const LENGTH: usize = 16 << 10;
/// Bounds of the scan alone; the look-ups of the tokens are in the target `cost`.
const MAX_CPU: f64 = 100.0;
const MAX_MEMORY: usize = 16 << 10;
/// Bytes of tokens for each byte of the text: URLs inside URLs, and every other kind at most twice.
const MAX_TOKEN_BYTES: usize = 2 * 16 + 4;
/// A run that is no slower than this is no finding.
const SHORT: Duration = Duration::from_millis(2);
const RUNS: usize = 5;

const LINE: &str = "203.0.113.7 - - [30/Nov/2026:11:25:06 +0000] \"GET /a.png HTTP/1.1\" 200 17911 \"https://www.example.com/\" \"Mozilla/5.0\"\n";

static NORMAL: LazyLock<f64> = LazyLock::new(|| {
    let text = LINE.repeat(LENGTH / LINE.len());
    let fastest = (0..10 * RUNS).map(|_| run(text.as_bytes()).0).min().unwrap_or_default();
    fastest.as_secs_f64() / text.len() as f64
});

fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Scans a text and reads its pairs; gives its time, and how long the tokens are together.
fn run(text: &[u8]) -> (Duration, usize) {
    let begun = now();
    let mut bytes = 0;
    tokens(text, &mut |token| bytes += token.at.len());
    pairs(text, &mut |pair| assert!(!pair.at.is_empty()));
    (now() - begun, bytes)
}

/// What holds of every token.
fn check(text: &[u8], token: &Token) {
    let bytes = &text[token.at.clone()];
    let is_word =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let (before, behind) = (&text[..token.at.start], &text[token.at.end..]);
    assert!(!bytes.is_empty() && !is_word(before.last()), "{token:?}");
    // The host of a URL with user information is the one token behind an `@`, and a URL ends where it may be over.
    let is_host = matches!(token.kind, TokenKind::Ip | TokenKind::Domain);
    assert!(before.last() != Some(&b'@') || is_host, "{token:?}");
    let goes_on = is_word(behind.first()) || (behind.first() == Some(&b'.') && is_word(behind.get(1)));
    assert!(token.kind == TokenKind::Url || !goes_on, "{token:?}");
    assert!(token.kind != TokenKind::Domain || bytes.contains(&b'.') || !bytes.is_ascii(), "{token:?}");
    is_known_name(bytes);
}

/// What holds of the pairs of a text: keys stand before their values, values do not overlap, and nothing in them is longer than
/// what was written.
fn check_pairs(text: &[u8]) {
    let (mut end, mut count, mut unescaped) = (0, 0, Vec::new());
    let is_complete = pairs(text, &mut |pair: Pair<'_>| {
        let raw = &text[pair.at.clone()];
        assert!(pair.at.start >= end && !raw.is_empty() && !raw.contains(&b'\n'), "{pair:?}");
        let before = &text[end..pair.at.start];
        let is_version = pair.key == b"deviceVersion" && pair.format != PairFormat::KeyValue;
        let is_key = |part: &[u8]| before.windows(part.len()).any(|window| window == part);
        assert!(is_version || (!pair.key.is_empty() && is_key(pair.key) && before.contains(&b'=')), "{pair:?}");
        let value = pair.value(text, usize::MAX, &mut unescaped).map(<[u8]>::len);
        assert!(value.is_ok_and(|length| (1..=raw.len()).contains(&length)), "{pair:?}");
        (end, count) = (pair.at.end, count + 1);
    });
    assert!(count <= MOST_PAIRS && (is_complete || count == MOST_PAIRS));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    check_pairs(bytes);
    tokens(bytes, &mut |token| check(bytes, &token));
    let text = bytes.repeat(LENGTH / bytes.len().max(1));
    let ((mut time, token_bytes), most) = heap::most(|| run(&text));
    assert!(most <= MAX_MEMORY, "{most} bytes at once for a text of {}", text.len());
    assert!(token_bytes <= MAX_TOKEN_BYTES * text.len(), "{token_bytes} bytes of tokens in {}", text.len());
    let allowed = SHORT + Duration::from_secs_f64(MAX_CPU * *NORMAL * text.len() as f64);
    for _ in 1..RUNS {
        if time <= allowed {
            return;
        }
        time = time.min(run(&text).0);
    }
    assert!(time <= allowed, "{time:?} for a text of {} bytes, {allowed:?} allowed", text.len());
});
