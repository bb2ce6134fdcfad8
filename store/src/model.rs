//! What is kept: tenants, labels, typed attributes, samples, log entries and spans.
pub mod attrs;
pub mod demotion;
pub mod events;
pub mod intrinsic;
pub mod labels;
pub mod signal;
pub mod spread;
pub mod value;

pub use attrs::{Attr, Attrs, AttrsBuilder, Scope};
pub use demotion::{
    DEMOTIONS_OF_METRIC_MAX, Demoted, Demotion, Demotions, LabelOfMetric, SeriesDemotions, TenantDemotions,
};
pub use labels::{Labels, LabelsBuilder};
pub use signal::{SLOTS, Signal, Slot, slot_of_key, slot_of_trace};
pub use spread::{NotFinal, SPREAD_SLOTS_MAX, Spread, Spreads};
pub use value::{Value, ValueType};

/// Bit pattern of Prometheus' stale marker, a NaN that ends a series at its timestamp.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;
/// Longest tenant name in bytes.
pub const TENANT_BYTES_MAX: usize = 150;
