//! Giving leadership away before a node stops.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::ids::{GroupId, ReplicaId};
use crate::registry::{Opened, Registry};
use crate::status::GroupStatus;

/// Transfers all groups led here; returns those still led here when `within` is over. Asks again every `retry`.
pub(crate) async fn hand_over(registry: Arc<Registry>, within: Duration, retry: Duration) -> Vec<GroupId> {
    let deadline = Instant::now() + within;
    let groups = registry.all();
    let handed = join_all(groups.iter().map(|(_, opened)| hand_over_one(opened, deadline, retry))).await;
    groups.iter().zip(handed).filter(|(_, handed)| !handed).map(|((group, _), _)| *group).collect()
}

/// True once another replica leads, or nobody else could. That this one does not lead any more is not enough: its vote for
/// the heir may still be on its way, and without it the heir may have to wait for the leases of all others to run out.
async fn hand_over_one(opened: &Opened, deadline: Instant, retry: Duration) -> bool {
    let mut status = opened.status.clone();
    if !status.borrow().is_leader {
        return true;
    }
    loop {
        let now = status.borrow_and_update().clone();
        let Some(heir) = most_caught_up(&now, opened.replica) else { return true };
        if another_leads(&now, opened.replica) {
            return true;
        }
        // Who does not lead any more has asked already.
        if now.is_leader && opened.raft.trigger().transfer_leader(heir.0).await.is_err() {
            return true;
        }
        let ask_again = deadline.min(Instant::now() + retry);
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

/// The voter, other than `me`, whose log is known to match furthest.
fn most_caught_up(status: &GroupStatus, me: ReplicaId) -> Option<ReplicaId> {
    let others = status.voters.keys().filter(|replica| **replica != me);
    others.max_by_key(|replica| status.matched.get(replica).copied().flatten().map(|matched| matched.index)).copied()
}
