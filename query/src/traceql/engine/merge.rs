//! Merges the hits of shards. The order in which they came changes nothing.
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::traceql::model::TraceHit;

/// Each trace once, newest start first, at most `limit` (0: all). A trace lives in one shard; while it moves two may
/// answer, and then the fuller answer counts.
pub(super) fn newest(hits: Vec<TraceHit>, limit: usize) -> Vec<TraceHit> {
    let mut by_id: HashMap<[u8; 16], TraceHit> = HashMap::new();
    for hit in hits {
        match by_id.entry(hit.trace_id) {
            Entry::Vacant(slot) => {
                slot.insert(hit);
            }
            Entry::Occupied(mut slot) => {
                if rank(&hit) > rank(slot.get()) {
                    slot.insert(hit);
                }
            }
        }
    }
    let mut out: Vec<TraceHit> = by_id.into_values().collect();
    out.sort_by_key(|h| std::cmp::Reverse((h.start_ns, h.trace_id)));
    if limit > 0 {
        out.truncate(limit);
    }
    out
}

fn rank(hit: &TraceHit) -> (u64, u64, u64, i64) {
    let spans = hit.service_stats.values().map(|s| u64::from(s.span_count)).sum();
    let matched = hit.span_sets.iter().map(|s| u64::from(s.matched)).sum();
    (spans, matched, hit.duration_ms, hit.start_ns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::traceql::model::ServiceStats;

    fn hit(id: u8, start_ns: i64, span_count: u32) -> TraceHit {
        TraceHit {
            trace_id: [id; 16],
            root_service: String::new(),
            root_name: String::new(),
            start_ns,
            duration_ms: 0,
            span_sets: Vec::new(),
            service_stats: [("a".to_owned(), ServiceStats { span_count, error_count: 0 })].into(),
        }
    }

    proptest! {
        #[test]
        fn order_of_arrival_does_not_matter(
            hits in prop::collection::vec((0u8..8, 0i64..5, 0u32..3), 0..30),
            limit in 0usize..6,
            turn in 0usize..30,
        ) {
            let hits: Vec<_> = hits.into_iter().map(|(id, start, n)| hit(id, start, n)).collect();
            let mut other = hits.clone();
            other.reverse();
            if !other.is_empty() {
                let turn = turn % other.len();
                other.rotate_left(turn);
            }
            let merged = newest(hits.clone(), limit);
            prop_assert_eq!(&merged, &newest(other, limit));
            prop_assert!(merged.windows(2).all(|w| w[0].start_ns >= w[1].start_ns));
            prop_assert!(limit == 0 || merged.len() <= limit);
            // Merging a part first changes nothing as long as each trace is in one part.
            let (left, right): (Vec<_>, Vec<_>) = hits.into_iter().partition(|h| h.trace_id[0] % 2 == 0);
            let parts = [newest(left, limit), newest(right, limit)].concat();
            prop_assert_eq!(merged, newest(parts, limit));
        }
    }
}
