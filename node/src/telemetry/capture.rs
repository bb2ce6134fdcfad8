//! A tracing layer that copies log events into a bounded queue.
use std::fmt::Write;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// One log event.
#[derive(Clone, Debug)]
pub(super) struct LogLine {
    pub(super) time_ns: i64,
    pub(super) level: Level,
    pub(super) target: &'static str,
    /// logfmt: `msg="…" field=value …`.
    pub(super) line: String,
}

/// Copies events of our own crates at info and above; a full queue drops them.
#[derive(Debug)]
pub(super) struct CaptureLayer {
    tx: mpsc::Sender<LogLine>,
}

impl CaptureLayer {
    pub(super) fn new(tx: mpsc::Sender<LogLine>) -> Self {
        Self { tx }
    }
}

impl<S: Subscriber> Layer<S> for CaptureLayer {
    fn on_event(&self, event: &Event<'_>, _ctx: Context<'_, S>) {
        let meta = event.metadata();
        let ours = meta.target().starts_with("trine") && !meta.target().starts_with("trine::telemetry");
        if !ours || *meta.level() > Level::INFO {
            return;
        }
        let mut text = Logfmt::default();
        event.record(&mut text);
        let line = LogLine {
            time_ns: super::unix_ns(),
            level: *meta.level(),
            target: meta.target(),
            line: format!("level={} target={} msg={:?}{}", meta.level(), meta.target(), text.message, text.fields),
        };
        // Full: the cap is reached, and the terminal has the line.
        drop(self.tx.try_send(line));
    }
}

/// Fields in logfmt.
#[derive(Debug, Default)]
struct Logfmt {
    message: String,
    fields: String,
}

impl Visit for Logfmt {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), format_args!("{value:?}"), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        if text.contains([' ', '=', '"']) {
            self.put(field.name(), format_args!("{text:?}"), &text);
        } else {
            self.put(field.name(), format_args!("{text}"), &text);
        }
    }
}

impl Logfmt {
    fn put(&mut self, name: &str, quoted: std::fmt::Arguments<'_>, plain: &str) {
        if name == "message" {
            self.message = plain.to_owned();
        } else {
            write!(self.fields, " {name}={quoted}").expect("writing to a string does not fail");
        }
    }
}
