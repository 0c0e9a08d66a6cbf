//! "Did you mean": the known name nearest to one that is not known.
//!
//! Takes a word and candidates, gives at most one suggestion; never guesses when nothing is near.

use strsim::osa_distance;

/// The candidate with the fewest edits, if they are few for a word of this length.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = plain(word);
    candidates
        .into_iter()
        .map(|candidate| {
            let plain = plain(candidate);
            let longer = plain.chars().count().max(word.chars().count());
            (osa_distance(&word, &plain), longer, candidate)
        })
        // A third of the letters wrong is a slip; more is another word.
        .filter(|(edits, longer, _)| *edits <= longer.div_ceil(3).min(4))
        .min_by_key(|(edits, ..)| *edits)
        .map(|(.., candidate)| candidate)
}

/// Longer words are cut: the work is the product of both lengths, and the word is the file's.
const MAX_LENGTH: usize = 64;

/// As far as the difference is one of letters: not of case, and not of the dash that joins words.
fn plain(word: &str) -> String {
    let letters = word.chars().take(MAX_LENGTH).map(|c| match c {
        '-' => '_',
        c => c.to_ascii_lowercase(),
    });
    letters.collect()
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
