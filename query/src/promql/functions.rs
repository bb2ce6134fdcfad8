//! Pure functions over columns of timestamps and values, used beside the data and on the asking node alike.
pub mod buckets;
pub mod calendar;
pub mod edges;
pub mod extended;
mod extremes;
pub mod kahan;
pub mod math;
pub mod native;
pub mod over_time;
pub mod range;
pub mod rate;
pub mod slide;

use trine_store::model::STALE_NAN_BITS;

/// What a step holds where a series has no value there: the stale marker, which no computation yields.
pub const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a step has no value.
#[inline]
pub fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}
