//! Names of intrinsic columns ([`crate::model::Scope::Intrinsic`]): fields that the protocols define. On disk: never rename.
//!
//! Absent means the protocol's default (empty string, zero).

/// 16 raw bytes.
pub const TRACE_ID: &str = "trace_id";
/// 8 raw bytes.
pub const SPAN_ID: &str = "span_id";
/// 8 raw bytes; absent on a root.
pub const PARENT_SPAN_ID: &str = "parent_span_id";
pub const NAME: &str = "name";
/// Int: OTLP SpanKind.
pub const KIND: &str = "kind";
/// Int: end minus start in ns (wrapping subtraction, so that any pair of times comes back).
pub const DURATION_NS: &str = "duration_ns";
/// Int: OTLP StatusCode.
pub const STATUS_CODE: &str = "status_code";
pub const STATUS_MESSAGE: &str = "status_message";
pub const TRACE_STATE: &str = "trace_state";
/// Int: u32 span flags.
pub const FLAGS: &str = "flags";
/// Bytes: [`crate::model::events::encode_events`].
pub const EVENTS: &str = "events";
/// Bytes: [`crate::model::events::encode_links`].
pub const LINKS: &str = "links";
pub const DROPPED_ATTRIBUTES_COUNT: &str = "dropped_attributes_count";
pub const DROPPED_EVENTS_COUNT: &str = "dropped_events_count";
pub const DROPPED_LINKS_COUNT: &str = "dropped_links_count";
/// In a span stream's key: instrumentation scope and schema URLs.
pub const SCOPE_NAME: &str = "scope_name";
pub const SCOPE_VERSION: &str = "scope_version";
pub const SCOPE_DROPPED_ATTRIBUTES_COUNT: &str = "scope_dropped_attributes_count";
pub const RESOURCE_DROPPED_ATTRIBUTES_COUNT: &str = "resource_dropped_attributes_count";
pub const RESOURCE_SCHEMA_URL: &str = "resource_schema_url";
pub const SCOPE_SCHEMA_URL: &str = "scope_schema_url";
