//! Instants as feeds write them, which are more ways than events have: calendar dates of several countries, names of
//! zones, and the many words for `never`.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use crate::observable::time;

/// The position of the day in `01/02/2024`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DayOrder {
    /// Day, month, year.
    DayFirst,
    /// Month, day, year.
    MonthFirst,
}

/// Words for a bound that is open, in lower case, letters only.
const NEVER: &[&str] = &[
    "never",
    "none",
    "null",
    "nil",
    "nan",
    "na",
    "unknown",
    "unlimited",
    "permanent",
    "permanently",
    "perpetual",
    "indefinite",
    "indefinitely",
    "infinite",
    "infinity",
    "forever",
    "open",
    "notset",
    "unset",
    "noexpiry",
    "noexpiration",
    "noexpirationdate",
    "neverexpires",
    "doesnotexpire",
    "nolimit",
    "always",
    "max",
    "maxvalue",
    "nie",
    "jamais",
];

/// Zones that events and feeds name by letters, in minutes east of UTC: those of RFC 5322 section 4.3, and those of Europe
/// and the Far East that mean one thing.
const ZONES: &[(&str, i32)] = &[
    ("utc", 0),
    ("gmt", 0),
    ("z", 0),
    ("ut", 0),
    ("zulu", 0),
    ("est", -300),
    ("edt", -240),
    ("cst", -360),
    ("cdt", -300),
    ("mst", -420),
    ("mdt", -360),
    ("pst", -480),
    ("pdt", -420),
    ("akst", -540),
    ("akdt", -480),
    ("hst", -600),
    ("wet", 0),
    ("west", 60),
    ("cet", 60),
    ("cest", 120),
    ("mez", 60),
    ("mesz", 120),
    ("eet", 120),
    ("eest", 180),
    ("msk", 180),
    ("jst", 540),
    ("kst", 540),
    ("sgt", 480),
];

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// The seconds at which the years 9999 and 10000 begin: programs write `never` as a time in the last year that they know.
const YEAR_9999: i128 = 253_370_764_800;
const YEAR_10000: i128 = 253_402_300_800;

/// A bound of validity: `Ok(None)` is open, as words, blanks and the year 9999 say.
///
/// # Errors
/// It is not a time that can be read; it must not become an open bound.
pub(super) fn bound(text: &str, order: Option<DayOrder>) -> Result<Option<Timestamp>, &'static str> {
    let text = trimmed(text);
    if is_open(text) {
        return Ok(None);
    }
    match instant(text, order) {
        Some(instant) => Ok(Some(instant)),
        None if is_ambiguous(text) => Err("may be day/month or month/day; write RFC 3339"),
        None => Err("is not a time; write RFC 3339"),
    }
}

/// An instant in any of the spellings that feeds use.
pub(super) fn instant(text: &str, order: Option<DayOrder>) -> Option<Timestamp> {
    let text = trimmed(text);
    if text.len() > time::LONGEST_INPUT {
        return None;
    }
    let is_compact = text.len() == 14 && text.starts_with(['1', '2']) && text.bytes().all(|byte| byte.is_ascii_digit());
    let compact = || {
        let date = Date::strptime("%Y%m%d", text.get(..8)?).ok()?;
        utc(date.to_datetime(clock(text.get(8..)?)?), 0)
    };
    is_compact.then(compact).flatten().or_else(|| time::parse(text.as_bytes())).or_else(|| calendar(text, order))
}

/// The order of the numbers of dates in a column: `None` when no date decides, or dates disagree.
pub(super) fn day_order<'a>(cells: impl Iterator<Item = &'a str>) -> Option<DayOrder> {
    let mut order = None;
    for (first, second) in cells.filter_map(|cell| slashed(trimmed(cell))) {
        let says = match (first > 12, second > 12) {
            (true, false) => DayOrder::DayFirst,
            (false, true) => DayOrder::MonthFirst,
            _ => continue,
        };
        if order.is_some_and(|order| order != says) {
            return None;
        }
        order = Some(says);
    }
    order
}

fn trimmed(text: &str) -> &str {
    text.trim().trim_matches(['"', '\'']).trim()
}

fn is_open(text: &str) -> bool {
    let letters: String = text.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect();
    let has_digits = text.bytes().any(|byte| byte.is_ascii_digit());
    if !has_digits {
        let is_word = NEVER.contains(&letters.as_str());
        return text.is_empty()
            || is_word
            || (letters.is_empty() && text.chars().all(|c| matches!(c, '-' | '—' | '/' | '∞')));
    }
    // Of SQL and .NET: no date at all, and the last one that there is.
    let year = text.get(..5).unwrap_or_default();
    if matches!(year, "9999-" | "9999/" | "9999." | "0000-" | "0001-") || text.starts_with("9999123") {
        return true;
    }
    if ["/9999", ".9999", "-9999"].iter().any(|end| text.split_ascii_whitespace().any(|word| word.ends_with(end))) {
        return true;
    }
    let number: Option<i128> = text.split('.').next().and_then(|whole| whole.parse().ok());
    number.is_some_and(|number| {
        [1, 1_000, 1_000_000].iter().any(|unit| (YEAR_9999 * unit..YEAR_10000 * unit).contains(&number))
            || number == i128::from(i64::MAX)
    })
}

