//! Read points for all groups of a node at once: one message a peer, shared by all callers that wait.
//!
//! # What is promised
//!
//! When [`crate::Multi::confirm`] says yes for a group, this replica had, when it said so, applied everything that any
//! leader of the group acknowledged before the call.
//!
//! # Why it holds
//!
//! Let *v* be this replica's vote (term and id) when asked, and *t* the time of the call.
//!
//! 1. It led under *v* in this life of the process, and has applied an entry proposed under *v* (`Progress::led_by`). A
//!    leader appends such an entry first of all, so everything acknowledged under smaller votes is before it in this log
//!    (leader completeness) and is applied. Votes found on disk at open do not count, and openraft is told not to restore
//!    leaders: so *v* has one leader in one life.
//! 2. What was acknowledged under *v* itself was applied here first: the reply comes after apply.
//! 3. Nothing was acknowledged before *t* under a greater vote. That would take a majority that had saved the greater
//!    vote. A replica publishes a vote in its `Progress` before it is durable, so before anybody is told. Each replica
//!    that we count said, in a round that began after *t*, that it holds no vote above *v*: so it held none at *t*. Such
//!    replicas are a majority of each voter set in force (this one included, which is asked the same), and any two
//!    majorities meet.
//!
//! The voter sets are those in openraft's metrics, published at the end of each turn of its loop. A change is proposed in
//! one turn and committed in a later one, so they are at most one step behind: the set in force, or the one before it
//! (uniform to joint, joint to uniform), whose majorities meet as well.
//!
//! # Why a round must begin after the call
//!
//! An answer given before *t* says nothing of what was granted, committed and acknowledged between it and *t*. So a call
//! never joins a message that is on its way; it waits for the next, together with all others that came meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::async_runtime::WatchReceiver;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::config::MultiConfig;
use crate::connections::{Connections, Lane};
use crate::error::{NoReadPoint, NotLeader};
use crate::ids::{GroupId, NodeId, ReplicaId};
use crate::network::client;
use crate::progress::NotLed;
use crate::registry::{Opened, Registry};
use crate::wire::{VERSION, proto};

/// Asks the peers. One a node.
pub(crate) struct Confirmer {
    config: Arc<MultiConfig>,
    connections: Arc<Connections>,
    registry: Arc<Registry>,
    handle: Handle,
    rounds: Mutex<HashMap<NodeId, mpsc::UnboundedSender<Ask>>>,
}

/// What one peer is asked about one group; equal questions of one round are asked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Question {
    group: GroupId,
    replica: ReplicaId,
    term: u64,
    leader: u64,
}

/// A question, and who wants to know.
struct Ask {
    question: Question,
    tally: Arc<Tally>,
}

impl Confirmer {
    pub(crate) fn new(
        config: Arc<MultiConfig>,
        connections: Arc<Connections>,
        registry: Arc<Registry>,
        handle: Handle,
    ) -> Self {
        Self { config, connections, registry, handle, rounds: Mutex::default() }
    }

    /// See [`crate::Multi::confirm`].
    pub(crate) async fn confirm(&self, groups: &[GroupId]) -> Vec<Result<(), NotLeader>> {
        // All groups are asked about before the first answer is awaited.
        let begun: Vec<_> = groups.iter().map(|group| self.begin(*group)).collect();
        let mut answers = Vec::with_capacity(begun.len());
        for (group, begun) in groups.iter().zip(begun) {
            answers.push(match begun {
                Ok(verdict) => match verdict.await {
                    Ok(true) => Ok(()),
                    Ok(false) | Err(_) => Err(self.refusal(*group, NoReadPoint::NoMajority)),
                },
                Err(reason) => Err(self.refusal(*group, reason)),
            });
        }
        answers
    }

