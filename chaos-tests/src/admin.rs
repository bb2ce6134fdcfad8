//! The admin REST as the harness needs it.
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// A replica of a shard, as its leader sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Replica {
    pub node: String,
    pub voter: bool,
    /// Log index that it has reached, if it answers.
    pub matched: Option<u64>,
}

/// A shard.
#[derive(Clone, Debug, Deserialize)]
pub struct Shard {
    pub shard: u32,
    pub leader: Option<String>,
    pub replicas: Vec<Replica>,
    pub last_log: Option<u64>,
    pub applied: Option<u64>,
    pub blocks_count: Option<u64>,
}

/// A node.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeState {
    pub name: String,
    pub ready: bool,
    pub leaders_count: u32,
}

/// What a flush did.
#[derive(Clone, Debug, Deserialize)]
pub struct Flushed {
    pub blocks_count: u64,
}

/// A row of the table of spread streams.
#[derive(Clone, Debug, Deserialize)]
pub struct Spread {
    pub stream: String,
    pub slots: u16,
    /// First entry time, in Unix ms.
    pub from_unix_ms: i64,
}

/// Talks to one node's admin API.
#[derive(Clone, Debug)]
pub struct Admin {
    http: reqwest::Client,
    at: SocketAddr,
}

/// A flush of all shards in a debug build takes its time.
const FLUSH_PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(10);

impl Admin {
    pub fn new(http: reqwest::Client, at: SocketAddr) -> Self {
        Self { http, at }
    }

    pub async fn shards(&self) -> Result<Vec<Shard>> {
        self.call(self.http.get(self.url("shards")).timeout(PATIENCE)).await
    }

    pub async fn nodes(&self) -> Result<Vec<NodeState>> {
        self.call(self.http.get(self.url("nodes")).timeout(PATIENCE)).await
    }

    /// What was found damaged and is being replaced.
    pub async fn healing(&self) -> Result<crate::healing::Healing> {
        self.call(self.http.get(self.url("healing")).timeout(PATIENCE)).await
    }

    /// How the count of everything goes on every node, and what it found.
    pub async fn verification(&self) -> Result<crate::audit::Verification> {
        self.call(self.http.get(self.url("ledger/verify")).timeout(PATIENCE)).await
    }

    /// Starts to count everything where no count is running.
    pub async fn verify_ledger(&self) -> Result<crate::audit::Verification> {
        self.call(self.http.post(self.url("ledger/verify")).timeout(PATIENCE)).await
    }

    /// What became of every fact.
    pub async fn ledger(&self) -> Result<serde_json::Value> {
        self.call(self.http.get(self.url("ledger")).timeout(PATIENCE)).await
    }

    /// Asks the cluster to remove a dead node.
    pub async fn remove_node(&self, name: &str) -> Result<()> {
        let request = self.http.post(self.url(&format!("nodes/{name}/remove"))).timeout(PATIENCE);
        self.call::<serde_json::Value>(request).await.map(drop)
    }

    /// Spreads a log stream of the tenant `default` as early as possible; gives the first entry time, in Unix ms.
    pub async fn spread(&self, stream: &str, slots: u16) -> Result<i64> {
        let request = self.http.post(self.url("spread")).timeout(PATIENCE);
        let body = serde_json::json!({ "stream": stream, "slots": slots });
        Ok(self.call::<Spread>(request.json(&body)).await?.from_unix_ms)
    }

    /// Streams that are spread so far.
    pub async fn spreads(&self) -> Result<Vec<Spread>> {
        #[derive(Deserialize)]
        struct Spreads {
            spreads: Vec<Spread>,
        }
        let all: Spreads = self.call(self.http.get(self.url("spread")).timeout(PATIENCE)).await?;
        Ok(all.spreads)
    }

    /// The cluster that the node belongs to.
    pub async fn cluster_id(&self) -> Result<String> {
        #[derive(Deserialize)]
        struct ClusterState {
            id: String,
        }
        let state: ClusterState = self.call(self.http.get(self.url("cluster")).timeout(PATIENCE)).await?;
        Ok(state.id)
    }