fn is_ambiguous(text: &str) -> bool {
    slashed(text).is_some()
}

/// The first two numbers of `01/02/2024`.
fn slashed(text: &str) -> Option<(u32, u32)> {
    let date = text.split([' ', 'T', ',']).next()?;
    let mut numbers = date.split(['/', '-']);
    let (first, second, year) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let is_short = |text: &str| (1..=2).contains(&text.len());
    (is_short(first) && is_short(second) && year.len() == 4 && numbers.next().is_none())
        .then(|| Some((first.parse().ok()?, second.parse().ok()?)))?
}

/// `31 Jan 2024 10:00 CET`, `January 31, 2024`, `31.01.2024`, `2024/01/31 22:13`, `01/31/2024 10:13 PM`.
fn calendar(text: &str, order: Option<DayOrder>) -> Option<Timestamp> {
    let separated = text.replace(',', " ");
    let mut words: Vec<&str> = separated.split_ascii_whitespace().collect();
    let mut minutes_east = 0;
    if words.len() > 1
        && let Some(east) = words.last().and_then(|zone| zone_of(zone))
    {
        minutes_east = east;
        words.pop();
    }
    let mut half = None;
    if let Some(last) = words.last().filter(|_| words.len() > 1).map(|word| word.to_ascii_lowercase())
        && matches!(last.as_str(), "am" | "pm" | "a.m." | "p.m.")
    {
        half = Some(last.starts_with('p'));
        words.pop();
    }
    let mut time = Time::midnight();
    if let Some(clock_at) = words.iter().position(|word| word.contains(':')) {
        let word = words.remove(clock_at);
        let (word, half) = match word.to_ascii_lowercase() {
            lower if lower.ends_with("am") => (word.get(..word.len() - 2)?, Some(false)),
            lower if lower.ends_with("pm") => (word.get(..word.len() - 2)?, Some(true)),
            _ => (word, half),
        };
        time = clock(word)?;
        time = match (half, time.hour()) {
            (None, _) | (Some(false), 1..=11) | (Some(true), 12) => time,
            (Some(false), 12) => time.with().hour(0).build().ok()?,
            (Some(true), hour @ 1..=11) => time.with().hour(hour + 12).build().ok()?,
            _ => return None,
        };
    }
    utc(date(&words, order)?.to_datetime(time), minutes_east)
}

fn date(words: &[&str], order: Option<DayOrder>) -> Option<Date> {
    let number = |word: &str| word.parse::<i16>().ok();
    let of =
        |year: i16, month: usize, day: i16| Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok();
    let words: Vec<&str> = match words {
        // A day of the week.
        [day, rest @ ..] if rest.len() > 1 && day.len() >= 2 && is_weekday(day) => rest.to_vec(),
        words => words.to_vec(),
    };
    let parts: Vec<&str> = match words.as_slice() {
        [one] => one.split(['/', '.', '-']).collect(),
        several => several.to_vec(),
    };
    let [one, two, three] = parts.as_slice() else { return None };
    if let Some(month) = month(two) {
        let (day, year) = if one.len() == 4 { (three, one) } else { (one, three) };
        return of(full_year(year)?, month, number(ordinal(day))?);
    }
    if let Some(month) = month(one) {
        return of(full_year(three)?, month, number(ordinal(two))?);
    }
    let (one, two, three) = (*one, *two, *three);
    if one.len() == 4 {
        return of(number(one)?, usize::try_from(number(two)?).ok()?, number(three)?);
    }
    let (first, second, year) = (number(one)?, number(two)?, number(three).filter(|_| three.len() == 4)?);
    let has_dots = words.first().is_some_and(|word| word.contains('.'));
    let day_first = match (first > 12, second > 12) {
        (true, false) => true,
        (false, true) => false,
        _ if has_dots => true,
        _ if first == second => true,
        _ => order? == DayOrder::DayFirst,
    };
    let (day, month) = if day_first { (first, second) } else { (second, first) };
    of(year, usize::try_from(month).ok()?, day)
}

fn is_weekday(word: &str) -> bool {
    let lower = word.trim_end_matches('.').to_ascii_lowercase();
    ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].iter().any(|day| lower.starts_with(day))
}

/// A month by its English name or the beginning of it.
fn month(word: &str) -> Option<usize> {
    let lower = word.trim_end_matches('.').to_ascii_lowercase();
    let is_word = lower.len() >= 3 && lower.bytes().all(|byte| byte.is_ascii_alphabetic());
    MONTHS.iter().position(|month| is_word && lower.starts_with(month)).map(|at| at + 1)
}

fn ordinal(day: &str) -> &str {
    ["st", "nd", "rd", "th", "."].iter().find_map(|end| day.strip_suffix(end)).unwrap_or(day)
}

