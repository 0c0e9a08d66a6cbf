//! "Did you mean": the known name nearest to one that is not known.
//!
//! Takes a word and candidates, gives at most one suggestion; never guesses when nothing is near.

/// The candidate with the fewest edits, if they are few for a word of this length.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters: Vec<char> = word.chars().take(MAX_LENGTH).collect();
    candidates
        .into_iter()
        .map(|candidate| (distance(&letters, &candidate.chars().collect::<Vec<_>>()), candidate))
        // A third of the letters wrong is a slip; more is another word.
        .filter(|(edits, candidate)| *edits <= candidate.chars().count().max(letters.len()).div_ceil(3).min(4))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Longer words are cut: the work is the product of both lengths, and the word is the file's.
const MAX_LENGTH: usize = 64;

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment), case ignored.
fn distance(a: &[char], b: &[char]) -> usize {
    let same = |x: char, y: char| x.eq_ignore_ascii_case(&y) || (x == '-' && y == '_');
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let substituted = last[j] + usize::from(!same(x, y));
            let mut best = substituted.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && same(x, b[j - 1]) && same(a[i - 1], y) {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_another_word_finds_none() {
        let keys = ["listen_address", "max_connections", "idle_timeout"];
        assert_eq!(nearest("listen_adress", keys), Some("listen_address"));
        assert_eq!(nearest("listen-address", keys), Some("listen_address"));
        assert_eq!(nearest("idel_timeout", keys), Some("idle_timeout"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest("x", []), None);
    }
}
