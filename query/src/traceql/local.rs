//! Runs a fragment over the shards of one node.
mod frames;
mod search;
mod tags;

use std::sync::Arc;

use trine_store::shard::ShardView;

use crate::error::{Error, Result};
use crate::fragment::{Fragment, FragmentLimits, Sink};
use crate::traceql::fragment::{Ask, Bounds, Request};
use crate::traceql::source::{Range, RowsSource, TraceSource};

use frames::Frames;

/// Answers a TraceQL fragment; see [`crate::fragment::run_fragment`].
pub(crate) fn run(
    fragment: &Fragment,
    tenant: &str,
    shards: &[Arc<ShardView>],
    limits: &FragmentLimits,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let sources: Vec<RowsSource<'_>> = shards.iter().map(|s| RowsSource { view: &s.traces, tenant }).collect();
    let sources: Vec<&dyn TraceSource> = sources.iter().map(|s| s as &dyn TraceSource).collect();
    run_over(&fragment.payload, &sources, limits, sink)
}

/// The same over any sources.
pub(crate) fn run_over(
    payload: &[u8],
    sources: &[&dyn TraceSource],
    limits: &FragmentLimits,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let mut frames = Frames::new(limits, sink);
    match Request::read(payload)? {
        Ask::Trace(id) => {
            let id = id.try_into().map_err(|_| Error::Corrupt {
                what: "TraceQL message",
                reason: "trace id of another length".to_owned(),
            })?;
            search::trace(&id, sources, &mut frames)?;
        }
        Ask::Search(ask) => search::search(&search::Matcher::of_query(&ask.query)?, ask.bounds, sources, &mut frames)?,
        Ask::TagSearch(ask) => {
            let bounds = ask.bounds;
            search::search(&search::Matcher::of_tags(ask), bounds, sources, &mut frames)?;
        }
        Ask::Tags(ask) => tags::names(&ask, sources, &mut frames)?,
        Ask::TagValues(ask) => tags::values(&ask, sources, &mut frames)?,
    }
    frames.flush()
}

impl Bounds {
    fn range(self) -> Range {
        Range { start_ns: self.start_ns, end_ns: self.end_ns }
    }

    /// The limit as a count, none as the largest.
    fn limit(self) -> usize {
        if self.limit == 0 { usize::MAX } else { usize::try_from(self.limit).unwrap_or(usize::MAX) }
    }
}
