//! Functions of instant vectors and scalars.
use trine_store::model::Labels;

use super::{Evaluator, Series, Val, execution, map_present, retain_present, sort};
use crate::error::{Error, Result};
use crate::promql::ast::Span;
use crate::promql::functions::{ABSENT, calendar, is_absent, math};
use crate::promql::histogram::Histogram;
use crate::promql::plan::{Grid, Node};

impl Evaluator {
    pub(super) fn call(
        &mut self,
        name: &'static str,
        args: &[Node],
        span: Span,
        spans: &[Span],
        grid: &Grid,
    ) -> Result<Val> {
        if let Some(f) = math::find(name) {
            return self.mapped(&args[0], grid, f).map(Val::Vector);
        }
        if let Some(f) = calendar::find(name) {
            return self.calendar(args, grid, f).map(Val::Vector);
        }
        match name {
            "scalar" => self.single_value(&args[0], grid).map(Val::Scalar),
            "vector" => {
                let values = self.scalar(&args[0], grid)?;
                Ok(Val::Vector(vec![Series::of(Labels::empty(), false, values)]))
            }
            "min_of" | "max_of" => {
                let (a, b) = (self.scalar(&args[0], grid)?, self.scalar(&args[1], grid)?);
                let f = if name == "min_of" { math::min } else { math::max };
                Ok(Val::Scalar(a.iter().zip(&b).map(|(a, b)| f(*a, *b)).collect()))
            }
            "round" => self.round(args, grid).map(Val::Vector),
            "clamp" | "clamp_min" | "clamp_max" => self.clamp(name, args, grid).map(Val::Vector),
            "timestamp" => self.timestamp(&args[0], grid).map(Val::Vector),
            "label_replace" => self.label_replace(args, grid).map(Val::Vector),
            "label_join" => self.label_join(args, grid).map(Val::Vector),
            "sort" | "sort_desc" => self.sort(&args[0], name == "sort_desc", span, grid).map(Val::Vector),
            "sort_by_label" | "sort_by_label_desc" => {
                self.sort_by_label(args, name == "sort_by_label_desc", span, grid).map(Val::Vector)
            }
            "histogram_quantile" => self.histogram_quantile(args, spans, grid).map(Val::Vector),
            "histogram_quantiles" => self.histogram_quantiles(args, spans, grid).map(Val::Vector),
            "histogram_fraction" => self.histogram_fraction(args, spans, grid).map(Val::Vector),
            // What an expression yields has no start.
            "start_timestamp" => self.vector(&args[0], grid).map(|_| Val::Vector(Vec::new())),
            "histogram_avg" => self.of_histograms(&args[0], grid, |h| h.sum / h.count),
            "histogram_count" => self.of_histograms(&args[0], grid, |h| h.count),
            "histogram_stddev" => self.of_histograms(&args[0], grid, |h| h.variance().sqrt()),
            "histogram_stdvar" => self.of_histograms(&args[0], grid, Histogram::variance),
            "histogram_sum" => self.of_histograms(&args[0], grid, |h| h.sum),
            other => Err(Error::Unsupported { what: format!("function {other}()") }),
        }
    }

    fn mapped(&mut self, arg: &Node, grid: &Grid, f: fn(f64) -> f64) -> Result<Vec<Series>> {
        let mut series = self.vector(arg, grid)?;
        for s in &mut series {
            map_present(&mut s.values, f);
            s.drop_name = true;
        }
        only_floats(&mut series);
        Ok(series)
    }

    /// A number of each histogram; floats are left out.
    fn of_histograms(&mut self, arg: &Node, grid: &Grid, f: fn(&Histogram) -> f64) -> Result<Val> {
        let mut series = self.vector(arg, grid)?;
        series.retain(|s| s.histograms.has_any());
        for s in &mut series {
            s.values.fill(ABSENT);
            let histograms = std::mem::take(&mut s.histograms);
            histograms.iter().for_each(|(step, h)| s.values[step] = f(h));
            s.drop_name = true;
        }
        Ok(Val::Vector(series))
    }

