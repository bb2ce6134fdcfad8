//! Who belongs to the cluster: changes of the metadata from any node, taking nodes in, letting them go, and whether this
//! node still belongs to it.
use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tracing::{error, info, warn};

use super::shared::Shared;
use crate::meta::{self, Command, GoneNode, META_SHARD, NodeRecord, Reply};
use crate::placement::cannot_retire;
use crate::rpc::{connect, proto};

/// How long the metadata group may take to take a command.
pub(crate) const COMMAND_PATIENCE: Duration = Duration::from_secs(10);
/// How long a proposal on another node may take.
const PROPOSE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a node may take to say that it is there.
const ANSWER_PATIENCE: Duration = Duration::from_millis(1500);

/// What the cluster thinks of one of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Member,
    /// A member, but its replica of the metadata belongs to the past: the metadata was recovered without it.
    NeedsMetadata,
}

/// A node whose address or version has changed says so through the metadata group's leader.
pub(super) async fn update_own_record(shared: &Shared) {
    let Ok(own) = super::boot::own_record(shared) else { return };
    let known = shared.meta().nodes.get(&own.id).cloned();
    if known.as_ref() == Some(&own) || known.is_none() {
        return;
    }
    let record: proto::NodeRecord = own.into();
    if let Err(error) = tokio::time::timeout(Duration::from_secs(2), shared.join(record))
        .await
        .unwrap_or(Ok(proto::JoinReply::default()))
    {
        warn!(error, "the metadata does not have this node's new address yet");
    }
}

impl Shared {
    /// Proposes to the metadata group, which this node must lead; gives what applying it answered.
    pub(crate) async fn meta_reply(&self, command: &Command) -> Result<Reply, String> {
        let meta = self.meta.get().ok_or("this node belongs to no cluster yet")?;
        let proposal = meta.group.propose(meta::encode(command).into()).map_err(|e| e.to_string())?;
        let proposed = proposal.await.map_err(|e| e.to_string())?;
        meta::decode("reply", &proposed.reply).map_err(|e| e.to_string())
    }

    /// Proposes to the metadata group, which this node must lead; a refusal is an error.
    pub(crate) async fn meta_propose(&self, command: &Command) -> Result<Reply, String> {
        accepted(self.meta_reply(command).await?)
    }

    /// Proposes to the metadata group from any node. Commands may arrive twice: each is harmless when repeated.
    pub(crate) async fn meta_submit(&self, command: &Command) -> Result<Reply, String> {
        let meta = self.meta.get().ok_or("this node belongs to no cluster yet")?;
        let status = meta.group.status();
        if status.is_leader {
            return self.meta_propose(command).await;
        }
        let (_, leader) = status.leader.ok_or("the metadata group has no leader now")?;
        let mut client = self.peers.client(leader.0)?;
        let request = proto::ProposeRequest { to: self.peers.to(leader.0), command: meta::encode(command).into() };
        let reply = tokio::time::timeout(PROPOSE_PATIENCE, client.propose(request)).await;
        let reply = reply.map_err(|_| "the metadata leader did not answer in time".to_owned())?;
        let reply = reply.map_err(|s| s.message().to_owned())?.into_inner().reply;
        accepted(meta::decode("reply", &reply).map_err(|e| e.to_string())?)
    }

    /// [`Shared::meta_submit`] for whoever waits for the answer: an error after [`COMMAND_PATIENCE`].
    pub(crate) async fn meta_command(&self, command: &Command) -> Result<Reply, String> {
        let reply = tokio::time::timeout(COMMAND_PATIENCE, self.meta_submit(command)).await;
        reply.map_err(|_| "the metadata group did not answer in time; try again".to_owned())?
    }

    /// Takes a node into the cluster, or asks the metadata leader to. One that has the name of a dead node, but another id,
    /// is that node with a new disk: it takes its place and all its replicas' places.
    pub(crate) async fn join(&self, node: proto::NodeRecord) -> Result<proto::JoinReply, String> {
        let meta = self.meta.get().ok_or("this node belongs to no cluster yet")?;
        let status = meta.group.status();
        if !status.is_leader {
            let (_, leader) = status.leader.ok_or("the metadata group has no leader now")?;
            if leader.0 == self.node_id() {
                return Err("the metadata group is electing a leader".into());
            }
            let mut client = self.peers.client(leader.0)?;
            let request = proto::JoinRequest { cluster: self.cluster_id(), node: Some(node) };
            return client.join(request).await.map(tonic::Response::into_inner).map_err(|s| s.message().to_owned());
        }
        let id = node.id;
        let before = self.meta().namesake(id, &node.name).cloned();
        match before {
            Some(before) => self.replace_dead(before, node.into()).await?,
            None => drop(self.meta_propose(&Command::UpsertNode(node.into())).await?),
        }
        let Reply::Replica(meta_replica) =
            self.meta_propose(&Command::AddReplica { shard: META_SHARD, node: id }).await?
        else {
            return Err("the metadata group gave no replica".into());
        };
        let members = self.meta().nodes.values().cloned().map(Into::into).collect();
        Ok(proto::JoinReply { cluster: self.cluster_id(), meta_replica, members })
    }

