//! Numbers as feeds and events write them.

/// Longer text is never read as a number: the longest decimal form without exponent that identifies a double has 17
/// digits behind 324 places (IEEE 754 binary64).
pub const LONGEST_INPUT: usize = 400;

/// A finite decimal number.
pub fn parse(value: &[u8]) -> Option<f64> {
    if value.len() > LONGEST_INPUT {
        return None;
    }
    let number = std::str::from_utf8(value).ok()?.trim().parse::<f64>().ok()?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_decimals_within_the_bound_are_numbers() {
        for (text, number) in [("443", 443.0), (" -1.5\n", -1.5), ("1e3", 1000.0)] {
            assert_eq!(parse(text.as_bytes()), Some(number), "{text}");
        }
        for double in [f64::MAX, f64::MIN_POSITIVE, 5e-324] {
            assert_eq!(parse(double.to_string().as_bytes()), Some(double));
        }
        for text in ["", "NaN", "inf", "1,5", "0x1", &"1".repeat(LONGEST_INPUT + 1)] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
