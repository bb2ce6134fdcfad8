//! Settings of the surfaces. Only `node` reads files and flags.
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits and defaults of all protocol surfaces. Sizes are bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Refuse requests without `X-Scope-OrgID` with 401; otherwise they belong to the tenant `default`.
    pub require_tenant: bool,
    /// Request bodies, compressed and decoded, that may be in flight at once on this node; beyond it requests get 429.
    pub inflight_bytes_max: usize,
    /// Memory for the identities of series that remote write has brought before; 0 keeps none.
    pub series_cache_bytes: usize,
    /// Largest compressed remote write body.
    pub remote_write_bytes_max: usize,
    /// Largest decoded remote write body.
    pub remote_write_decoded_bytes_max: usize,
    /// Largest compressed Loki push body.
    pub loki_push_bytes_max: usize,
    /// Largest decoded Loki push body.
    pub loki_push_decoded_bytes_max: usize,
    /// Largest OTLP body before and after decompression.
    pub otlp_bytes_max: usize,
    /// Largest form body of a query.
    pub form_bytes_max: usize,
    /// Longest log line.
    pub line_bytes_max: usize,
    /// Most labels of a log stream.
    pub stream_labels_max: usize,
    /// Longest label name of a log stream.
    pub label_name_bytes_max: usize,
    /// Longest label value of a log stream.
    pub label_value_bytes_max: usize,
    /// Most structured metadata entries of a log entry.
    pub structured_metadata_entries_max: usize,
    /// Most bytes of structured metadata of a log entry.
    pub structured_metadata_bytes_max: usize,
    /// Longest canonical label set of a metric series: a definition must fit into a log entry.
    pub series_bytes_max: usize,
    /// Longest attribute key or value of a span; longer ones are cut.
    pub span_attribute_bytes_max: usize,
    /// Samples and lines this far in the future are refused, in milliseconds.
    pub future_ms_max: i64,
    /// Samples older than this are refused, in milliseconds; 0 keeps everything.
    pub retention_ms: i64,
    /// The same for some tenants.
    pub tenants_retention_ms: BTreeMap<String, i64>,
    /// Longest a query may run, in milliseconds.
    pub query_timeout_ms: u64,
    /// Samples that a PromQL query may read on a node, or hold on the one that was asked.
    pub query_samples_max: u64,
    /// PromQL queries that take this long are told of in the log, in milliseconds; 0: none.
    pub slow_query_ms: u64,
    /// PromQL lookback, in milliseconds.
    pub lookback_ms: i64,
    /// Labels that federation and remote read add to every series.
    pub external_labels: BTreeMap<String, String>,
    /// Keep the start timestamps that remote write 2.0 brings.
    pub start_timestamps: bool,
    /// Whether Prometheus' `admin/tsdb` endpoints, which delete and copy data, are served.
    pub admin_api: bool,
    /// How OpenTelemetry's metrics become series.
    pub otlp: OtlpConfig,
    /// Which of two replicas that send the same is stored.
    pub ha: HaConfig,
    /// Most lines of a log query.
    pub log_entries_max: usize,
    /// Most series of a LogQL metric query.
    pub log_series_max: usize,
    /// Longest range of a log query, in milliseconds.
    pub log_query_range_ms_max: i64,
    /// Longest range of a trace search, in seconds.
    pub trace_search_range_s_max: i64,
    /// Most traces of a search.
    pub trace_search_limit_max: usize,
}

