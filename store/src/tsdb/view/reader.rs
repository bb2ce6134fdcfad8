//! What reading the floats of many series keeps from one to the next: buffers, pages, and time columns.
//!
//! The series of one scrape share their time column, and come one after the other or once a metric: a column is decoded
//! once a selection, cut to its range.
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::codec;
use crate::memory::{Account, Charge};
use crate::tsdb::Result;
use crate::tsdb::chunk::{Scratch, floats};

/// Decoded time columns that are kept at most, in bytes.
const TIMES_BYTES_MAX: u64 = 4 << 20;
/// A column besides its times.
const COLUMN_BYTES: u64 = 64;

/// Reads floats series by series; of one selection only.
#[derive(Debug)]
pub struct FloatReader {
    scratch: Scratch,
    times: HashMap<TimesKey, TimesColumn>,
    held: Charge,
    /// The page of values that was used last: (block's position in the selection, number, bytes).
    pub(super) page: Option<(usize, u32, Arc<[u8]>)>,
}

/// A time column: (source, its piece, column). Heads count from the end.
pub(super) type TimesKey = (u32, u32, u32);

/// The part of a time column that is in the selection's range.
#[derive(Clone, Debug)]
struct TimesColumn {
    times_ms: Arc<[i64]>,
    /// Samples before the range.
    skipped: usize,
}

impl FloatReader {
    /// `memory` is charged for the time columns that are kept.
    pub fn new(memory: &Account) -> Self {
        Self { scratch: Scratch::default(), times: HashMap::new(), held: memory.open(), page: None }
    }

    /// Appends what a time column has in the range, and tells its positions. `decode` appends the column where it is not
    /// kept yet, or a stretch of it that has all of the range, and says at which position that begins.
    pub(super) fn times_into(
        &mut self,
        key: TimesKey,
        (min_ms, max_ms): (i64, i64),
        times_ms: &mut Vec<i64>,
        decode: impl FnOnce(&mut Vec<i64>) -> Result<usize>,
    ) -> Result<Range<usize>> {
        if let Some(column) = self.times.get(&key) {
            times_ms.extend_from_slice(&column.times_ms);
            return Ok(column.skipped..column.skipped + column.times_ms.len());
        }
        let from = times_ms.len();
        let first = decode(times_ms)?;
        let column = &times_ms[from..];
        // What does not rise is taken whole here, and cut once it is in order.
        let range = match column.is_sorted() {
            true => column.partition_point(|t| *t < min_ms)..column.partition_point(|t| *t <= max_ms),
            false => 0..column.len(),
        };
        let range = range.start.min(range.end)..range.end;
        times_ms.truncate(from + range.end);
        times_ms.drain(from..from + range.start);
        let range = first + range.start..first + range.end;
        self.keep(key, &times_ms[from..], range.start);
        Ok(range)
    }

    /// Appends the values at `range` of a coded column of `count`.
    pub(super) fn values_into(
        &mut self,
        bytes: &[u8],
        count: usize,
        range: Range<usize>,
        values: &mut Vec<f64>,
    ) -> Result<(), codec::Error> {
        floats::decode_range(bytes, count, range, &mut self.scratch, values)
    }

    fn keep(&mut self, key: TimesKey, times_ms: &[i64], skipped: usize) {
        let bytes = size_of_val(times_ms) as u64 + COLUMN_BYTES;
        if self.held.bytes() + bytes > TIMES_BYTES_MAX {
            self.times.clear();
            self.held.sub(u64::MAX);
        }
        // Without room in the account it is decoded again.
        if self.held.add(bytes).is_ok() {
            self.times.insert(key, TimesColumn { times_ms: Arc::from(times_ms), skipped });
        }
    }
}
