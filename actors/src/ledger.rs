//! The loss ledger of a node: what its surfaces took and refused, what its replicas keep of it, and whether that is so when
//! everything is counted again. `docs/adr/0010-books-of-every-fact.md` has the rules.
mod compare;
mod intake;
mod recount;
mod verify;

use std::sync::Arc;

use trine_store::model::Signal;
use trine_store::shard::{Books, Ledger};

pub use compare::{Imbalance, imbalances};
pub use intake::Intake;
pub(crate) use verify::{Verify, start};

use crate::cluster::Shared;
use crate::rpc::proto::{BooksRow, LedgerReply, ReplicaBooks};
use crate::shard::ShardHandle;

/// The books of this node; with `books` false those of its replicas are left out.
pub(crate) async fn tell(shared: &Arc<Shared>, books: bool) -> LedgerReply {
    let mut reply = LedgerReply {
        since_unix_ms: shared.started_unix_ms,
        intake: shared.intake.rows(),
        verification: Some(shared.verify.progress()),
        ..LedgerReply::default()
    };
    if books {
        for handle in shared.handles().values() {
            reply.replicas.push(replica_books(handle).await);
        }
    }
    reply
}

/// Why a replica has no books.
const NOT_OPEN: &str = "no books yet: a block that was written before there were any is damaged; they begin at the next \
                        start after it is healed";

async fn replica_books(handle: &ShardHandle) -> ReplicaBooks {
    let (shard, replica, leads) = (handle.shard, handle.replica, handle.group.status().is_leader);
    let told = ReplicaBooks { shard, replica, leads, ..ReplicaBooks::default() };
    match handle.cut().await {
        Ok(cut) => match cut.books {
            Some(books) => {
                ReplicaBooks { position: cut.view.position, since: books.since, rows: books_rows(&books), ..told }
            }
            None => ReplicaBooks { position: cut.view.position, closed: NOT_OPEN.to_owned(), ..told },
        },
        Err(closed) => ReplicaBooks { closed, ..told },
    }
}

fn books_rows(ledger: &Ledger) -> Vec<BooksRow> {
    ledger.rows().map(|(tenant, signal, books)| books_row(tenant, signal, &books)).collect()
}

fn books_row(tenant: &str, signal: Signal, books: &Books) -> BooksRow {
    let Books { applied, deduplicated, conflicting, sealed, folded, expired, deleted } = *books;
    let (tenant, signal) = (tenant.to_owned(), u32::from(signal as u8));
    BooksRow { tenant, signal, applied, deduplicated, conflicting, sealed, folded, expired, deleted }
}

impl From<&BooksRow> for Books {
    fn from(row: &BooksRow) -> Self {
        let BooksRow { applied, deduplicated, conflicting, sealed, folded, expired, deleted, .. } = *row;
        Self { applied, deduplicated, conflicting, sealed, folded, expired, deleted }
    }
}
