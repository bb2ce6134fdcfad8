//! The selectors of a fragment, evaluated over one shard after the other, and what is merged of them.
use trine_store::index::Matcher;

use super::frames::Frames;
use super::groups::Groups;
use super::{Left, Run};
use crate::error::Result;
use crate::fragment::{FragmentLimits, Sink};
use crate::memory::Charge;
use crate::promql::fragment::{self, Select};
use crate::promql::functions::extended::Extension;
use crate::promql::functions::native::{self, Column, Notes, Samples};
use crate::promql::functions::range::{RangeFn, Windows, eval_steps_into};
use crate::promql::histogram::HistogramColumn;
use crate::promql::source::{SeriesSource, Wants};

/// What a fragment asks of each shard, decoded once.
#[derive(Debug)]
pub(super) struct Selects(Vec<Prepared>);

#[derive(Debug)]
struct Prepared {
    matchers: Vec<Matcher>,
    range: (i64, i64),
    wants: Wants,
    pushed: Option<Pushed>,
    group: Option<fragment::Group>,
}

/// What is evaluated beside the data.
#[derive(Debug)]
struct Pushed {
    function: RangeFn,
    windows: Windows,
    params: Vec<f64>,
}

/// What a shard has left for the end: its groups, and samples that no frame has told of.
#[derive(Debug)]
pub(super) struct ShardDone {
    groups: Vec<Option<Groups>>,
    samples_read: u64,
}

/// The groups of the shards so far, merged in the order of the shards: sums of floats depend on it.
#[derive(Debug)]
pub(super) struct Merged(ShardDone);

impl Selects {
    pub(super) fn decode(selects: &[Select]) -> Result<Self> {
        selects.iter().map(Prepared::decode).collect::<Result<_>>().map(Self)
    }

    /// Whether nothing but groups is asked for, which are sent at the end.
    pub(super) fn are_grouped(&self) -> bool {
        self.0.iter().all(|select| select.group.is_some() && select.pushed.is_some())
    }

    /// Evaluates all selectors over a shard.
    pub(super) fn over(
        &self,
        shard: u32,
        source: &dyn SeriesSource,
        limits: &FragmentLimits,
        left: &Left,
        sink: &mut Sink<'_>,
    ) -> Result<ShardDone> {
        let mut run = Run { limits, left, frames: Frames::new(left, sink) };
        run.frames.begin(shard)?;
        let mut groups = Vec::with_capacity(self.0.len());
        for (position, select) in self.0.iter().enumerate() {
            groups.push(run.select(position as u32, select, source)?);
        }
        Ok(ShardDone { groups, samples_read: run.frames.finish_shard()? })
    }

    /// Groups of no shard yet.
    pub(super) fn merge(&self, limits: &FragmentLimits) -> Result<Merged> {
        let groups = self.0.iter().map(|select| select.groups(limits.memory.open())).collect::<Result<_>>()?;
        Ok(Merged(ShardDone { groups, samples_read: 0 }))
    }
}

impl Merged {
    /// Adds the next shard.
    pub(super) fn take(&mut self, done: ShardDone, left: &Left) -> Result<()> {
        self.0.samples_read += done.samples_read;
        for (mine, other) in self.0.groups.iter_mut().zip(done.groups) {
            if let (Some(mine), Some(other)) = (mine, other) {
                mine.absorb(other, left)?;
            }
        }
        Ok(())
    }

    /// Sends what all shards make together.
    pub(super) fn send(self, left: &Left, sink: &mut Sink<'_>) -> Result<()> {
        let mut frames = Frames::new(left, sink);
        frames.read(self.0.samples_read);
        for (position, groups) in (0..).zip(self.0.groups) {
            if let Some(groups) = groups {
                groups.send(position, &mut frames)?;
            }
        }
        frames.finish()
    }
}

impl Prepared {
    fn decode(select: &Select) -> Result<Self> {
        let pushed = match &select.steps {
            Some(steps) => {
                let (function, windows) = steps.decode()?;
                Some(Pushed { function, windows, params: steps.params.clone() })
            }
            None => None,
        };
        let starts = pushed.as_ref().is_some_and(|p| p.function.uses_starts());
        Ok(Self {
            matchers: fragment::get_matchers(&select.matchers)?,
            range: (select.min_ms, select.max_ms),
            wants: Wants { starts, stats_only: select.stats_only },
            pushed,
            group: select.group.clone(),
        })
    }

    fn groups(&self, held: Charge) -> Result<Option<Groups>> {
        match (&self.group, &self.pushed) {
            (Some(group), Some(pushed)) => Groups::new(group, pushed.windows.count, held).map(Some),
            _ => Ok(None),
        }
    }
}

impl Run<'_, '_> {
    fn select(&mut self, position: u32, select: &Prepared, source: &dyn SeriesSource) -> Result<Option<Groups>> {
        let memory = &self.limits.memory;
        let mut groups = select.groups(memory.open())?;
        let steps = select.pushed.as_ref().map_or(0, |p| p.windows.count);
        let _column = memory.charge((steps * size_of::<f64>()) as u64)?;
        let (mut notes, mut buffer) = (Notes::default(), Vec::with_capacity(steps));
        source.for_each(&select.matchers, select.range, select.wants, memory, &mut |labels, samples| {
            self.charge(samples.weight())?;
            let Some(pushed) = &select.pushed else {
                return self.frames.samples(position, labels, samples);
            };
            let mut column = pushed.eval(samples, &mut notes, &mut buffer);
            notes.drain().for_each(|(note, count)| self.frames.note(position, labels, note, count));
            if column.has_any() {
                if pushed.function.wants_counter() && column.has_floats() {
                    self.frames.non_counter(position, labels);
                }
                match &mut groups {
                    Some(groups) => groups.add(position, labels, &mut column, self.left, &mut self.frames)?,
                    None => self.frames.vector(position, labels, &[&column.values], &column.histograms, false)?,
                }
            }
            buffer = column.values;
            Ok(())
        })?;
        Ok(groups)
    }
}

impl Pushed {
    /// `buffer` becomes the column's values where it can.
    fn eval(&self, samples: &mut Samples, notes: &mut Notes, buffer: &mut Vec<f64>) -> Column {
        if !self.function.wants_stale_markers() || self.windows.extension != Extension::None {
            samples.drop_stale();
        }
        if !samples.is_plain() {
            return native::eval_steps(self.function, samples, &self.windows, |_| &self.params, notes);
        }
        let Samples { times_ms, values, .. } = samples;
        let mut out = std::mem::take(buffer);
        out.clear();
        eval_steps_into(self.function, times_ms, values, &self.windows, |_| &self.params, &mut out);
        Column { values: out, histograms: HistogramColumn::default() }
    }
}