    /// Checks what this node knows by itself, and queues the questions to the others.
    fn begin(&self, group: GroupId) -> Result<oneshot::Receiver<bool>, NoReadPoint> {
        let opened = self.registry.get(group).ok_or(NoReadPoint::NotOpen)?;
        let vote = opened.progress.led_by(opened.replica.0).map_err(|error| match error {
            NotLed::NotLeader => NoReadPoint::NotLeader,
            NotLed::NotApplied => NoReadPoint::NotApplied,
        })?;
        let (sets, voters) = voters(&opened);
        let (tally, verdict) = Tally::new(sets);
        // After its vote was read, so that a vote granted since is seen.
        tally.count(opened.replica, opened.progress.is_still(&vote));
        for (replica, node) in voters {
            if replica == opened.replica {
                continue;
            }
            let question = Question { group, replica, term: vote.leader_id.term, leader: vote.leader_id.node_id };
            self.ask(node, Ask { question, tally: Arc::clone(&tally) });
        }
        Ok(verdict)
    }

    fn ask(&self, node: NodeId, ask: Ask) {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = rounds.entry(node).or_insert_with(|| {
            let (sender, queue) = mpsc::unbounded_channel();
            let (config, connections) = (Arc::clone(&self.config), Arc::clone(&self.connections));
            self.handle.spawn(ask_in_rounds(config, connections, node, queue));
            sender
        });
        // If its task is gone, so is the runtime; the tally is dropped, which says no.
        drop(queue.send(ask));
    }

    fn refusal(&self, group: GroupId, reason: NoReadPoint) -> NotLeader {
        let leader = self.registry.get(group).and_then(|opened| opened.status.borrow().leader);
        NotLeader { leader, reason }
    }
}

type Voters = (Vec<BTreeSet<ReplicaId>>, Vec<(ReplicaId, NodeId)>);

/// The voter sets in force, and where the voters live.
fn voters(opened: &Opened) -> Voters {
    let membership = Arc::clone(&opened.raft.metrics().borrow_watched().membership_config);
    let membership = membership.membership();
    let sets = membership.get_joint_config().iter().map(|set| set.iter().copied().map(ReplicaId).collect()).collect();
    let node = |replica: u64| membership.get_node(&replica).map(|member| (ReplicaId(replica), NodeId(member.node)));
    (sets, membership.voter_ids().filter_map(node).collect())
}

/// Asks one peer, round after round: whatever waits when a round begins is in it.
async fn ask_in_rounds(
    config: Arc<MultiConfig>,
    connections: Arc<Connections>,
    node: NodeId,
    mut queue: mpsc::UnboundedReceiver<Ask>,
) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, usize::MAX).await > 0 {
        let mut round: HashMap<Question, Vec<Arc<Tally>>> = HashMap::new();
        for ask in waiting.drain(..).filter(|ask| !ask.tally.is_decided()) {
            round.entry(ask.question).or_default().push(ask.tally);
        }
        if round.is_empty() {
            continue;
        }
        let questions: Vec<Question> = round.keys().copied().collect();
        let answers = ask_once(&config, &connections, node, &questions).await;
        for (nth, question) in questions.iter().enumerate() {
            // No answer is no.
            let still = answers.get(nth).copied().unwrap_or(false);
            for tally in round.remove(question).unwrap_or_default() {
                tally.count(question.replica, still);
            }
        }
    }
}

/// One message; no answers at all if the peer does not answer in time.
async fn ask_once(config: &MultiConfig, connections: &Connections, node: NodeId, questions: &[Question]) -> Vec<bool> {
    let Some(channel) = connections.channel(node, Lane::Control) else { return Vec::new() };
    let request = proto::ConfirmRequest {
        version: VERSION,
        cluster: config.cluster.clone(),
        node: node.0,
        questions: questions.iter().map(Into::into).collect(),
    };
    let mut client = client(channel);
    match tokio::time::timeout(config.election_min, client.confirm(request)).await {
        Ok(Ok(reply)) => reply.into_inner().still,
        Ok(Err(status)) => {
            tracing::debug!(%node, %status, "read point refused");
            Vec::new()
        }
        Err(_) => {
            tracing::debug!(%node, "read point not answered in time");
            Vec::new()
        }
    }
}

