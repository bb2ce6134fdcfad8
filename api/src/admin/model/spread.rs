//! Documents of `/admin/v1/spread`.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The log streams that are spread over several slots. Times are of entries, in Unix ms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminSpreads {
    /// A spread that is asked for now begins no earlier than this.
    pub earliest_unix_ms: i64,
    /// Entries before this have their slots for good, as far as the node that answers knows.
    pub settled_unix_ms: i64,
    /// Bytes a second of one stream in one shard beyond which it is spread by itself; 0: never.
    pub bytes_per_second: u64,
    /// In the order in which they were asked for; a stream has a row for each change.
    pub spreads: Vec<AdminSpread>,
}

/// From a time on, the entries of a stream are spread over some slots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminSpread {
    pub tenant: String,
    /// The stream's labels, like `{app="shop"}`.
    pub stream: String,
    /// First entry time, in Unix ms, rounded up.
    pub from_unix_ms: i64,
    /// First entry time, in Unix ns.
    pub from_unix_ns: i64,
    /// 1: the stream is not spread any more.
    pub slots: u16,
    /// Whether entries of now are concerned.
    pub begun: bool,
}

/// A stream to be spread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpreadRequest {
    /// `default` without.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The labels as they are pushed, like `{app="shop"}`.
    pub stream: String,
    /// 1 to 256; 1 ends a spread.
    pub slots: u16,
    /// First entry time, in Unix ms; without, as early as possible.
    #[serde(default)]
    pub from_unix_ms: Option<i64>,
}
