//! What asks a process to stop: SIGTERM, SIGINT, or the end of the process that started it.
use std::io::Read;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::error::{Error, io};

/// Listens from its making on, so nothing that comes before [`Stop::asked`] is lost.
#[derive(Debug)]
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    /// Ends when standard input does; `None` where that means nothing.
    orphaned: Option<oneshot::Receiver<()>>,
}

impl Stop {
    /// Takes SIGTERM and SIGINT over. Needs a runtime.
    pub(crate) fn by_signals() -> Result<Self, Error> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(io("wait for SIGTERM"))?,
            interrupt: signal(SignalKind::interrupt()).map_err(io("wait for SIGINT"))?,
            orphaned: None,
        })
    }

    /// As [`Stop::by_signals`], and when standard input ends: the process at its other end is gone, however it ended.
    pub(crate) fn by_signals_and_stdin() -> Result<Self, Error> {
        let (ended, orphaned) = oneshot::channel::<()>();
        // A thread of its own, which the process's end takes along: a runtime would wait for its blocking read.
        let watch = move || {
            let mut bytes = [0; 64];
            let mut input = std::io::stdin().lock();
            while matches!(input.read(&mut bytes), Ok(1..)) {}
            // Dropping the sender is what the receiver waits for.
            drop(ended);
        };
        std::thread::Builder::new().name("parent".into()).spawn(watch).map_err(io("watch the standard input"))?;
        Ok(Self { orphaned: Some(orphaned), ..Self::by_signals()? })
    }

    /// Returns once this process has been asked to stop.
    pub(crate) async fn asked(&mut self) {
        let orphaned = async {
            match &mut self.orphaned {
                Some(orphaned) => drop(orphaned.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = orphaned => {}
        }
    }
}
