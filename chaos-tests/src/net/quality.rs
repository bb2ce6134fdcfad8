//! How good one direction of a link is.
use std::time::Duration;

/// One direction of a link. The default is as good as loopback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// Nothing arrives.
    pub cut: bool,
    /// Packets lost of a hundred.
    pub loss_percent: u8,
    /// Added to every packet's way.
    pub delay: Duration,
    /// Bytes a second that pass; 0 for all.
    pub bytes_per_s: u64,
}

impl Quality {
    /// Nothing arrives.
    pub fn cut() -> Self {
        Self { cut: true, ..Self::default() }
    }

    /// The worse of both in every respect; delays add up.
    pub(super) fn and(self, other: Self) -> Self {
        let limit = match (self.bytes_per_s, other.bytes_per_s) {
            (0, limit) | (limit, 0) => limit,
            (a, b) => a.min(b),
        };
        Self {
            cut: self.cut || other.cut,
            loss_percent: self.loss_percent.max(other.loss_percent),
            delay: self.delay + other.delay,
            bytes_per_s: limit,
        }
    }

    /// How long `bytes` take on the wire.
    pub(super) fn transmission(&self, bytes: usize) -> Duration {
        match self.bytes_per_s {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(bytes as f64 / rate as f64),
        }
    }
}
