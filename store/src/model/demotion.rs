//! Labels that are taken off the series of a metric, from a time of the samples on.
//!
//! What becomes of a sample follows from its series' labels, its own time and the table: whoever has the row gives the same answer, so
//! that a write which is repeated after the row came lands where the first try did (P3).
use std::collections::HashMap;
use std::sync::Arc;

use super::labels::LabelsIter;
use crate::codec::put_bytes;

/// Most rows of one metric of a tenant: a series' rows are told apart by bits.
pub const DEMOTIONS_OF_METRIC_MAX: usize = 32;

const NAME: &str = "__name__";

/// A label of a tenant's metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelOfMetric {
    pub tenant: String,
    pub metric: String,
    pub label: String,
}

/// A label that samples of a metric lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demotion {
    pub of: LabelOfMetric,
    /// First sample time, in ms.
    pub from_ms: i64,
    /// The first sample time, in ms, that keeps the label again; `i64::MAX` while there is none.
    pub until_ms: i64,
}

/// A node's copy of the table of demoted labels; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Demotions(Arc<HashMap<Box<str>, TenantDemotions>>);

/// The rows of one tenant, by metric; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TenantDemotions(Arc<HashMap<Box<str>, Box<[Rule]>>>);

#[derive(Clone, Debug)]
struct Rule {
    label: Box<str>,
    from_ms: i64,
    until_ms: i64,
}

/// The rows that concern a series: those of its metric for labels that it has.
#[derive(Clone, Debug)]
pub struct SeriesDemotions<'t>(Vec<&'t Rule>);

/// Which rows of a [`SeriesDemotions`] concern a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demoted(u32);

impl Demoted {
    /// Whether a sample loses anything.
    pub fn any(self) -> bool {
        self.0 != 0
    }
}

impl Demotions {
    /// Of rows in any order; what exceeds [`DEMOTIONS_OF_METRIC_MAX`] rows of a metric is left out.
    pub fn new(rows: &[Demotion]) -> Self {
        let mut tenants: HashMap<Box<str>, HashMap<Box<str>, Vec<Rule>>> = HashMap::new();
        for row in rows {
            let metrics = tenants.entry(row.of.tenant.as_str().into()).or_default();
            let rules = metrics.entry(row.of.metric.as_str().into()).or_default();
            if rules.len() < DEMOTIONS_OF_METRIC_MAX {
                rules.push(Rule { label: row.of.label.as_str().into(), from_ms: row.from_ms, until_ms: row.until_ms });
            }
        }
        let of_tenant = |metrics: HashMap<Box<str>, Vec<Rule>>| {
            TenantDemotions(Arc::new(metrics.into_iter().map(|(metric, rules)| (metric, rules.into())).collect()))
        };
        Self(Arc::new(tenants.into_iter().map(|(tenant, metrics)| (tenant, of_tenant(metrics))).collect()))
    }

    /// The tenant's rows; `None` if it has none.
    pub fn of(&self, tenant: &str) -> Option<TenantDemotions> {
        self.0.get(tenant).cloned()
    }
}

impl TenantDemotions {
    /// The rows that concern a series with canonical labels `key`; `None` of most.
    pub fn of_series(&self, key: &[u8]) -> Option<SeriesDemotions<'_>> {
        let (_, metric) =
            LabelsIter::over(key).take_while(|(name, _)| *name <= NAME).find(|(name, _)| *name == NAME)?;
        let rules = self.0.get(metric)?;
        let has = |rule: &&Rule| LabelsIter::over(key).any(|(name, _)| name == &*rule.label);
        let concerned: Vec<&Rule> = rules.iter().filter(has).collect();
        (!concerned.is_empty()).then_some(SeriesDemotions(concerned))
    }
}

impl SeriesDemotions<'_> {
    /// What a sample at `time_ms` loses.
    pub fn at(&self, time_ms: i64) -> Demoted {
        let bit = |(i, rule): (usize, &&Rule)| u32::from((rule.from_ms..rule.until_ms).contains(&time_ms)) << i;
        Demoted(self.0.iter().enumerate().map(bit).sum())
    }

    /// Replaces `out` by the canonical labels `key` without those that are lost.
    pub fn rewrite(&self, key: &[u8], demoted: Demoted, out: &mut Vec<u8>) {
        out.clear();
        let lost =
            |name: &str| self.0.iter().enumerate().any(|(i, rule)| demoted.0 >> i & 1 == 1 && name == &*rule.label);
        for (name, value) in LabelsIter::over(key).filter(|(name, _)| !lost(name)) {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn row(tenant: &str, metric: &str, label: &str, from_ms: i64, until_ms: i64) -> Demotion {
        let of = LabelOfMetric { tenant: tenant.into(), metric: metric.into(), label: label.into() };
        Demotion { of, from_ms, until_ms }
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn a_sample_loses_what_its_own_time_says() {
        let rows =
            [row("t", "m", "user", 100, 200), row("t", "m", "user", 300, i64::MAX), row("t", "m", "A", 150, 180)];
        let table = Demotions::new(&rows).of("t").unwrap();
        let series = labels(&[("__name__", "m"), ("A", "1"), ("job", "j"), ("user", "7")]);
        let demoted = table.of_series(series.as_bytes()).unwrap();
        let mut key = Vec::new();
        for (time_ms, kept) in [
            (99, &["A", "__name__", "job", "user"][..]),
            (100, &["A", "__name__", "job"]),
            (150, &["__name__", "job"]),
            (199, &["A", "__name__", "job"]),
            (200, &["A", "__name__", "job", "user"]),
            (i64::MAX - 1, &["A", "__name__", "job"]),
        ] {
            let lost = demoted.at(time_ms);
            demoted.rewrite(series.as_bytes(), lost, &mut key);
            let names: Vec<String> = Labels::decode(&key).unwrap().iter().map(|(n, _)| n.to_owned()).collect();
            assert_eq!(
                (names, lost.any()),
                (kept.iter().map(|n| (*n).to_owned()).collect(), kept.len() < 4),
                "{time_ms}"
            );
        }
    }

    #[test]
    fn other_tenants_metrics_and_series_without_the_label_are_not_concerned() {
        let demotions = Demotions::new(&[row("t", "m", "user", 0, i64::MAX)]);
        assert!(demotions.of("u").is_none() && Demotions::default().of("t").is_none());
        let table = demotions.of("t").unwrap();
        for other in [
            &[("__name__", "n"), ("user", "7")][..],
            &[("__name__", "m"), ("users", "7")],
            &[("user", "7")],
            &[("name", "m"), ("user", "7")],
            &[],
        ] {
            assert!(table.of_series(labels(other).as_bytes()).is_none(), "{other:?}");
        }
        assert!(table.of_series(b"\xff\xff").is_none());
    }

    #[test]
    fn rows_beyond_the_most_of_a_metric_are_left_out() {
        let rows: Vec<Demotion> = (0..40).map(|i| row("t", "m", &format!("l{i:02}"), 0, 10)).collect();
        let table = Demotions::new(&rows).of("t").unwrap();
        let pairs: Vec<(String, String)> = (0..40).map(|i| (format!("l{i:02}"), "x".to_owned())).collect();
        let series = Labels::from_pairs(pairs.into_iter().chain([("__name__".to_owned(), "m".to_owned())])).unwrap();
        let demoted = table.of_series(series.as_bytes()).unwrap();
        let mut key = Vec::new();
        demoted.rewrite(series.as_bytes(), demoted.at(5), &mut key);
        assert_eq!(Labels::decode(&key).unwrap().iter().count(), 1 + 40 - DEMOTIONS_OF_METRIC_MAX);
    }
}
