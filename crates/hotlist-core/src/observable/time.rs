//! Instants as feeds and ECS events write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

use super::text;

/// Longer input is never read as an instant: RFC 3339 with nanoseconds has 35 characters, RFC 9557 adds the name of a
/// zone.
pub const LONGEST_INPUT: usize = 128;

/// Reads RFC 3339, the same with a blank for `T` or without offset (then UTC), a date alone (midnight UTC), and seconds
/// since 1970 as text, or milli-, micro- or nanoseconds when the number is too large for seconds.
pub fn parse(value: &[u8]) -> Option<Timestamp> {
    if value.len() > LONGEST_INPUT {
        return None;
    }
    let text = std::str::from_utf8(text::trimmed(value)).ok()?;
    if let Some(instant) = epoch(text) {
        return Some(instant);
    }
    let bare = ["UTC", "GMT"].iter().find_map(|zone| text.strip_suffix(zone)).map_or(text, str::trim_end);
    bare.parse::<Timestamp>()
        .ok()
        .or_else(|| utc(bare.parse::<DateTime>().ok()?))
        .or_else(|| utc(bare.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight())))
}

fn utc(datetime: DateTime) -> Option<Timestamp> {
    Offset::UTC.to_timestamp(datetime).ok()
}

/// Nine digits or more are a time since 1970; fewer may be a date (`20240131`). A fraction may follow.
fn epoch(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() < 9 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let number: i128 = whole.parse().ok()?;
    // Seconds reach 11 digits in the year 5138; each unit has three digits more.
    let (unit, kept) = match whole.len() {
        0..=11 => (1_000_000_000, 9),
        12..=14 => (1_000_000, 6),
        15..=17 => (1_000, 3),
        _ => (1, 0),
    };
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(kept).collect();
    let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Timestamp::from_nanosecond(number.checked_mul(unit)?.checked_add(fraction)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_common_spelling_is_the_same_instant() {
        let instant: Timestamp = "2023-11-14T22:13:20Z".parse().unwrap();
        for value in [
            "2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20.000Z",
            "2023-11-14t22:13:20z",
            "2023-11-14 22:13:20",
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20 UTC",
            "2023-11-14 22:13:20+00:00",
            "2023-11-15T00:13:20+02:00",
            "2023-11-15T00:13:20+0200",
            "1700000000",
            "1700000000.0",
            "1700000000000",
            "1700000000000000",
            "1700000000000000000",
            " 1700000000\n",
        ] {
            assert_eq!(parse(value.as_bytes()), Some(instant), "{value}");
        }
        assert_eq!(parse(b"2023-11-14"), "2023-11-14T00:00:00Z".parse().ok());
        assert_eq!(parse(b"1700000000.25"), "2023-11-14T22:13:20.25Z".parse().ok());
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for value in ["", "yesterday", "12", "2023-13-01", "14/11/2023", "-1", "99999999999999999999999999"] {
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
    }

    proptest! {
        /// An instant written as RFC 3339 is read back, arbitrary bytes do no harm.
        #[test]
        fn rfc_3339_is_read_back(seconds in 0i64..253_402_207_200, noise in proptest::collection::vec(any::<u8>(), 0..40)) {
            let instant = Timestamp::from_second(seconds).unwrap();
            prop_assert_eq!(parse(instant.to_string().as_bytes()), Some(instant));
            parse(&noise);
        }
    }
}
