//! Counting everything that one replica holds, at one position: every block from its file, and what queries would see.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use trine_store::memory::Account;
use trine_store::model::Signal;
use trine_store::shard::{
    BLOCKS_DIR, BlockEntry, FileCheck, Ledger, SealedFacts, Seen, ShardView, entry_of, recount_block,
};
use trine_store::{rows, tsdb};

use super::{NOT_OPEN, books_row, books_rows};
use crate::cluster::Shared;
use crate::pace::Pace;
use crate::rpc::proto::{Recount, RecountRow};
use crate::shard::{Complaint, LedgerCut, ShardHandle};

/// Rests between two steps are not shorter than this.
const REST_MIN: Duration = Duration::from_millis(5);

/// Facts by tenant, as the books name it, and signal.
type Counts<T> = BTreeMap<(String, Signal), T>;

/// Counts a replica; `Err` says why it could not be counted.
pub(super) async fn recount(shared: &Shared, handle: &ShardHandle, pace: &mut Pace) -> Result<Recount, String> {
    let cut = handle.cut().await?;
    let books = cut.books.as_ref().ok_or(NOT_OPEN)?;
    if let [lost, ..] = cut.view.lost()[..] {
        return Err(format!("block {lost} is in quarantine; verify again once it is healed"));
    }
    let in_blocks = count_blocks(shared, handle, &cut, books, pace).await?;
    let seen = count_views(shared, &cut, books).await?;
    let keys = books.rows().map(|(tenant, signal, _)| (tenant.to_owned(), signal));
    let mut rows: Counts<RecountRow> = keys.map(|key| (key, RecountRow::default())).collect();
    for (key, facts) in in_blocks {
        rows.entry(key).or_default().in_blocks = facts;
    }
    for (key, seen) in seen {
        let row = rows.entry(key).or_default();
        (row.readable, row.shadowed) = (seen.readable, seen.shadowed);
    }
    for ((tenant, signal), row) in &mut rows {
        let b = books.get(tenant, *signal);
        // What seals have left out is in no file: the books know it from the seals alone.
        row.shadowed += b.folded;
        row.books = Some(books_row(tenant, *signal, &b));
    }
    Ok(Recount {
        shard: handle.shard,
        replica: handle.replica,
        position: cut.view.position,
        since: books.since,
        rows: rows.into_values().collect(),
        sealed_position: cut.manifest.position.index,
        sealed_rows: cut.manifest.ledger.as_ref().map(books_rows).unwrap_or_default(),
    })
}

/// Decodes every block of the cut's manifest from its file.
async fn count_blocks(
    shared: &Shared,
    handle: &ShardHandle,
    cut: &LedgerCut,
    books: &Ledger,
    pace: &mut Pace,
) -> Result<Counts<u64>, String> {
    let mut counts: Counts<u64> = BTreeMap::new();
    for entry in &cut.manifest.blocks {
        let counted = match count_block(shared, handle, entry, pace).await {
            Ok(counted) => counted,
            // It was healed meanwhile by a copy that is encoded in another way.
            Err(reason) => match entry_of(&handle.observed().manifest.load(), &entry.file).cloned() {
                Some(healed) if healed != *entry => count_block(shared, handle, &healed, pace).await?,
                _ => return Err(reason),
            },
        };
        for SealedFacts { tenant, facts, .. } in counted.into_iter().filter(|c| c.facts > 0) {
            shared.verify.counted(facts);
            *counts.entry((books.name_of(&tenant).to_owned(), entry.signal)).or_default() += facts;
        }
    }
    Ok(counts)
}

/// Reads the file from the disk at the pace, then decodes it.
async fn count_block(
    shared: &Shared,
    handle: &ShardHandle,
    entry: &BlockEntry,
    pace: &mut Pace,
) -> Result<Vec<SealedFacts>, String> {
    let failed = |reason: String| format!("block {}: {reason}", entry.file);
    let dir = crate::shard::directory(&shared.config.data_dir, handle.shard, handle.replica);
    let path = dir.join(BLOCKS_DIR).join(&entry.file);
    let (opening, opened) = (path.clone(), entry.clone());
    let check = shared.pool.run(move || FileCheck::open(&opening, &opened)).await;
    let check = check.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    let checked = match check {
        Err(damage) => Err(damage),
        Ok(mut check) => loop {
            let stepped = shared.pool.run(move || (check.step(), check)).await;
            let (step, stepped) = stepped.map_err(|e| failed(e.to_string()))?;
            check = stepped;
            match step {
                Ok(0) => break Ok(()),
                Ok(bytes) => {
                    pace.take(bytes as u64).await;
                    shared.verify.read(bytes as u64);
                }
                Err(damage) => break Err(damage),
            }
        },
    };
    if let Err(damage) = checked {
        let reason = damage.to_string();
        handle.complain(Complaint::Damage(damage)).await;
        return Err(reason);
    }
    let counting = entry.clone();
    let counted = shared.pool.run(move || recount_block(&path, &counting)).await;
    counted.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))
}

