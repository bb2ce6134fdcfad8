//! What a shard does with parts and entries: a part that its leader takes is applied, sealed, and read again.
use std::sync::Arc;

use bytes::Bytes;
use trine_store::codec::Error;
use trine_store::entry::{Entry, SealReason, WriteEntryBuilder, check_body, encode_seal};
use trine_store::part::PartRef;
use trine_store::rows;
use trine_store::shard::{
    Applied, LogPosition, OpenBlocks, PartOutcome, ProposerTable, SealJob, ShardState, ShardView,
};
use trine_store::tsdb;

use crate::split::frames;

pub(crate) const TARGETS: [crate::Decoder; 2] = [("part_apply", part), ("entry_apply", entry)];

/// A shard, and the leader that writes its log.
#[derive(Debug)]
pub(crate) struct Log {
    state: ShardState,
    table: ProposerTable,
    index: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { state: ShardState::new(0, Default::default(), None), table: ProposerTable::new(1), index: 0 }
    }
}

impl Log {
    /// Checks a part as a leader does, and applies it. An error is the leader's refusal.
    pub(crate) fn write(&mut self, part: &[u8]) -> Result<PartOutcome, Error> {
        let part = PartRef::decode(part)?;
        check_body(part.signal, part.body, part.defs.len())?;
        let mut entry = WriteEntryBuilder::new(self.table.id(), self.table.len());
        self.table.add(&mut entry, &part)?;
        match self.apply(&entry.finish()).expect("what a leader takes is applied") {
            Applied::Parts(outcomes) => Ok(outcomes.into_iter().next().expect("an outcome for the part")),
            other => panic!("{other:?} for an entry of one part"),
        }
    }

    fn apply(&mut self, entry: &[u8]) -> Result<Applied, Error> {
        self.index += 1;
        self.state.apply(LogPosition { term: 1, leader: 1, index: self.index }, entry)
    }

    /// What readers see.
    pub(crate) fn view(&mut self) -> ShardView {
        self.state.view()
    }

    /// Seals what was written so far: it is in blocks from now on.
    pub(crate) fn seal(&mut self) {
        let Ok(Applied::Sealed(job)) = self.apply(&encode_seal(SealReason::Requested)) else {
            panic!("a seal seals");
        };
        self.table = ProposerTable::new(self.table.id() + 1);
        self.state.sealed(written(&job));
    }
}

/// The blocks of a seal, in memory, each read again and compared with its digest.
fn written(job: &SealJob) -> OpenBlocks {
    let mut blocks = OpenBlocks::default();
    let mut file = Vec::new();
    tsdb::seal(&job.metrics, &mut file).expect("metrics are sealed");
    let block = tsdb::Block::open(Arc::new(Bytes::from(std::mem::take(&mut file)))).expect("its metrics block opens");
    let block = Arc::new(block);
    tsdb::verify(&block).expect("a metrics block is what its digest says");
    blocks.metrics.push(block);
    for (head, to) in [(&job.logs, &mut blocks.logs), (&job.traces, &mut blocks.traces)] {
        rows::seal(head, &mut file).expect("rows are sealed");
        let block = rows::Block::open(Arc::new(Bytes::from(std::mem::take(&mut file)))).expect("its row block opens");
        let block = Arc::new(block);
        rows::verify(&block).expect("a row block is what its digest says");
        to.push(block);
    }
    blocks
}

/// A part from another node.
fn part(bytes: &[u8]) {
    let mut log = Log::default();
    if log.write(bytes).is_ok() {
        drop(log.view());
        log.write(bytes).expect("a part is taken again");
        log.seal();
    }
}

/// Entries of a log, each behind its length in two bytes.
fn entry(bytes: &[u8]) {
    let mut log = Log::default();
    for entry in frames(bytes) {
        drop(Entry::decode(entry).map(|entry| format!("{entry:?}")));
        match log.apply(entry) {
            Ok(Applied::Sealed(job)) => log.state.sealed(written(&job)),
            Ok(Applied::Parts(_) | Applied::UnknownTable | Applied::Compacting | Applied::Limited) => drop(log.view()),
            // The replica stops.
            Err(_) => return,
        }
    }
    log.seal();
}
