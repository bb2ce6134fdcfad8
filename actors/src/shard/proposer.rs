//! The one task of a shard that makes log entries: it takes whatever parts wait while earlier entries are in flight.
use std::collections::VecDeque;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::{debug, warn};
use trine_raft::{Group, ProposeError, Proposed};
use trine_store::entry::{ENTRY_BYTES_MAX, WriteEntryBuilder, check_body};
use trine_store::part::PartRef;
use trine_store::shard::{PartOutcome, ProposerTable};

use super::handle::{SubmitError, Work};
use super::reply::EntryReply;

/// Entries proposed and not yet applied. One more than is being written keeps disk and network busy; what waits meanwhile goes
/// into one entry, since most of what an entry costs does not depend on its length.
const ENTRIES_IN_FLIGHT: usize = 2;
/// A new entry is closed once it is this long, so that one more part stays under the cap.
const ENTRY_BYTES_TARGET: usize = 64 << 10;
/// A single part longer than this cannot be kept: the longest log line, its labels and metadata fit.
const PART_BYTES_MAX: usize = 1 << 20;

/// A part on its way.
struct Pending {
    part: Bytes,
    done: oneshot::Sender<Result<PartOutcome, SubmitError>>,
    _held: OwnedSemaphorePermit,
}

/// What an entry in flight carries.
enum Carried {
    Parts { table: u64, parts: Vec<Pending> },
    Entry { done: oneshot::Sender<Result<u64, SubmitError>> },
}

type InFlight = BoxFuture<'static, (Carried, Result<Proposed, ProposeError>)>;

/// State of the proposer task.
pub(super) struct Proposer {
    shard: u32,
    group: Group,
    work: mpsc::Receiver<Work>,
    table: ProposerTable,
    /// Term in which the table began: another leader may have replaced it since.
    term: u64,
    waiting: VecDeque<Pending>,
    in_flight: FuturesOrdered<InFlight>,
}

impl Proposer {
    pub(super) fn new(shard: u32, group: Group, work: mpsc::Receiver<Work>) -> Self {
        let table = ProposerTable::new(fresh_table());
        let (waiting, in_flight) = (VecDeque::new(), FuturesOrdered::new());
        Self { shard, group, work, table, term: 0, waiting, in_flight }
    }

