//! Known bugs put back, to test the tests: `TRINE_TEST_BUG` names one. Only in builds with the feature `fault-injection`,
//! which no release has.
use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::base::BoxStream;
use openraft::errors::RPCError;
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult};
use openraft::{OptionalSend, RaftNetworkV2};

use crate::network::Peer;
use crate::type_config::{TypeConfig, Vote};

#[cfg(not(debug_assertions))]
compile_error!("fault-injection is for tests: it must not be in a release build");

static BUG: OnceLock<Option<String>> = OnceLock::new();
static VOTES: Mutex<BTreeMap<u64, Vote>> = Mutex::new(BTreeMap::new());

fn has(name: &str) -> bool {
    BUG.get_or_init(|| std::env::var("TRINE_TEST_BUG").ok()).as_deref() == Some(name)
}

/// A vote is only remembered, never written: `true` if it was taken.
pub(crate) fn takes_vote(stream: u64, vote: &Vote) -> bool {
    let takes = has("skip-vote-fsync");
    if takes {
        VOTES.lock().unwrap_or_else(PoisonError::into_inner).insert(stream, *vote);
    }
    takes
}

/// A vote that was only remembered.
pub(crate) fn remembered_vote(stream: u64) -> Option<Vote> {
    VOTES.lock().unwrap_or_else(PoisonError::into_inner).get(&stream).copied()
}

/// Whether a leader counts an entry as stored by a follower once it was sent.
pub(crate) fn counts_what_was_sent() -> bool {
    has("apply-before-majority")
}

/// How long a follower may take before its silence counts as consent.
const SILENCE: Duration = Duration::from_secs(1);

/// Appends one after another; what a follower that has answered before does not answer, it has stored.
pub(crate) fn append_and_believe<'s, S>(
    peer: &'s mut Peer,
    input: S,
    option: RPCOption,
) -> BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
{
    let outcomes = futures::stream::unfold(Some((peer, input, false)), move |state| {
        let option = option.clone();
        async move {
            let (peer, mut input, answered) = state?;
            let request = input.next().await?;
            let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
            let prev = request.prev_log_id;
            match tokio::time::timeout(SILENCE, peer.append_entries(request, option)).await {
                Ok(Ok(AppendEntriesResponse::HigherVote(vote))) => {
                    Some((Ok(Err(StreamAppendError::HigherVote(vote))), None))
                }
                // Whoever was believed once is not asked again: openraft ends a group whose follower takes back.
                Ok(Ok(AppendEntriesResponse::Conflict)) => {
                    let prev = prev.filter(|_| !answered);
                    prev.map(|prev| (Ok(Err(StreamAppendError::Conflict(prev))), None))
                }
                Ok(Err(error)) if !answered => Some((Err(error), None)),
                Err(_) if !answered => None,
                _ => Some((Ok(Ok(last)), Some((peer, input, true)))),
            }
        }
    });
    Box::pin(outcomes)
}