    /// Seals every head; returns once the blocks are durable.
    pub async fn flush(&self) -> Result<Flushed> {
        self.call(self.http.post(self.url("flush")).timeout(FLUSH_PATIENCE)).await
    }

    /// `Err` says why the node does not serve.
    pub async fn ready(&self) -> std::result::Result<(), String> {
        let reply = self.http.get(format!("http://{}/ready", self.at)).timeout(PATIENCE).send().await;
        let reply = reply.map_err(|e| format!("{e:?}"))?;
        if reply.status().is_success() { Ok(()) } else { Err(reply.text().await.unwrap_or_default()) }
    }

    fn url(&self, page: &str) -> String {
        format!("http://{}/admin/v1/{page}", self.at)
    }

    async fn call<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T> {
        let trouble = |reason: String| Error::Request { url: format!("http://{}/admin/v1", self.at), reason };
        let reply = request.send().await.map_err(|e| trouble(format!("{e:?}")))?;
        let status = reply.status();
        let text = reply.text().await.map_err(|e| trouble(format!("{e:?}")))?;
        if !status.is_success() {
            return Err(trouble(format!("{status}: {text}")));
        }
        serde_json::from_str(&text).map_err(|e| trouble(format!("{e} in {text}")))
    }
}

/// `Err` says which shard does not have `voters` voters and a leader.
pub fn replicated(shards: &[Shard], voters: usize) -> std::result::Result<(), String> {
    if shards.is_empty() {
        return Err("no shards".into());
    }
    let short = shards.iter().find(|s| s.leader.is_none() || s.replicas.iter().filter(|r| r.voter).count() < voters);
    match short {
        None => Ok(()),
        Some(s) => Err(format!("shard {}: leader {:?}, replicas {:?}", s.shard, s.leader, s.replicas)),
    }
}

/// `Err` says which replica on `node` is behind its leader.
pub fn caught_up(shards: &[Shard], node: &str) -> std::result::Result<(), String> {
    for shard in shards {
        let own = shard.replicas.iter().find(|r| r.node == node);
        let reached = own.and_then(|r| r.matched);
        if shard.leader.is_none() || reached.is_none() || reached < shard.applied {
            let (id, applied) = (shard.shard, shard.applied);
            return Err(format!("shard {id}: {node} is at {reached:?} of {applied:?}, leader {:?}", shard.leader));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(leader: Option<&str>, replicas: &[(&str, bool, Option<u64>)]) -> Shard {
        let replica = |r: &(&str, bool, Option<u64>)| Replica { node: r.0.into(), voter: r.1, matched: r.2 };
        Shard {
            shard: 0,
            leader: leader.map(Into::into),
            replicas: replicas.iter().map(replica).collect(),
            last_log: Some(9),
            applied: Some(9),
            blocks_count: None,
        }
    }

    #[test]
    fn a_shard_is_replicated_with_a_leader_and_all_voters() {
        let all = [("a", true, Some(9)), ("b", true, Some(9)), ("c", true, Some(8))];
        assert!(replicated(&[], 1).is_err());
        assert!(replicated(&[shard(Some("a"), &all)], 3).is_ok());
        assert!(replicated(&[shard(None, &all)], 3).is_err());
        let learner = [("a", true, None), ("b", true, None), ("c", false, None)];
        assert!(replicated(&[shard(Some("a"), &all), shard(Some("a"), &learner)], 3).is_err());
    }

    #[test]
    fn a_node_has_caught_up_when_it_is_as_far_as_every_leader() {
        let all = [("a", true, Some(9)), ("b", true, Some(8)), ("c", true, None)];
        assert!(caught_up(&[shard(Some("a"), &all)], "a").is_ok());
        assert!(caught_up(&[shard(Some("a"), &all)], "b").is_err());
        assert!(caught_up(&[shard(Some("a"), &all)], "c").is_err());
        assert!(caught_up(&[shard(Some("a"), &all)], "d").is_err());
        assert!(caught_up(&[shard(None, &all)], "a").is_err());
    }
}
