//! Opening replicas: each by itself, and of use to others as soon as it is open, while the rest still replays its log.
use std::sync::Arc;
use std::time::Instant;

use tokio::task::{AbortHandle, Id, JoinError};
use tracing::{debug, error, info, warn};

use super::disk::{Condition, Loss};
use super::relapse::{Failure, Verdict};
use super::{Steward, Wanted, end_process, error_chain, found};
use crate::error::Error;
use crate::healing::Kind;
use crate::meta::{Command, MetaState};
use crate::shard::Replica;

/// A replica on its way.
#[derive(Debug)]
pub(super) struct Opening {
    wanted: Wanted,
    began: Instant,
    log_bytes: u64,
    task: AbortHandle,
}

/// How an opening ended.
pub(super) type Arrived = Result<(Id, Result<Replica, Error>), JoinError>;

impl Steward {
    /// Begins to open what is to be open here and is not.
    pub(super) async fn open_missing(&mut self, state: &MetaState, wanted: Vec<Wanted>) {
        let now = Instant::now();
        let closed = |w: &Wanted| self.damaged.get(&w.shard).is_some_and(|c| c.replica == w.replica);
        let here = |w: &Wanted| self.replicas.contains_key(&w.shard) || self.opening.contains_key(&w.shard);
        let missing: Vec<Wanted> =
            wanted.into_iter().filter(|w| !here(w) && !closed(w) && self.relapses.may_open(w.shard, now)).collect();
        if missing.is_empty() {
            return;
        }
        for wanted in self.whole(state, missing).await {
            let Wanted { shard, replica, .. } = wanted;
            let log_bytes = self.log.wal.bytes_from(replica, 0);
            let replayed = self.shared.boot.begins(replica, log_bytes);
            let context = self.context.clone();
            let task = self.arriving.spawn(async move { Replica::open(&context, shard, replica, replayed).await });
            self.opening.insert(shard, Opening { wanted, began: now, log_bytes, task });
        }
    }

    /// Takes in a replica that has been opened, or could not be.
    pub(super) async fn arrived(&mut self, arrived: Arrived) {
        let id = match &arrived {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(shard) = self.opening.iter().find(|(_, o)| o.task.id() == id).map(|(shard, _)| *shard) else { return };
        let Some(Opening { wanted, began, log_bytes, .. }) = self.opening.remove(&shard) else { return };
        let Wanted { replica, founder, .. } = wanted;
        self.shared.boot.ends(replica);
        match arrived.map(|(_, opened)| opened) {
            Ok(Ok(opened)) => {
                found(&opened.handle.group, replica, founder, self.shared.node_id()).await;
                self.replicas.insert(shard, opened);
                self.publish();
                let (took_ms, open) = (began.elapsed().as_millis() as u64, self.replicas.len());
                info!(shard, replica, log_bytes, took_ms, open, opening = self.opening.len(), "replica opened");
            }
            Ok(Err(Error::Damaged { reason, detail, .. })) => {
                self.close_damaged(shard, replica, Loss { kind: Kind::Replica, reason, detail });
            }
            Ok(Err(error)) => warn!(shard, error = %error_chain(&error), "replica does not open, trying again"),
            Err(error) => self.relapsed(shard, &Failure::Panic(format!("opening it: {error}"))),
        }
    }

    /// Those that can be opened now. New ones are born first, and noted in the metadata; lost ones are closed.
    async fn whole(&mut self, state: &MetaState, missing: Vec<Wanted>) -> Vec<Wanted> {
        let (mut whole, mut born) = (Vec::new(), Vec::new());
        for wanted in missing {
            let Wanted { shard, replica, .. } = wanted;
            let disk = self.disk(replica);
            let condition = match disk.condition(shard, replica, state.opened.contains(&replica)) {
                Ok(Condition::Unborn) => disk.give_birth(shard, replica).await.map(|()| Condition::Unborn),
                other => other,
            };
            match condition {
                Ok(Condition::Whole) => whole.push(wanted),
                Ok(Condition::Unborn) => born.push(replica),
                Ok(Condition::Undecided) => debug!(shard, replica, "waits for the metadata log to be applied"),
                Ok(Condition::Lost(loss)) => self.close_damaged(shard, replica, loss),
                Err(error) => warn!(shard, replica, %error, "the replica's files cannot be looked at, trying again"),
            }
        }
        if !born.is_empty()
            && let Err(error) = self.shared.meta_submit(&Command::MarkOpened { replicas: born }).await
        {
            debug!(error, "new replicas are not in the metadata yet, trying again");
        }
        whole
    }

    pub(super) fn publish(&self) {
        let handles = self.replicas.iter().map(|(shard, r)| (*shard, r.handle.clone())).collect();
        self.shared.handles.store(Arc::new(handles));
    }

    /// A replica has stopped by itself: it is opened again, or the process ends.
    pub(super) fn relapsed(&mut self, shard: u32, failure: &Failure) {
        self.shared.reopened.count(failure);
        let (Failure::Storage(reason) | Failure::Panic(reason)) = failure;
        match self.relapses.stopped(shard, failure, Instant::now()) {
            Verdict::Reopen(pause) => {
                let pause_ms = pause.as_millis() as u64;
                error!(shard, reason, pause_ms, "a replica stopped by itself, opening it again after a pause");
            }
            Verdict::EndProcess => end_process(&format!("the replica of shard {shard}"), reason),
        }
    }
}
