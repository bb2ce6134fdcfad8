//! The pool on which fragments run: few at a time, and fair between tenants.
//!
//! A free slot goes to the tenant that has the fewest of them, and among equals to the one whose last turn is longest ago;
//! within a tenant the first that came is the first. One tenant alone never has all slots, so that a query of another
//! begins at once, whatever the first one has asked for; nor all places in the queue, so that none is refused for another.
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use trine_query::helpers::Helpers;

use crate::shard::PoolError;

/// Runs fragments on blocking threads. Clones share the slots.
#[derive(Clone, Debug)]
pub(crate) struct QueryPool {
    queue: Arc<Queue>,
    helpers: Helpers,
}

#[derive(Debug)]
struct Queue {
    slots: usize,
    waiting_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Turns that were given so far.
    turns: u64,
    /// Entries so far.
    came: u64,
    tenants: HashMap<Arc<str>, Tenant>,
}

/// A tenant that has slots or waits for one.
#[derive(Debug, Default)]
struct Tenant {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
    /// Its last turn; 0 if it had none since it came.
    turn: u64,
    /// When it came: rises from one to the next.
    came: u64,
}

/// A place to run; given on when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    /// None once there is nothing to give on.
    queue: Option<Arc<Queue>>,
    tenant: Arc<str>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.leave(&self.tenant);
        }
    }
}

impl QueryPool {
    /// `slots` fragments run at a time and `waiting_max` may wait; `helpers` threads take shards over from them.
    pub(crate) fn new(slots: usize, waiting_max: usize, helpers: usize) -> Self {
        let queue = Queue { slots: slots.max(1), waiting_max, state: Mutex::default() };
        Self { queue: Arc::new(queue), helpers: Helpers::new(helpers) }
    }

    /// Threads that fragments share.
    pub(crate) fn helpers(&self) -> Helpers {
        self.helpers.clone()
    }

    /// A place to run on the thread that calls, if the tenant's turn is now.
    pub(super) fn free_slot(&self, tenant: &Arc<str>) -> Option<Slot> {
        self.queue.enter(tenant).ok()?.try_recv().ok()
    }

    /// Runs `job` once it is the tenant's turn, and returns what it returns. Dropping the future gives up the place in the
    /// queue. Errors: [`PoolError::Full`], [`PoolError::Broken`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        tenant: &Arc<str>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let turn = self.queue.enter(tenant)?;
        let slot = turn.await.map_err(|e| PoolError::Broken(e.to_string()))?;
        let joined = tokio::task::spawn_blocking(move || {
            // Given on when the job ends, even if nobody waits for it any more.
            let _slot = slot;
            job()
        });
        joined.await.map_err(|e| PoolError::Broken(e.to_string()))
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Slots that one tenant may have.
    fn slots_each(&self) -> usize {
        (self.slots - 1).max(1)
    }

    /// Fragments of one tenant that may wait: an eighth of the places is left to others.
    fn waiting_each(&self) -> usize {
        self.waiting_max - self.waiting_max / 8
    }

    fn enter(self: &Arc<Self>, tenant: &Arc<str>) -> Result<oneshot::Receiver<Slot>, PoolError> {
        let (sender, turn) = oneshot::channel();
        let mut state = self.lock();
        state.forget_gone();
        let waiting: usize = state.tenants.values().map(|tenant| tenant.waiting.len()).sum();
        let of_tenant = state.tenants.get(tenant).map_or(0, |tenant| tenant.waiting.len());
        let is_full = state.running + waiting >= self.waiting_max.saturating_add(self.slots);
        if is_full || of_tenant > self.waiting_each() {
            return Err(PoolError::Full);
        }
        state.came += 1;
        let came = state.came;
        let queued = state.tenants.entry(tenant.clone()).or_insert_with(|| Tenant { came, ..Tenant::default() });
        queued.waiting.push_back(sender);
        self.give_turns(state);
        Ok(turn)
    }

    /// Gives slots that are free to those that are next.
    fn give_turns(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        while state.running < self.slots {
            let Some((tenant, sender)) = state.next(self.slots_each()) else { return };
            let slot = Slot { queue: Some(self.clone()), tenant: tenant.clone() };
            if let Err(mut unused) = sender.send(slot) {
                // Nobody waits there any more, and the slot was not counted.
                unused.queue = None;
                continue;
            }
            state.running += 1;
            state.turns += 1;
            let turn = state.turns;
            if let Some(of_tenant) = state.tenants.get_mut(&tenant) {
                of_tenant.running += 1;
                of_tenant.turn = turn;
            }
        }
    }

    fn leave(self: &Arc<Self>, tenant: &Arc<str>) {
        let mut state = self.lock();
        state.running -= 1;
        if let Some(of_tenant) = state.tenants.get_mut(tenant) {
            of_tenant.running -= 1;
            if of_tenant.running == 0 && of_tenant.waiting.is_empty() {
                state.tenants.remove(tenant);
            }
        }
        self.give_turns(state);
    }
}

impl State {
    /// Takes the one that is next out of its queue; a tenant may have up to `slots_each` slots.
    fn next(&mut self, slots_each: usize) -> Option<(Arc<str>, oneshot::Sender<Slot>)> {
        let waits = |tenant: &Tenant| tenant.running < slots_each && !tenant.waiting.is_empty();
        let of_tenants = self.tenants.iter_mut().filter(|(_, tenant)| waits(tenant));
        let (name, tenant) = of_tenants.min_by_key(|(_, tenant)| (tenant.running, tenant.turn, tenant.came))?;
        tenant.waiting.pop_front().map(|sender| (name.clone(), sender))
    }

