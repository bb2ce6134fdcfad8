//! A piece that a reader has opened: a tail batch or a granule, with the stream table its references point into.
use std::sync::Arc;

use super::error::{Error, Result, decoding};
use super::granule::{Granule, OpenGranule, ReadCounters};
use super::row::{AttrRef, ValueRef};
use super::stream::{StreamInfo, StreamRef};
use super::stream_table::StreamTable;
use super::tail::TailBatch;
use crate::memory::Charge;
use crate::model::Scope;

/// A piece that has not been opened yet.
#[derive(Clone, Debug)]
pub(crate) enum ClosedPiece {
    Tail(Arc<TailBatch>),
    Granule(Arc<Granule>),
}

/// All pieces of one tenant in one head or block, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) streams: Arc<StreamTable>,
    pub(crate) pieces: Vec<ClosedPiece>,
}

#[derive(Debug)]
enum Rows {
    Tail(Arc<TailBatch>),
    Granule(Box<OpenGranule>),
}

/// Opened rows; positions are `0..len`.
#[derive(Debug)]
pub(crate) struct Piece {
    rows: Rows,
    streams: Arc<StreamTable>,
    /// The order that a merge keeps of the rows; a granule's columns have a charge of their own.
    _held: Charge,
}

/// Bytes that a merge keeps for the order of one row.
const ROW_ORDER_BYTES: u64 = 32;

impl ClosedPiece {
    /// Reads what every row needs: times and streams.
    pub(crate) fn open(&self, streams: &Arc<StreamTable>, counters: &Arc<ReadCounters>) -> Result<Piece> {
        let rows = match self {
            Self::Tail(batch) => Rows::Tail(batch.clone()),
            Self::Granule(granule) => {
                if granule.meta.spans.iter().any(|s| s.stream >= streams.len()) {
                    return Err(Error::Mismatch { region: "granule streams" });
                }
                Rows::Granule(Box::new(OpenGranule::open(granule.clone(), counters.clone())?))
            }
        };
        let mut piece = Piece { rows, streams: streams.clone(), _held: counters.memory.open() };
        piece._held.add(piece.len() as u64 * ROW_ORDER_BYTES)?;
        Ok(piece)
    }

    /// Earliest and latest time.
    pub(crate) fn times(&self) -> (i64, i64) {
        match self {
            Self::Tail(batch) => (batch.min_ns, batch.max_ns),
            Self::Granule(granule) => (granule.meta.min_ns, granule.meta.max_ns),
        }
    }
}

impl Piece {
    pub(crate) fn len(&self) -> usize {
        match &self.rows {
            Rows::Tail(batch) => batch.len(),
            Rows::Granule(granule) => granule.len(),
        }
    }

    /// A granule is sorted and free of repeated rows; a tail batch is neither.
    pub(crate) fn is_sorted(&self) -> bool {
        matches!(self.rows, Rows::Granule(_))
    }

    pub(crate) fn stream_ref(&self, row: u32) -> u32 {
        match &self.rows {
            Rows::Tail(batch) => batch.stream_ref(row),
            Rows::Granule(granule) => granule.stream_ref(row),
        }
    }

    pub(crate) fn stream(&self, row: u32) -> &Arc<StreamInfo> {
        self.streams.get(StreamRef(self.stream_ref(row))).expect("references are checked when a piece is opened")
    }

    pub(crate) fn time_ns(&self, row: u32) -> i64 {
        match &self.rows {
            Rows::Tail(batch) => batch.time_ns(row),
            Rows::Granule(granule) => granule.time_ns(row),
        }
    }

    pub(crate) fn body(&self, row: u32) -> Result<&[u8]> {
        match &self.rows {
            Rows::Tail(batch) => Ok(batch.body(row)),
            Rows::Granule(granule) => granule.body(row),
        }
    }

    pub(crate) fn trace_id(&self, row: u32) -> Result<[u8; 16]> {
        match &self.rows {
            Rows::Tail(batch) => Ok(batch.trace_id(row)),
            Rows::Granule(granule) => granule.trace_id(row),
        }
    }

    pub(crate) fn for_each_attr<'a>(&'a self, row: u32, each: &mut dyn FnMut(AttrRef<'a>)) -> Result<()> {
        match &self.rows {
            Rows::Tail(batch) => batch
                .walk_attrs(row, &mut |attr| {
                    each(attr);
                    true
                })
                .map_err(decoding("tail row")),
            Rows::Granule(granule) => granule.for_each_attr(row, each),
        }
    }

    pub(crate) fn attr<'a>(&'a self, row: u32, scope: Scope, key: &str) -> Result<Option<ValueRef<'a>>> {
        match &self.rows {
            Rows::Tail(batch) => {
                let mut found = None;
                let mut each = |attr: AttrRef<'a>| {
                    if attr.scope == scope && attr.key == key {
                        found = Some(attr.value);
                    }
                    found.is_none()
                };
                batch.walk_attrs(row, &mut each).map_err(decoding("tail row"))?;
                Ok(found)
            }
            Rows::Granule(granule) => granule.attr(row, scope, key, None),
        }
    }
}
