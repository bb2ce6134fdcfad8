//! Bringing samples of one series from several pieces into one: rising times, the first of a time wins.
use crate::part::SampleKind;

/// Puts columns, whose pieces were appended in log order, in order of time. Of samples with an equal time the first is
/// kept; exemplars are kept unless they are equal in payload too. How many were dropped.
pub(super) fn settle(times_ms: &mut Vec<i64>, values: &mut Vec<u64>) -> u64 {
    settle_by(times_ms, values, |_, _| true)
}

/// As [`settle`], for values.
pub(super) fn settle_floats(times_ms: &mut Vec<i64>, values: &mut Vec<f64>) -> u64 {
    settle_by(times_ms, values, |_, _| true)
}

/// As [`settle`], for payloads.
pub(super) fn settle_blobs(kind: SampleKind, times_ms: &mut Vec<i64>, payloads: &mut Vec<Vec<u8>>) -> u64 {
    match kind {
        SampleKind::Exemplar => settle_by(times_ms, payloads, |a, b| a == b),
        SampleKind::Float
        | SampleKind::IntHistogram
        | SampleKind::FloatHistogram
        | SampleKind::StartTimestamp
        | SampleKind::Metadata => settle_by(times_ms, payloads, |_, _| true),
    }
}

fn settle_by<T: Default>(times_ms: &mut Vec<i64>, values: &mut Vec<T>, is_same: impl Fn(&T, &T) -> bool) -> u64 {
    debug_assert_eq!(times_ms.len(), values.len());
    if times_ms.is_sorted_by(|a, b| a < b) {
        return 0;
    }
    let mut order: Vec<usize> = (0..times_ms.len()).collect();
    order.sort_by_key(|at| times_ms[*at]);
    let mut sorted_times = Vec::with_capacity(times_ms.len());
    let mut sorted: Vec<T> = Vec::with_capacity(times_ms.len());
    let mut of_time = 0;
    for at in order {
        let (time_ms, value) = (times_ms[at], std::mem::take(&mut values[at]));
        if sorted_times.last() != Some(&time_ms) {
            of_time = sorted.len();
        } else if sorted[of_time..].iter().any(|kept| is_same(kept, &value)) {
            continue;
        }
        sorted_times.push(time_ms);
        sorted.push(value);
    }
    let dropped = times_ms.len() - sorted.len();
    *times_ms = sorted_times;
    *values = sorted;
    dropped as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_time_wins() {
        let (mut times, mut values) = (vec![3, 1, 2, 1, 3], vec![30, 10, 20, 11, 31]);
        assert_eq!(settle(&mut times, &mut values), 2);
        assert_eq!((times, values), (vec![1, 2, 3], vec![10, 20, 30]));
    }

    #[test]
    fn exemplars_of_one_time_are_kept_once_each() {
        let columns = || (vec![1, 1, 1], vec![b"a".to_vec(), b"b".to_vec(), b"a".to_vec()]);
        let (mut times, mut payloads) = columns();
        assert_eq!(settle_blobs(SampleKind::Exemplar, &mut times, &mut payloads), 1);
        assert_eq!(payloads, [b"a", b"b"]);
        let (mut times, mut payloads) = columns();
        assert_eq!(settle_blobs(SampleKind::IntHistogram, &mut times, &mut payloads), 2);
        assert_eq!((times, payloads), (vec![1], vec![b"a".to_vec()]));
    }
}
