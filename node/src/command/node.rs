//! `trine node`: one peer.
use crate::cli::NodeFlags;
use crate::config::Config;
use crate::error::{Error, io};
use crate::{run, telemetry};

pub(crate) fn run(flags: NodeFlags) -> Result<(), Error> {
    let config = Config::load(&flags)?;
    let own = telemetry::init(&config.telemetry)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("trine")
        .build()
        .map_err(io("start the runtime"))?;
    // Shard actors run on arbiters, each with a thread of its own; the system around them is this one.
    let system = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a small runtime for the actor system")
    });
    let result = runtime.block_on(run::run(config, own));
    drop(system);
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}
