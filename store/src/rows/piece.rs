//! A piece that a reader has opened: a tail batch or a granule, with the stream table its references point into.
use std::sync::Arc;

use super::error::{Result, decoding};
use super::row::{AttrRef, ValueRef};
use super::stream::{StreamInfo, StreamRef};
use super::stream_table::StreamTable;
use super::tail::TailBatch;
use crate::model::Scope;

#[derive(Debug)]
pub(crate) enum Rows {
    Tail(Arc<TailBatch>),
}

/// Opened rows; positions are `0..len`.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) rows: Rows,
    streams: Arc<StreamTable>,
}

impl Piece {
    pub(crate) fn tail(batch: Arc<TailBatch>, streams: Arc<StreamTable>) -> Self {
        Self { rows: Rows::Tail(batch), streams }
    }

    pub(crate) fn stream_ref(&self, row: u32) -> u32 {
        match &self.rows {
            Rows::Tail(batch) => batch.stream_ref(row),
        }
    }

    pub(crate) fn stream(&self, row: u32) -> &Arc<StreamInfo> {
        self.streams.get(StreamRef(self.stream_ref(row))).expect("references are checked when a piece is opened")
    }

    pub(crate) fn time_ns(&self, row: u32) -> i64 {
        match &self.rows {
            Rows::Tail(batch) => batch.time_ns(row),
        }
    }

    pub(crate) fn body(&self, row: u32) -> Result<&[u8]> {
        match &self.rows {
            Rows::Tail(batch) => Ok(batch.body(row)),
        }
    }

    pub(crate) fn trace_id(&self, row: u32) -> Result<[u8; 16]> {
        match &self.rows {
            Rows::Tail(batch) => Ok(batch.trace_id(row)),
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
        }
    }
}
