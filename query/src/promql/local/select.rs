//! The selectors of a fragment, evaluated over one shard after the other, and what is merged of them.
use trine_store::index::Matcher;
use trine_store::model::Labels;

use super::frames::Frames;
use super::groups::Groups;
use super::{Left, Run, segments};
use crate::error::{Error, Result};
use crate::fragment::{FragmentLimits, Sink};
use crate::memory::{Account, Charge};
use crate::promql::counts::StepCounts;
use crate::promql::fragment::{self, Request, Select};
use crate::promql::functions::extended::Extension;
use crate::promql::functions::native::{self, Column, Notes, Samples};
use crate::promql::functions::range::{RangeFn, Windows};
use crate::promql::functions::slide::Slider;
use crate::promql::histogram::HistogramColumn;
use crate::promql::source::{SeriesSource, Wants};

/// What a fragment asks of each shard, decoded once.
#[derive(Debug)]
pub(super) struct Selects {
    all: Vec<Prepared>,
    /// Whether samples are counted by step.
    count_steps: bool,
}

#[derive(Debug)]
pub(super) struct Prepared {
    matchers: Vec<Matcher>,
    pub(super) range: (i64, i64),
    wants: Wants,
    pushed: Option<Pushed>,
    group: Option<fragment::Group>,
    /// Of a partial aggregation, what its segments are kept under.
    pub(super) question: Vec<u8>,
}

/// What is evaluated beside the data.
#[derive(Debug)]
pub(super) struct Pushed {
    function: RangeFn,
    pub(super) windows: Windows,
    params: Vec<f64>,
}

/// What was made of a selector's series, beside what was sent of them.
#[derive(Debug)]
pub(super) struct Evaluated {
    pub(super) groups: Option<Groups>,
    /// Samples that were read.
    pub(super) samples: u64,
    /// All are floats without start timestamps.
    pub(super) is_plain: bool,
    /// Something is to be said of a metric.
    pub(super) has_notes: bool,
}

/// What a shard has left for the end: its groups, and samples that no frame has told of.
#[derive(Debug)]
pub(super) struct ShardDone {
    groups: Vec<Option<Groups>>,
    samples_read: u64,
    /// Of each selector that is evaluated here, where they are asked for.
    counts: Vec<Option<Counted>>,
}

/// Samples by step, and the memory that they take.
#[derive(Debug)]
pub(super) struct Counted {
    counts: StepCounts,
    _held: Charge,
}

/// The groups of the shards so far, merged in the order of the shards: sums of floats depend on it.
#[derive(Debug)]
pub(super) struct Merged(ShardDone);

impl Selects {
    pub(super) fn decode(request: &Request) -> Result<Self> {
        let all = request.selects.iter().map(Prepared::decode).collect::<Result<_>>()?;
        Ok(Self { all, count_steps: request.count_steps })
    }

    /// Whether nothing but groups is asked for, which are sent at the end.
    pub(super) fn are_grouped(&self) -> bool {
        self.all.iter().all(|select| select.group.is_some() && select.pushed.is_some())
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
        let mut run = Run { limits, left, frames: Frames::new(left, sink), counted: None };
        run.frames.begin(shard)?;
        let mut groups = Vec::with_capacity(self.all.len());
        let mut counts = Vec::new();
        for (position, select) in self.all.iter().enumerate() {
            run.counted = self.counted(select, limits)?;
            groups.push(run.select(position as u32, select, source)?);
            counts.push(run.counted.take());
        }
        Ok(ShardDone { groups, samples_read: run.frames.finish_shard()?, counts })
    }

    /// Groups of no shard yet.
    pub(super) fn merge(&self, limits: &FragmentLimits) -> Result<Merged> {
        let groups = self.all.iter().map(|select| select.groups(limits.memory.open())).collect::<Result<_>>()?;
        let counts = self.all.iter().map(|select| self.counted(select, limits)).collect::<Result<_>>()?;
        Ok(Merged(ShardDone { groups, samples_read: 0, counts }))
    }

