//! Samples by step, as Prometheus 3.14 counts them: the numbers are those of its `TestQueryStatistics`.
use std::sync::Arc;
use std::time::{Duration, Instant};

use trine_query::memory::Account;
use trine_query::promql::{self, InstantQuery, RangeQuery, StepCounts};
use trine_query::scatter::{QueryContext, Scatter};

use crate::load::{Series, series_of};
use crate::memory::MemoryScatter;
use crate::script::{self, Command};
use crate::stored::{StoreScatter, TENANT};

/// A histogram counts for 13.
const DATA: &str = "load 10s
  one 1+1x100
  three{a=\"1\",b=\"1\"} 1+1x100
  three{a=\"2\",b=\"2\"} 1+1x100
  three{a=\"3\",b=\"2\"} 1+1x100
  hist {{schema:1 count:5 sum:20 buckets:[1 2 1 1]}}+{{schema:1 count:10 sum:5 buckets:[1 2 3 4]}}x100
";

/// At a time in s: looked at, read.
const INSTANTS: &[(&str, i64, u64, u64)] = &[
    ("\"text\"", 21, 0, 0),
    ("1", 21, 0, 0),
    ("one", 21, 1, 1),
    ("one offset 10s", 21, 1, 1),
    ("one @ 15", 21, 1, 1),
    ("hist", 21, 13, 13),
    ("timestamp(one)", 21, 1, 1),
    ("timestamp(hist)", 21, 1, 1),
    ("three", 21, 3, 3),
    ("three{a=\"1\"}[20s] @ 19", 21, 2, 2),
    ("one[60s]", 201, 6, 6),
    ("hist[60s]", 201, 78, 78),
    ("one[60s] @ 30", 201, 4, 4),
    ("hist[60s] @ 30", 201, 52, 52),
    ("one[60s] offset 10s", 201, 6, 6),
    ("three[60s]", 201, 18, 18),
    ("max_over_time(one[60s])", 201, 6, 6),
    ("absent_over_time(one[60s])", 201, 6, 6),
    ("max_over_time(three[60s])", 201, 18, 18),
    ("sum(max_over_time(three[60s] @ 30))", 201, 12, 12),
    ("sum by (b) (max_over_time(three[60s] @ 30))", 201, 12, 12),
    ("max_over_time(one[60s])[20s:5s]", 201, 24, 8),
    ("max_over_time(one[61s])[20s:5s]", 201, 26, 8),
    ("max_over_time(hist[60s])[20s:5s]", 201, 312, 104),
    ("one[60s:5s]", 201, 12, 12),
    ("one[60s:5s] offset 10s", 201, 12, 12),
    ("max_over_time(three[60s:5s])", 201, 36, 36),
    ("sum(max_over_time(three[60s:5s])) + sum(max_over_time(three[60s:5s]))", 201, 72, 72),
    ("max_over_time(one[20s:10s])", 201, 2, 2),
    ("sum_over_time(one[30s:30s])", 90, 1, 1),
    ("max_over_time(one[30s:2m])", 240, 1, 1),
    ("histogram_count(max_over_time(hist[20s:10s]))", 201, 26, 26),
    ("sum_over_time(three[20s:10s] @ 200)", 250, 6, 6),
    ("sum_over_time(one[20s:10s] offset 1m)", 240, 2, 2),
    ("sum_over_time(three[1m:10s] @ 200 offset 1m)", 300, 18, 18),
    ("sum_over_time(max_over_time(three[60s] @ 300)[5m:1m] @ 600)[10m:2m]", 800, 75, 18),
    ("rate(sum_over_time(one[30s])[1m:30s])", 240, 2, 6),
];

/// From, to and step in s: looked at and read at each step.
type Range = (&'static str, (i64, i64, i64), &'static [u64], &'static [u64]);
const RANGES: &[Range] = &[
    ("three{a=\"1\"}", (201, 220, 5), &[1; 4], &[1; 4]),
    ("three{a=\"1\"}", (204, 223, 5), &[1; 4], &[1; 4]),
    ("three{a=\"1\"} offset 10s", (201, 220, 5), &[1; 4], &[1; 4]),
    ("hist", (204, 223, 5), &[13; 4], &[13; 4]),
    ("timestamp(one)", (201, 220, 5), &[1; 4], &[1; 4]),
    ("timestamp(hist)", (201, 220, 5), &[1; 4], &[1; 4]),
    ("max_over_time(three{a=\"1\"}[10s])", (991, 1021, 10), &[1, 1, 0, 0], &[1, 1, 0, 0]),
    ("max_over_time(three[60s] @ 30)", (201, 220, 5), &[12; 4], &[12, 0, 0, 0]),
    ("predict_linear(one[60s] @ 100, 60)", (100, 300, 100), &[6; 3], &[6, 0, 0]),
    ("three", (201, 220, 5), &[3; 4], &[3; 4]),
    ("max_over_time(three[60s])", (201, 220, 5), &[18; 4], &[18, 0, 3, 0]),
    ("quantile_over_time(scalar(vector(0.5)), three[60s])", (201, 220, 5), &[18; 4], &[18, 0, 3, 0]),
    ("max_over_time(three[60s:5s])", (201, 216, 5), &[36; 4], &[36, 3, 3, 3]),
    ("max_over_time(three[60s:5s])", (201, 220, 5), &[36; 4], &[36, 3, 3, 3]),
    ("sum by (b) (max_over_time(one[60s:5s]))", (201, 220, 5), &[12; 4], &[12, 1, 1, 1]),
    ("sum(max_over_time(three[60s:5s])) + sum(max_over_time(one[60s:5s]))", (201, 220, 5), &[48; 4], &[48, 4, 4, 4]),
    ("max_over_time(one[30s:10s])", (201, 231, 30), &[3; 2], &[3; 2]),
    ("max_over_time(one[20s:10s])", (201, 261, 10), &[2; 7], &[2, 1, 1, 1, 1, 1, 1]),
    ("max_over_time(one[30s:10s])", (201, 261, 60), &[3; 2], &[3; 2]),
    ("avg_over_time(hist[2m:1m])", (120, 240, 60), &[26; 3], &[26, 13, 13]),
    ("max_over_time(three[60s:10s])", (200, 400, 30), &[18; 7], &[18, 9, 9, 9, 9, 9, 9]),
];

async fn counts(scatter: &Arc<dyn Scatter>, query: &str, (start_s, end_s, step_s): (i64, i64, i64)) -> StepCounts {
    let ctx = QueryContext {
        tenant: Arc::from(TENANT),
        deadline: Instant::now() + Duration::from_secs(60),
        strict: true,
        no_cache: false,
        count_steps: true,
        memory: Account::unbounded(),
    };
    let (text, lookback_ms) = (query.to_owned(), promql::LOOKBACK_MS_DEFAULT);
    let answer = if step_s == 0 {
        let query = InstantQuery { query: text, time_ms: start_s * 1000, lookback_ms, limit: 0 };
        promql::instant(scatter, &ctx, &query).await
    } else {
        let (start_ms, end_ms, step_ms) = (start_s * 1000, end_s * 1000, step_s * 1000);
        promql::range(scatter, &ctx, &RangeQuery { query: text, start_ms, end_ms, step_ms, lookback_ms, limit: 0 })
            .await
    };
    answer.unwrap().step_counts.unwrap()
}

fn data() -> Vec<Series> {
    let loaded = script::parse(DATA).into_iter().find_map(|command| match command {
        Command::Load(loaded) => Some(loaded),
        Command::Clear | Command::Eval(_) => None,
    });
    series_of(loaded.unwrap())
}

#[tokio::test]
async fn samples_are_counted_by_step() {
    let series = data();
    let scatters: [Arc<dyn Scatter>; 2] =
        [Arc::new(MemoryScatter::new(&series, 3)), Arc::new(StoreScatter::new(&series, 3))];
    for scatter in &scatters {
        for &(query, at_s, queryable, read) in INSTANTS {
            let got = counts(scatter, query, (at_s, at_s, 0)).await;
            assert_eq!(got, StepCounts { queryable: vec![queryable], read: vec![read] }, "{query} at {at_s} s");
        }
        for &(query, grid, queryable, read) in RANGES {
            let got = counts(scatter, query, grid).await;
            let expected = StepCounts { queryable: queryable.to_vec(), read: read.to_vec() };
            assert_eq!(got, expected, "{query} over {grid:?}");
        }
    }
}
