//! Label index of some log streams of one tenant: name -> value -> postings of stream references.
use std::collections::BTreeMap;
use std::ops::Bound;

use roaring::{MultiOps, RoaringBitmap};

use super::stream::StreamInfo;
use crate::index::Matcher;

/// Postings by label name and value, with the references of all streams it covers.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelIndex {
    pub(crate) all: RoaringBitmap,
    pub(crate) names: BTreeMap<String, BTreeMap<String, RoaringBitmap>>,
}

impl LabelIndex {
    /// Adds stream `at`; span streams have no labels and are only counted in.
    pub(crate) fn insert(&mut self, at: u32, stream: &StreamInfo) {
        self.all.insert(at);
        for (name, value) in stream.labels().into_iter().flat_map(|l| l.iter()) {
            if !self.names.contains_key(name) {
                self.names.insert(name.to_owned(), BTreeMap::new());
            }
            let values = self.names.get_mut(name).expect("inserted above");
            match values.get_mut(value) {
                Some(postings) => {
                    postings.insert(at);
                }
                None => {
                    values.insert(value.to_owned(), RoaringBitmap::from_iter([at]));
                }
            }
        }
    }

    /// References of the streams that satisfy every matcher.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let mut selected = self.all.clone();
        for matcher in matchers {
            if selected.is_empty() {
                break;
            }
            let Some(values) = self.names.get(&matcher.name) else {
                if !matcher.matches_empty() {
                    selected.clear();
                }
                continue;
            };
            if matcher.matches_empty() {
                for (_, postings) in values.iter().filter(|(value, _)| !matcher.matches(value)) {
                    selected -= postings;
                }
            } else {
                selected &= union_of_matching(values, matcher);
            }
        }
        selected
    }
}

fn union_of_matching(values: &BTreeMap<String, RoaringBitmap>, matcher: &Matcher) -> RoaringBitmap {
    if let Some(literals) = matcher.literal_set() {
        return literals.into_iter().filter_map(|literal| values.get(literal)).union();
    }
    let prefix = matcher.prefix();
    let from = (Bound::Included(prefix), Bound::Unbounded);
    let of_prefix = values.range::<str, _>(from).take_while(|(value, _)| value.starts_with(prefix));
    of_prefix.filter(|(value, _)| matcher.matches(value)).map(|(_, postings)| postings).union()
}

/// Whether the labels of `stream` satisfy every matcher, without an index.
pub(crate) fn stream_matches(stream: &StreamInfo, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|m| m.matches(stream.labels().and_then(|l| l.get(&m.name)).unwrap_or("")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::MatchOp;
    use crate::model::{Labels, Signal};

    #[test]
    fn an_index_selects_what_a_scan_of_the_labels_does() {
        let sets: Vec<Vec<(&str, &str)>> =
            vec![vec![("a", "1")], vec![("a", "2"), ("b", "x")], vec![("b", "y")], vec![("a", "1"), ("b", "x")]];
        let streams: Vec<_> = sets
            .iter()
            .map(|pairs| {
                let labels = Labels::from_pairs(pairs.iter().copied()).unwrap();
                StreamInfo::new(Signal::Logs, 0, labels.as_bytes()).unwrap()
            })
            .collect();
        let mut index = LabelIndex::default();
        for (at, stream) in streams.iter().enumerate() {
            index.insert(at as u32 + 10, stream);
        }
        let ops = [MatchOp::Eq, MatchOp::NotEq, MatchOp::Regex, MatchOp::NotRegex];
        for name in ["a", "b", "c"] {
            for value in ["", "1", "x", "1|2", ".+", ".*", "1|", "[1x].*", "x.*", "1+"] {
                for op in ops {
                    let matchers = [Matcher::new(name, op, value).unwrap()];
                    let want: Vec<u32> =
                        (0..4).filter(|&i| stream_matches(&streams[i as usize], &matchers)).map(|i| i + 10).collect();
                    assert_eq!(index.select(&matchers).iter().collect::<Vec<_>>(), want, "{}", matchers[0]);
                }
            }
        }
    }
}
