//! Settings of the surfaces. Only `node` reads files and flags.
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
    /// Longest a query may run, in milliseconds.
    pub query_timeout_ms: u64,
    /// PromQL lookback, in milliseconds.
    pub lookback_ms: i64,
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
            query_timeout_ms: 2 * 60 * 1000,
            lookback_ms: 5 * 60 * 1000,
            log_entries_max: 5000,
            log_series_max: 500,
            log_query_range_ms_max: 721 * 3600 * 1000,
            trace_search_range_s_max: 168 * 3600,
            trace_search_limit_max: 262_144,
        }
    }
}

impl ApiConfig {
    /// Deadline of a query that asks for `wanted` or nothing.
    pub fn query_timeout(&self, wanted: Option<Duration>) -> Duration {
        let max = Duration::from_millis(self.query_timeout_ms);
        wanted.map_or(max, |w| w.min(max))
    }
}
