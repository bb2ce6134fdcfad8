//! `info()`: labels of info metrics, joined by `instance` and `job`.
//!
//! What the labels are joined to is evaluated first; then only those info series are asked for that it can be joined with.
use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use trine_store::index::Matcher;
use trine_store::model::Labels;

use super::{Evaluator, Series, execution, same_labelset};
use crate::error::Result;
use crate::memory::{Charge, labels_bytes, text_bytes};
use crate::promql::counts::StepCounts;
use crate::promql::functions::is_absent;
use crate::promql::labels;
use crate::promql::parser::METRIC_NAME;
use crate::promql::plan::{Grid, InfoPlan, SelectPlan};
use crate::stop::Stop;

/// Labels by which a series and its info metric are matched.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
/// With more values of a label, or longer ones, the shards are not told them.
const VALUES_MAX: usize = 10_000;
const VALUES_BYTES_MAX: usize = 512 << 10;

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

    /// Two series of one metric and identity with a sample of the same time are an error wherever the base has anything, be they
    /// joined to it or not.
    fn check(&self, base: &[Series], grid: &Grid, stop: &Stop) -> Result<()> {
        let several: Vec<&Vec<usize>> = self.by_identity.values().filter(|series| series.len() > 1).collect();
        if several.is_empty() {
            return Ok(());
        }
        let mut steps = (0..grid.count).filter(|step| base.iter().any(|s| s.at(*step).is_some()));
        steps.try_for_each(|step| {
            stop.check()?;
            self.at(&several, step).map(drop)
        })
    }

    fn duplicate<T>(&self, a: usize, b: usize, time: f64) -> Result<T> {
        let (a, b) = (&self.series[a].labels, &self.series[b].labels);
        let ms = (time * 1000.0).round();
        execution(format!("found duplicate series for info metric: existing {a} @ {ms}, new {b} @ {ms}"))
    }
}

/// What `info()` joins labels to, until its node is evaluated.
#[derive(Debug)]
pub(in crate::promql) struct InfoBase {
    plan: Arc<InfoPlan>,
    series: Vec<Series>,
    counted: Option<StepCounts>,
    held: Charge,
    /// Of each identifying label, the values that series to be joined have.
    values: [BTreeSet<String>; 2],
    /// The position of what came back for it; none where nothing was asked.
    select: Option<usize>,
}

impl InfoBase {
    /// Whether these info series may be joined to any of the series: Prometheus asks for no others.
    fn wants(&self, info: &Labels) -> bool {
        let mut labels = IDENTIFYING.iter().zip(&self.values).filter(|(_, values)| !values.is_empty());
        labels.all(|(name, values)| info.get(name).is_some_and(|value| values.contains(value)))
    }

    /// What to ask for; `None` where no series can be joined.
    fn select(&self) -> Option<SelectPlan> {
        if self.values.iter().all(BTreeSet::is_empty) {
            return None;
        }
        let mut select = self.plan.select.clone();
        for (name, values) in IDENTIFYING.iter().zip(&self.values) {
            let bytes: usize = values.iter().map(String::len).sum();
            if (1..=VALUES_MAX).contains(&values.len()) && bytes <= VALUES_BYTES_MAX {
                select.matchers.push(Matcher::any_of(*name, values.iter().map(String::as_str)));
            }
        }
        Some(select)
    }
}

/// Whether a series is an info metric itself, to which nothing is joined.
fn is_info(plan: &InfoPlan, series: &Labels) -> bool {
    let name = series.get(METRIC_NAME).unwrap_or_default();
    plan.names.iter().all(|m| m.matches(name))
}

impl Evaluator {
    /// Evaluates what the next `info()` of the plan joins labels to, and says which info series to ask for: those with an
    /// `instance` and a `job` that it has.
    pub(in crate::promql) fn info_base(&mut self, plan: &Arc<InfoPlan>) -> Result<Option<SelectPlan>> {
        let around = self.count_inside(&plan.grid)?;
        let held_before = self.held.bytes();
        let series = self.vector(&plan.base, &plan.grid)?;
        let counted = self.count_apart(around);
        let bytes = self.held.bytes().saturating_sub(held_before);
        self.held.sub(bytes);
        let held = self.held.account().charge(bytes)?;
        let mut base = InfoBase { plan: plan.clone(), series, counted, held, values: Default::default(), select: None };
        for s in base.series.iter().filter(|s| !is_info(plan, &s.labels)) {
            for (name, values) in IDENTIFYING.iter().zip(&mut base.values) {
                if let Some(value) = s.labels.get(name).filter(|value| !values.contains(*value)) {
                    base.held.add(text_bytes(value))?;
                    values.insert(value.to_owned());
                }
            }
        }
        let select = base.select();
        base.select = select.is_some().then_some(self.data.len());
        self.infos.push(Some(base));
        Ok(select)
    }

    pub(super) fn info(&mut self, info: usize, grid: &Grid) -> Result<Vec<Series>> {
        let Some(mut base) = self.infos.get_mut(info).and_then(Option::take) else {
            return execution("what info() joins labels to is missing");
        };
        self.hold_groups(&base.series)?;
        let mut infos = match base.select {
            Some(select) => self.fetched(select, false, grid)?,
            None => Vec::new(),
        };
        infos.retain(|info| base.wants(&info.labels));
        self.hold_groups(&infos)?;
        self.held.absorb(base.held);
        if let Some(counted) = base.counted.take() {
            self.count_here(&counted);
        }
        self.join(&base.plan, base.series, &Infos::new(infos), grid)
    }

    fn join(&mut self, node: &InfoPlan, base: Vec<Series>, infos: &Infos, grid: &Grid) -> Result<Vec<Series>> {
        infos.check(&base, grid, &self.stop)?;
        let mut positions: HashMap<Labels, usize> = HashMap::new();
        let mut out: Vec<Series> = Vec::new();
        for s in base {
            self.stop.check()?;
            let is_info = is_info(node, &s.labels);
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
                        let labels = if is_info { Some(s.labels.clone()) } else { enrich(node, &s, infos, &found)? };
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
fn enrich(node: &InfoPlan, series: &Series, infos: &Infos, found: &[usize]) -> Result<Option<Labels>> {
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
