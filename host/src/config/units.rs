//! Durations (`5m`) and sizes (`32MiB`) as Prometheus and Thanos write them.
//!
//! Takes text, gives checked values; never rounds, never overflows.

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Decimal multiples as SI has them, binary ones as IEC: `MB` and `MiB` differ by 5 %, and neither is guessed.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// `1h30m`: whole numbers, each with its unit, largest unit first (the Prometheus grammar).
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut milliseconds = 0u64;
    let mut units = DURATION_UNITS.iter();
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        // The iterator goes on from the last unit, so that units fall and none comes twice.
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        milliseconds = milliseconds.checked_add(number.checked_mul(*factor)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(milliseconds))
}

/// `32MiB`, or plain bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = leading_number(text)?;
    if unit.is_empty() {
        return Some(number);
    }
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// As [`size`] reads it, in the largest binary unit that is exact.
pub(super) fn show_size(bytes: u64) -> String {
    let exact = SIZE_UNITS[5..]
        .iter()
        .rev()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    exact.map_or_else(
        || bytes.to_string(),
        |(name, factor)| format!("{}{name}", bytes / factor),
    )
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_prometheus() {
        for (text, milliseconds) in [
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("50ms", 50),
            ("1m1ms", 60_001),
            ("0s", 0),
            ("1w", 604_800_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "5M",
            "30m1h",
            "1s1s",
            "1.5s",
            "-1s",
            "99999999999999999999s",
            "999999999999y",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_exact() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("32MiB", 32 << 20),
            ("1KB", 1000),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
            assert_eq!(size(&show_size(bytes)), Some(bytes), "{text}");
        }
        assert_eq!(show_size(96 << 20), "96MiB");
        for text in ["", "MiB", "1 MiB", "1M", "1mib", "1.5MiB", "-1", "99999999TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
