//! Tells open answers that would go on for ever that the server stops.
use tokio::sync::watch;

/// Goes along with each request.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Said by the sender's `true`, and by its end.
    pub(super) fn channel() -> (watch::Sender<bool>, Self) {
        let (stop, stopping) = watch::channel(false);
        (stop, Self(stopping))
    }

    /// Returns once the server stops.
    pub(crate) async fn begun(&mut self) {
        // An error means that the server is gone.
        drop(self.0.wait_for(|stops| *stops).await);
    }
}
