//! A stream that ends, and lets go of what feeds it, once its keeper is dropped.
//!
//! The request body of a call belongs to the connection, which goes on polling it after the caller has given the call up, for as
//! long as a stopped peer does not answer. openraft's stream of appends reads the log, and shares its state with the stream that
//! takes its place: after its caller has gone it may be polled no more.
use std::task::Poll;

use futures::stream::{Stream, StreamExt, poll_fn};
use tokio::sync::oneshot;

/// The stream given to [`kept`] ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper(#[expect(dead_code, reason = "its drop is the message")] oneshot::Sender<()>);

/// `stream` until the keeper is dropped: from then on `stream` is not polled again, and it is dropped at the next poll.
pub(crate) fn kept<S>(stream: S) -> (Keeper, impl Stream<Item = S::Item> + Send + 'static)
where
    S: Stream + Unpin + Send + 'static,
{
    let (sender, mut dropped) = oneshot::channel::<()>();
    let mut stream = Some(stream);
    let kept = poll_fn(move |cx| {
        if Future::poll(std::pin::Pin::new(&mut dropped), cx).is_ready() {
            stream = None;
        }
        stream.as_mut().map_or(Poll::Ready(None), |stream| stream.poll_next_unpin(cx))
    });
    // Once it has ended the receiver is not polled again.
    (Keeper(sender), kept.fuse())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn nothing_is_polled_once_the_keeper_is_gone() {
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let numbers = futures::stream::iter(0..).map(move |n| {
            assert_eq!(Arc::strong_count(&inside), 2);
            n
        });
        let (keeper, stream) = kept(numbers);
        let mut stream = Box::pin(stream);
        assert_eq!(stream.next().await, Some(0));
        assert_eq!(stream.next().await, Some(1));
        drop(keeper);
        assert_eq!(stream.next().await, None);
        assert_eq!(Arc::strong_count(&held), 1, "what feeds it is let go while the stream is still there");
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn a_waiting_stream_is_woken() {
        let (keeper, stream) = kept(futures::stream::pending::<u8>());
        let mut stream = Box::pin(stream);
        assert!(stream.next().now_or_never().is_none());
        let waiting = tokio::spawn(async move { stream.next().await });
        tokio::task::yield_now().await;
        drop(keeper);
        assert_eq!(waiting.await.unwrap(), None);
    }
}