/// What queries of each tenant would see in the cut. `shadowed` is with what its heads have left out so far.
async fn count_views(shared: &Shared, cut: &LedgerCut, books: &Ledger) -> Result<Counts<Seen>, String> {
    // What has expired or was deleted and is still there is in the books as before.
    let view = cut.view.without_limits();
    let account = shared.budget.queries.account();
    let mut counts: Counts<Seen> = BTreeMap::new();
    let metrics = view.metrics.tenants().map_err(|e| format!("list tenants: {e}"))?;
    let (logs, traces) = (view.logs.tenants(), view.traces.tenants());
    let tenants = metrics.iter().map(|t| (t.clone(), Signal::Metrics));
    let tenants = tenants.chain(logs.iter().map(|t| (t.clone(), Signal::Logs)));
    for (tenant, signal) in tenants.chain(traces.iter().map(|t| (t.clone(), Signal::Traces))) {
        let failed = |reason: String| format!("{} of tenant {tenant}: {reason}", signal.as_str());
        let mut count = begin(shared, &view, &tenant, signal, &account).await.map_err(failed)?;
        let total = counts.entry((books.name_of(&tenant).to_owned(), signal)).or_default();
        total.shadowed += dropped(cut, &tenant, signal);
        loop {
            let began = std::time::Instant::now();
            let stepped = shared.pool.run(move || (count.step(), count)).await;
            let (step, stepped) = stepped.map_err(|e| failed(e.to_string()))?;
            count = stepped;
            let Some(seen) = step.map_err(failed)? else { break };
            total.readable += seen.readable;
            total.shadowed += seen.shadowed;
            shared.verify.counted(seen.readable);
            // Half of a thread at most: the other half belongs to seals and queries.
            let took = began.elapsed();
            if took > REST_MIN {
                tokio::time::sleep(took).await;
            }
            if *shared.stopping.borrow() {
                return Err("the node is stopping".into());
            }
        }
    }
    counts.retain(|_, seen| *seen != Seen::default());
    Ok(counts)
}

fn dropped(cut: &LedgerCut, tenant: &str, signal: Signal) -> u64 {
    match signal {
        Signal::Metrics => cut.view.metrics.heads.iter().map(|head| head.dropped(tenant)).sum(),
        Signal::Logs => cut.view.logs.heads.iter().map(|head| head.dropped(tenant)).sum(),
        Signal::Traces => cut.view.traces.heads.iter().map(|head| head.dropped(tenant)).sum(),
    }
}

/// A count on its way, of any signal.
enum Count {
    Series(tsdb::CountSeries),
    Rows(rows::CountRows),
}

impl Count {
    fn step(&mut self) -> Result<Option<Seen>, String> {
        match self {
            Self::Series(count) => count.step().map_err(|e| e.to_string()),
            Self::Rows(count) => count.step().map_err(|e| e.to_string()),
        }
    }
}

async fn begin(
    shared: &Shared,
    view: &ShardView,
    tenant: &Arc<str>,
    signal: Signal,
    account: &Account,
) -> Result<Count, String> {
    let (view, tenant, account) = (view.clone(), tenant.clone(), account.clone());
    let begun = shared.pool.run(move || match signal {
        Signal::Metrics => view.metrics.count(&tenant, &account).map(Count::Series).map_err(|e| e.to_string()),
        Signal::Logs => view.logs.count(&tenant, &account).map(Count::Rows).map_err(|e| e.to_string()),
        Signal::Traces => view.traces.count(&tenant, &account).map(Count::Rows).map_err(|e| e.to_string()),
    });
    begun.await.map_err(|e| e.to_string())?
}
