//! Partial aggregates beside the data.
//!
//! Floats are aggregated here. A series with histograms at any step is sent as it is to whoever asked for sums or averages:
//! mixes of floats, exponential and custom buckets can only be judged with all series of a group together. To counts and
//! extremes histograms are no more than their presence, so those are settled here.
use hashbrown::{Equivalent, HashMap};
use trine_store::model::Labels;

use super::Left;
use super::frames::Frames;
use crate::error::{Error, Result};
use crate::memory::{Charge, labels_bytes};
use crate::promql::aggregate::Cells;
use crate::promql::fragment::{self, Partial};
use crate::promql::functions::is_absent;
use crate::promql::functions::native::{Column, Note};
use crate::promql::histogram::HistogramColumn;
use crate::promql::labels;

/// The groups of a partial aggregation, of one shard or of all.
#[derive(Debug)]
pub(super) struct Groups {
    partial: Partial,
    without: bool,
    labels: Vec<String>,
    steps: usize,
    cells: HashMap<Labels, Cells>,
    /// Labels of the group that is being looked for.
    key: Vec<u8>,
    held: Charge,
}

/// The canonical encoding of a label set, to look one up by.
#[derive(Hash)]
struct Encoded<'a>(&'a [u8]);

impl Equivalent<Labels> for Encoded<'_> {
    fn equivalent(&self, labels: &Labels) -> bool {
        labels.as_bytes() == self.0
    }
}

impl Groups {
    pub(super) fn new(group: &fragment::Group, steps: usize, held: Charge) -> Result<Self> {
        let partial = Partial::from_u32(group.partial).ok_or_else(|| Error::Corrupt {
            what: "PromQL fragment",
            reason: format!("unknown aggregation {}", group.partial),
        })?;
        let (cells, key) = (HashMap::new(), Vec::new());
        Ok(Self { partial, without: group.without, labels: group.labels.clone(), steps, cells, key, held })
    }

    /// Adds one series, or sends it on its own.
    pub(super) fn add(
        &mut self,
        position: u32,
        series: &Labels,
        column: &mut Column,
        left: &Left,
        frames: &mut Frames<'_, '_>,
    ) -> Result<()> {
        if !column.histograms.is_empty() {
            match self.partial {
                Partial::Count | Partial::Group => {
                    column.histograms.iter().for_each(|(step, _)| column.values[step] = 1.0);
                }
                Partial::Min | Partial::Max => {
                    let is_min = self.partial == Partial::Min;
                    let note = if is_min { Note::IgnoredInMin } else { Note::IgnoredInMax };
                    frames.note(position, series, note, 1);
                    if !column.has_floats() {
                        return Ok(());
                    }
                }
                Partial::Sum | Partial::Avg => {
                    return frames.vector(position, series, &[&column.values], &column.histograms, true);
                }
            }
        }
        self.add_floats(series, &column.values, left)
    }

    fn add_floats(&mut self, series: &Labels, column: &[f64], left: &Left) -> Result<()> {
        self.key.clear();
        labels::group_into(series, self.without, &self.labels, &mut self.key);
        if let Some(cells) = self.cells.get_mut(&Encoded(&self.key)) {
            cells.add(column);
            return Ok(());
        }
        let key = Labels::decode(&self.key)
            .map_err(|e| Error::Corrupt { what: "labels of a series", reason: e.to_string() })?;
        self.make_room(&key, left)?;
        let mut cells = Cells::new(self.partial, self.steps);
        cells.add(column);
        self.cells.insert(key, cells);
        Ok(())
    }

    /// Charges one more group.
    fn make_room(&mut self, key: &Labels, left: &Left) -> Result<()> {
        left.values((self.cells.len() as u64 + 1) * Cells::values_count(self.partial, self.steps))?;
        Ok(self.held.add(Cells::bytes(self.partial, self.steps) + labels_bytes(key))?)
    }

    /// Takes over the groups of the next shard.
    pub(super) fn absorb(&mut self, other: Self, left: &Left) -> Result<()> {
        if self.cells.is_empty() {
            *self = other;
            return Ok(());
        }
        for (key, cells) in other.cells {
            if let Some(known) = self.cells.get_mut(&key) {
                known.merge(0, &cells.columns());
                continue;
            }
            self.make_room(&key, left)?;
            self.cells.insert(key, cells);
        }
        Ok(())
    }

    /// Takes over groups of the steps from `first` on.
    pub(super) fn absorb_at(&mut self, first: usize, other: Self, left: &Left) -> Result<()> {
        if other.steps == self.steps {
            return self.absorb(other, left);
        }
        for (key, cells) in other.cells {
            self.merge_at(first, &key, &cells.columns(), left)?;
        }
        Ok(())
    }

    /// Adds columns of groups, as [`Self::cut`] gives them, at the steps from `first` on.
    pub(super) fn take_columns(&mut self, first: usize, groups: &[(Labels, Vec<Vec<f64>>)], left: &Left) -> Result<()> {
        groups.iter().try_for_each(|(key, columns)| self.merge_at(first, key, columns, left))
    }

    fn merge_at(&mut self, first: usize, key: &Labels, columns: &[Vec<f64>], left: &Left) -> Result<()> {
        if !self.cells.contains_key(key) {
            self.make_room(key, left)?;
            self.cells.insert(key.clone(), Cells::new(self.partial, self.steps));
        }
        if let Some(cells) = self.cells.get_mut(key) {
            cells.merge(first, columns);
        }
        Ok(())
    }

    /// What columns of so many steps of all groups weigh, without their labels.
    pub(super) fn bytes_at(&self, steps: usize) -> u64 {
        self.cells.len() as u64 * Cells::bytes(self.partial, steps)
    }

    /// The columns at some steps, of the groups that have a value there.
    pub(super) fn cut(&self, steps: std::ops::Range<usize>) -> Vec<(Labels, Vec<Vec<f64>>)> {
        let groups = self.cells.iter().map(|(key, cells)| (key.clone(), cells.columns_at(steps.clone())));
        // Where a group has nothing its columns are empty together.
        groups.filter(|(_, columns)| columns.iter().any(|c| c.iter().any(|v| !is_absent(*v)))).collect()
    }

    pub(super) fn send(mut self, position: u32, frames: &mut Frames<'_, '_>) -> Result<()> {
        // The columns of the group that is being sent.
        self.held.add(Cells::values_count(self.partial, self.steps) * size_of::<f64>() as u64)?;
        let mut sorted: Vec<(Labels, Cells)> = self.cells.into_iter().collect();
        sorted.sort_by(|a, b| labels::compare(&a.0, &b.0));
        let none = HistogramColumn::default();
        sorted.into_iter().try_for_each(|(key, cells)| {
            let columns = cells.columns();
            let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
            frames.vector(position, &key, &columns, &none, false)
        })
    }
}
