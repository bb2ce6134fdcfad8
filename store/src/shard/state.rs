//! The state machine of one shard: deterministic, pure, owned by its shard actor.
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::codec;
use crate::entry::{Entry, EntryPart, NewDef, SealReason};
use crate::limits::{DeleteSeries, Limits, Tombstone};
use crate::model::Signal;
use crate::rows::{self, RowsHead, RowsView, StreamRef};
use crate::shard::{
    BlockEntry, Compaction, DedupWindow, Ledger, LogPosition, Manifest, ManifestLimits, PartOutcome, ShardView,
};
use crate::tsdb::{self, MetricsHead, MetricsView, SeriesRef};

/// What applying an entry did.
#[derive(Debug)]
pub enum Applied {
    /// One outcome a part, in order.
    Parts(Vec<PartOutcome>),
    /// The entry's references belong to another table: the proposer starts a new one and proposes the parts again.
    UnknownTable,
    /// A compaction was noted in [`ShardState::pending`].
    Compacting,
    /// What readers see was limited.
    Limited,
    /// The head was frozen; write it with [`super::SealJob::run`] and report to [`ShardState::sealed`].
    Sealed(Box<super::SealJob>),
}

/// Heads and blocks of one shard, the reference table of its log, and its deduplication window.
#[derive(Debug)]
pub struct ShardState {
    shard: u32,
    position: LogPosition,
    membership: Option<(LogPosition, Vec<u8>)>,
    epoch: u64,
    table: u64,
    refs: Vec<(Signal, u32)>,
    dedup: DedupWindow,
    limits: ManifestLimits,
    pending: Vec<Compaction>,
    /// Log indexes of the sealing heads, oldest first.
    frozen: Vec<u64>,
    /// What apply did with the facts; `None` until books can be opened ([`Manifest::open_books`]).
    ledger: Option<Ledger>,
    /// Signals of the parts in the open head.
    touched: BTreeSet<Signal>,
    pub metrics: MetricsHead,
    pub logs: RowsHead,
    pub traces: RowsHead,
    config: super::ShardConfig,
    metrics_view: MetricsView,
    logs_view: RowsView,
    traces_view: RowsView,
}

impl ShardState {
    /// An empty shard, or the shard that `manifest` and its opened blocks describe.
    pub fn new(shard: u32, config: super::ShardConfig, recovered: Option<(Manifest, super::OpenBlocks)>) -> Self {
        let (manifest, blocks) = recovered.unwrap_or_default();
        let mut state = Self {
            shard,
            position: manifest.position,
            membership: manifest.membership,
            epoch: manifest.epoch,
            table: 0,
            refs: Vec::new(),
            dedup: manifest.dedup,
            limits: manifest.limits,
            pending: manifest.pending,
            frozen: Vec::new(),
            ledger: manifest.ledger,
            touched: BTreeSet::new(),
            metrics: MetricsHead::new(config.metrics.clone()),
            logs: RowsHead::new(Signal::Logs, config.rows.clone()),
            traces: RowsHead::new(Signal::Traces, config.rows.clone()),
            config,
            metrics_view: MetricsView { blocks: blocks.metrics, ..MetricsView::default() },
            logs_view: RowsView { blocks: blocks.logs, ..RowsView::new(Signal::Logs) },
            traces_view: RowsView { blocks: blocks.traces, ..RowsView::new(Signal::Traces) },
        };
        state.limit_views();
        state
    }

    /// Last applied position.
    pub fn position(&self) -> LogPosition {
        self.position
    }

    pub fn membership(&self) -> Option<&(LogPosition, Vec<u8>)> {
        self.membership.as_ref()
    }

    /// Counts of apply up to the position; those of blocks are as old as the last start ([`Ledger::with_blocks_of`]).
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// Heads that are being written to blocks.
    pub fn sealing_count(&self) -> usize {
        self.metrics_view.heads.len()
    }

    /// Bytes of memory of the open head, all signals.
    pub fn head_bytes(&self) -> u64 {
        self.metrics.stats().bytes + self.logs.stats().bytes + self.traces.stats().bytes
    }

    /// Facts in the open head, all signals.
    pub fn head_facts(&self) -> u64 {
        self.metrics.stats().facts + self.logs.stats().facts + self.traces.stats().facts
    }

    /// Records a position that carries no data (a blank entry).
    pub fn skip(&mut self, position: LogPosition) {
        self.position = position;
    }

    /// Records the group's membership.
    pub fn set_membership(&mut self, position: LogPosition, bytes: Vec<u8>) {
        self.position = position;
        self.membership = Some((position, bytes));
    }

