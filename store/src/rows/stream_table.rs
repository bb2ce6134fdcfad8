//! The streams of one head or block section: immutable segments, each with its own label index.
use std::collections::HashMap;
use std::sync::Arc;

use super::label_index::{LabelIndex, stream_matches};
use super::scan::StreamSelector;
use super::stream::{StreamInfo, StreamRef};

/// A stream with its tenant.
#[derive(Clone, Debug)]
pub(crate) struct TenantStream {
    pub(crate) tenant: Arc<str>,
    pub(crate) stream: Arc<StreamInfo>,
}

/// Streams `base..base + streams.len()`. A short one has no index and is scanned.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: u32,
    pub(crate) streams: Vec<TenantStream>,
    index: Option<HashMap<Arc<str>, LabelIndex>>,
}

impl Segment {
    /// A short segment, scanned by readers.
    pub(crate) fn scanned(base: u32, streams: Vec<TenantStream>) -> Self {
        Self { base, streams, index: None }
    }

    /// A segment with an inverted index.
    pub(crate) fn indexed(base: u32, streams: Vec<TenantStream>) -> Self {
        let mut index: HashMap<Arc<str>, LabelIndex> = HashMap::new();
        for (i, s) in streams.iter().enumerate() {
            if !index.contains_key(&s.tenant) {
                index.insert(s.tenant.clone(), LabelIndex::default());
            }
            let of_tenant = index.get_mut(&s.tenant).expect("inserted above");
            of_tenant.insert(base + i as u32, &s.stream);
        }
        Self { base, streams, index: Some(index) }
    }

    /// The streams of one tenant with an index that was read from a block.
    pub(crate) fn with_index(tenant: &Arc<str>, streams: Vec<Arc<StreamInfo>>, index: LabelIndex) -> Self {
        let streams = streams.into_iter().map(|stream| TenantStream { tenant: tenant.clone(), stream }).collect();
        Self { base: 0, streams, index: Some(HashMap::from([(tenant.clone(), index)])) }
    }

    fn select(&self, tenant: &str, selector: &StreamSelector, out: &mut Vec<u32>) {
        match (&self.index, selector) {
            (Some(index), StreamSelector::Matching(matchers)) => {
                out.extend(index.get(tenant).into_iter().flat_map(|i| i.select(matchers)));
            }
            (Some(index), StreamSelector::All) => out.extend(index.get(tenant).into_iter().flat_map(|i| i.all.iter())),
            (_, StreamSelector::Matching(matchers)) => {
                self.select_where(tenant, &|s| stream_matches(s, matchers), out);
            }
            (_, StreamSelector::All) => self.select_where(tenant, &|_| true, out),
            (_, StreamSelector::Keys(keys)) => {
                self.select_where(tenant, &|s| keys.binary_search_by(|k| (**k).cmp(s.key())).is_ok(), out);
            }
        }
    }

    fn select_where(&self, tenant: &str, wanted: &dyn Fn(&StreamInfo) -> bool, out: &mut Vec<u32>) {
        let of_tenant = self.streams.iter().enumerate().filter(|(_, s)| *s.tenant == *tenant && wanted(&s.stream));
        out.extend(of_tenant.map(|(i, _)| self.base + i as u32));
    }
}

/// Segments that cover the references `0..len` without gaps.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamTable {
    segments: Vec<Arc<Segment>>,
    len: u32,
}

impl StreamTable {
    pub(crate) fn push(&mut self, segment: Arc<Segment>) {
        debug_assert_eq!(segment.base, self.len, "segments have no gaps");
        self.len += segment.streams.len() as u32;
        self.segments.push(segment);
    }

    /// Replaces the segments from reference `base` on.
    pub(crate) fn replace_from(&mut self, base: u32, segment: Segment) {
        self.segments.retain(|s| s.base < base);
        self.len = base;
        self.push(Arc::new(segment));
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn get(&self, at: StreamRef) -> Option<&Arc<StreamInfo>> {
        let segment = self.segments.partition_point(|s| s.base <= at.0).checked_sub(1)?;
        let segment = &self.segments[segment];
        segment.streams.get((at.0 - segment.base) as usize).map(|s| &s.stream)
    }

    /// References of the tenant's streams that `selector` wants, rising.
    pub(crate) fn select(&self, tenant: &str, selector: &StreamSelector) -> Vec<u32> {
        let mut out = Vec::new();
        for segment in &self.segments {
            segment.select(tenant, selector, &mut out);
        }
        out
    }
}
