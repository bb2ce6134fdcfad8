//! What damaged blocks mean for an answer (P4): wait for their healing, or say what is missing; never skip it in silence.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use trine_query::Error;
use trine_store::shard::ShardView;

use crate::shard::ShardHandle;

/// How long a query waits for a damaged block to be healed before it takes an answer without it.
const HEAL_PATIENCE: Duration = Duration::from_secs(3);

/// Which shards a node is asked for, and how.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) shards: Vec<u32>,
    /// Answer without what damaged blocks hold, and say so.
    pub(crate) accept_incomplete: bool,
}

/// How long a query goes on asking for a whole answer.
#[derive(Debug)]
pub(super) struct Patience {
    until: Instant,
    since: Option<Instant>,
    over: bool,
}

impl Patience {
    /// Ends at `until` at the latest: then there is time still to ask for what is sound.
    pub(super) fn until(until: Instant) -> Self {
        Self { until, since: None, over: false }
    }

    /// A node has met damage; `hopeless` when waiting does not help.
    pub(super) fn met(&mut self, hopeless: bool) {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.over |= hopeless || since.elapsed() >= HEAL_PATIENCE || Instant::now() >= self.until;
    }

    pub(super) fn accept_incomplete(&self) -> bool {
        self.over
    }
}

/// The damage of the shards that a fragment runs over, before and after.
pub(super) struct Watch {
    /// Of this node's shards.
    handles: Arc<BTreeMap<u32, ShardHandle>>,
    /// Those of the fragment.
    shards: Vec<u32>,
    met_before: u64,
    /// The fragment sees blocks in quarantine, whatever has become of them when it ends.
    sees_lost: bool,
}

/// Damage that a fragment has met.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) hopeless: bool,
    pub(super) reason: String,
}

impl Watch {
    pub(super) fn new(handles: Arc<BTreeMap<u32, ShardHandle>>, shards: &[u32]) -> Self {
        let mut watch = Self { handles, shards: shards.to_vec(), met_before: 0, sees_lost: false };
        watch.met_before = watch.met();
        watch
    }

    fn observed(&self) -> impl Iterator<Item = &ShardHandle> {
        self.shards.iter().filter_map(|shard| self.handles.get(shard))
    }

    /// How often damage was met in the shards.
    fn met(&self) -> u64 {
        self.observed().map(|h| h.observed().damage_met.load(Ordering::Acquire)).sum()
    }

    /// What the fragment runs over. A block that is in quarantine there may be healed before the fragment meets it.
    pub(super) fn over(self, views: &[Arc<ShardView>]) -> Self {
        Self { sees_lost: views.iter().any(|view| !view.lost().is_empty()), ..self }
    }

    /// Whether a fragment failed because of damage.
    pub(super) fn explains(&self, error: &Error) -> Option<Met> {
        if !matches!(error, Error::Corrupt { .. } | Error::Io(_)) {
            return None;
        }
        let lost: Vec<_> = self.observed().map(|h| (h.shard, h.observed().lost.load_full())).collect();
        let mut blocks = lost.iter().flat_map(|(shard, lost)| lost.values().map(move |l| (shard, l)));
        if self.met() != self.met_before {
            return Some(Met { hopeless: false, reason: error.to_string() });
        }
        let Some((shard, first)) = blocks.next() else {
            return self.sees_lost.then(|| Met { hopeless: false, reason: error.to_string() });
        };
        let hopeless = first.hopeless && blocks.all(|(_, l)| l.hopeless);
        Some(Met { hopeless, reason: format!("shard {shard}: {}", first.damage) })
    }
}

/// The views without blocks in quarantine, and what is missing from each shard because of that.
pub(super) fn without_lost(views: Vec<Arc<ShardView>>) -> (Vec<Arc<ShardView>>, BTreeMap<u32, String>) {
    let mut missing = BTreeMap::new();
    let kept = views.into_iter().map(|view| {
        let lost = view.lost();
        if lost.is_empty() {
            return view;
        }
        let why = format!("its damaged blocks could not be healed and are left out: {}", lost.join(", "));
        missing.insert(view.shard, why);
        Arc::new(view.without_lost())
    });
    (kept.collect(), missing)
}

#[cfg(test)]
mod tests {
    use trine_store::tsdb::{Block, BlockSummary};

    use super::*;

    #[test]
    fn a_block_that_was_healed_before_the_fragment_met_it_is_worth_another_question() {
        let summary = BlockSummary { bytes: 1, facts: 1, series: 1, min_time: 0, max_time: 0, digest: 0 };
        let mut view = ShardView::default();
        view.metrics.blocks.push(Arc::new(Block::lost("0000000001-metrics.trnb", summary)));
        let explains = |view: ShardView, error: &Error| {
            Watch::new(Arc::default(), &[0]).over(&[Arc::new(view)]).explains(error).map(|met| met.hopeless)
        };
        let corrupt = || Error::Corrupt { what: "metrics", reason: "in quarantine".into() };
        assert_eq!(explains(view.clone(), &corrupt()), Some(false));
        assert_eq!(explains(view.without_lost(), &corrupt()), None);
        assert_eq!(explains(view, &Error::Timeout), None);
    }

    #[test]
    fn patience_ends_at_once_without_hope_and_later_with_it() {
        let later = Instant::now() + Duration::from_secs(3600);
        let mut patience = Patience::until(later);
        patience.met(false);
        assert!(!patience.accept_incomplete());
        patience.met(true);
        assert!(patience.accept_incomplete());
        let past = Instant::now().checked_sub(HEAL_PATIENCE);
        let waited = Patience { until: later, since: past, over: false };
        for mut patience in [waited, Patience::until(Instant::now())] {
            patience.met(false);
            assert!(patience.accept_incomplete());
        }
    }
}
