//! How alike two words are by Jaro and Winkler, for slips of the keyboard: pure, over characters.
//!
//! Characters match that are the same and no further apart than half the longer word; one whose partner is at another place
//! among those that match counts for half. Equal beginnings of up to four characters bring the result nearer to 1, however
//! unlike the rest. Agrees with Prometheus' `jarowinkler` to the rounding.

/// Share of the way to 1 that each character of an equal beginning is worth.
const PREFIX_WEIGHT: f64 = 0.1;
/// Most characters of a beginning that count.
const PREFIX_MAX: usize = 4;

/// Compares; keeps its room from one comparison to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct JaroWinkler {
    /// Which characters of the longer word have a partner.
    taken: Vec<bool>,
    /// Characters of the shorter word that have one, in their order.
    matched: Vec<char>,
}

impl JaroWinkler {
    /// From 0, nothing in common, to 1, equal.
    pub(super) fn similarity(&mut self, a: &[char], b: &[char]) -> f64 {
        if a == b {
            return 1.0;
        }
        let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
        self.pair(short, long);
        if self.matched.is_empty() {
            return 0.0;
        }
        let partners = long.iter().zip(&self.taken).filter_map(|(c, taken)| taken.then_some(c));
        let moved = self.matched.iter().zip(partners).filter(|(a, b)| a != b).count() as f64;
        let matches = self.matched.len() as f64;
        let jaro =
            (matches / short.len() as f64 + matches / long.len() as f64 + (matches - moved / 2.0) / matches) / 3.0;
        let prefix = short.iter().zip(long).take(PREFIX_MAX).take_while(|(a, b)| a == b).count();
        jaro + prefix as f64 * PREFIX_WEIGHT * (1.0 - jaro)
    }

    /// Gives each character of `short` the first free one of `long` that is near enough.
    fn pair(&mut self, short: &[char], long: &[char]) {
        let reach = (long.len() / 2).saturating_sub(1);
        self.matched.clear();
        self.taken.clear();
        self.taken.resize(long.len(), false);
        for (i, c) in short.iter().enumerate() {
            let near = i.saturating_sub(reach)..(i + reach + 1).min(long.len());
            if let Some(j) = near.into_iter().find(|j| !self.taken[*j] && long[*j] == *c) {
                self.taken[j] = true;
                self.matched.push(*c);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn similarity(a: &str, b: &str) -> f64 {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        JaroWinkler::default().similarity(&chars(a), &chars(b))
    }

    #[test]
    fn known_pairs() {
        for (a, b, expected) in [
            ("", "", 1.0),
            ("", "abc", 0.0),
            ("abc", "xyz", 0.0),
            ("a", "b", 0.0),
            ("prometheus", "prometheus", 1.0),
            ("martha", "marhta", 0.961_111),
            ("dwayne", "duane", 0.84),
            ("dixon", "dicksonx", 0.813_333),
            ("mimir", "mimer", 0.906_667),
            ("caf\u{e9}", "cafe", 0.883_333),
            ("m\u{e0}rth\u{e0}", "m\u{e0}rht\u{e0}", 0.961_111),
            // An equal beginning counts below a likeness of 0.7, too.
            ("abxxxxxx", "abyyyyyyyy", 0.586_667),
            // Three of three at other places: half of each is lost, not half rounded.
            ("abcdefgh", "bcadefgh", 0.937_5),
        ] {
            let found = similarity(a, b);
            assert!((found - expected).abs() < 1e-6, "{a:?} and {b:?}: {found}, not {expected}");
        }
    }

    proptest! {
        #[test]
        fn it_is_a_share_and_all_of_it_only_for_equals(a in "[abcé]{0,8}", b in "[abcé]{0,8}") {
            let found = similarity(&a, &b);
            prop_assert!((0.0..=1.0).contains(&found));
            prop_assert_eq!(found == 1.0, a == b);
        }
    }
}
