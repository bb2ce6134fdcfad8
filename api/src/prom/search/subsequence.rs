//! How well a text has the characters of a word, in their order and not necessarily side by side: pure, over characters.
//!
//! A match begins at an occurrence of the word's first character and takes each next one at its first place from there.
//! Its points are the squares of the lengths of its runs, less the share of the text that is before it and in its gaps, and
//! half of the share that is behind it. The best match's points over those of one run of the whole word are the score: below
//! 1 unless word and text are equal, above 0 whenever there is a match. Agrees with Prometheus' `subsequence` to the rounding.

/// Keeps what is not equal below 1 when scores are rounded.
const UNEQUAL: f64 = 0.999;

/// 0 when `word` is not a subsequence of `text`, otherwise up to 1.
pub(super) fn score(word: &[char], text: &[char]) -> f64 {
    if word == text || word.is_empty() {
        return 1.0;
    }
    if word.len() > text.len() {
        return 0.0;
    }
    let mut best: f64 = 0.0;
    for at in 0..=text.len() - word.len() {
        if text[at] != word[0] {
            continue;
        }
        // What does not match from here does not match from further on either.
        let Some(points) = points_from(word, text, at) else { break };
        best = best.max(points);
    }
    UNEQUAL * best / (word.len() * word.len()) as f64
}

/// Points, more than 0, of the match that begins at `from`, where the word's first character is.
fn points_from(word: &[char], text: &[char], from: usize) -> Option<f64> {
    let (mut points, mut gaps) = (0.0, from);
    let (mut at, mut rest) = (from, word);
    loop {
        let run = text[at..].iter().zip(rest).take_while(|(a, b)| a == b).count();
        points += (run * run) as f64;
        (at, rest) = (at + run, &rest[run..]);
        let Some(next) = rest.first() else { break };
        let gap = text[at..].iter().position(|c| c == next)?;
        (at, gaps) = (at + gap, gaps + gap);
    }
    let trailing = (text.len() - at) as f64 / 2.0;
    Some(points - (gaps as f64 + trailing) / text.len() as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn runs_count_for_and_gaps_against() {
        for (word, text, expected) in [
            ("", "anything", 1.0),
            ("abc", "", 0.0),
            ("my awesome text", "my awesome text", 1.0),
            ("my", "my awesome text", UNEQUAL * 107.0 / 120.0),
            ("tex", "my awesome text", UNEQUAL * 247.0 / 270.0),
            // Neither the first `m` nor the greedy match from it is the best.
            ("met", "my awesome text", UNEQUAL * 43.0 / 90.0),
            ("bac", "babac", UNEQUAL * 43.0 / 45.0),
            ("handler1", "handler10", UNEQUAL * (64.0 - 1.0 / 18.0) / 64.0),
            ("abcd", "abc", 0.0),
            ("xyz", "abc", 0.0),
            ("ba", "ab", 0.0),
            ("\u{e9}\u{e0}", "\u{e9}\u{e0}\u{fc}", UNEQUAL * (4.0 - 1.0 / 6.0) / 4.0),
            ("abc", "\u{e9}\u{e9}", 0.0),
        ] {
            let score = score(&chars(word), &chars(text));
            assert!((score - expected).abs() < 1e-12, "{word:?} in {text:?}: {score}, not {expected}");
        }
    }

    proptest! {
        #[test]
        fn a_score_is_above_nothing_where_there_is_a_subsequence(word in "[abé]{0,5}", text in "[abcé]{0,12}") {
            let mut left = text.chars();
            let is_subsequence = word.chars().all(|c| left.any(|t| t == c));
            let score = score(&chars(&word), &chars(&text));
            prop_assert_eq!(score > 0.0, is_subsequence);
            prop_assert!((0.0..=1.0).contains(&score));
            prop_assert_eq!(score == 1.0, word == text || word.is_empty());
        }
    }
}
