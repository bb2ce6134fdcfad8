//! What a replica's stores know that a read point needs, without asking openraft: its vote and its applied position.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::type_config::{LogId, Vote};

/// Shared by a replica's log store (vote) and state machine (applied), and read by [`crate::Multi::confirm`].
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    vote: Option<Vote>,
    vote_at_open: Option<Vote>,
    applied: Option<LogId>,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is plain values, whole after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The vote found on disk, before the replica takes part in anything.
    pub(crate) fn opened_with(&self, vote: Option<Vote>) {
        let mut state = self.lock();
        state.vote = vote;
        state.vote_at_open = vote;
    }

    /// A vote is being saved. Called before it is durable, so before anybody can learn of it.
    pub(crate) fn set_vote(&self, vote: Vote) {
        self.lock().vote = Some(vote);
    }

    pub(crate) fn set_applied(&self, applied: Option<LogId>) {
        self.lock().applied = applied;
    }

    /// Whether this replica holds no vote above `vote`.
    pub(crate) fn is_still(&self, vote: &Vote) -> bool {
        self.lock().vote.is_none_or(|held| held <= *vote)
    }

    /// The vote under which `replica` leads and has applied an entry of its own, if it does.
    ///
    /// The vote must be newer than the one found at open: positions of an older term of one's own say nothing about
    /// what was acknowledged before the restart.
    pub(crate) fn led_by(&self, replica: u64) -> Result<Vote, NotLed> {
        let state = *self.lock();
        let Some(mut vote) = state.vote.filter(|vote| vote.leader_id.node_id == replica) else {
            return Err(NotLed::NotLeader);
        };
        if state.vote_at_open.is_some_and(|old| old.leader_id >= vote.leader_id) {
            return Err(NotLed::NotLeader);
        }
        if state.applied.is_none_or(|applied| *applied.committed_leader_id() != vote.leader_id) {
            return Err(NotLed::NotApplied);
        }
        // An entry under this vote was committed, so the vote itself is.
        vote.committed = true;
        Ok(vote)
    }
}

/// Why a replica cannot give a read point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotLed {
    /// The newest vote is not its own.
    NotLeader,
    /// It may lead, but has applied nothing under that vote.
    NotApplied,
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::type_config::LeaderId;

    fn vote(term: u64, leader: u64, committed: bool) -> Vote {
        Vote { leader_id: LeaderId::new(term, leader), committed }
    }

    fn applied(term: u64, leader: u64) -> Option<LogId> {
        Some(LogId::new(LeaderId::new(term, leader), 5))
    }

    #[test]
    fn only_who_leads_in_this_life_and_applied_something_can_give_read_points() {
        let check = |at_open: Option<Vote>, then: Option<Vote>, applied: Option<LogId>, expected| {
            let progress = Progress::default();
            progress.opened_with(at_open);
            if let Some(then) = then {
                progress.set_vote(then);
            }
            progress.set_applied(applied);
            assert_eq!(progress.led_by(1), expected, "{at_open:?} {then:?} {applied:?}");
        };
        let led = Ok(vote(2, 1, true));
        check(None, None, None, Err(NotLed::NotLeader));
        check(None, Some(vote(2, 1, true)), applied(2, 1), led);
        // The stored vote may lag behind the fact that it was committed.
        check(None, Some(vote(2, 1, false)), applied(2, 1), led);
        check(None, Some(vote(2, 1, true)), applied(1, 1), Err(NotLed::NotApplied));
        check(None, Some(vote(2, 1, true)), applied(2, 3), Err(NotLed::NotApplied));
        check(None, Some(vote(2, 1, true)), None, Err(NotLed::NotApplied));
        check(None, Some(vote(3, 2, false)), applied(2, 1), Err(NotLed::NotLeader));
        // Led before a restart: what was acknowledged then may be missing here.
        check(Some(vote(2, 1, true)), None, applied(2, 1), Err(NotLed::NotLeader));
        check(Some(vote(2, 1, false)), Some(vote(2, 1, true)), applied(2, 1), Err(NotLed::NotLeader));
        check(Some(vote(1, 1, true)), Some(vote(2, 1, true)), applied(2, 1), led);
    }

    #[test]
    fn a_greater_vote_is_seen_at_once() {
        let progress = Progress::default();
        let asked = vote(2, 1, true);
        for (held, still) in [
            (None, true),
            (Some(vote(1, 9, true)), true),
            (Some(vote(2, 1, false)), true),
            (Some(vote(2, 1, true)), true),
            (Some(vote(2, 2, false)), false),
            (Some(vote(3, 1, false)), false),
        ] {
            if let Some(held) = held {
                progress.set_vote(held);
            }
            assert_eq!(progress.is_still(&asked), still, "{held:?}");
        }
    }
}
