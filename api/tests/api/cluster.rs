//! A cluster of two shards in memory, without logs or disks: parts are applied to real heads at once.
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use trine_api::admin::model::{
    AdminCluster, AdminLedger, AdminLedgerRow, AdminNode, AdminScrub, AdminScrubNode, AdminShard, AdminSpread,
    AdminSpreads, AdminVerification, FlushReport,
};
use trine_api::backend::{Backend, Election, ReplicaClaim, ShardPart, Troubles, WriteError};
use trine_query::fragment::{Fragment, FragmentLimits, run_fragment};
use trine_query::memory::QueryMemory;
use trine_query::scatter::{Item, QueryContext, Scatter, ShardAnswer};
use trine_store::model::signal::key_hash;
use trine_store::model::{
    Demotion, Demotions, LabelOfMetric, Labels, SLOTS, Signal, Slot, Spread, Spreads, TenantDemotions,
};
use trine_store::part::PartRef;
use trine_store::rows::{self, RowsHead, RowsView};
use trine_store::shard::{PartOutcome, ShardView};
use trine_store::tsdb::{self, MetricsHead, MetricsView};

use crate::client::NOW_S;

pub(crate) const SHARDS: u32 = 2;

struct Shard {
    shard: u32,
    position: u64,
    metrics: MetricsHead,
    logs: RowsHead,
    traces: RowsHead,
    digests: HashSet<u128>,
}

impl Shard {
    fn new(shard: u32) -> Self {
        Self {
            shard,
            position: 0,
            metrics: MetricsHead::new(tsdb::HeadConfig::default()),
            logs: RowsHead::new(Signal::Logs, rows::HeadConfig::default()),
            traces: RowsHead::new(Signal::Traces, rows::HeadConfig::default()),
            digests: HashSet::new(),
        }
    }

    fn apply(&mut self, part: &PartRef<'_>) -> Result<PartOutcome, trine_store::codec::Error> {
        if !self.digests.insert(part.digest) {
            return Ok(PartOutcome { repeated: part.facts_count, ..PartOutcome::default() });
        }
        self.position += 1;
        let tenant: Arc<str> = Arc::from(part.tenant);
        if part.signal == Signal::Metrics {
            let refs: Result<Vec<_>, _> =
                part.defs.iter().map(|d| self.metrics.resolve(&tenant, d.hash, d.key)).collect();
            return self.metrics.append(&tenant, self.position, &refs?, part.body);
        }
        let head = if part.signal == Signal::Logs { &mut self.logs } else { &mut self.traces };
        let refs: Result<Vec<_>, _> = part.defs.iter().map(|d| head.resolve(&tenant, d.hash, d.key)).collect();
        head.append(&tenant, self.position, &refs?, part.body, part.assigned_ns)
    }

    fn view(&mut self) -> Arc<ShardView> {
        let rows = |signal, head: &mut RowsHead| RowsView { heads: vec![head.view()], ..RowsView::new(signal) };
        Arc::new(ShardView {
            shard: self.shard,
            position: self.position,
            metrics: MetricsView { heads: vec![self.metrics.view()], ..MetricsView::default() },
            logs: rows(Signal::Logs, &mut self.logs),
            traces: rows(Signal::Traces, &mut self.traces),
        })
    }
}

/// The double. `missing` is a shard that does not answer queries; `refuse` is what writes fail with.
pub(crate) struct Cluster {
    shards: Mutex<Vec<Shard>>,
    pub(crate) ready: Mutex<Result<(), String>>,
    pub(crate) missing: Mutex<Option<u32>>,
    pub(crate) refuse: Mutex<Option<WriteError>>,
    /// Queries hold a clone, and are never answered.
    pub(crate) stalled: Mutex<Option<Arc<()>>>,
    /// Outcomes of all writes so far.
    pub(crate) outcomes: Mutex<Vec<PartOutcome>>,
    /// What the surfaces refused: tenant, signal, reason, facts.
    pub(crate) rejected: Mutex<Vec<(String, Signal, &'static str, u64)>>,
    /// Where log entries go, and the times that were asked to be settled.
    pub(crate) spreads: Mutex<Spreads>,
    pub(crate) settled: Mutex<Vec<i64>>,
    /// Shards of all parts so far.
    pub(crate) written: Mutex<Vec<u32>>,
    /// What queries may hold.
    pub(crate) queries: QueryMemory,
    /// What every claim of a replica is told.
    pub(crate) election: Mutex<Election>,
    /// Labels that samples lose.
    pub(crate) demotions: Mutex<Vec<Demotion>>,
    pub(crate) troubles: Mutex<Troubles>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::with_queries(QueryMemory::unbounded())
    }

