//! What the configuration is to the layers below: each takes the settings that it defines.
use trine_actors::ClusterConfig;
use trine_actors::shard::Retention;
use trine_api::{ApiConfig, HaConfig, OtlpConfig};
use trine_store::shard::CompactionPolicy;

use super::sections::RetentionConfig;
use super::{CompactionConfig, Config, address};
use crate::error::Error;

/// Most memory for the identities of series, some 250 bytes each.
const SERIES_CACHE_BYTES_MAX: usize = 512 << 20;
impl CompactionConfig {
    fn policy(&self) -> CompactionPolicy {
        CompactionPolicy {
            windows_ms: self.windows_s.iter().map(|s| s * 1000).collect(),
            settle_ms: self.settle_s.saturating_mul(1000),
            bytes_max: self.block_bytes,
            ..CompactionPolicy::default()
        }
    }
}

impl Config {
    fn retention(&self) -> Retention {
        let RetentionConfig { tenants_s, bytes, metrics_bytes, logs_bytes, traces_bytes } = &self.retention;
        Retention {
            signals_ms: [self.storage.retention_s * 1000; 3],
            tenants_ms: tenants_s.iter().map(|(tenant, s)| (tenant.clone(), s * 1000)).collect(),
            bytes_max: *bytes,
            signals_bytes_max: [*metrics_bytes, *logs_bytes, *traces_bytes],
        }
    }

    /// Settings of the cluster layer.
    pub(crate) fn cluster_config(&self) -> Result<ClusterConfig, Error> {
        let http = address("listen.http", &self.listen.http)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(ClusterConfig {
            data_dir: self.node.data_dir.clone(),
            node_name: self.node.name.clone(),
            zone: self.node.zone.clone(),
            rpc_listen: address("listen.rpc", &self.listen.rpc)?,
            gossip_listen: address("listen.gossip", &self.listen.gossip)?,
            advertise_host: self.node.advertise.clone(),
            http_advertise: format!("{}:{}", self.node.advertise, http.port()),
            join: self.cluster.join.clone(),
            bootstrap_expect: self.cluster.bootstrap_expect,
            cluster_key: self.cluster.key.clone(),
            shards_count: self.cluster.shards,
            replication_factor: self.cluster.replication_factor,
            memory_budget_bytes: self.node.memory_bytes,
            head_age_ms_max: self.storage.head_age_s * 1000,
            wal_bytes_soft: self.storage.wal_bytes,
            disk_reserve_bytes: self.storage.disk_reserve_bytes,
            scrub_interval_ms: self.scrub.interval_s.saturating_mul(1000),
            scrub_bytes_per_second: self.scrub.bytes_per_second,
            pool_threads: cores,
            compaction: self.compaction.policy(),
            compaction_bytes_per_second: self.compaction.bytes_per_s,
            retention: self.retention(),
            quarantine_keep_ms: self.recovery.quarantine_s.saturating_mul(1000),
            quarantine_bytes_max: self.recovery.quarantine_bytes,
            fetch_bytes_per_second: self.recovery.fetch_bytes_per_s,
            fetches_max: self.recovery.fetches,
            future_ms_max: self.limits.future_s * 1000,
            spread_lead_ms: self.spread.lead_s * 1000,
            spread_bytes_per_second: self.spread.bytes_per_s,
            spread_after_ms: self.spread.after_s * 1000,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// Settings of the surfaces.
    pub(crate) fn api_config(&self) -> ApiConfig {
        let defaults = ApiConfig::default();
        let ms = |seconds: u64| i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
        let share = usize::try_from(self.node.memory_bytes / 8).unwrap_or(usize::MAX);
        ApiConfig {
            require_tenant: self.tenancy.require_tenant,
            inflight_bytes_max: share,
            series_cache_bytes: (share / 4).min(SERIES_CACHE_BYTES_MAX),
            retention_ms: ms(self.storage.retention_s),
            tenants_retention_ms: self.retention.tenants_s.iter().map(|(t, s)| (t.clone(), ms(*s))).collect(),
            future_ms_max: i64::try_from(self.limits.future_s * 1000).unwrap_or(i64::MAX),
            query_timeout_ms: match self.limits.query_timeout_s {
                0 => defaults.query_timeout_ms,
                s => s * 1000,
            },
            query_samples_max: self.limits.query_samples,
            slow_query_ms: self.limits.slow_query_ms,
            external_labels: self.metrics.external_labels.clone(),
            start_timestamps: self.metrics.start_timestamps,
            admin_api: self.metrics.admin_api,
            otlp: self.otlp_config(),
            ha: HaConfig {
                enabled: self.ha.enabled,
                tenants: self.ha.tenants.clone(),
                cluster_label: self.ha.cluster_label.clone(),
                replica_label: self.ha.replica_label.clone(),
                failover_ms: i64::try_from(self.ha.failover_s * 1000).unwrap_or(i64::MAX),
                renew_ms: i64::try_from(self.ha.renew_s * 1000).unwrap_or(i64::MAX),
            },
            ..defaults
        }
    }

    fn otlp_config(&self) -> OtlpConfig {
        let otlp = self.otlp.clone();
        OtlpConfig {
            translation_strategy: otlp.translation_strategy,
            promote_resource_attributes: otlp.promote_resource_attributes,
            promote_all_resource_attributes: otlp.promote_all_resource_attributes,
            ignore_resource_attributes: otlp.ignore_resource_attributes,
            keep_identifying_resource_attributes: otlp.keep_identifying_resource_attributes,
            convert_histograms_to_nhcb: otlp.convert_histograms_to_nhcb,
            promote_scope_metadata: otlp.promote_scope_metadata,
            delta_to_cumulative: otlp.delta_to_cumulative,
        }
    }
}
