//! Sizes (`64MiB`) and durations (`8s`) as people write them.

use std::time::Duration;

/// Binary and decimal units of size, in bytes.
const SIZES: [(&str, u64); 8] = [
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("", 1),
];

/// Units of time, in milliseconds. A bare number has no unit and is refused: nobody knows which it would be.
const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A number of bytes: `4096`, `64MiB`, `10 MB`. `None` when it cannot be read or does not fit.
pub(super) fn size(text: &str) -> Option<usize> {
    usize::try_from(quantity(text, &SIZES)?).ok()
}

/// A length of time: `250ms`, `8s`, `5d`. `None` when it cannot be read or does not fit.
pub(super) fn duration(text: &str) -> Option<Duration> {
    quantity(text, &DURATIONS).map(Duration::from_millis)
}

/// A whole number and its unit, without case, blanks between them allowed.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_binary_and_decimal_units() {
        assert_eq!(size("64MiB"), Some(64 << 20));
        assert_eq!(size("1 kb"), Some(1_000));
        assert_eq!(size("7"), Some(7));
        for bad in ["", "MiB", "-1", "1.5MiB", "1 TiB", "99999999999999999999", "18446744073709551615KiB", "1 k b"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("8s"), Some(Duration::from_secs(8)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("5d"), Some(Duration::from_secs(5 * 86_400)));
        for bad in ["", "8", "s", "8 weeks", "-8s", "8.5s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
