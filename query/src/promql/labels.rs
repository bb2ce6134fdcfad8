//! Label sets cut and joined as PromQL does.
use std::cmp::Ordering;

use trine_store::codec::put_bytes;
use trine_store::index::compare_labels;
use trine_store::model::{Labels, LabelsBuilder};

use super::parser::METRIC_NAME;

/// Prometheus' order of label sets.
pub(super) fn compare(a: &Labels, b: &Labels) -> Ordering {
    compare_labels(a.as_bytes(), b.as_bytes())
}

fn build(pairs: impl Iterator<Item = (impl AsRef<str>, impl AsRef<str>)>) -> Labels {
    let mut builder = LabelsBuilder::default();
    for (name, value) in pairs {
        builder.push(name.as_ref(), value.as_ref());
    }
    builder.build().expect("names of one label set are unique")
}

/// The labels whose name `is_kept`.
pub(super) fn keep(labels: &Labels, is_kept: impl Fn(&str) -> bool) -> Labels {
    if labels.iter().all(|(name, _)| is_kept(name)) {
        return labels.clone();
    }
    build(labels.iter().filter(|(name, _)| is_kept(name)))
}

/// The labels with `name` set to `value`; an empty value removes it.
pub(super) fn set(labels: &Labels, name: &str, value: &str) -> Labels {
    build(labels.iter().filter(|(n, _)| *n != name).chain(std::iter::once((name, value))))
}

/// Without the labels that describe the metric itself.
pub(super) fn drop_metric(labels: &Labels) -> Labels {
    keep(labels, |name| !matches!(name, METRIC_NAME | "__type__" | "__unit__"))
}

/// The labels of an aggregation's group.
pub(super) fn group(labels: &Labels, without: bool, grouping: &[String]) -> Labels {
    let is_listed = |name: &str| grouping.iter().any(|g| g == name);
    if without { keep(labels, |name| name != METRIC_NAME && !is_listed(name)) } else { keep(labels, is_listed) }
}

/// Appends the canonical encoding of [`group`].
pub(super) fn group_into(labels: &Labels, without: bool, grouping: &[String], out: &mut Vec<u8>) {
    let is_listed = |name: &[u8]| grouping.iter().any(|g| g.as_bytes() == name);
    if grouping.is_empty() && !without {
        return;
    }
    for (name, value) in labels.iter_bytes() {
        let is_kept = if without { name != METRIC_NAME.as_bytes() && !is_listed(name) } else { is_listed(name) };
        if is_kept {
            put_bytes(out, name);
            put_bytes(out, value);
        }
    }
}

/// 64-bit hash of the label set as Prometheus hashes it, for sampling by ratio.
pub(super) fn prometheus_hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::with_capacity(labels.as_bytes().len());
    for (name, value) in labels.iter() {
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(len) if len < 255 => bytes.push(len),
                _ => {
                    bytes.push(255);
                    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
                }
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_and_joined() {
        let l = Labels::from_pairs([("__name__", "m"), ("a", "1"), ("b", "2")]).unwrap();
        let text = |l: &Labels| l.to_string();
        assert_eq!(text(&drop_metric(&l)), r#"{a="1", b="2"}"#);
        assert_eq!(text(&group(&l, false, &["b".to_owned()])), r#"{b="2"}"#);
        assert_eq!(text(&group(&l, true, &["b".to_owned()])), r#"{a="1"}"#);
        for (without, grouping) in [(false, &["b"][..]), (true, &["b"]), (false, &[]), (true, &[]), (false, &["x"])] {
            let (grouping, mut key) = (grouping.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>(), Vec::new());
            group_into(&l, without, &grouping, &mut key);
            assert_eq!(key, group(&l, without, &grouping).as_bytes(), "{without} {grouping:?}");
        }
        assert_eq!(text(&set(&drop_metric(&l), "a", "")), r#"{b="2"}"#);
    }
}