    async fn replace_dead(&self, before: NodeRecord, node: NodeRecord) -> Result<(), String> {
        let (name, old, new) = (before.name.clone(), before.id, node.id);
        if old == self.node_id() || self.live().contains_key(&old) || self.answers(&before).await {
            return Err(format!(
                "node name {name:?} is in use by a node that is alive; give this one another name, or wait some seconds if it \
                 is the same one, restarted on an empty disk"
            ));
        }
        self.meta_propose(&Command::ReplaceNode { old, node }).await?;
        info!(name, old, new, "a node of a dead one's name takes the place of its replicas");
        Ok(())
    }

    /// Whether a node is reached under its id: addresses get reused, so another one there is no answer.
    async fn answers(&self, node: &NodeRecord) -> bool {
        let Ok(mut client) = connect(&node.rpc) else { return false };
        let ask = client.status(proto::StatusRequest { to: self.peers.to(node.id) });
        tokio::time::timeout(ANSWER_PATIENCE, ask).await.is_ok_and(|reply| reply.is_ok())
    }

    /// Lets a node go: its replicas are made elsewhere, then it is forgotten and refused. A living one only with `drain`.
    pub(crate) async fn retire(&self, name: &str, drain: bool) -> Result<u64, String> {
        let state = self.meta();
        let known = state.nodes.values().find(|n| n.name == name);
        let node = known.cloned().ok_or_else(|| format!("the cluster has no node named {name:?}"))?;
        let live: BTreeSet<u64> = self.live().into_keys().collect();
        if !drain && (self.live().contains_key(&node.id) || node.id == self.node_id() || self.answers(&node).await) {
            return Err(format!("node {name:?} is alive; stop it first, or move its replicas away with drain"));
        }
        if let Some(shard) = cannot_retire(&state, &live, node.id) {
            return Err(no_place(name, shard, live.contains(&node.id)));
        }
        self.meta_submit(&Command::RetireNode { node: node.id }).await?;
        info!(name, node = node.id, drain, "the node's replicas are moved to others, then it is removed");
        Ok(node.id)
    }

    /// Asks `nodes` whether this node still belongs to the cluster; the first that knows decides. `None`: nobody knew. `Err`
    /// says why it is gone.
    pub(crate) async fn standing(&self, nodes: &[NodeRecord]) -> Option<Result<Standing, String>> {
        let (me, cluster) = (self.node_id(), self.cluster_id());
        let meta_replica = self.identity.lock().unwrap_or_else(PoisonError::into_inner).meta_replica;
        let asks = nodes.iter().filter(|n| n.id != me).map(|node| {
            let request = proto::StandingRequest { cluster: cluster.clone(), node: me, meta_replica };
            async move {
                let mut client = connect(&node.rpc).ok()?;
                let reply = tokio::time::timeout(ANSWER_PATIENCE, client.standing(request)).await.ok()?;
                let reply = reply.ok()?.into_inner();
                match (reply.gone.is_empty(), reply.member) {
                    (false, _) => Some(Err(reply.gone)),
                    (true, true) if reply.meta_gone => Some(Ok(Standing::NeedsMetadata)),
                    (true, true) => Some(Ok(Standing::Member)),
                    (true, false) => None,
                }
            }
        });
        let mut asks: FuturesUnordered<_> = asks.collect();
        while let Some(known) = asks.next().await {
            if known.is_some() {
                return known;
            }
        }
        None
    }

    /// Ends the process if the cluster has let this node go: what it holds is of the past.
    pub(crate) async fn leave_if_gone(&self) {
        let (meta, me) = (self.meta(), self.node_id());
        if let Some(gone) = meta.gone.get(&me) {
            self.end_as_gone(&gone.refusal());
        }
        let peers: Vec<NodeRecord> = self.live().into_values().map(|p| p.node).filter(|n| n.id != me).collect();
        let Some(peer) = peers.get(rand::random_range(0..peers.len().max(1))) else { return };
        if let Some(Err(reason)) = self.standing(std::slice::from_ref(peer)).await {
            self.end_as_gone(&reason);
        }
    }

    pub(super) fn end_as_gone(&self, reason: &str) {
        if *self.stopping.borrow() {
            return warn!(reason, "this node is not of the cluster any more");
        }
        // What an operator has asked for is no error; what comes back from the past is.
        let removed = GoneNode { name: self.config.node_name.clone(), replaced_by: 0 };
        if reason == removed.refusal() {
            warn!(reason, "this node was removed from the cluster, ending the process");
        } else {
            error!(reason, "this node is not of the cluster any more, ending the process");
        }
        std::process::exit(super::EXIT_GONE);
    }
}

/// Why a node cannot be let go; the advice depends on whether it is `alive`.
fn no_place(name: &str, shard: u32, alive: bool) -> String {
    let advice = match alive {
        true => "add a node first".to_owned(),
        false => format!(
            "add a node first (one started under the name {name:?} with an empty disk takes its place by itself, without this)"
        ),
    };
    format!("no other living node can take the replica of shard {shard} on {name:?}; {advice}")
}

fn accepted(reply: Reply) -> Result<Reply, String> {
    match reply {
        Reply::Refused(reason) => Err(reason),
        reply => Ok(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_node_is_not_to_be_started_again_empty() {
        let said = [true, false].map(|alive| no_place("n3", 5, alive));
        assert_eq!(said[0], "no other living node can take the replica of shard 5 on \"n3\"; add a node first");
        assert!(said[1].contains("with an empty disk takes its place"), "{}", said[1]);
    }
}
