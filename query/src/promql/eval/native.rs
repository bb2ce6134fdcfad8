//! Sums and averages in which histograms take part.
use hashbrown::HashMap;
use trine_store::model::Labels;

use super::aggregate::group;
use super::{Column, Evaluator, Sample, Series, execution};
use crate::error::Result;
use crate::promql::aggregate::Cells;
use crate::promql::ast::Span;
use crate::promql::fragment::Partial;
use crate::promql::functions::native::{Notes, Running};
use crate::promql::functions::{ABSENT, is_absent};
use crate::promql::histogram::{Histogram, HistogramColumn};
use crate::promql::labels;
use crate::promql::parser::METRIC_NAME;
use crate::promql::plan::SelectKind;

/// A group's histograms at one step.
enum State {
    None,
    Running(Box<Running>),
    /// Exponential and custom buckets were mixed.
    Incompatible,
}

impl Evaluator {
    /// Aggregates what the shards did not, into the groups that they made of floats.
    pub(super) fn group_loose(
        &mut self,
        select: usize,
        cells: Vec<(Labels, Cells)>,
        loose: Vec<(Labels, Column)>,
        drop_name: bool,
    ) -> Result<Vec<Series>> {
        let Some((SelectKind::Groups { partial, without, labels, .. }, span)) =
            self.selects.get(select).map(|s| (s.kind.clone(), s.expr_span))
        else {
            return execution("groups came back for a selector that has none");
        };
        let loose: Vec<Series> = loose.into_iter().map(|(l, c)| Series::from_column(l, drop_name, c)).collect();
        self.hold_groups(&loose)?;
        let grouped = group(&loose, without, &labels);
        let mut members: HashMap<Labels, Vec<usize>> = grouped.labels.into_iter().zip(grouped.members).collect();
        let steps = loose.first().map_or(0, |s| s.values.len());
        let mut out = Vec::with_capacity(cells.len() + members.len());
        for (key, cells) in cells {
            let members = members.remove(&key).unwrap_or_default();
            let members: Vec<&Series> = members.iter().map(|i| &loose[*i]).collect();
            let column = self.sum_or_avg(partial, cells, &members, span)?;
            out.push(Series::from_column(key, drop_name, column));
        }
        for (key, members) in members {
            let members: Vec<&Series> = members.iter().map(|i| &loose[*i]).collect();
            let column = self.sum_or_avg(partial, Cells::new(partial, steps), &members, span)?;
            out.push(Series::from_column(key, drop_name, column));
        }
        super::retain_present(&mut out);
        out.sort_by(|a, b| labels::compare(&a.labels, &b.labels));
        Ok(out)
    }

    /// A sum or an average of one group: `cells` are of floats so far, `members` the series to add. A group that has both
    /// floats and histograms at a step, or both kinds of buckets, has nothing there.
    pub(super) fn sum_or_avg(
        &mut self,
        partial: Partial,
        mut cells: Cells,
        members: &[&Series],
        span: Span,
    ) -> Result<Column> {
        members.iter().for_each(|s| cells.add(&s.values));
        let mut values = cells.finish();
        let mut histograms = HistogramColumn::default();
        let native: Vec<&Series> = members.iter().copied().filter(|s| !s.histograms.is_empty()).collect();
        if native.is_empty() {
            return Ok(Column { values, histograms });
        }
        let steps = values.len();
        for (step, value) in values.iter_mut().enumerate() {
            self.stop.check()?;
            if !is_absent(*value) {
                // Of whatever else is wrong with such a step there is nothing more to say.
                if native.iter().any(|s| matches!(s.at(step), Some(Sample::Histogram(_)))) {
                    self.annotations.mixed_in_aggregation(span);
                    *value = ABSENT;
                }
                continue;
            }
            if let State::Running(running) = self.histograms_at(partial, &native, step, span) {
                let result = if partial == Partial::Avg { running.mean() } else { running.sum() };
                self.hold(result.bytes())?;
                histograms.set(steps, step, std::sync::Arc::new(result.compacted()));
            }
        }
        Ok(Column { values, histograms })
    }

    fn histograms_at(&mut self, partial: Partial, native: &[&Series], step: usize, span: Span) -> State {
        let mut state = State::None;
        for s in native {
            let Some(Sample::Histogram(h)) = s.at(step) else { continue };
            state = match state {
                State::None => State::Running(Box::new(Running::new(h))),
                State::Running(mut running) => match add(partial, &mut running, h) {
                    Ok(()) => State::Running(running),
                    Err(()) => {
                        let metric = s.labels.get(METRIC_NAME).unwrap_or_default();
                        self.annotations.mixed_buckets(metric, span);
                        State::Incompatible
                    }
                },
                State::Incompatible => State::Incompatible,
            };
        }
        if let State::Running(running) = &state {
            let mut notes = Notes::default();
            running.tell(&mut notes);
            self.annotations.notes(&mut notes, "", span);
        }
        state
    }
}

fn add(partial: Partial, running: &mut Running, h: &Histogram) -> std::result::Result<(), ()> {
    if partial == Partial::Avg { running.add_to_mean(h) } else { running.add_to_sum(h) }
}
