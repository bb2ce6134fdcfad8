//! Sizes at which a head freezes its tail and a granule closes.

/// Configuration of one [`super::RowsHead`].
#[derive(Clone, Debug)]
pub struct HeadConfig {
    /// Freeze the tail into a run at this many body bytes.
    pub tail_bytes_max: usize,
    /// Freeze the tail into a run at this many applied parts.
    pub tail_batches_max: usize,
    /// Close a granule at this many rows.
    pub granule_rows_max: usize,
    /// Close a granule at about this many raw bytes.
    pub granule_bytes_max: usize,
    /// Runs of one size class that are merged into one of the next.
    pub run_fanout: usize,
    /// zstd level of runs; they live in memory and are rewritten by the seal.
    pub run_level: i32,
    /// zstd level of sealed blocks. On loghub, level 6 gives 8.7 : 1 and level 9 gives 9.1 : 1 for a fifth more time
    /// (`benches/rows.rs`).
    pub seal_level: i32,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self {
            tail_bytes_max: 4 << 20,
            tail_batches_max: 64,
            granule_rows_max: 8192,
            granule_bytes_max: 1 << 20,
            run_fanout: 8,
            run_level: 1,
            seal_level: 6,
        }
    }
}