impl Default for ApiConfig {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self {
            require_tenant: false,
            inflight_bytes_max: 512 * MIB,
            series_cache_bytes: 16 * MIB,
            remote_write_bytes_max: 32 * MIB,
            remote_write_decoded_bytes_max: 32 * MIB,
            loki_push_bytes_max: 100 * MIB,
            loki_push_decoded_bytes_max: 256 * MIB,
            otlp_bytes_max: 20 * MIB,
            form_bytes_max: 10 * MIB,
            line_bytes_max: 256 << 10,
            stream_labels_max: 15,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 2048,
            structured_metadata_entries_max: 128,
            structured_metadata_bytes_max: 64 << 10,
            series_bytes_max: 32 << 10,
            span_attribute_bytes_max: 2048,
            future_ms_max: 10 * 60 * 1000,
            retention_ms: 0,
            tenants_retention_ms: BTreeMap::new(),
            query_timeout_ms: 2 * 60 * 1000,
            query_samples_max: trine_query::promql::SAMPLES_MAX,
            slow_query_ms: 10_000,
            lookback_ms: 5 * 60 * 1000,
            external_labels: BTreeMap::new(),
            start_timestamps: false,
            admin_api: false,
            otlp: OtlpConfig::default(),
            ha: HaConfig::default(),
            log_entries_max: 5000,
            log_series_max: 500,
            log_query_range_ms_max: 721 * 3600 * 1000,
            trace_search_range_s_max: 168 * 3600,
            trace_search_limit_max: 262_144,
        }
    }
}

impl ApiConfig {
    /// How long facts of a tenant are kept, in ms; 0: for ever.
    pub fn retention_ms_of(&self, tenant: &str) -> i64 {
        self.tenants_retention_ms.get(tenant).copied().unwrap_or(self.retention_ms)
    }
}

/// How names and units of OpenTelemetry become names of metrics and labels; names as in Prometheus' configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TranslationStrategy {
    /// What is not `[a-zA-Z0-9:_]` becomes `_`; unit and type become suffixes.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// The same without suffixes.
    UnderscoreEscapingWithoutSuffixes,
    /// Names stay as they are, with suffixes.
    #[serde(rename = "NoUTF8EscapingWithSuffixes")]
    NoUtf8EscapingWithSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

/// How OpenTelemetry's metrics become series; as Prometheus' `otlp` section.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpConfig {
    /// How names are made.
    pub translation_strategy: TranslationStrategy,
    /// Resource attributes that every series of the resource gets as labels.
    pub promote_resource_attributes: Vec<String>,
    /// All resource attributes are promoted, but those of `ignore_resource_attributes`.
    pub promote_all_resource_attributes: bool,
    /// Resource attributes that are not promoted when all are.
    pub ignore_resource_attributes: Vec<String>,
    /// `target_info` has `service.name`, `service.namespace` and `service.instance.id`, too.
    pub keep_identifying_resource_attributes: bool,
    /// Histograms with explicit bounds become native histograms with custom buckets.
    pub convert_histograms_to_nhcb: bool,
    /// Name, version, schema and attributes of the scope become labels `otel_scope_…`.
    pub promote_scope_metadata: bool,
    /// Sums and histograms of delta temporality are added up; refused without it.
    pub delta_to_cumulative: bool,
}

/// Pairs of agents that send the same: of each cluster one replica is stored, as Mimir's HA tracker does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HaConfig {
    /// Take part at all; without it replicas are labels like any other.
    pub enabled: bool,
    /// Tenants that take part; all if there is none.
    pub tenants: Vec<String>,
    /// Label that names a pair.
    pub cluster_label: String,
    /// Label that names one of a pair; taken off what is stored.
    pub replica_label: String,
    /// Another replica is elected once the elected one has been silent this long, in milliseconds.
    pub failover_ms: i64,
    /// The elected replica's lease is renewed this often at most, in milliseconds.
    pub renew_ms: i64,
}

impl Default for HaConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            tenants: Vec::new(),
            cluster_label: "cluster".to_owned(),
            replica_label: "__replica__".to_owned(),
            failover_ms: 30_000,
            renew_ms: 15_000,
        }
    }
}

impl HaConfig {
    /// Whether requests of this tenant are looked at.
    pub fn concerns(&self, tenant: &str) -> bool {
        self.enabled && (self.tenants.is_empty() || self.tenants.iter().any(|t| t == tenant))
    }
}

impl ApiConfig {
    /// Deadline of a query that asks for `wanted` or nothing.
    pub fn query_timeout(&self, wanted: Option<Duration>) -> Duration {
        let max = Duration::from_millis(self.query_timeout_ms);
        wanted.map_or(max, |w| w.min(max))
    }
}