    /// Counts of nothing yet, if the selector's samples are to be counted here. Raw ones are where they are evaluated.
    fn counted(&self, select: &Prepared, limits: &FragmentLimits) -> Result<Option<Counted>> {
        let Some(pushed) = select.pushed.as_ref().filter(|_| self.count_steps) else { return Ok(None) };
        let steps = pushed.windows.count;
        let held = limits.memory.charge(StepCounts::bytes(steps))?;
        Ok(Some(Counted { counts: StepCounts::new(steps), _held: held }))
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
        for (mine, other) in self.0.counts.iter_mut().zip(done.counts) {
            if let (Some(mine), Some(other)) = (mine, other) {
                mine.counts.add(&other.counts);
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
        for (position, counted) in (0..).zip(self.0.counts) {
            if let Some(counted) = counted {
                frames.step_counts(position, &counted.counts)?;
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
        let is_grouped = pushed.is_some() && select.group.is_some();
        Ok(Self {
            question: if is_grouped { segments::question(select) } else { Vec::new() },
            matchers: fragment::get_matchers(&select.matchers)?,
            range: (select.min_ms, select.max_ms),
            wants: Wants { starts, stats_only: select.stats_only },
            pushed,
            group: select.group.clone(),
        })
    }

    pub(super) fn groups(&self, held: Charge) -> Result<Option<Groups>> {
        let count = self.pushed.as_ref().map_or(0, |pushed| pushed.windows.count);
        self.groups_at(count, held)
    }

    /// Groups of so many steps, where there is an aggregation.
    fn groups_at(&self, steps: usize, held: Charge) -> Result<Option<Groups>> {
        match (&self.group, &self.pushed) {
            (Some(group), Some(_)) => Groups::new(group, steps, held).map(Some),
            _ => Ok(None),
        }
    }
}

impl Run<'_, '_> {
    fn select(&mut self, position: u32, select: &Prepared, source: &dyn SeriesSource) -> Result<Option<Groups>> {
        let Some(pushed) = &select.pushed else {
            return self.raw(position, select, source).map(|()| None);
        };
        let whole = select.groups(self.limits.memory.open())?;
        match (whole, &self.limits.segments) {
            (Some(groups), Some(cache)) => self.select_by_segments(position, (select, pushed), source, cache, groups),
            (whole, _) => self.evaluate(position, (select, pushed), whole, source).map(|evaluated| evaluated.groups),
        }
    }

    fn raw(&mut self, position: u32, select: &Prepared, source: &dyn SeriesSource) -> Result<()> {
        let memory = &self.limits.memory;
        source.for_each(&select.matchers, select.range, select.wants, memory, &mut |labels, samples| {
            self.charge(samples.weight())?;
            self.frames.samples(position, labels, samples)
        })
    }

    /// Evaluates the selector at all steps.
    pub(super) fn evaluate(
        &mut self,
        position: u32,
        (select, pushed): (&Prepared, &Pushed),
        groups: Option<Groups>,
        source: &dyn SeriesSource,
    ) -> Result<Evaluated> {
        let mut evaluated = Evaluated { groups, samples: 0, is_plain: true, has_notes: false };
        let memory = &self.limits.memory;
        let mut lane = Lane::new(pushed, pushed.windows, memory)?;
        source.for_each(&select.matchers, select.range, select.wants, memory, &mut |labels, samples| {
            evaluated.is_plain &= samples.is_plain();
            self.series(position, &mut lane, (labels, samples), &mut evaluated)
        })?;
        Ok(evaluated)
    }

    /// Evaluates an aggregation at the steps of `windows`, a part of the grid. `None` where a series has more than floats: what is sent
    /// of those is about the whole grid.
    pub(super) fn evaluate_part(
        &mut self,
        position: u32,
        (select, pushed): (&Prepared, &Pushed),
        windows: Windows,
        source: &dyn SeriesSource,
    ) -> Result<Option<Evaluated>> {
        let memory = &self.limits.memory;
        let groups = select.groups_at(windows.count, memory.open())?;
        let mut evaluated = Evaluated { groups, samples: 0, is_plain: true, has_notes: false };
        let mut lane = Lane::new(pushed, windows, memory)?;
        let range = windows.span_ms();
        let ran = source.for_each(&select.matchers, range, select.wants, memory, &mut |labels, samples| {
            if !samples.is_plain() {
                evaluated.is_plain = false;
                return Err(Error::Canceled);
            }
            self.series(position, &mut lane, (labels, samples), &mut evaluated)
        });
        if !evaluated.is_plain {
            self.left.give_back(evaluated.samples);
            return Ok(None);
        }
        ran.map(|()| Some(evaluated))
    }

    fn series(
        &mut self,
        position: u32,
        lane: &mut Lane<'_>,
        (labels, samples): (&Labels, &mut Samples),
        evaluated: &mut Evaluated,
    ) -> Result<()> {
        let weight = samples.weight();
        self.charge(weight)?;
        evaluated.samples += weight;
        let mut column = lane.eval(samples)?;
        if let Some(counted) = &mut self.counted {
            match lane.pushed.function.wants_stale_markers() {
                true => counted.counts.instants(&column),
                false => counted.counts.windows(samples, &lane.windows),
            }
        }
        for (note, count) in lane.notes.drain() {
            evaluated.has_notes = true;
            self.frames.note(position, labels, note, count);
        }
        if column.has_any() {
            if lane.pushed.function.wants_counter() && column.has_floats() {
                evaluated.has_notes |= self.frames.non_counter(position, labels);
            }
            match &mut evaluated.groups {
                Some(groups) => groups.add(position, labels, &mut column, self.left, &mut self.frames)?,
                None => self.frames.vector(position, labels, &[&column.values], &column.histograms, false)?,
            }
        }
        lane.buffer = column.values;
        Ok(())
    }
}

/// A function over one series after the other, and what it needs for that.
struct Lane<'p> {
    pushed: &'p Pushed,
    windows: Windows,
    slider: Slider,
    notes: Notes,
    /// Values of the column before.
    buffer: Vec<f64>,
    held: Charge,
}

impl<'p> Lane<'p> {
    fn new(pushed: &'p Pushed, windows: Windows, memory: &Account) -> Result<Self> {
        let mut held = memory.open();
        held.add((windows.count * size_of::<f64>()) as u64)?;
        let (slider, buffer) = (Slider::new(pushed.function, windows), Vec::with_capacity(windows.count));
        Ok(Self { pushed, windows, slider, notes: Notes::default(), buffer, held })
    }

    fn eval(&mut self, samples: &mut Samples) -> Result<Column> {
        let Self { pushed, windows, slider, notes, buffer, held } = self;
        let (function, params) = (pushed.function, &pushed.params);
        if !function.wants_stale_markers() || windows.extension != Extension::None {
            samples.drop_stale();
        }
        if !samples.is_plain() {
            return Ok(native::eval_steps(function, samples, windows, |_| params, notes));
        }
        let bytes = (windows.count * size_of::<f64>()) as u64;
        let bytes = bytes + Slider::bytes(windows.count, samples.times_ms.len() as u64);
        held.set(bytes.max(held.bytes()))?;
        let mut values = std::mem::take(buffer);
        values.clear();
        slider.eval_into(&samples.times_ms, &samples.values, |_| params, &mut values);
        Ok(Column { values, histograms: HistogramColumn::default() })
    }
}
