//! Partial aggregates beside the data.
//!
//! Floats are aggregated here. A series with histograms at any step is sent as it is to whoever asked for sums or averages:
//! mixes of floats, exponential and custom buckets can only be judged with all series of a group together. To counts and
//! extremes histograms are no more than their presence, so those are settled here.
use hashbrown::HashMap;
use trine_store::model::Labels;

use super::frames::Frames;
use super::too_many_samples;
use crate::error::{Error, Result};
use crate::memory::{Charge, labels_bytes};
use crate::promql::aggregate::Cells;
use crate::promql::fragment::{self, Partial};
use crate::promql::functions::native::{Column, Note};
use crate::promql::histogram::HistogramColumn;
use crate::promql::labels;

/// The groups of a partial aggregation over all shards of the node.
pub(super) struct Groups {
    partial: Partial,
    without: bool,
    labels: Vec<String>,
    steps: usize,
    cells: HashMap<Labels, Cells>,
    held: Charge,
}

impl Groups {
    pub(super) fn new(group: &fragment::Group, steps: usize, held: Charge) -> Result<Self> {
        let partial = Partial::from_u32(group.partial).ok_or_else(|| Error::Corrupt {
            what: "PromQL fragment",
            reason: format!("unknown aggregation {}", group.partial),
        })?;
        Ok(Self { partial, without: group.without, labels: group.labels.clone(), steps, cells: HashMap::new(), held })
    }

    /// Adds one series, or sends it on its own.
    pub(super) fn add(
        &mut self,
        position: u32,
        series: &Labels,
        mut column: Column,
        samples_left: &mut u64,
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
                    return frames.vector(position, series, &[column.values], &column.histograms, true);
                }
            }
        }
        self.add_floats(series, &column.values, samples_left)
    }

    fn add_floats(&mut self, series: &Labels, column: &[f64], samples_left: &mut u64) -> Result<()> {
        let key = labels::group(series, self.without, &self.labels);
        if let Some(cells) = self.cells.get_mut(&key) {
            cells.add(column);
            return Ok(());
        }
        let held = Cells::values_count(self.partial, self.steps);
        *samples_left = samples_left.checked_sub(held).ok_or_else(too_many_samples)?;
        self.held.add(Cells::bytes(self.partial, self.steps) + labels_bytes(&key))?;
        let mut cells = Cells::new(self.partial, self.steps);
        cells.add(column);
        self.cells.insert(key, cells);
        Ok(())
    }

    pub(super) fn send(mut self, position: u32, frames: &mut Frames<'_, '_>) -> Result<()> {
        // The columns of the group that is being sent.
        self.held.add(Cells::values_count(self.partial, self.steps) * size_of::<f64>() as u64)?;
        let mut sorted: Vec<(Labels, Cells)> = self.cells.into_iter().collect();
        sorted.sort_by(|a, b| labels::compare(&a.0, &b.0));
        let none = HistogramColumn::default();
        sorted.into_iter().try_for_each(|(key, cells)| frames.vector(position, &key, &cells.columns(), &none, false))
    }
}
