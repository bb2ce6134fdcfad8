//! Giving leadership away before a node stops.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::ids::{GroupId, ReplicaId};
use crate::registry::{Opened, Registry};
use crate::status::GroupStatus;

/// An heir that does not lead by then is passed over. A transfer takes some tens of ms; until another replica leads, the one that
/// transferred takes no proposals and sends no heartbeats, and nothing undoes that, so without another heir its group would wait
/// for an election.
pub(crate) const HEIR_PATIENCE: Duration = Duration::from_millis(150);

/// Transfers all groups led here; returns those still led here when `within` is over.
pub(crate) async fn hand_over(registry: Arc<Registry>, within: Duration) -> Vec<GroupId> {
    let deadline = Instant::now() + within;
    let groups = registry.all();
    let handed = join_all(groups.iter().map(|(_, opened)| hand_over_one(opened, None, deadline))).await;
    groups.iter().zip(handed).filter(|(_, handed)| !handed).map(|((group, _), _)| *group).collect()
}

/// Asks `first`, then the other voters in turn, to take over. True once another replica leads, or nobody else could. That this one
/// does not lead any more is not enough: its vote for the heir may still be on its way, and without it the heir may have to wait for
/// the leases of all others to run out.
pub(crate) async fn hand_over_one(opened: &Opened, first: Option<ReplicaId>, deadline: Instant) -> bool {
    let mut status = opened.status.clone();
    if !status.borrow().is_leader {
        return true;
    }
    let mut asked = Vec::new();
    loop {
        let now = status.borrow_and_update().clone();
        let Some(heir) = next_heir(&now, opened.replica, first, &mut asked) else { return true };
        if another_leads(&now, opened.replica) {
            return true;
        }
        // Who does not lead any more has asked already.
        if now.is_leader && opened.raft.trigger().transfer_leader(heir.0).await.is_err() {
            return true;
        }
        let ask_again = deadline.min(Instant::now() + HEIR_PATIENCE);
        match timeout_at(ask_again, status.wait_for(|status| another_leads(status, opened.replica))).await {
            Ok(_) => return true,
            Err(_) if Instant::now() >= deadline => return false,
            Err(_) => {}
        }
    }
}

fn another_leads(status: &GroupStatus, me: ReplicaId) -> bool {
    status.leader.is_some_and(|(leader, _)| leader != me)
}

/// `first`, then the voters other than `me`, the one whose log is known to match furthest before others, then all again.
fn next_heir(
    status: &GroupStatus,
    me: ReplicaId,
    first: Option<ReplicaId>,
    asked: &mut Vec<ReplicaId>,
) -> Option<ReplicaId> {
    let others: Vec<ReplicaId> = status.voters.keys().copied().filter(|replica| *replica != me).collect();
    if others.iter().all(|replica| asked.contains(replica)) {
        asked.clear();
    }
    let matched = |replica: &ReplicaId| status.matched.get(replica).copied().flatten().map(|matched| matched.index);
    let left = others.into_iter().filter(|replica| !asked.contains(replica));
    let heir = left.max_by_key(|replica| (Some(*replica) == first, matched(replica)))?;
    asked.push(heir);
    Some(heir)
}