    /// Applies one entry. An error means bytes that no proposer of a known version makes: the replica must stop.
    pub fn apply(&mut self, position: LogPosition, entry: &[u8]) -> Result<Applied, codec::Error> {
        let entry = Entry::decode(entry)?;
        self.position = position;
        match entry {
            Entry::Write { table, first_ref, defs, parts } => {
                if !self.enter_table(table, first_ref) {
                    return Ok(Applied::UnknownTable);
                }
                self.define(&defs)?;
                let refs_count = self.refs.len() as u32;
                if parts.iter().any(|p| p.refs.iter().any(|r| *r >= refs_count)) {
                    return Ok(Applied::UnknownTable);
                }
                parts.iter().map(|p| self.apply_part(position.index, p)).collect::<Result<_, _>>().map(Applied::Parts)
            }
            Entry::Seal { reason } => Ok(Applied::Sealed(Box::new(self.freeze(reason)))),
            Entry::Compact(request) => {
                let cutoffs = self.limits.cutoffs(request.signal).clone();
                self.pending.push(Compaction { index: position.index, request, cutoffs });
                Ok(Applied::Compacting)
            }
            Entry::Expire { signal, cutoffs } => {
                Arc::make_mut(&mut self.limits.cutoffs[signal as usize - 1]).advance(&cutoffs);
                self.limit_views();
                Ok(Applied::Limited)
            }
            Entry::Delete(delete) => Ok(self.delete(position.index, delete)),
        }
    }

    /// Whether the entry's references can be understood: same table at the same length, or the start of a new one.
    fn enter_table(&mut self, table: u64, first_ref: u32) -> bool {
        if first_ref == 0 && table != self.table {
            self.table = table;
            self.refs.clear();
        }
        table == self.table && first_ref as usize == self.refs.len()
    }

