//! The words of a search, and how well a text answers to the best of them: pure.
use super::jaro_winkler::JaroWinkler;
use super::subsequence;

/// What a match far inside a text is worth, of one at its beginning.
const LAST_PLACE: f64 = 0.1;

/// What counts as like a word, besides the text that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Its characters in their order.
    Subsequence,
    /// A word that is misspelt.
    JaroWinkler,
}

/// Words, and what is asked of a text that is to match one of them.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    words: Vec<Vec<char>>,
    algorithm: Algorithm,
    /// Least score of a match that is not by the word itself, 0 to 1.
    threshold: f64,
    case_sensitive: bool,
    similarity: JaroWinkler,
    /// The text at hand; kept for its room.
    text: Vec<char>,
}

fn spell(out: &mut Vec<char>, text: &str, case_sensitive: bool) {
    out.clear();
    if case_sensitive {
        out.extend(text.chars());
    } else {
        out.extend(text.chars().flat_map(char::to_lowercase));
    }
}

impl Terms {
    /// Of `words` the empty ones are left out.
    pub(super) fn new<'a>(
        words: impl IntoIterator<Item = &'a str>,
        algorithm: Algorithm,
        threshold: f64,
        case_sensitive: bool,
    ) -> Self {
        let words = words.into_iter().filter(|word| !word.is_empty()).map(|word| {
            let mut chars = Vec::new();
            spell(&mut chars, word, case_sensitive);
            chars
        });
        let (similarity, text) = (JaroWinkler::default(), Vec::new());
        Self { words: words.collect(), algorithm, threshold, case_sensitive, similarity, text }
    }

    /// Words; without any, every text matches.
    pub(super) fn count(&self) -> usize {
        self.words.len()
    }

    /// The best score of the words that `text` matches, above 0 and up to 1; `None` if it matches none.
    pub(crate) fn score(&mut self, text: &str) -> Option<f64> {
        if self.words.is_empty() {
            return Some(1.0);
        }
        spell(&mut self.text, text, self.case_sensitive);
        let mut best = None;
        for word in &self.words {
            let Some(score) = like(word, &self.text, self.algorithm, self.threshold, &mut self.similarity) else {
                continue;
            };
            best = Some(best.map_or(score, |best: f64| best.max(score)));
            if score == 1.0 {
                break;
            }
        }
        best
    }
}

fn like(
    word: &[char],
    text: &[char],
    algorithm: Algorithm,
    threshold: f64,
    similarity: &mut JaroWinkler,
) -> Option<f64> {
    if text.starts_with(word) {
        return Some(1.0);
    }
    let score = match algorithm {
        Algorithm::Subsequence => subsequence::score(word, text),
        Algorithm::JaroWinkler => match place(word, text) {
            Some(score) => return Some(score),
            // Without a threshold everything would be like everything.
            None if threshold == 0.0 => return None,
            None => similarity.similarity(word, text),
        },
    };
    (score > 0.0 && score >= threshold).then_some(score)
}

/// The score of a text that has the word: the nearer to its beginning the better.
fn place(word: &[char], text: &[char]) -> Option<f64> {
    let at = text.windows(word.len()).position(|window| window == word)?;
    let last = (text.len() - word.len()).max(1);
    Some(1.0 - (1.0 - LAST_PLACE) * at as f64 / last as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn score(words: &[&str], algorithm: Algorithm, percent: u8, case_sensitive: bool, text: &str) -> Option<f64> {
        let mut terms = Terms::new(words.iter().copied(), algorithm, f64::from(percent) / 100.0, case_sensitive);
        // The room that an earlier text has left changes nothing.
        terms.score("an earlier, longer text");
        terms.score(text)
    }

    #[test]
    fn a_text_matches_by_its_best_word() {
        use Algorithm::{JaroWinkler, Subsequence};
        for (words, algorithm, percent, case_sensitive, text, expected) in [
            (&[][..], Subsequence, 100, true, "up", Some(1.0)),
            (&["", ""], Subsequence, 100, true, "up", Some(1.0)),
            (&["http"], Subsequence, 100, true, "http_requests", Some(1.0)),
            (&["http"], Subsequence, 0, true, "HTTP_requests", None),
            (&["hTTp"], Subsequence, 0, false, "HttP_requests", Some(1.0)),
            (&["\u{c4}b"], Subsequence, 0, false, "\u{e4}B", Some(1.0)),
            // A word that ends with a sigma is that word in the midst of a text, too.
            (&["\u{39f}\u{3a3}"], Subsequence, 0, false, "\u{3bf}\u{3c3}\u{3b1}", Some(1.0)),
            (&["bc"], Subsequence, 0, true, "abc", Some(0.999 * (4.0 - 1.0 / 3.0) / 4.0)),
            (&["bc"], Subsequence, 92, true, "abc", None),
            (&["x", "bc"], Subsequence, 50, true, "abc", Some(0.999 * (4.0 - 1.0 / 3.0) / 4.0)),
            (&["bc"], JaroWinkler, 0, true, "abcd", Some(0.55)),
            (&["d"], JaroWinkler, 99, true, "abcd", Some(0.1)),
            (&["\u{e4}"], JaroWinkler, 0, true, "a\u{e4}b", Some(0.55)),
            (&["mimir"], JaroWinkler, 0, true, "mimer", None),
            (&["mimir"], JaroWinkler, 91, true, "mimer", None),
        ] {
            let found = score(words, algorithm, percent, case_sensitive, text);
            assert!(
                found.is_some() == expected.is_some()
                    && (found.unwrap_or_default() - expected.unwrap_or_default()).abs() < 1e-12,
                "{words:?} by {algorithm:?} at {percent} in {text:?}: {found:?}, not {expected:?}"
            );
        }
        let alike = score(&["mimir"], JaroWinkler, 90, true, "mimer").unwrap();
        assert!((0.9..0.91).contains(&alike), "{alike}");
    }

    proptest! {
        #[test]
        fn any_text_has_a_score_of_its_own_words(words: Vec<String>, text: String, percent in 0u8..=100, jaro: bool, case: bool) {
            let algorithm = if jaro { Algorithm::JaroWinkler } else { Algorithm::Subsequence };
            let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
            if let Some(found) = score(&all, algorithm, percent, case, &text) {
                prop_assert!(found > 0.0 && found <= 1.0, "{}", found);
            }
            all.push(&text);
            prop_assume!(!text.is_empty());
            prop_assert_eq!(score(&all, algorithm, percent, case, &text), Some(1.0));
        }
    }
}
