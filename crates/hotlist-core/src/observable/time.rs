//! Instants as feeds and ECS events write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use super::text;

/// Longer input is never read as an instant: RFC 3339 with nanoseconds has 35 characters, RFC 9557 adds the name of a
/// zone.
pub const LONGEST_INPUT: usize = 128;

/// Reads RFC 3339, the same with a blank for `T` or without offset (then UTC), a date alone (midnight UTC), and seconds
/// since 1970 as text, or milli-, micro- or nanoseconds when the number is too large for seconds. Of the dates that CEF and
/// LEEF have besides, those with a year: `Nov 14 2023 22:13:20.000 GMT`.
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
        .or_else(|| utc(bare.parse::<Date>().ok()?.to_datetime(Time::midnight())))
        .or_else(|| of_month_name(text))
}

fn utc(datetime: DateTime) -> Option<Timestamp> {
    Offset::UTC.to_timestamp(datetime).ok()
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// `MMM dd yyyy HH:mm:ss`, with a fraction and a zone if there are any (ArcSight CEF Implementation Standard, version 26, appendix
/// "Date Formats"; without a zone UTC). A date without a year is not an instant, and an abbreviation such as `CST` is not
/// one zone.
fn of_month_name(text: &str) -> Option<Timestamp> {
    let mut words = text.split_ascii_whitespace();
    let (month, day, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (zone, None) = (words.next(), words.next()) else { return None };
    let month = (1..).zip(MONTHS).find(|(_, name)| month.eq_ignore_ascii_case(name))?.0;
    let is_number = |word: &str, digits: usize| word.len() <= digits && word.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(day, 2) || !is_number(year, 4) || year.len() < 4 || !time.contains(':') {
        return None;
    }
    let date = Date::new(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    offset(zone.unwrap_or_default())?.to_timestamp(date.to_datetime(time.parse::<Time>().ok()?)).ok()
}

/// The offset of `UTC`, `GMT`, `Z`, `+02:00`, `-0500` or `GMT+02:00`.
fn offset(zone: &str) -> Option<Offset> {
    let number = ["UTC", "GMT", "Z"].iter().find_map(|name| zone.strip_prefix(name)).unwrap_or(zone);
    let (sign, digits) = match number.as_bytes() {
        [] => return Some(Offset::UTC),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [a, b] => ([*a, *b], *b"00"),
        [a, b, c, d] | [a, b, b':', c, d] => ([*a, *b], [*c, *d]),
        _ => return None,
    };
    let number = |pair: [u8; 2]| {
        let digit = |byte: u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
        Some(10 * digit(pair[0])? + digit(pair[1])?)
    };
    let minutes = number(minutes).filter(|minutes| *minutes < 60)?;
    Offset::from_seconds(sign * 60 * (60 * number(hours)? + minutes)).ok()
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
            "Nov 14 2023 22:13:20",
            "Nov 14 2023 22:13:20.000",
            "nov 14 2023 22:13:20 UTC",
            "Nov 14 2023 22:13:20.000 GMT",
            "Nov 15 2023 00:13:20 +0200",
            "Nov 14 2023 17:13:20.000 GMT-05:00",
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
        for value in [
            "Nov 14 22:13:20",
            "Nov 31 2023 22:13:20",
            "Nov 14 2023",
            "Nov 14 2023 22",
            "Nov 14 23 22:13:20",
            "Nov 14 2023 22:13:20 CST",
            "Nov 14 2023 22:13:20 GMT+5",
            "Nov 14 2023 22:13:20 +02:60",
            "Nov 14 2023 22:13:20 UTC x",
        ] {
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

        /// An instant written as CEF has it is read back, in each zone.
        #[test]
        fn a_date_of_cef_is_read_back(milliseconds in 0i64..253_402_207_200_000, minutes in -14i32 * 60..=14 * 60) {
            let instant = Timestamp::from_millisecond(milliseconds).unwrap();
            let local = Offset::from_seconds(60 * minutes).unwrap().to_datetime(instant);
            let (sign, minutes) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
            let (hours, minutes) = (minutes / 60, minutes % 60);
            let zones = [format!("{sign}{hours:02}{minutes:02}"), format!("GMT{sign}{hours:02}:{minutes:02}")];
            for zone in zones {
                let text = format!("{} {zone}", local.strftime("%b %d %Y %H:%M:%S%.3f"));
                prop_assert_eq!(parse(text.as_bytes()), Some(instant), "{}", text);
            }
        }
    }
}
