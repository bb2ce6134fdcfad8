//! `trine node`: one peer.
use crate::cli::NodeFlags;
use crate::config::Config;
use crate::error::{Error, io};
use crate::stop::Stop;
use crate::{run, telemetry};

pub(crate) fn run(flags: &NodeFlags) -> Result<(), Error> {
    let config = Config::load(flags)?;
    let own = telemetry::init(&config.telemetry)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("trine")
        .build()
        .map_err(io("start the runtime"))?;
    let result = runtime.block_on(async {
        let stop = if flags.stop_with_stdin { Stop::by_signals_and_stdin() } else { Stop::by_signals() };
        run::run(config, own, stop?).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}
