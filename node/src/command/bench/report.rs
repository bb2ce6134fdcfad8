//! The measurements as a table for a terminal and a document, and as JSON.
use std::fmt::Write;

use serde::Serialize;

use super::load::{Load, Signal};
use super::measure::Measured;

/// What was run, where, and what came of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) signal: Signal,
    /// The command as it was given.
    pub(super) command: String,
    pub(super) version: &'static str,
    pub(super) debug_build: bool,
    pub(super) machine: Machine,
    pub(super) load: LoadSize,
    pub(super) runs: Vec<Measured>,
}

#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
}

impl Machine {
    pub(super) fn this() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|l| l.strip_prefix("model name")).and_then(|l| l.split_once(':'));
        Self {
            cpu: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        }
    }
}

/// How much was sent to each target.
#[derive(Debug, Serialize)]
pub(super) struct LoadSize {
    pub(super) connections: usize,
    pub(super) requests: u64,
    pub(super) facts: u64,
    pub(super) raw_bytes: u64,
    pub(super) body_bytes: u64,
}

impl LoadSize {
    pub(super) fn of(load: &Load) -> Self {
        Self {
            connections: load.lanes.len(),
            requests: load.requests(),
            facts: load.facts(),
            raw_bytes: load.raw_bytes(),
            body_bytes: load.body_bytes(),
        }
    }
}

impl Report {
    /// A table with a column for each target, in Markdown that a terminal shows well too.
    pub(super) fn table(&self) -> String {
        let rows = self.rows();
        let width =
            |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=self.runs.len()).map(width).collect();
        let mut out = self.heading();
        for (at, row) in rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let written =
                    if column == 0 { write!(out, "| {cell:<width$} ") } else { write!(out, "| {cell:>width$} ") };
                written.expect("writing to a string does not fail");
            }
            out.push_str("|\n");
            if at == 0 {
                for (column, width) in widths.iter().enumerate() {
                    out.push_str(if column == 0 { "|-" } else { "|--" });
                    out.push_str(&"-".repeat(if column == 0 { *width } else { width.saturating_sub(1) }));
                    out.push_str(if column == 0 { "-" } else { ":" });
                }
                out.push_str("|\n");
            }
        }
        out
    }

    fn heading(&self) -> String {
        let (l, m) = (&self.load, &self.machine);
        format!(
            "{} {} in {} requests over {} connections; {:.1} bytes raw and {:.1} on the wire for one.\n{} x {}, Linux {}, trine {}{}\n\n",
            l.facts,
            self.signal.facts(),
            l.requests,
            l.connections,
            l.raw_bytes as f64 / l.facts.max(1) as f64,
            l.body_bytes as f64 / l.facts.max(1) as f64,
            m.cores,
            m.cpu,
            m.kernel,
            self.version,
            if self.debug_build { " (DEBUG BUILD: these are not performance figures)" } else { "" },
        )
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let signal = self.signal;
        let row = |name: String, cell: &dyn Fn(&Measured) -> String| -> Vec<String> {
            std::iter::once(name).chain(self.runs.iter().map(cell)).collect()
        };
        let facts = signal.facts();
        let mut rows = vec![
            row("acknowledged".into(), &|m| m.target.clone()),
            row(format!("{facts}/s"), &|m| number(m.facts_per_second())),
            row("MB/s raw".into(), &|m| format!("{:.1}", m.raw_bytes_per_second() / 1e6)),
            row("seconds of load".into(), &|m| format!("{:.2}", m.sent.seconds)),
            row("answer ms p50 / p99 / max".into(), &|m| {
                let l = &m.sent.latency_ms;
                format!("{:.1} / {:.1} / {:.0}", l.p50, l.p99, l.max)
            }),
            row("retries (429 and 503 / no answer)".into(), &|m| {
                format!("{} / {}", m.sent.retries_busy, m.sent.retries_transport)
            }),
            row("elections".into(), &|m| m.elections.map_or("-".into(), |e| e.to_string())),
        ];
        let per = |v: Option<f64>, digits: usize| v.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
        rows.push(row(format!("CPU s per million {facts}, until sealed"), &|m| per(m.cpu_s_per_million(), 3)));
        if signal == Signal::Logs {
            rows.push(row("CPU s per GB of lines, until sealed".into(), &|m| per(m.cpu_s_per_gb(), 2)));
        }
        rows.push(row("CPU s until acknowledged / sealed".into(), &|m| {
            m.cpu.map_or("-".into(), |c| format!("{:.2} / {:.2}", c.acknowledged_s, c.sealed_s))
        }));
        rows.push(row("peak memory MiB, each process".into(), &|m| {
            let each: Vec<String> = m.peak_memory_bytes.iter().map(|b| (b >> 20).to_string()).collect();
            if each.is_empty() { "-".into() } else { each.join(", ") }
        }));
        rows.push(row(format!("bytes at rest a {}, one replica", facts.trim_end_matches('s')), &|m| {
            per(m.rest_bytes_per_fact(), 2)
        }));
        if self.runs.iter().any(|m| m.series.is_some()) {
            rows.push(row("peak memory bytes a series".into(), &|m| per(m.memory_bytes_per_series(), 0)));
        }
        rows.push(row("raw bytes for a byte at rest".into(), &|m| per(m.compression_ratio(), 1)));
        for (at, query) in self.runs.first().map(|m| m.queries.as_slice()).unwrap_or_default().iter().enumerate() {
            rows.push(row(format!("ms: {}", query.name), &|m| {
                m.queries.get(at).map_or("-".into(), |q| format!("{:.1}", q.p50_ms))
            }));
        }
        rows
    }
}

/// A whole number in groups of three.
fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::measure::Cpu;
    use super::super::send::Sent;
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(["1".to_owned(), number(999.6), number(1_234_567.0)], ["1", "1,000", "1,234,567"]);
    }

    fn measured() -> Measured {
        Measured {
            target: "trine x3".into(),
            nodes: 3,
            sent: Sent { seconds: 2.0, facts: 4_000_000, raw_bytes: 800_000_000, ..Sent::default() },
            elections: Some(0),
            cpu: Some(Cpu { acknowledged_s: 3.0, sealed_s: 6.0 }),
            peak_memory_bytes: vec![100 << 20; 3],
            rest_bytes: Some(24_000_000),
            came_to_rest: true,
            series: None,
            queries: Vec::new(),
        }
    }

    #[test]
    fn figures_are_per_fact_and_replica() {
        let machine = Machine { cpu: "x".into(), cores: 2, kernel: "6".into() };
        let load = LoadSize { connections: 8, requests: 800, facts: 4_000_000, raw_bytes: 800_000_000, body_bytes: 1 };
        let report = Report {
            signal: Signal::Metrics,
            command: "trine bench".into(),
            version: "0",
            debug_build: false,
            machine,
            load,
            runs: vec![measured()],
        };
        let table = report.table();
        for cell in ["2,000,000", "400.0", "1.500", "2.00 |", "100.0", "100, 100, 100"] {
            assert!(table.contains(cell), "{cell} is not in\n{table}");
        }
    }

    #[test]
    fn flaws_are_named() {
        assert_eq!(measured().flaw(), None);
        let elected = Measured { elections: Some(2), ..measured() }.flaw().unwrap();
        assert!(elected.contains("2 elections"), "{elected}");
        let sent = Sent { failed: 1, failure: Some("400 Bad Request".into()), ..Sent::default() };
        assert!(Measured { sent, ..measured() }.flaw().unwrap().contains("400"));
    }
}
