//! `GET /admin/v1/healing`: what all nodes found damaged, and what the metadata says is being replaced.
use trine_actors::Cluster;
use trine_actors::cluster::NodeView;
use trine_actors::meta::{LeavingReplica, META_SHARD, MetaState};
use trine_actors::rpc::proto::HealingRecord;
use trine_api::admin::model::{AdminHealing, AdminHealingRecord, AdminReplacement};

use super::replicas_of;

/// The whole view, asked of every node.
pub(super) async fn view(cluster: &Cluster) -> AdminHealing {
    let (meta, nodes, answers) = (cluster.meta(), cluster.nodes().await, cluster.healing_of_all().await);
    let mut view = AdminHealing {
        retiring: meta.retiring.iter().map(|id| name_of(&meta, *id)).collect(),
        ..AdminHealing::default()
    };
    for (shard, record) in meta.records() {
        view.replacing.extend(record.leaving.iter().map(|l| replacement(&meta, &nodes, shard, l)));
    }
    for (node, answer) in answers {
        match answer {
            Ok(records) => view.records.extend(records.into_iter().map(|r| record(&node, r))),
            Err(_) => view.silent.push(node),
        }
    }
    view.records.sort_by(|a, b| (b.found_ms, &b.node, b.id).cmp(&(a.found_ms, &a.node, a.id)));
    view
}

fn name_of(meta: &MetaState, node: u64) -> String {
    let gone = || meta.gone.get(&node).map(|g| format!("{} (its former self)", g.name));
    let known = meta.nodes.get(&node).map(|n| n.name.clone());
    known.or_else(gone).unwrap_or_else(|| format!("a node that is not known any more (id {node})"))
}

fn record(node: &str, r: HealingRecord) -> AdminHealingRecord {
    AdminHealingRecord {
        id: r.id,
        node: node.to_owned(),
        found_ms: r.time_ms,
        changed_ms: r.changed_ms,
        kind: r.kind,
        state: r.state,
        shard: r.shard,
        what: r.what,
        reason: r.reason,
        detail: r.detail,
        files: Some(r.kept).filter(|kept| !kept.is_empty()),
    }
}

fn replacement(meta: &MetaState, nodes: &[NodeView], shard: u32, leaving: &LeavingReplica) -> AdminReplacement {
    let replicas = replicas_of(nodes, shard);
    let at = |replica: u64| replicas.iter().find(|(_, r)| r.replica == replica).map(|(_, r)| r.applied_index);
    let successor = meta.record(shard).and_then(|r| r.replicas.iter().find(|r| r.replica == leaving.successor));
    AdminReplacement {
        shard: Some(shard).filter(|s| *s != META_SHARD),
        replica: leaving.replica,
        node: name_of(meta, leaving.node),
        lost: leaving.lost,
        successor: leaving.successor,
        successor_node: successor.map(|r| name_of(meta, r.node)),
        matched: at(leaving.successor),
        last_log: replicas.iter().find(|(_, r)| r.leads).map(|(_, r)| r.last_index),
    }
}