impl From<&Question> for proto::Question {
    fn from(question: &Question) -> Self {
        // Under a vote that leads, thus committed.
        let vote = proto::Vote { term: question.term, leader: question.leader, committed: true };
        Self { group: question.group.0, replica: question.replica.0, vote: Some(vote) }
    }
}

/// Answers for one group and call.
struct Tally {
    state: Mutex<Count>,
}

struct Count {
    sets: Vec<BTreeSet<ReplicaId>>,
    yes: BTreeSet<ReplicaId>,
    no: BTreeSet<ReplicaId>,
    verdict: Option<oneshot::Sender<bool>>,
}

impl Tally {
    fn new(sets: Vec<BTreeSet<ReplicaId>>) -> (Arc<Self>, oneshot::Receiver<bool>) {
        let (sender, verdict) = oneshot::channel();
        let count = Count { sets, yes: BTreeSet::new(), no: BTreeSet::new(), verdict: Some(sender) };
        (Arc::new(Self { state: Mutex::new(count) }), verdict)
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one replica's answer; gives the verdict as soon as the others cannot change it.
    fn count(&self, replica: ReplicaId, still: bool) {
        let mut count = self.lock();
        if still {
            count.yes.insert(replica)
        } else {
            count.no.insert(replica)
        };
        if let Some(verdict) = decide(&count.sets, &count.yes, &count.no)
            && let Some(sender) = count.verdict.take()
        {
            // It fails if nobody waits any more: the caller went away.
            sender.send(verdict).ok();
        }
    }

    fn is_decided(&self) -> bool {
        self.lock().verdict.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// Yes with a majority of each set; no once some set cannot have one; `None` while it is open.
fn decide(sets: &[BTreeSet<ReplicaId>], yes: &BTreeSet<ReplicaId>, no: &BTreeSet<ReplicaId>) -> Option<bool> {
    let majority = |set: &BTreeSet<ReplicaId>| set.len() / 2 + 1;
    if sets.is_empty() || sets.iter().any(|set| set.len() - set.intersection(no).count() < majority(set)) {
        return Some(false);
    }
    sets.iter().all(|set| set.intersection(yes).count() >= majority(set)).then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_each_set_decides() {
        let set = |ids: &[u64]| ids.iter().copied().map(ReplicaId).collect::<BTreeSet<_>>();
        let check = |sets: &[&[u64]], yes: &[u64], no: &[u64], expected: Option<bool>| {
            let sets: Vec<_> = sets.iter().map(|ids| set(ids)).collect();
            assert_eq!(decide(&sets, &set(yes), &set(no)), expected, "{sets:?} yes {yes:?} no {no:?}");
        };
        check(&[&[1]], &[1], &[], Some(true));
        check(&[&[1]], &[], &[1], Some(false));
        check(&[&[1, 2, 3]], &[1], &[], None);
        check(&[&[1, 2, 3]], &[1, 3], &[], Some(true));
        check(&[&[1, 2, 3]], &[1], &[2], None);
        check(&[&[1, 2, 3]], &[1], &[2, 3], Some(false));
        check(&[&[1, 2]], &[1], &[], None);
        check(&[&[1, 2]], &[1], &[2], Some(false));
        check(&[&[1], &[1, 2, 3]], &[1], &[], None);
        check(&[&[1], &[1, 2, 3]], &[1, 2], &[], Some(true));
        check(&[&[1, 2, 3], &[4, 5, 6]], &[1, 2, 4], &[], None);
        check(&[&[1, 2, 3], &[4, 5, 6]], &[1, 2, 4], &[5, 6], Some(false));
        check(&[&[2, 3]], &[1], &[], None);
        check(&[], &[1], &[], Some(false));
    }
}
