//! How far back the blocks reach that there is room for: pure.

/// The least cut-off with which blocks of at most `bytes_max` stay, given as `(time of the newest fact, bytes)`: whole
/// blocks go, those with the oldest newest fact first. `None` when all of them fit.
pub fn cutoff_of_bytes(blocks: impl IntoIterator<Item = (i64, u64)>, bytes_max: u64) -> Option<i64> {
    let mut newest_first: Vec<(i64, u64)> = blocks.into_iter().collect();
    newest_first.sort_unstable_by(|a, b| b.cmp(a));
    let mut kept = 0u64;
    let first_too_many = newest_first.into_iter().find(|(_, bytes)| {
        kept = kept.saturating_add(*bytes);
        kept > bytes_max
    });
    first_too_many.map(|(newest, _)| newest.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_oldest_blocks_go_first() {
        let blocks = [(30, 10), (10, 10), (20, 5)];
        for (bytes_max, cutoff) in [(25, None), (24, Some(11)), (15, Some(11)), (14, Some(21)), (9, Some(31))] {
            assert_eq!(cutoff_of_bytes(blocks, bytes_max), cutoff, "{bytes_max} bytes");
        }
        assert_eq!(cutoff_of_bytes([], 0), None);
        assert_eq!(cutoff_of_bytes([(i64::MAX, u64::MAX), (0, u64::MAX)], 1), Some(i64::MAX));
    }

    proptest! {
        /// What stays fits, and one block more would not.
        #[test]
        fn as_much_stays_as_fits(blocks: Vec<(i8, u16)>, bytes_max in 0u64..400_000) {
            let blocks: Vec<(i64, u64)> = blocks.into_iter().map(|(at, n)| (i64::from(at), u64::from(n))).collect();
            let kept = |cutoff: i64| blocks.iter().filter(|(at, _)| *at >= cutoff).map(|(_, n)| n).sum::<u64>();
            match cutoff_of_bytes(blocks.iter().copied(), bytes_max) {
                None => prop_assert!(kept(i64::MIN) <= bytes_max),
                Some(cutoff) => prop_assert!(kept(cutoff) <= bytes_max && kept(cutoff - 1) > bytes_max),
            }
        }
    }
}