    /// Runs until every handle is gone.
    pub(super) async fn run(mut self) {
        loop {
            let room = self.in_flight.len() < ENTRIES_IN_FLIGHT;
            if room && !self.waiting.is_empty() {
                self.propose_waiting();
                continue;
            }
            tokio::select! {
                biased;
                Some((carried, result)) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.settle(carried, result);
                }
                work = self.work.recv(), if room => match work {
                    Some(work) => self.take(work),
                    None if self.in_flight.is_empty() => return,
                    None => {
                        // No handle is left; what is in flight still settles.
                        while let Some((carried, result)) = self.in_flight.next().await {
                            self.settle(carried, result);
                        }
                        return;
                    }
                },
            }
        }
    }

    /// Takes one piece of work and everything else that waits already.
    fn take(&mut self, first: Work) {
        let mut next = Some(first);
        while let Some(work) = next {
            match work {
                Work::Part { part, done, _held } => self.waiting.push_back(Pending { part, done, _held }),
                Work::Entry { payload, ends_table, done } => return self.propose_entry(payload, ends_table, done),
            }
            next = if self.waiting.len() < 1024 { self.work.try_recv().ok() } else { None };
        }
    }

    fn new_table(&mut self) {
        self.table = ProposerTable::new(fresh_table());
    }

    fn check_term(&mut self) {
        let term = self.group.status().term;
        if term != self.term {
            self.term = term;
            self.new_table();
        }
    }

    fn propose_entry(&mut self, payload: Bytes, ends_table: bool, done: oneshot::Sender<Result<u64, SubmitError>>) {
        // What waits was submitted before, and belongs into the head that the entry may close.
        while !self.waiting.is_empty() {
            self.propose_waiting();
        }
        self.enqueue(Carried::Entry { done }, payload);
        if ends_table {
            // Apply starts an empty table, and so does the leader.
            self.new_table();
        }
    }

    fn propose_waiting(&mut self) {
        self.check_term();
        let mut entry = WriteEntryBuilder::new(self.table.id(), self.table.len());
        let mut parts = Vec::new();
        while let Some(pending) = self.waiting.pop_front() {
            match self.checked(&pending.part) {
                Err(error) => answer(pending.done, Err(error)),
                Ok(part) => {
                    let long = entry.bytes_len() + pending.part.len() > ENTRY_BYTES_MAX;
                    if long && entry.parts_count() > 0 {
                        self.waiting.push_front(pending);
                        break;
                    }
                    match self.table.add(&mut entry, &part) {
                        Ok(()) => parts.push(pending),
                        Err(error) => answer(pending.done, Err(SubmitError::Invalid { reason: error.to_string() })),
                    }
                }
            }
            if entry.bytes_len() >= ENTRY_BYTES_TARGET {
                break;
            }
        }
        if !parts.is_empty() {
            let carried = Carried::Parts { table: self.table.id(), parts };
            self.enqueue(carried, entry.finish().into());
        }
    }

    /// Decodes a part and checks its body, so that no replica ever meets one that it cannot apply.
    fn checked<'p>(&self, part: &'p Bytes) -> Result<PartRef<'p>, SubmitError> {
        if part.len() > PART_BYTES_MAX {
            let reason = format!("{} bytes; at most {PART_BYTES_MAX} are possible", part.len());
            return Err(SubmitError::Invalid { reason });
        }
        let invalid = |e: trine_store::codec::Error| SubmitError::Invalid { reason: e.to_string() };
        let part = PartRef::decode(part).map_err(invalid)?;
        check_body(part.signal, part.body, part.defs.len()).map_err(invalid)?;
        Ok(part)
    }

    fn enqueue(&mut self, carried: Carried, payload: Bytes) {
        match self.group.propose(payload) {
            Ok(reply) => self.in_flight.push_back(Box::pin(async move { (carried, reply.await) })),
            Err(error) => self.settle(carried, Err(error)),
        }
    }

    fn settle(&mut self, carried: Carried, result: Result<Proposed, ProposeError>) {
        let reply = match result {
            Ok(proposed) => {
                EntryReply::decode(&proposed.reply).map(|r| (r, proposed.position.index)).map_err(|e| e.to_string())
            }
            Err(error) => {
                self.new_table();
                return fail(carried, error);
            }
        };
        match (carried, reply) {
            (Carried::Parts { parts, .. }, Ok((EntryReply::Parts(outcomes), _))) if parts.len() == outcomes.len() => {
                for (pending, outcome) in parts.into_iter().zip(outcomes) {
                    answer(pending.done, Ok(outcome));
                }
            }
            (Carried::Parts { table, parts }, Ok((EntryReply::UnknownTable, _))) => {
                debug!(shard = self.shard, parts = parts.len(), "reference table was replaced, proposing again");
                if table == self.table.id() {
                    self.new_table();
                }
                self.waiting.extend(parts);
            }
            (Carried::Entry { done }, Ok((EntryReply::Sealed | EntryReply::Noted, index))) => answer(done, Ok(index)),
            (carried, reply) => {
                warn!(shard = self.shard, ?reply, "reply does not fit its entry");
                fail(carried, ProposeError::Fatal("reply does not fit its entry".into()));
            }
        }
    }
}

fn fresh_table() -> u64 {
    // Zero is the empty table of a fresh head.
    rand::random::<u64>().max(1)
}

/// The receiver may be gone: its client hung up.
fn answer<T>(done: oneshot::Sender<T>, value: T) {
    drop(done.send(value));
}

fn fail(carried: Carried, error: ProposeError) {
    let error = match error {
        ProposeError::NotLeader { leader } => SubmitError::NotLeader { leader_node: leader.map(|(_, node)| node.0) },
        ProposeError::Unknown { leader } => {
            let leader = leader.map_or_else(|| "nobody".to_owned(), |(_, node)| format!("node {}", node.0));
            SubmitError::Unknown { reason: format!("leadership went to {leader}") }
        }
        ProposeError::Busy => SubmitError::Busy { what: "queue of the raft group" },
        ProposeError::Stopped => SubmitError::Unknown { reason: "the raft group stopped".into() },
        ProposeError::Fatal(reason) => SubmitError::Unknown { reason },
    };
    match carried {
        Carried::Entry { done } => answer(done, Err(error)),
        Carried::Parts { parts, .. } => {
            for pending in parts {
                answer(pending.done, Err(error.clone()));
            }
        }
    }
}
