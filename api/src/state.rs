//! What every request shares: the cluster, the settings, the budget, the counters, the clock.
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use trine_query::scatter::QueryContext;
use trine_store::model::{Signal, Slot};
use trine_store::shard::PartOutcome;

use crate::backend::{Backend, ShardPart};
use crate::budget::Budget;
use crate::config::ApiConfig;
use crate::error::ApiError;
use crate::metrics::{MetricFamily, MetricsSource, Registry};
use crate::otlp::Deltas;
use crate::prom::{Notifications, SeriesCache};
use crate::snappy::Buffers;

/// Nanoseconds since the Unix epoch.
pub type Clock = fn() -> i64;

fn system_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The state of all surfaces; cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    backend: Arc<dyn Backend>,
    config: ApiConfig,
    budget: Budget,
    registry: Registry,
    sources: Vec<Arc<dyn MetricsSource>>,
    clock: Clock,
    started_ns: i64,
    deltas: Deltas,
    buffers: Buffers,
    series_cache: SeriesCache,
    notifications: Notifications,
}

impl Api {
    /// `sources` add families to `/metrics`.
    pub fn new(backend: Arc<dyn Backend>, config: ApiConfig, sources: Vec<Arc<dyn MetricsSource>>) -> Self {
        Self::with_clock(backend, config, sources, system_clock)
    }

    /// Like [`Api::new`] with a clock of the caller's.
    pub fn with_clock(
        backend: Arc<dyn Backend>,
        config: ApiConfig,
        sources: Vec<Arc<dyn MetricsSource>>,
        clock: Clock,
    ) -> Self {
        let budget = Budget::new(config.inflight_bytes_max);
        let registry = Registry::default();
        let series_cache = SeriesCache::new(config.series_cache_bytes);
        Self(Arc::new(Inner {
            backend,
            config,
            budget,
            registry,
            sources,
            clock,
            started_ns: clock(),
            deltas: Deltas::default(),
            buffers: Buffers::default(),
            series_cache,
            notifications: Notifications::default(),
        }))
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.0.backend
    }

    pub(crate) fn config(&self) -> &ApiConfig {
        &self.0.config
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// Every metric family of this process, as `/metrics` shows them.
    pub fn families(&self) -> Vec<MetricFamily> {
        let mut families = self.registry().families(self.budget().used_bytes(), self.backend().query_memory());
        families.extend(self.sources().iter().flat_map(|source| source.families()));
        families
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(crate) fn sources(&self) -> &[Arc<dyn MetricsSource>] {
        &self.0.sources
    }

    /// Sums of what came as differences.
    pub(crate) fn deltas(&self) -> &Deltas {
        &self.0.deltas
    }

    /// Buffers for decoded bodies.
    pub(crate) fn buffers(&self) -> &Buffers {
        &self.0.buffers
    }

    /// Series of remote write that were seen before.
    pub(crate) fn series_cache(&self) -> &SeriesCache {
        &self.0.series_cache
    }

    /// What whoever runs this node should know, and who listens.
    pub(crate) fn notifications(&self) -> &Notifications {
        &self.0.notifications
    }

    pub(crate) fn now_ns(&self) -> i64 {
        (self.0.clock)()
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ns().div_euclid(1_000_000)
    }

    pub(crate) fn started_ns(&self) -> i64 {
        self.0.started_ns
    }

    pub(crate) fn shard_of(&self, slot: Slot) -> u32 {
        self.0.backend.shard_of(slot)
    }

    /// Returns once the slots of log entries at `time_ns` are settled and known here.
    pub(crate) async fn settle(&self, time_ns: i64) -> Result<(), ApiError> {
        Ok(self.backend().settle(time_ns).await?)
    }

    /// `Err` while this node takes no requests.
    pub(crate) fn check_ready(&self) -> Result<(), ApiError> {
        self.backend().serving().map_err(|reason| ApiError::NotReady { reason })
    }

    /// Writes the parts of one request and counts what became of them. No parts, nothing to wait for.
    pub(crate) async fn write(&self, parts: Vec<ShardPart>) -> Result<Vec<PartOutcome>, ApiError> {
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let demoted: Vec<bool> = parts.iter().map(|part| part.demoted).collect();
        let outcomes = self.backend().write(parts).await?;
        self.registry().count_outcomes(demoted.into_iter().zip(&outcomes));
        Ok(outcomes)
    }

    /// Counts facts of a request that are refused for what they are.
    pub(crate) fn reject(&self, tenant: &str, signal: Signal, reason: &'static str, facts: u64) {
        self.registry().count_rejected(signal.as_str(), reason, facts);
        self.backend().reject(tenant, signal, reason, facts);
    }

    /// Context of a query that may run for `timeout_ms` or the server's limit, whichever is less.
    pub(crate) fn query_context(&self, tenant: &Arc<str>, timeout_ms: Option<i64>, strict: bool) -> QueryContext {
        let wanted = timeout_ms.map(|ms| std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        let deadline = Instant::now() + self.config().query_timeout(wanted);
        let memory = self.backend().query_memory().account();
        QueryContext { tenant: Arc::clone(tenant), deadline, strict, no_cache: false, count_steps: false, memory }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("config", self.config()).finish_non_exhaustive()
    }
}
