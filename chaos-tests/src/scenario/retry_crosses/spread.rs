//! Streams of the kept requests are spread over several slots, and some nodes do not know that in time.
use super::{FACTS, Kept, PATIENCE, REQUESTS, broken};
use crate::client::write::streams;
use crate::cluster::Cluster;
use crate::error::Result;
use crate::fact::{Signal, now_ms};
use crate::wait;

/// Lines of so many seconds in the future are accepted, and what is that far away is settled: a spread begins soon.
pub(super) const ARGUMENTS: [&str; 4] = ["--set", "limits.future_s=5", "--set", "spread.lead_s=4"];
const FUTURE_MS: i64 = 5_000;
const SLOTS: u16 = 4;
/// Of the second spread.
pub(super) const MORE_SLOTS: u16 = 16;

impl Kept<'_> {
    /// While a node is frozen, spreads all streams and has lines written from just before the beginning on. Gives the number of
    /// streams. The node goes on afterwards, with what it knew.
    pub(super) async fn spread_behind(&mut self, cluster: &Cluster, late: usize) -> Result<usize> {
        cluster.pause(late)?;
        let through = cluster.others(late)[0];
        let spread = self.spread(cluster, through, SLOTS).await?;
        cluster.resume(late)?;
        Ok(spread)
    }

    /// Spreads all streams through a node and has lines written from just before the beginning on.
    pub(super) async fn spread(&mut self, cluster: &Cluster, through: usize, slots: u16) -> Result<usize> {
        let (admin, run) = (cluster.admin(through), &self.ledger.run);
        let mut begin_ms = 0;
        for stream in streams(run) {
            // The leader of the metadata may be the one that is away.
            let asked = wait::until("a stream spread", PATIENCE, || {
                let (admin, stream) = (admin.clone(), stream.clone());
                async move { admin.spread(&stream, slots).await.map_err(|e| e.to_string()) }
            });
            begin_ms = begin_ms.max(asked.await?);
        }
        let first = run.number_at(begin_ms) - FACTS / 2;
        if first < run.taken(Signal::Logs) {
            return Err(broken(format!("a spread begins at {begin_ms} ms, before what was written already")));
        }
        run.skip_to(Signal::Logs, first);
        let last_ms = begin_ms + (REQUESTS * FACTS) as i64;
        wait::until("lines behind the beginning are accepted", PATIENCE, || async move {
            let left = last_ms - FUTURE_MS - now_ms();
            if left < 0 { Ok(()) } else { Err(format!("{left} ms too early")) }
        })
        .await?;
        for _ in 0..REQUESTS {
            let batch = run.batch(Signal::Logs, FACTS);
            self.write(cluster, through, batch).await?;
            self.batches.push(batch);
        }
        let spread = admin.spreads().await?.iter().filter(|s| s.slots == slots).count();
        let wanted = streams(run).count();
        if spread == wanted { Ok(spread) } else { Err(broken(format!("{spread} of {wanted} streams are spread"))) }
    }
}
