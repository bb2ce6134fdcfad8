//! The order of label sets in answers and blocks.
use std::cmp::Ordering;

use crate::codec::Reader;

/// Compares two canonical encodings ([`crate::model::Labels::as_bytes`]) pair by pair: names, then values, then the
/// shorter set first, as Prometheus' `labels.Compare` does. (The order of the encodings themselves differs: lengths
/// come first in them.)
pub fn compare_labels(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (Reader::new(a), Reader::new(b));
    while !a.is_empty() && !b.is_empty() {
        // Names and values alternate in both, so comparing text by text compares pair by pair. UTF-8 orders as its bytes.
        match a.bytes("label").unwrap_or_default().cmp(b.bytes("label").unwrap_or_default()) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    b.is_empty().cmp(&a.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test]
    fn pairs_compare_by_text_not_by_length() {
        let of = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).unwrap();
        let cases = [
            (of(&[("a", "zz")]), of(&[("b", "a")]), Ordering::Less),
            (of(&[("a", "zz")]), of(&[("a", "zza")]), Ordering::Less),
            (of(&[("a", "b")]), of(&[("a", "aaa")]), Ordering::Greater),
            (of(&[("a", "b")]), of(&[("a", "b"), ("c", "d")]), Ordering::Less),
            (of(&[("a", "b")]), of(&[("a", "b")]), Ordering::Equal),
        ];
        for (a, b, expected) in cases {
            assert_eq!(compare_labels(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }
}
