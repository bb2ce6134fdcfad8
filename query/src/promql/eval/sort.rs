//! `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`: the order of an instant query's answer.
use std::cmp::Ordering;

use super::Series;
use crate::promql::labels;

/// By the float at the only step; NaN last.
pub(super) fn by_value(series: &mut [Series], descending: bool) {
    series.sort_by(|a, b| {
        let (a, b) = (a.values[0], b.values[0]);
        match (a.is_nan(), b.is_nan()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
                if descending { order.reverse() } else { order }
            }
        }
    });
}

/// By the values of `names` in natural order, then by all labels.
pub(super) fn by_labels(series: &mut [Series], names: &[String], descending: bool) {
    series.sort_by(|a, b| {
        let named = names.iter().map(|name| {
            let (a, b) = (a.labels.get(name).unwrap_or_default(), b.labels.get(name).unwrap_or_default());
            natural(a, b)
        });
        let order = named.into_iter().find(|o| o.is_ne()).unwrap_or_else(|| labels::compare(&a.labels, &b.labels));
        if descending { order.reverse() } else { order }
    });
}

/// Runs of digits compare as numbers, the rest as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() && !b.is_empty() {
        let (chunk_a, chunk_b) = (chunk(a), chunk(b));
        let both_digits = chunk_a[0].is_ascii_digit() && chunk_b[0].is_ascii_digit();
        let order = if both_digits { by_number(chunk_a, chunk_b) } else { chunk_a.cmp(chunk_b) };
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[chunk_a.len()..], &b[chunk_b.len()..]);
    }
    a.len().cmp(&b.len())
}

fn chunk(text: &[u8]) -> &[u8] {
    let is_digit = text[0].is_ascii_digit();
    &text[..text.iter().take_while(|b| b.is_ascii_digit() == is_digit).count()]
}

fn by_number(a: &[u8], b: &[u8]) -> Ordering {
    let plain = |text: &[u8]| text.iter().position(|b| *b != b'0').map_or(text.len(), |zeros| zeros);
    let (short_a, short_b) = (&a[plain(a)..], &b[plain(b)..]);
    short_a.len().cmp(&short_b.len()).then_with(|| short_a.cmp(short_b)).then_with(|| a.len().cmp(&b.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_order() {
        for (a, b) in [("node2", "node10"), ("a", "b"), ("1", "a"), ("x", "x1"), ("v1.9", "v1.10")] {
            assert_eq!(natural(a, b), Ordering::Less, "{a} {b}");
        }
        assert_eq!(natural("a1", "a1"), Ordering::Equal);
    }
}
