//! A net under the way of a query: an answer accounts for every shard that was asked, once (promise P4). What breaks that is a
//! defect above here, which must not look like data that does not exist, or exists twice.
use std::collections::BTreeSet;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tracing::error;
use trine_query::scatter::{Item, ShardAnswer};
use trine_query::{Error, Result};

const LOST: &str = "its answer was lost on the way to the query (a defect of Trine: please report it); ask again";
const TWICE: &str = "was answered for twice (a defect of Trine: please report it); ask again";

/// Passes items on. Shards without an account at the end get one that says so, or end a strict query; a second account of a shard
/// ends any query.
pub(super) fn accounted(
    items: impl Stream<Item = Result<Item>> + Send + Unpin + 'static,
    shards: BTreeSet<u32>,
    me: String,
    strict: bool,
) -> BoxStream<'static, Result<Item>> {
    let accounts = Accounts { left: shards.clone(), shards, over: false, me };
    stream::unfold((items, accounts), move |(mut items, mut accounts)| async move {
        if accounts.over {
            return None;
        }
        let item = match items.next().await {
            Some(item) => accounts.take(item),
            None => accounts.missing(strict)?,
        };
        Some((item, (items, accounts)))
    })
    .boxed()
}

struct Accounts {
    shards: BTreeSet<u32>,
    /// Without an account.
    left: BTreeSet<u32>,
    over: bool,
    /// The node that was asked.
    me: String,
}

impl Accounts {
    fn take(&mut self, item: Result<Item>) -> Result<Item> {
        match &item {
            Err(_) => self.over = true,
            Ok(Item::Frame(_)) => {}
            Ok(Item::ShardDone(account)) => {
                let shard = account.shard;
                if !self.left.remove(&shard) && self.shards.contains(&shard) {
                    self.over = true;
                    error!(shard, "a shard was answered for twice within one query");
                    return Err(Error::Execution { message: format!("shard {shard} {TWICE}") });
                }
            }
        }
        item
    }

    fn missing(&mut self, strict: bool) -> Option<Result<Item>> {
        let shard = self.left.pop_first()?;
        error!(shard, "a shard was not answered for, and not said to be missing, within a query");
        let node = self.me.clone();
        let account = ShardAnswer { shard, node, error: Some(LOST.to_owned()), ..ShardAnswer::default() };
        if strict {
            self.over = true;
            return Some(Err(Error::ShardMissing(account.into())));
        }
        Some(Ok(Item::ShardDone(account)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn done(shard: u32) -> Result<Item> {
        Ok(Item::ShardDone(ShardAnswer { shard, ..ShardAnswer::default() }))
    }

    fn frame() -> Result<Item> {
        Ok(Item::Frame(Bytes::from_static(b"frame")))
    }

    async fn passed(items: Vec<Result<Item>>, strict: bool) -> Vec<String> {
        let shards = BTreeSet::from([3, 4]);
        let out = accounted(stream::iter(items), shards, "n1".to_owned(), strict).collect::<Vec<_>>().await;
        let say = |item: Result<Item>| match item {
            Ok(Item::Frame(_)) => "frame".to_owned(),
            Ok(Item::ShardDone(ShardAnswer { shard, error: None, .. })) => shard.to_string(),
            Ok(Item::ShardDone(ShardAnswer { shard, .. })) => format!("{shard} missing"),
            Err(Error::ShardMissing(_)) => "error: missing".to_owned(),
            Err(_) => "error".to_owned(),
        };
        out.into_iter().map(say).collect()
    }

    #[tokio::test]
    async fn no_shard_is_left_out_or_counted_twice_in_silence() {
        for strict in [false, true] {
            assert_eq!(passed(vec![frame(), done(4), done(3)], strict).await, ["frame", "4", "3"]);
            assert_eq!(passed(vec![done(3), frame(), done(3), done(4)], strict).await, ["3", "frame", "error"]);
            assert_eq!(passed(vec![done(3), Err(Error::Timeout), done(4)], strict).await, ["3", "error"]);
        }
        assert_eq!(passed(vec![frame(), done(3)], false).await, ["frame", "3", "4 missing"]);
        assert_eq!(passed(vec![frame(), done(3)], true).await, ["frame", "3", "error: missing"]);
        assert_eq!(passed(vec![], false).await, ["3 missing", "4 missing"]);
        assert_eq!(passed(vec![], true).await, ["error: missing"]);
    }
}
