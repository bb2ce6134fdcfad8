//! Which faults act on which links; several may act on one.
use std::collections::BTreeMap;

use super::Quality;

/// Names an effect until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EffectId(u64);

/// A directed link and what is done to it.
type Effect = Vec<(usize, usize, Quality)>;

#[derive(Debug, Default)]
pub(super) struct Effects {
    next: u64,
    active: BTreeMap<EffectId, Effect>,
}

impl Effects {
    pub(super) fn add(&mut self, effect: Effect) -> EffectId {
        let id = EffectId(self.next);
        self.next += 1;
        self.active.insert(id, effect);
        id
    }

    pub(super) fn remove(&mut self, id: EffectId) {
        self.active.remove(&id);
    }

    /// What all effects make of a link.
    pub(super) fn quality(&self, from: usize, to: usize) -> Quality {
        let on_link = self.active.values().flatten().filter(|(f, t, _)| (*f, *t) == (from, to));
        on_link.fold(Quality::default(), |all, (_, _, one)| all.and(*one))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn effects_add_up_and_leave_nothing_behind() {
        let mut effects = Effects::default();
        let slow = Quality { delay: Duration::from_millis(5), bytes_per_s: 100, ..Quality::default() };
        let cut = effects.add(vec![(0, 1, Quality::cut())]);
        let first = effects.add(vec![(0, 1, slow), (1, 0, slow)]);
        let second = effects.add(vec![(0, 1, Quality { bytes_per_s: 50, loss_percent: 3, ..slow })]);
        let all = Quality { cut: true, loss_percent: 3, delay: Duration::from_millis(10), bytes_per_s: 50 };
        assert_eq!(effects.quality(0, 1), all);
        assert_eq!(effects.quality(1, 0), slow);
        assert_eq!(effects.quality(1, 2), Quality::default());
        effects.remove(cut);
        effects.remove(second);
        assert_eq!(effects.quality(0, 1), slow);
        effects.remove(first);
        assert_eq!(effects.quality(0, 1), Quality::default());
    }
}