fn full_year(text: &str) -> Option<i16> {
    let year: i16 = text.parse().ok()?;
    match text.len() {
        4 => Some(year),
        2 => Some(2000 + year),
        _ => None,
    }
}

fn clock(text: &str) -> Option<Time> {
    let mut parts = text.splitn(3, ':');
    let (hour, minute, second) = match (parts.next()?, parts.next(), parts.next()) {
        (hour, Some(minute), second) => (hour, minute, second.unwrap_or("0")),
        (all, None, _) if all.len() == 6 => (all.get(..2)?, all.get(2..4)?, all.get(4..)?),
        _ => return None,
    };
    let second = second.split(['.', ',']).next()?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, second.parse().ok()?, 0).ok()
}

fn zone_of(word: &str) -> Option<i32> {
    let lower = word.trim_matches(['(', ')']).to_ascii_lowercase();
    if let Some((_, minutes)) = ZONES.iter().find(|(zone, _)| *zone == lower) {
        return Some(*minutes);
    }
    let offset = lower.trim_start_matches("utc").trim_start_matches("gmt");
    let (sign, digits) = match offset.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = match digits.len() {
        1 | 2 => (digits.parse::<i32>().ok()?, 0),
        4 => (digits.get(..2)?.parse().ok()?, digits.get(2..)?.parse::<i32>().ok()?),
        _ => return None,
    };
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn utc(datetime: DateTime, minutes_east: i32) -> Option<Timestamp> {
    let instant = Offset::UTC.to_timestamp(datetime).ok()?;
    instant.checked_sub(SignedDuration::from_mins(i64::from(minutes_east))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_of_many_hands_are_the_same_day() {
        let day: Timestamp = "2024-01-31T00:00:00Z".parse().unwrap();
        for text in [
            "2024-01-31",
            "20240131",
            "2024/01/31",
            "2024.01.31",
            "31.01.2024",
            "31/01/2024",
            "01/31/2024",
            "31-Jan-2024",
            "31 January 2024",
            "Jan 31, 2024",
            "January 31st, 2024",
            "Wed, 31 Jan 2024 00:00:00 GMT",
            "1706659200",
            "1706659200000",
            "20240131000000",
            "2024-01-31T01:00:00+01:00",
            "2024-01-31 01:00:00 CET",
            "2024-01-30 19:00 EST",
            "01/31/2024 12:00:00 AM",
            "31 Jan 2024 02:00 +0200",
            "2024-01-31 00:00:00 UTC",
        ] {
            assert_eq!(bound(text, None), Ok(Some(day)), "{text}");
        }
        let afternoon: Timestamp = "2024-01-31T15:04:00Z".parse().unwrap();
        assert_eq!(bound("1/31/2024 3:04 PM", None), Ok(Some(afternoon)));
    }

    #[test]
    fn words_for_never_and_the_last_year_are_open_and_nothing_else_is() {
        for text in [
            "",
            "-",
            "never",
            "No Expiration",
            "N/A",
            "null",
            "9999-12-31",
            "9999-12-31T23:59:59.9999999Z",
            "31.12.9999",
            "12/31/9999",
            "9999-12-30 23:59:59",
            "253402300799",
            "253402300799000",
            "0001-01-01T00:00:00",
            "99991231",
            "0000-00-00 00:00:00",
            "9223372036854775807",
            "∞",
        ] {
            assert_eq!(bound(text, None), Ok(None), "{text:?}");
        }
        for text in ["soon", "0", "2024-13-01", "02/03/2024", "neverland 5", "12", "31/31/2024", "expired"] {
            assert!(bound(text, None).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_column_tells_the_order_of_its_numbers() {
        assert_eq!(day_order(["01/02/2024", "31/01/2024"].into_iter()), Some(DayOrder::DayFirst));
        assert_eq!(day_order(["01/02/2024", "01/31/2024"].into_iter()), Some(DayOrder::MonthFirst));
        assert_eq!(day_order(["31/01/2024", "01/31/2024"].into_iter()), None);
        assert_eq!(day_order(["01/02/2024"].into_iter()), None);
        let second: Timestamp = "2024-02-01T00:00:00Z".parse().unwrap();
        assert_eq!(bound("01/02/2024", Some(DayOrder::DayFirst)), Ok(Some(second)));
    }

    proptest! {
        /// Arbitrary text does no harm, and a date is read in each spelling.
        #[test]
        fn a_date_is_read_in_each_spelling(days in 0i64..40_000, noise in "\\PC{0,30}") {
            let instant = Timestamp::from_second(days * 86_400).unwrap();
            for format in ["%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d %B %Y", "%b %d, %Y", "%a, %d %b %Y %H:%M:%S GMT", "%Y%m%d%H%M%S"] {
                let text = instant.strftime(format).to_string();
                prop_assert_eq!(bound(&text, None), Ok(Some(instant)), "{}", text);
            }
            let _ = bound(&noise, Some(DayOrder::DayFirst));
        }
    }
}
