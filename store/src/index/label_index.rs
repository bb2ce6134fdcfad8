//! An inverted index in memory: label name -> value -> ids.
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;

use roaring::{MultiOps, RoaringBitmap};

use super::Postings;
use crate::model::labels::LabelsIter;

/// Postings of label sets, each under an id that its owner chose.
#[derive(Clone, Debug, Default)]
pub struct LabelIndex {
    all: RoaringBitmap,
    names: BTreeMap<Box<str>, BTreeMap<Box<str>, RoaringBitmap>>,
}

impl LabelIndex {
    /// Adds a label set in its canonical encoding. Fastest with ascending ids.
    pub fn insert(&mut self, id: u32, labels: &[u8]) {
        self.all.insert(id);
        for (name, value) in LabelsIter::over(labels) {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), BTreeMap::new());
            }
            let values = self.names.get_mut(name).expect("inserted above when it was absent");
            match values.get_mut(value) {
                Some(ids) => {
                    ids.insert(id);
                }
                None => {
                    values.insert(value.into(), RoaringBitmap::from_iter([id]));
                }
            }
        }
    }

    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &LabelIndex) {
        self.all |= &other.all;
        for (name, values) in &other.names {
            let mine = self.names.entry(name.clone()).or_default();
            for (value, ids) in values {
                *mine.entry(value.clone()).or_default() |= ids;
            }
        }
    }

    /// Label names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(AsRef::as_ref)
    }

    /// Values of `name` in order, with their ids.
    pub fn values(&self, name: &str) -> impl Iterator<Item = (&str, &RoaringBitmap)> {
        self.names.get(name).into_iter().flatten().map(|(value, ids)| (value.as_ref(), ids))
    }

    pub fn len(&self) -> u64 {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Postings for LabelIndex {
    type Error = Infallible;

    fn all(&self) -> Result<RoaringBitmap, Infallible> {
        Ok(self.all.clone())
    }

    fn with_value(&self, name: &str, value: &str) -> Result<RoaringBitmap, Infallible> {
        Ok(self.names.get(name).and_then(|values| values.get(value)).cloned().unwrap_or_default())
    }

    fn with_values(
        &self,
        name: &str,
        prefix: &str,
        keep: &mut dyn FnMut(&str) -> bool,
    ) -> Result<RoaringBitmap, Infallible> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let values = self.names.get(name).into_iter().flat_map(|values| values.range::<str, _>(from));
        let of_prefix = values.take_while(|(value, _)| value.starts_with(prefix));
        Ok(of_prefix.filter(|(value, _)| keep(value)).map(|(_, ids)| ids).union())
    }
}
