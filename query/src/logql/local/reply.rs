//! Sends frames within the fragment's bounds.
use crate::error::{Error, Result};
use crate::fragment::{FragmentLimits, Sink};
use crate::logql::fragment::{Reply, encode_frame};
use crate::memory::Account;

/// Rows between two looks at the clock.
const ROWS_PER_CHECK: u32 = 256;

pub(super) struct Replies<'a, 's> {
    limits: &'a FragmentLimits,
    sink: &'a mut Sink<'s>,
    sent_bytes: u64,
    rows: u32,
}

impl<'a, 's> Replies<'a, 's> {
    pub(super) fn new(limits: &'a FragmentLimits, sink: &'a mut Sink<'s>) -> Self {
        Self { limits, sink, sent_bytes: 0, rows: 0 }
    }

    /// The query's account on this node.
    pub(super) fn memory(&self) -> &'a Account {
        &self.limits.memory
    }

    pub(super) fn send(&mut self, reply: Reply) -> Result<()> {
        let frame = encode_frame(reply);
        self.sent_bytes += frame.len() as u64;
        self.check_bytes(0)?;
        (self.sink)(frame)
    }

    /// Fails with [`Error::Limit`] when `more` bytes would be too many.
    pub(super) fn check_bytes(&self, more: u64) -> Result<()> {
        let max = self.limits.reply_bytes_max;
        if self.sent_bytes.saturating_add(more) > max {
            return Err(Error::Limit {
                message: format!(
                    "the query would read too many bytes (query: more than {max} bytes of results on a node)"
                ),
            });
        }
        Ok(())
    }

    /// Call once a row: fails with [`Error::Timeout`] after the deadline, with [`Error::Canceled`] when nobody waits.
    pub(super) fn tick(&mut self) -> Result<()> {
        self.rows = self.rows.wrapping_add(1);
        if self.rows % ROWS_PER_CHECK == 1 { self.limits.stop.check() } else { Ok(()) }
    }
}
