//! Counting what readers see, a batch at a time.
use super::error::Result;
use super::scan::{RowOrder, RowScan};
use super::view::{RowsView, Scan};
use crate::memory::Account;
use crate::shard::Seen;

/// Rows of one step.
const STEP_ROWS: usize = 16 << 10;

/// A count on its way: [`Self::step`] until it gives `None`.
#[derive(Debug)]
pub struct CountRows {
    scan: Scan,
    shadowed: u64,
}

impl RowsView {
    /// Begins to count the tenant's rows. `memory` is charged for what is held at a time.
    pub fn count(&self, tenant: &str, memory: &Account) -> Result<CountRows> {
        let mut scan = RowScan::new(tenant, i64::MIN, i64::MAX);
        scan.order = RowOrder::Unordered;
        scan.batch_rows_max = STEP_ROWS;
        scan.memory = memory.clone();
        Ok(CountRows { scan: self.scan(&scan)?, shadowed: 0 })
    }
}

impl CountRows {
    /// Counts some rows more; `None` at the end.
    pub fn step(&mut self) -> Result<Option<Seen>> {
        let batch = self.scan.next_batch()?;
        let repeated = self.scan.stats().rows_repeated;
        let shadowed = repeated - std::mem::replace(&mut self.shadowed, repeated);
        Ok(match batch {
            Some(batch) => Some(Seen { readable: batch.len() as u64, shadowed }),
            // The last rows may all have been repeated ones.
            None => (shadowed > 0).then_some(Seen { readable: 0, shadowed }),
        })
    }
}
