//! The `trine` binary: configuration, boot and stop order, telemetry of itself, command line.
//!
//! Start at [`run`] for how a node boots and stops. Only this crate reads files, flags and the environment; it composes the
//! settings of the other crates, validates them once, and passes plain values down.
mod allocator;
mod backend;
mod cli;
mod command;
mod config;
mod error;
mod memory;
mod run;
mod stop;
mod telemetry;

use std::io::Write;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::error::Error;

/// Exit status when the reader of the output has left: what a shell shows for a program that SIGPIPE has ended.
const READER_GONE: u8 = 141;

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Node(flags) => {
            allocator::settle();
            command::node::run(&flags)
        }
        Command::Dev(flags) => command::dev::run(flags),
        Command::Admin(flags) => command::admin::run(flags),
        Command::Query(flags) => command::query::run(&flags),
        Command::Inspect(flags) => command::inspect::run(&flags),
        Command::Export(flags) => command::export::run(&flags),
        Command::Bench(flags) => command::bench::run(&flags),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(Error::ReaderGone) => READER_GONE.into(),
        Err(error) => {
            // Nowhere is left to say so if this fails too.
            drop(writeln!(std::io::stderr(), "error: {}", error::chain(&error)));
            std::process::ExitCode::FAILURE
        }
    }
}
