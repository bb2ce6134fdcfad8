//! Which series lost samples, and for what reason: what remote write 1.0 tells its writer of them.
use super::decode::{Decoded, decode_label};
use crate::wire::{Field, WireError, fields};

/// Series by the reason for which samples of them were refused, as texts.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) too_new: Option<String>,
    pub(super) too_old: Option<String>,
    pub(super) too_large: Option<String>,
    pub(super) bad_histograms: Option<String>,
}

/// Longest text of a series in an error, in bytes.
const NAMED_BYTES_MAX: usize = 512;

/// A series as it came, cut where it is long.
pub(super) fn shown(series: &[u8]) -> Result<String, WireError> {
    let mut pairs = Vec::new();
    let mut walk = fields(series, "TimeSeries");
    while let Some((number, field)) = walk.next_field()? {
        if let (1, Field::Bytes(bytes)) = (number, field) {
            pairs.extend(decode_label(bytes)?);
        }
    }
    let mut text = super::decode_v2::show(&pairs);
    if text.len() > NAMED_BYTES_MAX {
        text.truncate(text.floor_char_boundary(NAMED_BYTES_MAX));
        text.push('…');
    }
    Ok(text)
}

impl Decoded {
    /// Names the series if it is the first of which something was refused since `before`.
    pub(super) fn name_refused(&mut self, before: [u64; 3], series: &[u8]) -> Result<(), WireError> {
        let now = self.refused();
        let Named { too_new, too_old, bad_histograms, .. } = &mut self.named;
        let reasons = [too_new, too_old, bad_histograms].into_iter().zip(before.into_iter().zip(now));
        for (named, _) in reasons.filter(|(named, (before, now))| named.is_none() && before != now) {
            *named = Some(shown(series)?);
        }
        Ok(())
    }

    /// Samples that were refused for what they are: too new, too old, bad histograms.
    pub(super) fn refused(&self) -> [u64; 3] {
        [self.too_new, self.too_old, self.bad_histograms]
    }
}
