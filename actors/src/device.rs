//! The node's write-ahead log as raft sees it.
use std::ops::Range;

use bytes::Bytes;
use trine_raft::{Bounds, Done, LogDevice, Mark};
use trine_store::wal::{self, Wal};

/// Maps [`LogDevice`] onto [`Wal`]: a group's replica is a stream.
#[derive(Clone, Debug)]
pub struct WalDevice(pub Wal);

fn mark_of(mark: Mark) -> wal::Mark {
    match mark {
        Mark::Vote => wal::Mark::Vote,
        Mark::Committed => wal::Mark::Committed,
        Mark::Purged => wal::Mark::Purged,
    }
}

impl LogDevice for WalDevice {
    fn bounds(&self, stream: u64) -> Bounds {
        let b = self.0.bounds(stream);
        Bounds { first_index: b.first_index, next_index: b.next_index }
    }

    fn mark(&self, stream: u64, mark: Mark) -> Option<Bytes> {
        self.0.mark(stream, mark_of(mark))
    }

    fn append(&self, stream: u64, first_index: u64, records: Vec<Bytes>, done: Done) {
        self.0.append(stream, first_index, records, done);
    }

    fn set_mark(&self, stream: u64, mark: Mark, value: Bytes, done: Option<Done>) {
        self.0.set_mark(stream, mark_of(mark), value, done);
    }

    fn truncate_from(&self, stream: u64, index: u64, done: Done) {
        self.0.truncate_from(stream, index, done);
    }

    fn purge_through(&self, stream: u64, index: u64, mark: Bytes, done: Done) {
        self.0.purge_through(stream, index, mark, done);
    }

    fn read(&self, stream: u64, range: Range<u64>, bytes_max: usize) -> std::io::Result<Vec<Bytes>> {
        self.0.read(stream, range, bytes_max)
    }

    fn remove_stream(&self, stream: u64, done: Done) {
        self.0.remove_stream(stream, done);
    }
}