    fn calendar(&mut self, args: &[Node], grid: &Grid, f: fn(f64) -> f64) -> Result<Vec<Series>> {
        match args.first() {
            Some(arg) => self.mapped(arg, grid, f),
            None => {
                self.hold_columns(1, grid)?;
                let values = (0..grid.count).map(|i| f(grid.at(i).div_euclid(1000) as f64)).collect();
                Ok(vec![Series::of(Labels::empty(), false, values)])
            }
        }
    }

    fn single_value(&mut self, arg: &Node, grid: &Grid) -> Result<Vec<f64>> {
        let series = self.vector(arg, grid)?;
        self.hold_columns(2, grid)?;
        let mut out = vec![ABSENT; grid.count];
        let mut several = vec![false; grid.count];
        for s in &series {
            for (step, v) in s.values.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
                several[step] = !is_absent(out[step]);
                out[step] = if several[step] { f64::NAN } else { *v };
            }
        }
        Ok(out.into_iter().map(|v| if is_absent(v) { f64::NAN } else { v }).collect())
    }

    fn round(&mut self, args: &[Node], grid: &Grid) -> Result<Vec<Series>> {
        let mut series = self.vector(&args[0], grid)?;
        self.hold_columns(1, grid)?;
        let nearest = match args.get(1) {
            Some(arg) => self.scalar(arg, grid)?,
            None => vec![1.0; grid.count],
        };
        for s in &mut series {
            for (v, nearest) in s.values.iter_mut().zip(&nearest).filter(|(v, _)| !is_absent(**v)) {
                *v = math::round(*v, *nearest);
            }
            s.drop_name = true;
        }
        only_floats(&mut series);
        Ok(series)
    }

    fn clamp(&mut self, name: &str, args: &[Node], grid: &Grid) -> Result<Vec<Series>> {
        let mut series = self.vector(&args[0], grid)?;
        self.hold_columns(1, grid)?;
        let open = |bound: f64| vec![bound; grid.count];
        let (min, max) = match name {
            "clamp_min" => (self.scalar(&args[1], grid)?, open(f64::INFINITY)),
            "clamp_max" => (open(f64::NEG_INFINITY), self.scalar(&args[1], grid)?),
            _ => (self.scalar(&args[1], grid)?, self.scalar(&args[2], grid)?),
        };
        for s in &mut series {
            for (step, v) in s.values.iter_mut().enumerate().filter(|(_, v)| !is_absent(**v)) {
                let (min, max) = (min[step], max[step]);
                *v = if max < min { ABSENT } else { math::max(min, math::min(max, *v)) };
            }
            s.drop_name = true;
            s.histograms.clear();
        }
        retain_present(&mut series);
        Ok(series)
    }

    /// The time of the step, for whatever is not a plain selector.
    fn timestamp(&mut self, arg: &Node, grid: &Grid) -> Result<Vec<Series>> {
        let mut series = self.vector(arg, grid)?;
        for s in &mut series {
            for step in 0..grid.count {
                if s.at(step).is_some() {
                    s.values[step] = grid.at(step) as f64 / 1000.0;
                }
            }
            s.histograms.clear();
            s.drop_name = true;
        }
        Ok(series)
    }

    fn sort(&mut self, arg: &Node, descending: bool, span: Span, grid: &Grid) -> Result<Vec<Series>> {
        let mut series = self.vector(arg, grid)?;
        only_floats(&mut series);
        if self.is_range {
            self.annotations.sort_in_range_query(span);
        } else if grid.count == 1 {
            sort::by_value(&mut series, descending);
        }
        Ok(series)
    }

    fn sort_by_label(&mut self, args: &[Node], descending: bool, span: Span, grid: &Grid) -> Result<Vec<Series>> {
        let mut series = self.vector(&args[0], grid)?;
        let names = self.texts(&args[1..], grid)?;
        if names.iter().any(String::is_empty) {
            return execution("invalid label name in sort_by_label()");
        }
        if self.is_range {
            self.annotations.sort_in_range_query(span);
        } else {
            sort::by_labels(&mut series, &names, descending);
        }
        Ok(series)
    }
}

/// Leaves histograms out, and series that have nothing else.
fn only_floats(series: &mut Vec<Series>) {
    if series.iter().any(|s| !s.histograms.is_empty()) {
        series.iter_mut().for_each(|s| s.histograms.clear());
        retain_present(series);
    }
}
