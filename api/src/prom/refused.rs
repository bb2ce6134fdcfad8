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

/// About the longest text of a series in an error, in bytes: what a client sends may be as long as a body.
const SHOWN_BYTES_MAX: usize = 512;

/// Labels for an error, cut where they are long.
pub(super) fn show(pairs: &[(&str, &str)]) -> String {
    let cut = |text: &str| text[..text.floor_char_boundary(SHOWN_BYTES_MAX)].to_owned();
    let mut out = String::from("{");
    for (at, (name, value)) in pairs.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        out.push_str(&format!("{comma}{}={:?}", cut(name), cut(value)));
        if out.len() > SHOWN_BYTES_MAX {
            out.truncate(out.floor_char_boundary(SHOWN_BYTES_MAX));
            out.push('…');
            return out;
        }
    }
    out.push('}');
    out
}

/// A series as it came.
pub(super) fn shown(series: &[u8]) -> Result<String, WireError> {
    let mut pairs = Vec::new();
    let mut walk = fields(series, "TimeSeries");
    // Each label takes a byte of the text at least.
    while let Some((number, field)) = walk.next_field()?.filter(|_| pairs.len() <= SHOWN_BYTES_MAX) {
        if let (1, Field::Bytes(bytes)) = (number, field) {
            pairs.extend(decode_label(bytes)?);
        }
    }
    Ok(show(&pairs))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_labels_are_cut() {
        assert_eq!(show(&[("a", "b"), ("c", "\"")]), r#"{a="b", c="\""}"#);
        assert_eq!(show(&[]), "{}");
        let long = "é".repeat(1 << 20);
        for pairs in [&[("a", &*long)][..], &[(&*long, "b")], &[("a", "b"); 10_000]] {
            let text = show(pairs);
            assert!((500..520).contains(&text.len()) && text.ends_with('…'), "{} bytes", text.len());
        }
    }
}
