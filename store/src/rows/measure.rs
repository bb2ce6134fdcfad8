//! Sizes of selected streams from directories and tail columns, without decompressing.
use super::piece::{ClosedPiece, Source};
use super::scan::StreamSelector;
use super::select::{NOT_SELECTED, Selection};
use super::stream::StreamStats;

/// Of each selected stream with rows in the half-open time range, by key; and how many pieces hold them. A granule's stream
/// that reaches beyond the range counts in proportion to the time that it shares with it.
pub(crate) fn measure(
    tenant: &str,
    selector: &StreamSelector,
    min_ns: i64,
    max_ns: i64,
    sources: &[Source],
) -> (Vec<StreamStats>, u64) {
    let selection = Selection::new(tenant, selector, sources);
    let mut stats: Vec<StreamStats> = selection
        .streams
        .iter()
        .map(|s| StreamStats { stream: s.clone(), rows: 0, body_bytes: 0, min_ns: i64::MAX, max_ns: i64::MIN })
        .collect();
    let mut chunks = 0;
    for (at, source) in sources.iter().enumerate() {
        for piece in &source.pieces {
            let mut add = |stream: u32, rows: u64, body_bytes: u64, times: (i64, i64)| {
                let number = selection.number(at, stream);
                if number == NOT_SELECTED || times.1 < min_ns || times.0 >= max_ns {
                    return false;
                }
                let of = &mut stats[number as usize];
                let share = |n: u64| share_of(n, times, min_ns, max_ns);
                of.rows += share(rows);
                of.body_bytes += share(body_bytes);
                of.min_ns = of.min_ns.min(times.0);
                of.max_ns = of.max_ns.max(times.1);
                true
            };
            let holds = match piece {
                ClosedPiece::Granule(granule) => {
                    let spans = granule.meta.spans.iter();
                    spans.filter(|s| add(s.stream, u64::from(s.rows), s.body_bytes, (s.min_ns, s.max_ns))).count()
                }
                ClosedPiece::Tail(batch) => (0..batch.len() as u32)
                    .filter(|&row| {
                        let time = batch.time_ns(row);
                        add(batch.stream_ref(row), 1, batch.body(row).len() as u64, (time, time))
                    })
                    .count(),
            };
            chunks += u64::from(holds > 0);
        }
    }
    stats.retain(|s| s.rows > 0);
    (stats, chunks)
}

/// The part of `n` that falls into the range if it is spread evenly over `times`; at least 1 of a positive `n`.
fn share_of(n: u64, times: (i64, i64), min_ns: i64, max_ns: i64) -> u64 {
    if min_ns <= times.0 && times.1 < max_ns {
        return n;
    }
    let (from, to) = (i128::from(times.0.max(min_ns)), i128::from(times.1.min(max_ns - 1)));
    let whole = i128::from(times.1) - i128::from(times.0) + 1;
    let part = (i128::from(n) * (to - from + 1)) / whole;
    (part as u64).max(u64::from(n > 0))
}
