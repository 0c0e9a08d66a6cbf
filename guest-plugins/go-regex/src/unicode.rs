//! Unicode as Go has it: classes by name, simple case folding, simple case mapping.
//!
//! Takes names and code points; gives ranges and code points. Never uses Rust's own tables, which are of
//! another Unicode version and map `ß` to `SS`.

mod tables;

/// Ranges of code points, first and last, ascending and apart.
pub type Ranges = Vec<(u32, u32)>;

/// The last code point.
pub const MAX: u32 = 0x10_ffff;

/// What `\p{name}` stands for, with or without `(?i)`. Underscores, dashes, spaces and case do not matter.
pub fn class(name: &str, fold: bool) -> Option<Ranges> {
    let mut canonical: String = name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).collect();
    canonical.make_ascii_lowercase();
    canonical.get_mut(..1)?.make_ascii_uppercase();
    let at = tables::NAMES
        .binary_search_by(|(known, _, _)| known.cmp(&canonical.as_str()))
        .ok()?;
    let (_, plain, folded) = tables::NAMES[at];
    Some(decode(tables::CLASSES[usize::from(if fold { folded } else { plain })]))
}

fn decode(mut bytes: &[u8]) -> Ranges {
    let mut number = || {
        let (mut value, mut shift) = (0, 0);
        while let [byte, rest @ ..] = bytes {
            bytes = rest;
            value |= u32::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    };
    let mut ranges = Vec::new();
    let mut next = 0;
    while let (Some(gap), Some(length)) = (number(), number()) {
        ranges.push((next + gap, next + gap + length));
        next += gap + length + 1;
    }
    ranges
}

fn mapped(table: &[(u32, u32, u32, i32)], code: u32) -> u32 {
    let upto = table.partition_point(|(first, ..)| *first <= code);
    let hit = table[..upto]
        .iter()
        .rev()
        .find(|(first, last, step, _)| code <= *last && (code - first).is_multiple_of(*step));
    hit.map_or(code, |(_, _, _, distance)| code.wrapping_add_signed(*distance))
}

/// The next code point of the orbit that differs only in case; the code point itself if it is alone.
pub fn simple_fold(code: u32) -> u32 {
    mapped(tables::FOLDS, code)
}

fn map_case(text: &str, ascii: fn(&str) -> String, table: &[(u32, u32, u32, i32)]) -> String {
    if text.is_ascii() {
        return ascii(text);
    }
    text.chars()
        .map(|c| char::from_u32(mapped(table, u32::from(c))).unwrap_or(c))
        .collect()
}

/// `strings.ToLower`: rune by rune, no special cases.
pub fn to_lower(text: &str) -> String {
    map_case(text, str::to_ascii_lowercase, tables::LOWER)
}

/// `strings.ToUpper`: rune by rune, no special cases.
pub fn to_upper(text: &str) -> String {
    map_case(text, str::to_ascii_uppercase, tables::UPPER)
}

/// `unicode.IsLetter` or `unicode.IsDigit`.
pub fn is_letter_or_digit(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    let code = u32::from(c);
    let within =
        |name| class(name, false).is_some_and(|r| r.iter().any(|(first, last)| (*first..=*last).contains(&code)));
    within("L") || within("Nd")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_rune_by_rune() {
        assert_eq!(to_upper("straße"), "STRAßE");
        assert_eq!(to_lower("İSTANBUL Σ"), "istanbul σ");
        assert_eq!(to_upper("ǆ"), "Ǆ");
    }

    #[test]
    fn folding_goes_round() {
        assert_eq!(simple_fold(u32::from('A')), u32::from('a'));
        assert_eq!(simple_fold(u32::from('a')), u32::from('A'));
        assert_eq!(simple_fold(u32::from('k')), 0x212a);
        assert_eq!(simple_fold(0x212a), u32::from('K'));
        assert_eq!(simple_fold(u32::from('1')), u32::from('1'));
    }

    #[test]
    fn finds_classes_by_any_spelling() {
        assert_eq!(class("greek", false), class("Greek", false));
        assert_eq!(class("Uppercase_Letter", false), class("Lu", false));
        assert_eq!(class("Any", false), Some(vec![(0, MAX)]));
        assert_eq!(class("Nonsense", false), None);
        assert_eq!(class("", false), None);
        assert_eq!(class("é", false), None);
    }
}