    pub(crate) fn with_queries(queries: QueryMemory) -> Self {
        Self {
            shards: Mutex::new((0..SHARDS).map(Shard::new).collect()),
            ready: Mutex::new(Ok(())),
            missing: Mutex::new(None),
            refuse: Mutex::new(None),
            stalled: Mutex::new(None),
            outcomes: Mutex::new(Vec::new()),
            rejected: Mutex::new(Vec::new()),
            spreads: Mutex::new(Spreads::none()),
            settled: Mutex::new(Vec::new()),
            written: Mutex::new(Vec::new()),
            queries,
            election: Mutex::new(Election::Elected),
            demotions: Mutex::default(),
            troubles: Mutex::default(),
        }
    }
}

/// What queries see; taken when the query starts.
struct Views {
    views: Vec<Arc<ShardView>>,
    missing: Option<u32>,
    stalled: Option<Arc<()>>,
}

impl Scatter for Views {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, trine_query::Result<Item>> {
        if let Some(stalled) = self.stalled.clone() {
            return stream::once(async move {
                let _held = stalled;
                std::future::pending().await
            })
            .boxed();
        }
        let limits = FragmentLimits::new(64 << 20, ctx.deadline, ctx.memory.clone());
        if let Some(shard) = self.missing.filter(|_| ctx.strict) {
            let (node, error) = ("n1".to_owned(), Some("down".to_owned()));
            let down = ShardAnswer { shard, node, error, ..ShardAnswer::default() };
            return stream::iter([Err(trine_query::Error::ShardMissing(down.into()))]).boxed();
        }
        let here: Vec<Arc<ShardView>> = self.views.iter().filter(|v| Some(v.shard) != self.missing).cloned().collect();
        let mut items = Vec::new();
        let mut sink = |frame: Bytes| {
            items.push(Ok(Item::Frame(frame)));
            Ok(())
        };
        if let Err(error) = run_fragment(&fragment, &ctx.tenant, &here, &limits, &mut sink) {
            return stream::iter([Err(error)]).boxed();
        }
        for view in &self.views {
            let error = (Some(view.shard) == self.missing).then(|| "down".to_owned());
            let (shard, node) = (view.shard, "n1".to_owned());
            let answer = match error {
                None => ShardAnswer { shard, node, replica: 5, position: view.position, error },
                Some(_) => ShardAnswer { shard, node, error, ..ShardAnswer::default() },
            };
            items.push(Ok(Item::ShardDone(answer)));
        }
        stream::iter(items).boxed()
    }
}

#[async_trait]
impl Backend for Cluster {
    fn shard_of(&self, slot: Slot) -> u32 {
        u32::from(slot.0) * SHARDS / u32::from(SLOTS)
    }

    fn spreads(&self) -> Spreads {
        self.spreads.lock().unwrap().clone()
    }

    /// Settles a second more than it is asked for; no stream is spread then.
    async fn settle(&self, time_ns: i64) -> Result<(), WriteError> {
        self.settled.lock().unwrap().push(time_ns);
        if let Some(error) = self.refuse.lock().unwrap().clone() {
            return Err(error);
        }
        *self.spreads.lock().unwrap() = Spreads::new(Vec::new(), time_ns + 1_000_000_000);
        Ok(())
    }

    async fn spread_streams(&self) -> AdminSpreads {
        AdminSpreads { spreads: vec![AdminSpread::default()], ..AdminSpreads::default() }
    }

    async fn spread_stream(&self, tenant: &str, stream: &Labels, slots: u16, from_ns: i64) -> Result<i64, String> {
        let spread = Spread { hash: key_hash(tenant, stream.as_bytes()), from_ns: from_ns.max(1), slots };
        if slots == 0 {
            return Err("0 slots".to_owned());
        }
        *self.spreads.lock().unwrap() = Spreads::new(vec![spread], i64::MAX);
        Ok(spread.from_ns)
    }

