//! The cluster as faults act on it: several may want one node down at once, and somebody has to start what ended.
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

use super::story::Story;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::healing::{HealingRecord, whole};

/// A cluster under faults.
#[derive(Debug)]
pub(super) struct Stage {
    cluster: AsyncMutex<Cluster>,
    /// How many faults want a node down.
    down: Mutex<Vec<u32>>,
    pub(super) story: Story,
    /// Names of the nodes, by position.
    pub(super) names: Vec<String>,
}

/// Between two looks at whether a process ended by itself.
const LOOK: Duration = Duration::from_millis(300);
/// How long one node may take to answer before the next is asked.
const ASK_PATIENCE: Duration = Duration::from_secs(6);
/// Before one is started again, as an orchestrator would wait.
const RESTART_AFTER: Duration = Duration::from_secs(1);

impl Stage {
    pub(super) fn new(cluster: Cluster) -> Self {
        let names: Vec<String> = (0..cluster.len()).map(|n| cluster.name(n).to_owned()).collect();
        let down = Mutex::new(vec![0; names.len()]);
        Self { cluster: AsyncMutex::new(cluster), down, story: Story::default(), names }
    }

    pub(super) fn nodes(&self) -> usize {
        self.names.len()
    }

    pub(super) async fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().await
    }

    pub(super) fn into_cluster(self) -> (Cluster, Story) {
        (self.cluster.into_inner(), self.story)
    }

    /// Counts a fault that wants a node down in or out; gives how many there are now.
    fn count(&self, n: usize, add: bool) -> u32 {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down[n] = if add { down[n] + 1 } else { down[n].saturating_sub(1) };
        down[n]
    }

    fn wanted_down(&self, n: usize) -> bool {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)[n] > 0
    }

    /// SIGKILL to these nodes, together. Each stays down until [`Stage::up`] was called as often.
    pub(super) async fn down(&self, nodes: &[usize]) -> Result<()> {
        let mut cluster = self.cluster().await;
        for &n in nodes {
            self.count(n, true);
        }
        nodes.iter().try_for_each(|&n| cluster.kill(n))
    }

    /// SIGSTOP to these nodes, together; from here on nobody lets them go on or starts them, so that their disks are what they are.
    /// [`Stage::lose`] must follow.
    pub(super) async fn hold(&self, nodes: &[usize]) -> Result<()> {
        let cluster = self.cluster().await;
        for &n in nodes {
            self.count(n, true);
        }
        nodes.iter().try_for_each(|&n| signal(&cluster, n, true))
    }

    /// SIGKILL to nodes that are held. Each stays down until [`Stage::up`].
    pub(super) async fn lose(&self, nodes: &[usize]) -> Result<()> {
        let mut cluster = self.cluster().await;
        nodes.iter().try_for_each(|&n| cluster.kill(n))
    }

    /// Starts these nodes, unless another fault still wants them down.
    pub(super) async fn up(&self, nodes: &[usize]) -> Result<()> {
        let mut cluster = self.cluster().await;
        for &n in nodes {
            if self.count(n, false) == 0 {
                cluster.restart(n)?;
            }
        }
        Ok(())
    }

    /// SIGSTOP or SIGCONT; nothing, if the node is down or held.
    pub(super) async fn freeze(&self, n: usize, frozen: bool) -> Result<()> {
        let cluster = self.cluster().await;
        if self.wanted_down(n) { Ok(()) } else { signal(&cluster, n, frozen) }
    }

    /// Starts again what ended by itself, until aborted.
    pub(super) async fn supervise(&self) -> Result<()> {
        loop {
            tokio::time::sleep(LOOK).await;
            for n in 0..self.nodes() {
                let ended = self.cluster().await.exit_status(n);
                let Some(status) = ended.filter(|_| !self.wanted_down(n)) else { continue };
                self.story.ended(n, &status);
                tokio::time::sleep(RESTART_AFTER).await;
                let mut cluster = self.cluster().await;
                if !self.wanted_down(n) && cluster.exit_status(n).is_some() {
                    cluster.restart(n)?;
                }
            }
        }
    }

    /// The node that leads most shards, as some node says; `otherwise` if none says.
    pub(super) async fn leader(&self, otherwise: usize) -> usize {
        let admins: Vec<_> = {
            let cluster = self.cluster().await;
            (0..self.nodes()).map(|n| cluster.admin(n)).collect()
        };
        for admin in admins {
            let Ok(Ok(states)) = tokio::time::timeout(ASK_PATIENCE, admin.nodes()).await else { continue };
            let first = states.iter().max_by_key(|s| s.leaders_count).map(|s| s.name.clone());
            if let Some(n) = self.names.iter().position(|name| Some(name) == first.as_ref()) {
                return n;
            }
        }
        otherwise
    }

    /// Waits until every shard has all its voters and nothing is left to heal, but not beyond `deadline`; `Err` is what was
    /// missing last.
    pub(super) async fn whole(&self, deadline: Instant) -> std::result::Result<(), String> {
        for n in (0..self.nodes()).cycle() {
            let admin = self.cluster().await.admin(n);
            match whole(&admin, self.nodes()).await {
                Ok(_) => break,
                Err(missing) if Instant::now() > deadline => return Err(missing),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
        Ok(())
    }

    /// What nodes say that their disks have lost: position of the node, and what. Nothing, while nobody answers.
    pub(super) async fn damage(&self) -> Vec<(Option<usize>, String)> {
        for n in 0..self.nodes() {
            let admin = self.cluster().await.admin(n);
            let Ok(Ok(healing)) = tokio::time::timeout(ASK_PATIENCE, admin.healing()).await else { continue };
            let told = |r: &HealingRecord| {
                let what = format!("{} {}: {}", r.kind, r.reason, r.state);
                (self.names.iter().position(|name| *name == r.node), what)
            };
            return healing.records.iter().map(told).collect();
        }
        Vec::new()
    }
}

/// Nothing, if the process is not there or has ended by itself.
fn signal(cluster: &Cluster, n: usize, frozen: bool) -> Result<()> {
    match if frozen { cluster.pause(n) } else { cluster.resume(n) } {
        Err(Error::Ended { .. }) => Ok(()),
        other => other,
    }
}
