//! The engine in this process, over any shards.
use std::sync::Arc;
use std::time::{Duration, Instant};

use trine_query::memory::Account;
use trine_query::promql::histogram::Histogram;
use trine_query::promql::{self, InstantQuery, MatrixSeries, RangeQuery, VectorSample};
use trine_query::scatter::{QueryContext, Scatter};
use trine_store::index::compare_labels;

use crate::compare;
use crate::load::Series;
use crate::runner::{Answer, Engine, Native, Points, Value};
use crate::script::When;
use crate::stored;

type Build = fn(&[Series]) -> Arc<dyn Scatter>;

pub(crate) struct LocalEngine {
    series: Vec<Series>,
    scatter: Arc<dyn Scatter>,
    build: Build,
}

impl LocalEngine {
    pub(crate) fn new(build: Build) -> Self {
        Self { series: Vec::new(), scatter: build(&[]), build }
    }
}

impl Engine for LocalEngine {
    const PINNED: bool = true;

    async fn clear(&mut self) {
        self.series.clear();
        self.scatter = (self.build)(&[]);
    }

    async fn load(&mut self, series: &[Series]) {
        add(&mut self.series, series);
        self.scatter = (self.build)(&self.series);
    }

    async fn eval(&self, query: &str, when: When) -> Result<Answer, String> {
        let ctx = QueryContext {
            tenant: Arc::from(stored::TENANT),
            deadline: Instant::now() + Duration::from_secs(60),
            strict: true,
            no_cache: false,
            count_steps: false,
            memory: Account::unbounded(),
        };
        let (query, lookback_ms) = (query.to_owned(), promql::LOOKBACK_MS_DEFAULT);
        let answer = match when {
            When::Range { start_ms, end_ms, step_ms } => {
                let query = RangeQuery { query, start_ms, end_ms, step_ms, lookback_ms, limit: 0 };
                promql::range(&self.scatter, &ctx, &query).await
            }
            When::Instant { time_ms } => {
                let query = InstantQuery { query, time_ms, lookback_ms, limit: 0 };
                promql::instant(&self.scatter, &ctx, &query).await
            }
        };
        let answer = answer.map_err(|e| e.to_string())?;
        let value = match answer.value {
            promql::Value::Scalar(_, v) => Value::Scalar(v),
            promql::Value::String(_, text) => Value::Text(text),
            promql::Value::Vector(samples) => Value::Vector(samples.into_iter().map(of_sample).collect()),
            promql::Value::Matrix(series) => Value::Matrix(series.into_iter().map(of_series).collect()),
        };
        Ok(Answer { value, warnings: answer.warnings, infos: answer.infos })
    }
}

fn of_sample(s: VectorSample) -> Points {
    let histograms: Vec<(i64, Native)> = s.histogram.into_iter().map(|h| (s.time_ms, whole(h))).collect();
    let floats = if histograms.is_empty() { vec![(s.time_ms, s.value)] } else { Vec::new() };
    Points { labels: s.labels, floats, histograms }
}

fn of_series(s: MatrixSeries) -> Points {
    let histograms = s.histograms.into_iter().map(|(t, h)| (t, whole(h))).collect();
    Points { labels: s.labels, floats: s.points, histograms }
}

fn whole(h: Arc<Histogram>) -> Native {
    Native { shown: compare::shown(&h), whole: Some(h) }
}

/// Adds `more` to what is there already.
fn add(all: &mut Vec<Series>, more: &[Series]) {
    for s in more {
        let position = all.iter().position(|known| known.labels == s.labels).unwrap_or_else(|| {
            all.push(Series::new(s.labels.clone()));
            all.len() - 1
        });
        let known = &mut all[position];
        known.floats.extend(&s.floats);
        known.floats.sort_by_key(|(t, ..)| *t);
        known.floats.dedup_by_key(|(t, ..)| *t);
        known.histograms.extend(s.histograms.iter().cloned());
        known.histograms.sort_by_key(|(t, ..)| *t);
        known.histograms.dedup_by_key(|(t, ..)| *t);
    }
    all.sort_by(|a, b| compare_labels(a.labels.as_bytes(), b.labels.as_bytes()));
}