    async fn write(&self, parts: Vec<ShardPart>) -> Result<Vec<PartOutcome>, WriteError> {
        if let Some(error) = self.refuse.lock().unwrap().clone() {
            return Err(error);
        }
        self.written.lock().unwrap().extend(parts.iter().map(|p| p.shard));
        let mut shards = self.shards.lock().unwrap();
        let outcomes: Result<Vec<_>, _> = parts
            .iter()
            .map(|p| {
                let part = PartRef::decode(&p.part).map_err(|e| WriteError::Invalid(e.to_string()))?;
                shards[p.shard as usize].apply(&part).map_err(|e| WriteError::Invalid(e.to_string()))
            })
            .collect();
        let outcomes = outcomes?;
        self.outcomes.lock().unwrap().extend(outcomes.clone());
        Ok(outcomes)
    }

    fn demotions(&self, tenant: &str) -> Option<TenantDemotions> {
        Demotions::new(&self.demotions.lock().unwrap()).of(tenant)
    }

    fn demoted_labels(&self) -> Vec<Demotion> {
        self.demotions.lock().unwrap().clone()
    }

    async fn demote(&self, what: &LabelOfMetric) -> Result<i64, String> {
        let from_ms = NOW_S * 1000 + 15_000;
        self.demotions.lock().unwrap().push(Demotion { of: what.clone(), from_ms, until_ms: i64::MAX });
        Ok(from_ms)
    }

    async fn restore(&self, what: &LabelOfMetric) -> Result<i64, String> {
        let mut rows = self.demotions.lock().unwrap();
        let row = rows.iter_mut().find(|row| row.of == *what).ok_or("it is not demoted")?;
        row.until_ms = NOW_S * 1000 + 30_000;
        Ok(row.until_ms)
    }

    async fn elect(&self, _claim: &ReplicaClaim) -> Result<Election, WriteError> {
        Ok(self.election.lock().unwrap().clone())
    }

    fn scatter(&self) -> Arc<dyn Scatter> {
        let views = self.shards.lock().unwrap().iter_mut().map(Shard::view).collect();
        let (missing, stalled) = (*self.missing.lock().unwrap(), self.stalled.lock().unwrap().clone());
        Arc::new(Views { views, missing, stalled })
    }

    fn query_memory(&self) -> &QueryMemory {
        &self.queries
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.lock().unwrap().clone()
    }

    fn troubles(&self) -> Troubles {
        self.troubles.lock().unwrap().clone()
    }

    async fn cluster(&self) -> AdminCluster {
        AdminCluster { id: "c".to_owned(), nodes_count: 1, shards_count: SHARDS, ..AdminCluster::default() }
    }

    async fn nodes(&self) -> Vec<AdminNode> {
        vec![AdminNode { id: 1, name: "n1".to_owned(), ..AdminNode::default() }]
    }

    async fn shards(&self) -> Vec<AdminShard> {
        (0..SHARDS).map(|shard| AdminShard { shard, ..AdminShard::default() }).collect()
    }

    fn reject(&self, tenant: &str, signal: Signal, reason: &'static str, facts: u64) {
        if facts > 0 {
            self.rejected.lock().unwrap().push((tenant.to_owned(), signal, reason, facts));
        }
    }

    async fn ledger(&self) -> AdminLedger {
        let row = |tenant: &str| AdminLedgerRow { tenant: tenant.to_owned(), received: 7, ..AdminLedgerRow::default() };
        AdminLedger { facts: vec![row("a"), row("b")], ..AdminLedger::default() }
    }

    async fn verify_ledger(&self, start: bool) -> AdminVerification {
        AdminVerification { balanced: (!start).then_some(true), ..AdminVerification::default() }
    }

    async fn scrub(&self, start: bool) -> AdminScrub {
        AdminScrub { nodes: vec![AdminScrubNode { node: "one".into(), running: start, ..AdminScrubNode::default() }] }
    }

    async fn flush(&self) -> Result<FlushReport, String> {
        Ok(FlushReport { shards: vec![0, 1], ..FlushReport::default() })
    }
}
