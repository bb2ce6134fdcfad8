//! The order of label sets in answers and blocks.
use std::cmp::Ordering;

use crate::codec::Reader;

/// Compares two canonical encodings ([`crate::model::Labels::as_bytes`]) pair by pair: names, then values, then the
/// shorter set first, as Prometheus' `labels.Compare` does. (The order of the encodings themselves differs: lengths
/// come first in them.)
pub fn compare_labels(a: &[u8], b: &[u8]) -> Ordering {
    let Some(differ_at) = first_difference(a, b) else {
        // One begins with all pairs of the other.
        return a.len().cmp(&b.len());
    };
    // Texts are equal up to the one with the difference: there the texts decide, names and values alike. UTF-8 orders as its bytes.
    let mut texts = Reader::new(a);
    loop {
        let start = texts.position();
        let Ok(text) = texts.bytes("label") else { return a.cmp(b) };
        if differ_at >= texts.position() {
            continue;
        }
        if differ_at >= texts.position() - text.len() {
            return a[differ_at].cmp(&b[differ_at]);
        }
        // Texts of different lengths.
        return match Reader::new(&b[start..]).bytes("label") {
            Ok(other) => text.cmp(other),
            Err(_) => a.cmp(b),
        };
    }
}

/// Where two slices differ; none where one begins with the other.
fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    /// Compared at once.
    const BLOCK: usize = 16;
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let equal = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK)).take_while(|(a, b)| a == b).count() * BLOCK;
    a[equal..].iter().zip(&b[equal..]).position(|(a, b)| a != b).map(|at| equal + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        /// Long texts have lengths of two bytes.
        #[test]
        fn encodings_compare_as_their_pairs(
            a in prop::collection::btree_map("[ab]{1,3}", prop_oneof!["[ab]{1,20}", "[a]{126,129}"], 0..4),
            b in prop::collection::btree_map("[ab]{1,3}", prop_oneof!["[ab]{1,20}", "[a]{126,129}"], 0..4),
        ) {
            let [x, y] = [&a, &b].map(|pairs| Labels::from_pairs(pairs).unwrap());
            prop_assert_eq!(compare_labels(x.as_bytes(), y.as_bytes()), a.iter().cmp(b.iter()), "{} {}", x, y);
        }

        /// Whatever the bytes are: no panic, and an order.
        #[test]
        fn other_bytes_compare(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(compare_labels(&a, &b) == Ordering::Equal, a == b);
        }
    }
}
