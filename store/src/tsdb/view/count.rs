//! Counting what readers see, one metric name at a time, so that the selection of a large tenant is never held whole.
use super::{ALL_KINDS, MetricsView, TextSet};
use crate::index::Matcher;
use crate::memory::{Account, Charge};
use crate::part::SampleKind;
use crate::shard::Seen;
use crate::tsdb::Result;

/// Label whose values cut the tenant's series into pieces.
const NAME: &str = "__name__";

/// A count on its way: [`Self::step`] until it gives `None`.
#[derive(Debug)]
pub struct CountSeries {
    view: MetricsView,
    tenant: String,
    /// Metric names that are left; the first is that of series without a name.
    names: std::vec::IntoIter<String>,
    _names_held: Charge,
    memory: Account,
}

impl MetricsView {
    /// Begins to count the tenant's samples of all kinds. `memory` is charged for what is held at a time.
    pub fn count(&self, tenant: &str, memory: &Account) -> Result<CountSeries> {
        let mut names = TextSet::new(memory);
        self.label_values(tenant, NAME, &[], (i64::MIN, i64::MAX), memory, &mut names)?;
        names.see("");
        let (names, _names_held) = names.sorted()?;
        let (view, tenant, names) = (self.clone(), tenant.to_owned(), names.into_iter());
        Ok(CountSeries { view, tenant, names, _names_held, memory: memory.clone() })
    }
}

impl CountSeries {
    /// Counts the series of the next name; `None` at the end.
    pub fn step(&mut self) -> Result<Option<Seen>> {
        let Some(name) = self.names.next() else { return Ok(None) };
        let matcher = Matcher::equal(NAME, name);
        let all = self.view.select_charged(&self.tenant, &[matcher], (i64::MIN, i64::MAX), &self.memory)?;
        let (mut times, mut bits, mut records) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = Seen::default();
        for series in all {
            seen.shadowed += series.bits_into(&mut times, &mut bits)?;
            seen.readable += times.len() as u64;
            for kind in ALL_KINDS.into_iter().filter(|kind| *kind != SampleKind::Float && series.has(*kind)) {
                seen.shadowed += series.blobs_into(kind, &mut records)?;
                seen.readable += records.len() as u64;
            }
        }
        Ok(Some(seen))
    }
}
