//! Fragments that are over before another thread would have begun with them.
//!
//! What exists on a small node is answered out of indexes in a fraction of the time that two changes of thread take, and so are the
//! samples of a few series. The thread that serves the request gives its other work away meanwhile, as it must: something may have
//! to be read from the disk.
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::{Handle, RuntimeFlavor};
use trine_query::fragment::{Fragment, FragmentLimits, Language, run_fragment};
use trine_query::promql::fragment::{is_lookup, is_of_few_series};
use trine_query::{Error, Result};
use trine_store::shard::ShardView;

/// Series of all shards, up to which a question about them takes no more than some milliseconds.
const SERIES_MAX: u64 = 32 << 10;
/// Samples that are read before it is clear that there are too many to go on here: less than a millisecond's worth.
const SAMPLES_TRIED: u64 = 1024;

/// How a fragment may run on the thread that serves the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inline {
    /// To its end.
    Whole,
    /// As long as it reads few samples.
    Try,
}

/// Whether [`run`] may be called here and for this fragment.
pub(super) fn way(fragment: &Fragment, views: &[Arc<ShardView>]) -> Option<Inline> {
    let is_worker = Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
    if !is_worker || fragment.language != Language::PromQl {
        return None;
    }
    let series = || views.iter().map(|view| view.metrics.stats().series).sum::<u64>();
    if is_lookup(&fragment.payload) {
        return (series() <= SERIES_MAX).then_some(Inline::Whole);
    }
    is_of_few_series(&fragment.payload).then_some(Inline::Try)
}

/// Runs a fragment on this thread. Its outcome, and the frames that it made, which are charged until they are dropped; `None` when it
/// was tried only, and reads too much.
pub(super) fn run(
    way: Inline,
    fragment: &Fragment,
    tenant: &str,
    views: &[Arc<ShardView>],
    limits: &FragmentLimits,
) -> Option<(Result<()>, Vec<Bytes>)> {
    let tried = limits.trying(SAMPLES_TRIED);
    let limits = if way == Inline::Try { &tried } else { limits };
    let mut frames = Vec::new();
    let ran = tokio::task::block_in_place(|| {
        run_fragment(fragment, tenant, views, limits, &mut |frame| {
            frames.push(frame);
            Ok(())
        })
    });
    let is_too_much = way == Inline::Try && matches!(ran, Err(Error::Limit { .. }));
    (!is_too_much).then_some((ran, frames))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use prost::Message;
    use trine_query::memory::QueryMemory;
    use trine_query::promql::fragment::{Lookup, MatcherMessage, Request, Select, VERSION};
    use trine_store::index::MatchOp;
    use trine_store::model::Labels;
    use trine_store::model::signal::key_hash;
    use trine_store::part::{MetricsPartBuilder, PartRef};
    use trine_store::tsdb::{HeadConfig, MetricsHead, MetricsView};

    use super::*;

    /// Series `m{n="…"}`, each with as many samples as its number says.
    fn view(counts: &[i32]) -> Arc<ShardView> {
        let mut part = MetricsPartBuilder::new("t");
        for count in counts {
            let labels = Labels::from_pairs([("__name__", "m"), ("n", &count.to_string())]).unwrap();
            let series = part.series(key_hash("t", labels.as_bytes()), labels.as_bytes());
            part.floats(series, (0..*count).map(|t| (i64::from(t), 1)));
        }
        let bytes = part.finish();
        let part = PartRef::decode(&bytes).unwrap();
        let (tenant, mut head) = (Arc::from("t"), MetricsHead::new(HeadConfig::default()));
        let refs: Vec<_> = part.defs.iter().map(|d| head.resolve(&tenant, d.hash, d.key).unwrap()).collect();
        head.append(&tenant, 1, &refs, part.body).unwrap();
        let metrics = MetricsView { heads: vec![head.view()], ..MetricsView::default() };
        Arc::new(ShardView { metrics, ..ShardView::default() })
    }

    fn fragment(request: Request) -> Fragment {
        let payload = Request { version: VERSION, samples_max: 1 << 30, ..request }.encode_to_vec().into();
        Fragment { language: Language::PromQl, payload }
    }

    fn asking(matchers: &[(&str, MatchOp, &str)]) -> Fragment {
        let message =
            |m: &(&str, MatchOp, &str)| MatcherMessage { name: m.0.into(), op: m.1 as u32, value: m.2.into() };
        let matchers = matchers.iter().map(message).collect();
        fragment(Request {
            selects: vec![Select { matchers, max_ms: 1 << 40, ..Select::default() }],
            ..Request::default()
        })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn few_samples_are_read_here_and_many_are_not_sent_by_halves() {
        let memory = QueryMemory::new(1 << 30, 1 << 30);
        let views = [view(&[5, 900]), view(&[3000])];
        // On a worker of the runtime, as requests are.
        tokio::spawn(async move {
            let deadline = Instant::now() + Duration::from_secs(60);
            let limits = FragmentLimits::new(u64::MAX, deadline, memory.account());
            let named = ("__name__", MatchOp::Eq, "m");
            for (n, is_few) in [("5", true), ("900", true), ("3000", false), ("none", true)] {
                let fragment = asking(&[named, ("n", MatchOp::Eq, n)]);
                assert_eq!(way(&fragment, &views), Some(Inline::Try));
                let ran = run(Inline::Try, &fragment, "t", &views, &limits);
                assert_eq!(ran.is_some(), is_few, "{n}");
                assert!(ran.is_none_or(|(ran, frames)| ran.is_ok() && frames.is_empty() == (n == "none")), "{n}");
                assert!(limits.stop.check().is_ok(), "it can be run again");
            }
            assert_eq!(memory.held_bytes(), 0);
            for matchers in [&[named][..], &[named, ("n", MatchOp::Regex, ".*")], &[named, ("n", MatchOp::Eq, "")], &[]]
            {
                assert_eq!(way(&asking(matchers), &views), None, "{matchers:?}");
            }
            let lookup = fragment(Request { lookup: Some(Lookup::default()), ..Request::default() });
            assert_eq!(way(&lookup, &views), Some(Inline::Whole));
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_has_no_other_to_give_its_work_to() {
        let lookup = fragment(Request { lookup: Some(Lookup::default()), ..Request::default() });
        assert_eq!(way(&lookup, &[view(&[5])]), None);
    }
}
