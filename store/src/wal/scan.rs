//! Reads a segment front to back in constant memory, and looks for records behind a damaged stretch.
use super::disk::DiskFile;
use super::format::{RECORD_HEADER_BYTES, RecordHeader, Seal};
use crate::codec::crc_differs;

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// What is given up at once where the disk cannot read.
const BLOCK_BYTES: usize = 4096;

/// A block that was never written.
const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// What stands at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Record(RecordHeader),
    /// The header is intact and its payload is not.
    BadPayload(RecordHeader),
    Nothing,
}

/// A buffer that moves over a file.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    file: &'a dyn DiskFile,
    window: Vec<u8>,
    start: u64,
    /// End of the last block that the device did not give.
    unreadable_end: u64,
}

impl<'a> Scanner<'a> {
    /// `window` is reused memory from [`Scanner::into_window`], or empty.
    pub(super) fn new(file: &'a dyn DiskFile, mut window: Vec<u8>) -> Self {
        window.clear();
        Self { file, window, start: 0, unreadable_end: 0 }
    }

    pub(super) fn into_window(self) -> Vec<u8> {
        self.window
    }

    /// Up to `len` bytes at `offset`, fewer only at the end of the file; `len` is at most the window. What the disk cannot
    /// read comes as zeros, which no checksum takes for a record.
    fn bytes(&mut self, offset: u64, len: usize) -> &[u8] {
        debug_assert!(len <= WINDOW_BYTES);
        let len = (len as u64).min(self.file.len().saturating_sub(offset)) as usize;
        if offset < self.start || offset + len as u64 > self.start + self.window.len() as u64 {
            self.fill(offset);
        }
        let at = (offset - self.start) as usize;
        &self.window[at..at + len]
    }

    /// Whether something from `offset` on that was asked for could not be read.
    pub(super) fn has_unreadable(&self, offset: u64) -> bool {
        self.unreadable_end > offset
    }

    fn fill(&mut self, offset: u64) {
        let len = (self.file.len() - offset).min(WINDOW_BYTES as u64) as usize;
        self.window.clear();
        self.window.resize(len, 0);
        self.start = offset;
        if self.file.read_exact_at(&mut self.window, offset).is_ok() {
            return;
        }
        for (block, at) in self.window.chunks_mut(BLOCK_BYTES).zip((offset..).step_by(BLOCK_BYTES)) {
            if self.file.read_exact_at(block, at).is_err() {
                block.fill(0);
                self.unreadable_end = self.unreadable_end.max(at + block.len() as u64);
            }
        }
    }

    /// The record at `offset`, which must end by `end`.
    pub(super) fn record(&mut self, seal: &Seal, offset: u64, end: u64) -> Found {
        let Some(header) = self.header(seal, offset, end) else { return Found::Nothing };
        let mut crc = crc32fast::Hasher::new();
        let mut at = offset + RECORD_HEADER_BYTES as u64;
        let payload_end = at + u64::from(header.len);
        while at < payload_end {
            let chunk = self.bytes(at, (payload_end - at).min(WINDOW_BYTES as u64) as usize);
            crc.update(chunk);
            at += chunk.len() as u64;
        }
        if crc_differs(crc.finalize(), header.payload_crc) { Found::BadPayload(header) } else { Found::Record(header) }
    }

    fn header(&mut self, seal: &Seal, offset: u64, end: u64) -> Option<RecordHeader> {
        let header = seal.decode(self.bytes(offset, RECORD_HEADER_BYTES))?;
        (offset + header.record_bytes() <= end.min(self.file.len())).then_some(header)
    }

    /// The payload of an intact record: as long as its header says, which is no longer than the file.
    pub(super) fn payload(&mut self, offset: u64, header: &RecordHeader) -> Vec<u8> {
        let mut out = Vec::with_capacity(header.len as usize);
        let from = offset + RECORD_HEADER_BYTES as u64;
        while out.len() < header.len as usize {
            let want = (header.len as usize - out.len()).min(WINDOW_BYTES);
            let at = from + out.len() as u64;
            out.extend_from_slice(self.bytes(at, want));
        }
        out
    }

    /// The first record header from `from` on that `wanted` takes.
    pub(super) fn next_header(
        &mut self,
        seal: &Seal,
        from: u64,
        end: u64,
        wanted: impl Fn(&RecordHeader) -> bool,
    ) -> Option<(u64, RecordHeader)> {
        let last = end.min(self.file.len()).saturating_sub(RECORD_HEADER_BYTES as u64);
        let mut at = from;
        while at <= last {
            // Most of what is searched has never been written. No header begins in zeros, save at their very end.
            if at.is_multiple_of(BLOCK_BYTES as u64) && *self.bytes(at, BLOCK_BYTES) == ZEROS {
                at += (BLOCK_BYTES - RECORD_HEADER_BYTES) as u64;
            } else if let Some(header) = self.header(seal, at, end)
                && wanted(&header)
            {
                return Some((at, header));
            } else {
                at += 8;
            }
        }
        None
    }
}
