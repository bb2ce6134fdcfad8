//! Functions of ranges that are computed on the asking node: over subqueries, and with parameters that change.
use std::sync::Arc;

use super::{Evaluator, Series, Val, execution, retain_present};
use crate::error::Result;
use crate::promql::fetch::{Fetched, RawSeries};
use crate::promql::functions::extended::{Extension, extend};
use crate::promql::functions::is_absent;
use crate::promql::functions::native::{self, Column, Notes, Samples};
use crate::promql::functions::range::{RangeFn, Windows};
use crate::promql::functions::slide::Slider;
use crate::promql::histogram::{Histogram, ResetHint};
use crate::promql::parser::METRIC_NAME;
use crate::promql::plan::{Grid, Node, RangeCall};
use trine_store::model::Labels;

impl Evaluator {
    pub(super) fn ranged(&mut self, select: usize, call: &RangeCall, grid: &Grid) -> Result<Vec<Series>> {
        let params = self.params(call, grid)?;
        let series = self.samples(select)?;
        let longest = series.iter().map(|raw| raw.samples.times_ms.len()).max().unwrap_or(0);
        let mut slider = self.slider(call, grid, longest)?;
        let mut out = Vec::new();
        for mut raw in series {
            raw.samples.drop_stale();
            self.stop.check()?;
            self.hold_columns(1, grid)?;
            self.count_windows(&raw.samples, &call.windows);
            out.push(self.apply(call, &mut slider, raw.labels, &raw.samples, &params));
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
        let around = self.count_inside(inner_grid)?;
        let series = self.inner_vector(inner, inner_grid)?;
        self.count_subquery(around, (inner_grid, &call.windows));
        let params = self.params(call, grid)?;
        let mut slider = self.slider(call, grid, inner_grid.count)?;
        let mut out = Vec::new();
        // Times and values of the series that is being looked at.
        self.hold(2 * (inner_grid.count * size_of::<(i64, f64)>()) as u64)?;
        for s in series {
            self.stop.check()?;
            self.hold_columns(1, grid)?;
            let mut samples = points(&s, inner_grid);
            self.count_points(&samples, &call.windows);
            samples.histograms.iter_mut().for_each(forget_hint);
            let mut applied = self.apply(call, &mut slider, s.labels, &samples, &params);
            applied.drop_name |= s.drop_name;
            out.push(applied);
        }
        self.finish_range(call, &params, out)
    }

    /// A scalar inside a subquery counts as a vector of one series without labels.
    fn inner_vector(&mut self, inner: &Node, grid: &Grid) -> Result<Vec<Series>> {
        match self.eval(inner, grid)? {
            Val::Vector(series) => Ok(series),
            Val::Scalar(values) => Ok(vec![Series::of(Labels::empty(), false, values)]),
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

    /// For series of at most `longest` samples.
    fn slider(&mut self, call: &RangeCall, grid: &Grid, longest: usize) -> Result<Slider> {
        self.hold(Slider::bytes(grid.count, longest as u64))?;
        Ok(Slider::new(call.function, call.windows))
    }

    fn apply(
        &mut self,
        call: &RangeCall,
        slider: &mut Slider,
        labels: Labels,
        samples: &Samples,
        params: &[Vec<f64>],
    ) -> Series {
        let params = |step: usize| params[step].as_slice();
        let metric = labels.get(METRIC_NAME).unwrap_or_default();
        let column = if samples.is_plain() {
            let mut column = Column { values: Vec::with_capacity(call.windows.count), ..Column::default() };
            slider.eval_into(&samples.times_ms, &samples.values, params, &mut column.values);
            column
        } else {
            let mut notes = Notes::default();
            let column = native::eval_steps(call.function, samples, &call.windows, params, &mut notes);
            self.annotations.notes(&mut notes, metric, call.span);
            column
        };
        if call.function.wants_counter()
            && column.has_floats()
            && !metric.is_empty()
            && !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| metric.ends_with(suffix))
        {
            self.annotations.possible_non_counter(metric, call.span);
        }
        Series::from_column(labels, !call.function.keeps_name(), column)
    }

    fn finish_range(&mut self, call: &RangeCall, params: &[Vec<f64>], mut out: Vec<Series>) -> Result<Vec<Series>> {
        retain_present(&mut out);
        for (step, params) in params.iter().enumerate() {
            if out.iter().all(|s| s.at(step).is_none()) {
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

    /// Raw samples at the only step of an instant query.
    pub(super) fn raw_matrix(&mut self, select: usize, windows: &Windows) -> Result<Val> {
        let mut out = Vec::new();
        for mut raw in self.samples(select)? {
            raw.samples.drop_stale();
            if windows.extension != Extension::None {
                raw.samples = extended(&raw.samples, windows)?;
            }
            if !raw.samples.is_empty() {
                out.push(raw);
            }
        }
        self.count_answer(&out);
        Ok(Val::Matrix(out))
    }

    pub(super) fn subquery_matrix(&mut self, inner: &Node, grid: &Grid) -> Result<Val> {
        let around = self.count_inside(grid)?;
        let series = super::drop_names(self.inner_vector(inner, grid)?)?;
        self.count_subquery_answer(around);
        let mut out = Vec::new();
        for s in series {
            self.stop.check()?;
            self.hold((grid.count * size_of::<(i64, f64)>()) as u64)?;
            let samples = points(&s, grid);
            if !samples.is_empty() {
                out.push(RawSeries { labels: s.labels, samples });
            }
        }
        out.sort_by(|a, b| crate::promql::labels::compare(&a.labels, &b.labels));
        Ok(Val::Matrix(out))
    }
}

/// Floats with values at the edges of the range; of histograms there are none.
fn extended(samples: &Samples, windows: &Windows) -> Result<Samples> {
    let smoothed = windows.extension == Extension::Smoothed;
    if !samples.histograms.is_empty() {
        let word = if smoothed { "smoothed" } else { "anchored" };
        return execution(format!("{word} modifier is not supported with histograms"));
    }
    let (times_ms, values) = extend(&samples.times_ms, &samples.values, &windows.at(0), smoothed);
    Ok(Samples { times_ms, values, ..Samples::default() })
}

/// What a series has, with the times of the steps.
fn points(s: &Series, grid: &Grid) -> Samples {
    let floats = s.values.iter().enumerate().filter(|(_, v)| !is_absent(**v));
    let (times_ms, values) = floats.map(|(i, v)| (grid.at(i), *v)).unzip();
    let (histogram_times_ms, histograms) = s.histograms.iter().map(|(i, h)| (grid.at(i), h.clone())).unzip();
    Samples { times_ms, values, histogram_times_ms, histograms, ..Samples::default() }
}

/// A subquery may leave out samples, or repeat them, so that what is known of neighbours no longer holds.
fn forget_hint(h: &mut Arc<Histogram>) {
    if matches!(h.hint, ResetHint::NotReset | ResetHint::Reset) {
        *h = Arc::new(Histogram::clone(h).with_hint(ResetHint::Unknown));
    }
}
