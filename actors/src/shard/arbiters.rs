//! The threads that shard actors live on: one arbiter a core, under an actix system in a thread of its own.
use std::sync::Arc;

use actix::{Arbiter, ArbiterHandle, System};

/// Running arbiters. Dropping it leaves them running: call [`Self::stop`].
#[derive(Clone, Debug)]
pub struct Arbiters {
    system: System,
    handles: Arc<Vec<ArbiterHandle>>,
}

impl Arbiters {
    /// Starts `count` arbiters. Blocks the caller for the few milliseconds that it takes.
    pub fn start(count: usize) -> std::io::Result<Self> {
        let (tx, started) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("trine-actors".into()).spawn(move || {
            let runner = System::new();
            let system = System::current();
            // An arbiter belongs to the system of the thread that starts it.
            let handles = runner.block_on(async { (0..count.max(1)).map(|_| Arbiter::new().handle()).collect() });
            if tx.send(Self { system, handles: Arc::new(handles) }).is_ok()
                && let Err(error) = runner.run()
            {
                tracing::warn!(%error, "the actor system ended badly");
            }
        })?;
        started.recv().map_err(|_| std::io::Error::other("the actor system did not start"))
    }

    /// The arbiter for a shard.
    pub fn of(&self, shard: u32) -> &ArbiterHandle {
        &self.handles[shard as usize % self.handles.len()]
    }

    /// Stops all arbiters.
    pub fn stop(&self) {
        self.system.stop();
    }
}
