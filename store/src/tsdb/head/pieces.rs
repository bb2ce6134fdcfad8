//! Lists of immutable pieces that stay short: a new piece swallows the older ones that are no bigger.
use std::sync::Arc;

/// A piece that can be appended to.
pub(super) trait Piece: Clone {
    fn size(&self) -> usize;
    /// Appends a newer piece.
    fn append(&mut self, newer: Self);
}

/// Adds `piece` behind `pieces`. The first `fixed` are left alone (a job of the pool has them), and none grows beyond
/// `size_max` by merging. Every element is copied a logarithmic number of times, and the list has about
/// `total / size_max + log(size_max)` pieces.
pub(super) fn push<T: Piece>(pieces: &mut Vec<Arc<T>>, fixed: usize, piece: T, size_max: usize) {
    let mut newest = piece;
    while pieces.len() > fixed {
        let Some(older) = pieces.last() else { break };
        if older.size() > newest.size() || older.size() + newest.size() > size_max {
            break;
        }
        if let Some(older) = pieces.pop() {
            let mut merged = Arc::unwrap_or_clone(older);
            merged.append(newest);
            newest = merged;
        }
    }
    pieces.push(Arc::new(newest));
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Piece for Vec<u32> {
        fn size(&self) -> usize {
            self.len()
        }
        fn append(&mut self, newer: Self) {
            self.extend(newer);
        }
    }

    #[test]
    fn order_is_kept_and_the_list_is_short() {
        let mut pieces = vec![Arc::new(vec![0])];
        for i in 1..1000 {
            push(&mut pieces, 1, vec![i], 256);
            assert!(pieces.len() < 16, "{}", pieces.len());
        }
        assert_eq!(*pieces[0], [0], "the fixed piece was touched");
        let all: Vec<u32> = pieces.iter().flat_map(|p| p.iter().copied()).collect();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }
}
