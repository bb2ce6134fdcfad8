//! `info()`: labels of info metrics, joined by `instance` and `job`.
use hashbrown::HashMap;
use trine_store::model::Labels;

use super::{Evaluator, Series, execution, same_labelset};
use crate::error::Result;
use crate::memory::labels_bytes;
use crate::promql::functions::is_absent;
use crate::promql::labels;
use crate::promql::parser::METRIC_NAME;
use crate::promql::plan::{Grid, InfoNode};

/// Labels by which a series and its info metric are matched.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Info series by metric name and identifying labels; their values are the times of their samples in seconds.
struct Infos {
    names: Vec<String>,
    by_identity: HashMap<(String, Labels), Vec<usize>>,
    series: Vec<Series>,
}

fn identity(series: &Labels) -> Labels {
    labels::keep(series, |name| IDENTIFYING.contains(&name))
}

impl Infos {
    fn new(series: Vec<Series>) -> Self {
        let mut out = Self { names: Vec::new(), by_identity: HashMap::new(), series };
        for (i, s) in out.series.iter().enumerate() {
            let name = s.labels.get(METRIC_NAME).unwrap_or_default().to_owned();
            if !out.names.contains(&name) {
                out.names.push(name.clone());
            }
            out.by_identity.entry((name, identity(&s.labels))).or_default().push(i);
        }
        out.names.sort();
        out
    }

    /// The newest series of each metric that matches `identity` at `step`, in order of name.
    fn at(&self, candidates: &[&Vec<usize>], step: usize) -> Result<Vec<usize>> {
        let mut out = Vec::new();
        for candidates in candidates {
            let mut newest: Option<usize> = None;
            for &i in *candidates {
                let time = self.series[i].values[step];
                if is_absent(time) {
                    continue;
                }
                let known = newest.map(|n| self.series[n].values[step]);
                match known {
                    Some(known) if known == time => return self.duplicate(newest.unwrap_or(i), i, time),
                    Some(known) if known > time => {}
                    _ => newest = Some(i),
                }
            }
            out.extend(newest);
        }
        Ok(out)
    }

    fn duplicate<T>(&self, a: usize, b: usize, time: f64) -> Result<T> {
        let (a, b) = (&self.series[a].labels, &self.series[b].labels);
        let ms = (time * 1000.0).round();
        execution(format!("found duplicate series for info metric: existing {a} @ {ms}, new {b} @ {ms}"))
    }
}

impl Evaluator {
    pub(super) fn info(&mut self, node: &InfoNode, grid: &Grid) -> Result<Vec<Series>> {
        let base = self.vector(&node.base, grid)?;
        self.hold_groups(&base)?;
        let infos = self.fetched(node.select, false, grid)?;
        self.hold_groups(&infos)?;
        let infos = Infos::new(infos);
        let mut positions: HashMap<Labels, usize> = HashMap::new();
        let mut out: Vec<Series> = Vec::new();
        for s in base {
            self.stop.check()?;
            let name = s.labels.get(METRIC_NAME).unwrap_or_default();
            let is_info = node.names.iter().all(|m| m.matches(name));
            let id = identity(&s.labels);
            let candidates: Vec<&Vec<usize>> = infos
                .names
                .iter()
                .filter(|_| !is_info && !id.is_empty())
                .filter_map(|name| infos.by_identity.get(&(name.clone(), id.clone())))
                .collect();
            let mut known: HashMap<Vec<usize>, Option<Labels>> = HashMap::new();
            for step in 0..grid.count {
                let Some(sample) = s.at(step) else { continue };
                let found = infos.at(&candidates, step)?;
                let labels = match known.get(&found) {
                    Some(labels) => labels.clone(),
                    None => {
                        let labels = if is_info { Some(s.labels.clone()) } else { enrich(node, &s, &infos, &found)? };
                        known.insert(found, labels.clone());
                        labels
                    }
                };
                let Some(labels) = labels else { continue };
                let next = out.len();
                let position = *positions.entry(labels.clone()).or_insert(next);
                if position == next {
                    self.charge(grid.count as u64)?;
                    self.hold_columns(1, grid)?;
                    self.hold(labels_bytes(&labels))?;
                    out.push(Series::empty(labels, s.drop_name, grid.count));
                }
                if out[position].at(step).is_some() {
                    return same_labelset();
                }
                out[position].set(step, sample.into());
            }
        }
        Ok(out)
    }
}

/// The series' labels with those of its info metrics; `None` if it has none and some were demanded.
fn enrich(node: &InfoNode, series: &Series, infos: &Infos, found: &[usize]) -> Result<Option<Labels>> {
    if found.is_empty() && node.data.iter().any(|m| !m.matches_empty()) {
        return Ok(None);
    }
    let mut added = Labels::empty();
    for i in found {
        for (name, value) in infos.series[*i].labels.iter().filter(|(n, _)| *n != METRIC_NAME) {
            if !node.data.is_empty() && !node.data.iter().any(|m| m.name == name) {
                continue;
            }
            if added.get(name).is_some_and(|known| known != value) {
                return execution(format!("conflicting label: {name}"));
            }
            if series.labels.get(name).is_none() {
                added = labels::set(&added, name, value);
            }
        }
    }
    let joined = added.iter().fold(series.labels.clone(), |all, (name, value)| labels::set(&all, name, value));
    Ok(Some(joined))
}
