//! Functions of ranges that are computed on the asking node: over subqueries, and with parameters that change.
use super::{Evaluator, Series, Val, execution, retain_present};
use crate::error::Result;
use crate::promql::fetch::{Fetched, RawSeries};
use crate::promql::functions::is_absent;
use crate::promql::functions::range::{RangeFn, drop_stale, eval_steps};
use crate::promql::parser::METRIC_NAME;
use crate::promql::plan::{Grid, Node, RangeCall};
use trine_store::model::Labels;

impl Evaluator {
    pub(super) fn ranged(&mut self, select: usize, call: &RangeCall, grid: &Grid) -> Result<Vec<Series>> {
        let params = self.params(call, grid)?;
        let mut out = Vec::new();
        for mut raw in self.samples(select)? {
            drop_stale(&mut raw.times_ms, &mut raw.values);
            self.stop.check()?;
            self.hold_columns(1, grid)?;
            out.push(self.apply(call, raw.labels, &raw.times_ms, &raw.values, &params));
        }
        self.finish_range(call, &params, out)
    }

    pub(super) fn over_subquery(
        &mut self,
        inner: &Node,
        inner_grid: &Grid,
        call: &RangeCall,
        grid: &Grid,
    ) -> Result<Vec<Series>> {
        let series = self.inner_vector(inner, inner_grid)?;
        let params = self.params(call, grid)?;
        let mut out = Vec::new();
        // Times and values of the series that is being looked at.
        self.hold(2 * (inner_grid.count * size_of::<(i64, f64)>()) as u64)?;
        for s in series {
            self.stop.check()?;
            self.hold_columns(1, grid)?;
            let (ts, vs) = points(&s.values, inner_grid);
            let mut applied = self.apply(call, s.labels, &ts, &vs, &params);
            applied.drop_name |= s.drop_name;
            out.push(applied);
        }
        self.finish_range(call, &params, out)
    }

    /// A scalar inside a subquery counts as a vector of one series without labels.
    fn inner_vector(&mut self, inner: &Node, grid: &Grid) -> Result<Vec<Series>> {
        match self.eval(inner, grid)? {
            Val::Vector(series) => Ok(series),
            Val::Scalar(values) => Ok(vec![Series { labels: Labels::empty(), drop_name: false, values }]),
            Val::Text(_) | Val::Matrix(_) => execution("expected an instant vector in a subquery"),
        }
    }

    /// The parameters of each step.
    fn params(&mut self, call: &RangeCall, grid: &Grid) -> Result<Vec<Vec<f64>>> {
        self.hold(grid.count as u64 * (size_of::<Vec<f64>>() + call.params.len() * size_of::<f64>() + 16) as u64)?;
        let mut steps = vec![Vec::with_capacity(call.params.len()); grid.count];
        for param in &call.params {
            for (step, value) in steps.iter_mut().zip(self.scalar(param, grid)?) {
                step.push(value);
            }
        }
        Ok(steps)
    }

    fn apply(&mut self, call: &RangeCall, labels: Labels, ts: &[i64], vs: &[f64], params: &[Vec<f64>]) -> Series {
        let values = eval_steps(call.function, ts, vs, &call.windows, |step| &params[step]);
        if call.function.wants_counter()
            && values.iter().any(|v| !is_absent(*v))
            && let Some(name) = labels.get(METRIC_NAME)
            && !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
        {
            self.annotations.possible_non_counter(name, call.span);
        }
        Series { labels, drop_name: !call.function.keeps_name(), values }
    }

    fn finish_range(&mut self, call: &RangeCall, params: &[Vec<f64>], mut out: Vec<Series>) -> Result<Vec<Series>> {
        retain_present(&mut out);
        for (step, params) in params.iter().enumerate() {
            if out.iter().all(|s| is_absent(s.values[step])) {
                continue;
            }
            match call.function {
                RangeFn::Quantile if !(0.0..=1.0).contains(&params[0]) => {
                    self.annotations.invalid_quantile(params[0], call.span);
                }
                RangeFn::Smoothing => {
                    for (name, value) in [("smoothing", params[0]), ("trend", params[1])] {
                        if value <= 0.0 || value >= 1.0 {
                            return execution(format!(
                                "invalid {name} factor. Expected: 0 < {}f < 1, got: {value:.6}",
                                &name[..1]
                            ));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(out)
    }

    fn samples(&mut self, select: usize) -> Result<Vec<RawSeries>> {
        match self.data[select].take() {
            Some((Fetched::Samples(series), charge)) => {
                self.held.absorb(charge);
                Ok(series)
            }
            _ => execution("a selector's replies are missing"),
        }
    }

    pub(super) fn raw_matrix(&mut self, select: usize) -> Result<Val> {
        let mut out = Vec::new();
        for mut raw in self.samples(select)? {
            drop_stale(&mut raw.times_ms, &mut raw.values);
            if !raw.times_ms.is_empty() {
                out.push(raw);
            }
        }
        Ok(Val::Matrix(out))
    }

    pub(super) fn subquery_matrix(&mut self, inner: &Node, grid: &Grid) -> Result<Val> {
        let series = super::drop_names(self.inner_vector(inner, grid)?)?;
        let mut out = Vec::new();
        for s in series {
            self.stop.check()?;
            self.hold((grid.count * size_of::<(i64, f64)>()) as u64)?;
            let (times_ms, values) = points(&s.values, grid);
            if !times_ms.is_empty() {
                out.push(RawSeries { labels: s.labels, times_ms, values });
            }
        }
        out.sort_by(|a, b| crate::promql::labels::compare(&a.labels, &b.labels));
        Ok(Val::Matrix(out))
    }
}

/// The present values of a series with their times.
fn points(values: &[f64], grid: &Grid) -> (Vec<i64>, Vec<f64>) {
    values.iter().enumerate().filter(|(_, v)| !is_absent(**v)).map(|(i, v)| (grid.at(i), *v)).unzip()
}