    /// Takes out those who no longer wait.
    fn forget_gone(&mut self) {
        self.tenants.retain(|_, tenant| {
            tenant.waiting.retain(|sender| !sender.is_closed());
            tenant.running > 0 || !tenant.waiting.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn tenant(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn queue(slots: usize, waiting_max: usize) -> Arc<Queue> {
        QueryPool::new(slots, waiting_max, 0).queue
    }

    /// The slot, if it is there already.
    fn now(turn: &mut oneshot::Receiver<Slot>) -> Option<Slot> {
        turn.now_or_never().map(|slot| slot.unwrap())
    }

    #[test]
    fn a_tenant_with_many_queries_does_not_hold_up_one_with_few() {
        let queue = queue(4, 100);
        let mut heavy: Vec<_> = (0..50).map(|_| queue.enter(&tenant("heavy")).unwrap()).collect();
        let mut running: VecDeque<Slot> = heavy.iter_mut().filter_map(now).collect();
        assert_eq!(running.len(), 3, "one slot is kept for others");
        let mut first = queue.enter(&tenant("light")).unwrap();
        let mut second = queue.enter(&tenant("light")).unwrap();
        let slot = now(&mut first).expect("it begins at once");
        assert!(now(&mut second).is_none());
        // Of two that wait, the one with fewer slots is next, although 47 came before it.
        drop(running.pop_front());
        let other = now(&mut second).expect("it is its turn");
        assert!(heavy[3..].iter_mut().all(|turn| now(turn).is_none()));
        drop((slot, other));
        // What is free goes to those who wait, and no more than three slots to one.
        running.extend(heavy[3..].iter_mut().filter_map(now));
        assert_eq!(running.len(), 3);
        drop(running);
        let next: Vec<Slot> = heavy[4..].iter_mut().filter_map(now).collect();
        assert_eq!(next.len(), 3);
    }

    #[test]
    fn a_tenant_that_fills_the_queue_leaves_places_to_others() {
        let queue = queue(4, 16);
        let mut heavy = Vec::new();
        while let Ok(turn) = queue.enter(&tenant("heavy")) {
            heavy.push(turn);
            assert!(heavy.len() < 100, "nothing bounds the queue");
        }
        let mut light = queue.enter(&tenant("light")).expect("there is a place for it");
        assert!(now(&mut light).is_some());
        assert!(queue.enter(&tenant("heavy")).is_err());
    }

    #[test]
    fn a_slot_on_the_callers_thread_counts_and_nobody_waits_for_one() {
        let pool = QueryPool::new(2, 10, 0);
        let slot = pool.free_slot(&tenant("t")).expect("all are free");
        assert!(pool.free_slot(&tenant("t")).is_none(), "the last one is for others");
        let other = pool.free_slot(&tenant("other")).expect("it is for others");
        assert!(pool.free_slot(&tenant("third")).is_none());
        drop((slot, other));
        assert!(pool.queue.lock().tenants.values().all(|t| t.running == 0), "a place that was given up was taken");
        assert!(pool.free_slot(&tenant("third")).is_some());
    }

    #[test]
    fn tenants_take_turns() {
        let queue = queue(2, 100);
        let mut turns: Vec<(&str, oneshot::Receiver<Slot>)> = Vec::new();
        for name in ["a", "b", "c"] {
            turns.extend((0..3).map(|_| (name, queue.enter(&tenant(name)).unwrap())));
        }
        let mut order = Vec::new();
        let mut running: VecDeque<Slot> = VecDeque::new();
        while !turns.is_empty() {
            turns.retain_mut(|(name, turn)| match now(turn) {
                Some(slot) => {
                    order.push(*name);
                    running.push_back(slot);
                    false
                }
                None => true,
            });
            drop(running.pop_front());
        }
        for thirds in order.chunks(3) {
            let mut thirds = thirds.to_vec();
            thirds.sort_unstable();
            assert_eq!(thirds, ["a", "b", "c"], "{order:?}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_frees_its_places() {
        let pool = QueryPool::new(1, 1, 0);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let running = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(&tenant("t"), move || wait.recv().is_ok()).await }
        });
        while pool.queue.lock().running == 0 {
            tokio::task::yield_now().await;
        }
        {
            let other = tenant("other");
            let mut waiting = std::pin::pin!(pool.run(&other, || ()));
            assert!(futures::poll!(waiting.as_mut()).is_pending());
            assert!(matches!(pool.run(&tenant("t"), || ()).await, Err(PoolError::Full)));
        }
        // The one that waited has given up: its place is free.
        let other = tenant("other");
        let mut waiting = std::pin::pin!(pool.run(&other, || 7));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        go.send(()).unwrap();
        assert!(running.await.unwrap().unwrap());
        assert_eq!(waiting.await.unwrap(), 7);
        assert!(pool.queue.lock().tenants.is_empty());
    }

    #[test]
    fn a_turn_that_nobody_takes_goes_on() {
        let queue = queue(1, 10);
        let mut first = queue.enter(&tenant("t")).unwrap();
        let slot = now(&mut first).unwrap();
        let gone = queue.enter(&tenant("t")).unwrap();
        let mut last = queue.enter(&tenant("t")).unwrap();
        drop(gone);
        drop(slot);
        assert!(now(&mut last).is_some());
        // Given, but dropped before it was looked at.
        drop(queue.enter(&tenant("t")).unwrap());
        assert!(now(&mut queue.enter(&tenant("t")).unwrap()).is_some());
        assert_eq!(queue.lock().running, 0);
    }
}
