//! Exemplars on their way to the samples that they belong to.
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use super::family::{escaped, is_spelled};
use super::series::{Labels, number, seconds};

/// What OpenMetrics allows of an exemplar's labels, names and values together.
const CHARS_MAX: usize = 128;

/// An observation that was kept by itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exemplar {
    pub(super) labels: Labels,
    pub(super) value: f64,
    pub(super) time_ms: i64,
}

impl Exemplar {
    /// What stands behind a sample; None when OpenMetrics cannot spell the labels.
    pub(super) fn text(&self) -> Option<String> {
        let chars: usize = self.labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
        if chars > CHARS_MAX || self.labels.keys().any(|n| !is_spelled(n) || n.contains(':')) {
            return None;
        }
        let pairs: Vec<String> = self.labels.iter().map(|(n, v)| format!("{n}=\"{}\"", escaped(v))).collect();
        let mut out = String::new();
        write!(out, " # {{{}}} {} {}", pairs.join(","), number(self.value), seconds(self.time_ms)).ok()?;
        Some(out)
    }
}

/// Those of one series that no sample has taken yet, by time.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending(VecDeque<Exemplar>);

impl Pending {
    pub(super) fn new(mut all: Vec<Exemplar>) -> Self {
        all.sort_by_key(|e| e.time_ms);
        Self(all.into())
    }

    /// Takes those that were observed when the sample at `time_ms` was taken.
    pub(super) fn until(&mut self, time_ms: i64) -> Vec<Exemplar> {
        let due = self.0.partition_point(|e| e.time_ms <= time_ms);
        self.0.drain(..due).collect()
    }
}

/// The exemplars of a metric, by the labels of their series.
#[derive(Debug, Default)]
pub(super) struct Exemplars {
    of: BTreeMap<Labels, Pending>,
    /// Labels that the node adds to what is read of it, and not to exemplars.
    added: Vec<(String, String)>,
}

impl Exemplars {
    pub(super) fn new(of: BTreeMap<Labels, Pending>, added: &[(String, String)]) -> Self {
        Self { of, added: added.to_vec() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Those of a series as it is read.
    pub(super) fn of(&mut self, labels: &Labels) -> Option<&mut Pending> {
        if self.of.contains_key(labels) {
            return self.of.get_mut(labels);
        }
        let mut own = labels.clone();
        own.retain(|name, value| !self.added.iter().any(|(n, v)| n == name && v == value));
        self.of.get_mut(&own)
    }

    /// How many no sample has taken.
    pub(super) fn left(&self) -> u64 {
        self.of.values().map(|pending| pending.0.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn at(time_ms: i64) -> Exemplar {
        Exemplar { labels: labels(&[("trace_id", "ab\"c")]), value: 0.5, time_ms }
    }

    #[test]
    fn an_exemplar_is_written_or_cannot_be() {
        assert_eq!(at(1_500).text().as_deref(), Some(" # {trace_id=\"ab\\\"c\"} 0.5 1.500"));
        assert_eq!(Exemplar { labels: Labels::new(), ..at(0) }.text().as_deref(), Some(" # {} 0.5 0.000"));
        let long = "x".repeat(127);
        assert!(Exemplar { labels: labels(&[("a", &long)]), ..at(0) }.text().is_some());
        for (name, value) in [("ab", long.as_str()), ("a.b", ""), ("a:b", "")] {
            assert_eq!(Exemplar { labels: labels(&[(name, value)]), ..at(0) }.text(), None, "{name}");
        }
    }

    #[test]
    fn a_sample_takes_what_came_before_it() {
        let series = labels(&[("__name__", "a_total"), ("job", "x")]);
        let all = [(series.clone(), Pending::new(vec![at(30), at(10), at(20)]))].into();
        let mut exemplars = Exemplars::new(all, &[("cluster".to_owned(), "east".to_owned())]);
        let taken = |e: &mut Exemplars, of: &Labels, time_ms| -> Option<Vec<i64>> {
            Some(e.of(of)?.until(time_ms).into_iter().map(|e| e.time_ms).collect())
        };
        assert_eq!(taken(&mut exemplars, &series, 9), Some(vec![]));
        assert_eq!(taken(&mut exemplars, &series, 20), Some(vec![10, 20]));
        let mut read = series.clone();
        read.insert("cluster".to_owned(), "west".to_owned());
        assert_eq!(taken(&mut exemplars, &read, 99), None);
        assert_eq!(exemplars.left(), 1);
        read.insert("cluster".to_owned(), "east".to_owned());
        assert_eq!(taken(&mut exemplars, &read, 99), Some(vec![30]));
        assert_eq!(exemplars.left(), 0);
    }
}