    fn define(&mut self, defs: &[NewDef<'_>]) -> Result<(), codec::Error> {
        let mut tenant: Arc<str> = Arc::from("");
        for def in defs {
            if *tenant != *def.tenant {
                tenant = Arc::from(def.tenant);
            }
            let reference = match def.signal {
                Signal::Metrics => self.metrics.resolve(&tenant, def.hash, def.key)?.0,
                Signal::Logs => self.logs.resolve(&tenant, def.hash, def.key)?.0,
                Signal::Traces => self.traces.resolve(&tenant, def.hash, def.key)?.0,
            };
            self.refs.push((def.signal, reference));
        }
        Ok(())
    }

    fn apply_part(&mut self, index: u64, part: &EntryPart<'_>) -> Result<PartOutcome, codec::Error> {
        if let Some(known) = self.dedup.get(part.digest) {
            if let Some(ledger) = &mut self.ledger {
                ledger.count_repeated(part.tenant, part.signal, &known);
            }
            return Ok(known);
        }
        let tenant: Arc<str> = Arc::from(part.tenant);
        let refs = part.refs.iter().map(|r| self.refs[*r as usize]);
        if refs.clone().any(|(signal, _)| signal != part.signal) {
            return Err(codec::Error::Invalid { what: "signal of a reference", at: 0 });
        }
        let outcome = match part.signal {
            Signal::Metrics => {
                let refs: Vec<_> = refs.map(|(_, r)| SeriesRef(r)).collect();
                // [`Entry::decode`] has checked the body.
                self.metrics.append_checked(&tenant, index, &refs, part.body)?
            }
            Signal::Logs => {
                let refs: Vec<_> = refs.map(|(_, r)| StreamRef(r)).collect();
                self.logs.append(&tenant, index, &refs, part.body, part.assigned_ns)?
            }
            Signal::Traces => {
                let refs: Vec<_> = refs.map(|(_, r)| StreamRef(r)).collect();
                self.traces.append(&tenant, index, &refs, part.body, part.assigned_ns)?
            }
        };
        self.touched.insert(part.signal);
        self.dedup.insert(index, part.digest, &outcome);
        if let Some(ledger) = &mut self.ledger {
            ledger.count_applied(part.tenant, part.signal, &outcome);
        }
        Ok(outcome)
    }

    /// Hides what was written before from readers. The head is closed at this position, so that what comes after is elsewhere.
    fn delete(&mut self, index: u64, delete: DeleteSeries) -> Applied {
        let deletes = &mut self.limits.deletes;
        if deletes.contains(&delete.id) {
            return Applied::Limited;
        }
        deletes.push_back(delete.id);
        if deletes.len() > ManifestLimits::DELETES_MAX {
            deletes.pop_front();
        }
        self.limits.tombstones.push(Arc::new(Tombstone { index, delete }));
        let job = self.freeze(SealReason::Requested);
        self.limit_views();
        Applied::Sealed(Box::new(job))
    }

    /// Gives the views what their readers must not see.
    fn limit_views(&mut self) {
        let cutoffs = |signal| self.limits.cutoffs(signal).clone();
        self.logs_view.cutoffs = cutoffs(Signal::Logs);
        self.traces_view.cutoffs = cutoffs(Signal::Traces);
        self.metrics_view.limits = Arc::new(Limits {
            cutoffs: cutoffs(Signal::Metrics),
            tombstones: self.limits.tombstones.clone(),
            frozen: self.frozen.clone(),
        });
    }

    /// Compactions that were applied and not carried out, in log order; some may be void ([`Compaction::settle`]).
    pub fn pending(&self) -> &[Compaction] {
        &self.pending
    }

    /// Forgets compactions that are done or void. Every seal before them must be in `manifest`.
    pub fn settle_pending(&mut self, manifest: &Manifest) {
        Compaction::settle(&mut self.pending, manifest);
    }

    /// What readers do not see, at the position.
    pub fn limits(&self) -> &ManifestLimits {
        &self.limits
    }

    /// A compaction is on disk: readers take the new block from now on, in the place of the first of the old ones.
    pub fn swapped(&mut self, swapped: &super::Swapped) {
        fn swap<B>(places: &mut Vec<Arc<B>>, added: &[Arc<B>], is_removed: impl Fn(&B) -> bool) {
            let at = places.iter().position(|b| is_removed(b)).unwrap_or(places.len());
            places.retain(|b| !is_removed(b));
            places.splice(at..at, added.iter().cloned());
        }
        let super::Swapped { signal, added, removed, manifest } = swapped;
        let is_removed = |name: &str| removed.iter().any(|file| file == name);
        match signal {
            Signal::Metrics => swap(&mut self.metrics_view.blocks, &added.metrics, |b| is_removed(b.name())),
            Signal::Logs => swap(&mut self.logs_view.blocks, &added.logs, |b| is_removed(b.name())),
            Signal::Traces => swap(&mut self.traces_view.blocks, &added.traces, |b| is_removed(b.name())),
        }
        self.forget_tombstones(manifest);
    }

    /// Forgets tombstones that a manifest on disk has forgotten.
    pub fn forget_tombstones(&mut self, manifest: &Manifest) {
        // Those that it does not know yet concern heads.
        let known = &manifest.limits.tombstones;
        self.limits.tombstones.retain(|t| t.index > manifest.position.index || known.contains(t));
        self.limit_views();
    }

    /// Swaps in fresh heads and a fresh table; the old heads stay readable until [`Self::sealed`].
    fn freeze(&mut self, reason: SealReason) -> super::SealJob {
        self.epoch += 1;
        self.table = 0;
        self.refs.clear();
        let metrics = std::mem::replace(&mut self.metrics, MetricsHead::new(self.config.metrics.clone())).view();
        let logs = std::mem::replace(&mut self.logs, RowsHead::new(Signal::Logs, self.config.rows.clone())).view();
        let traces =
            std::mem::replace(&mut self.traces, RowsHead::new(Signal::Traces, self.config.rows.clone())).view();
        self.metrics_view.heads.push(metrics.clone());
        self.logs_view.heads.push(logs.clone());
        self.traces_view.heads.push(traces.clone());
        self.frozen.push(self.position.index);
        self.limit_views();
        super::SealJob {
            shard: self.shard,
            epoch: self.epoch,
            reason,
            position: self.position,
            membership: self.membership.clone(),
            dedup: self.dedup.clone(),
            limits: self.limits.clone(),
            pending: self.pending.clone(),
            ledger: self.ledger.clone(),
            opener: self.config.opener(),
            touched: std::mem::take(&mut self.touched),
            metrics,
            logs,
            traces,
        }
    }

    /// The oldest sealing heads are on disk: readers take the blocks from now on.
    pub fn sealed(&mut self, blocks: super::OpenBlocks) {
        self.metrics_view.heads.remove(0);
        self.logs_view.heads.remove(0);
        self.traces_view.heads.remove(0);
        self.metrics_view.blocks.extend(blocks.metrics);
        self.logs_view.blocks.extend(blocks.logs);
        self.traces_view.blocks.extend(blocks.traces);
        self.frozen.remove(0);
        self.limit_views();
    }

    /// A block's file is damaged and gone: what concerns it is an error from now on. Whether such a block was there.
    pub fn lose(&mut self, entry: &BlockEntry) -> bool {
        self.replace(&super::OpenBlocks::lost(entry))
    }

    /// Puts the blocks, each found by its name, in the place of what readers see by that name. Whether all were there.
    pub fn replace(&mut self, blocks: &super::OpenBlocks) -> bool {
        fn put<B>(places: &mut [Arc<B>], block: &Arc<B>, name: impl Fn(&B) -> &str) -> bool {
            let place = places.iter_mut().find(|b| name(b) == name(block));
            place.is_some_and(|place| {
                *place = block.clone();
                true
            })
        }
        let metrics = blocks.metrics.iter().all(|b| put(&mut self.metrics_view.blocks, b, tsdb::Block::name));
        let logs = blocks.logs.iter().all(|b| put(&mut self.logs_view.blocks, b, rows::Block::name));
        let traces = blocks.traces.iter().all(|b| put(&mut self.traces_view.blocks, b, rows::Block::name));
        metrics && logs && traces
    }

    /// What readers may see now. Copies a few `Arc`s.
    pub fn view(&mut self) -> ShardView {
        let mut metrics = self.metrics_view.clone();
        metrics.heads.push(self.metrics.view());
        let mut logs = self.logs_view.clone();
        logs.heads.push(self.logs.view());
        let mut traces = self.traces_view.clone();
        traces.heads.push(self.traces.view());
        ShardView { shard: self.shard, position: self.position.index, metrics, logs, traces }
    }
}
