//! The text: lines of samples, `# EOF`, and a count of what was left out.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};

use super::chunk;
use super::family::{escaped, is_spelled};
use super::wire::Chunk;
use crate::error::{Error, io as io_error};

/// What ends a series.
const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;
/// Chunk of floats.
const XOR: i32 = 1;
/// Names that are listed.
const LISTED: usize = 5;

/// Labels of a series, the name among them.
pub(super) type Labels = BTreeMap<String, String>;

/// What has no form in OpenMetrics 1.0.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// Metrics by name.
    pub(super) names: Vec<String>,
    /// Series with labels that it cannot spell.
    series: u64,
    histograms: u64,
    stale: u64,
}

/// Writes samples.
#[derive(Debug)]
pub(super) struct Text<W: Write> {
    out: W,
    /// The family whose head is written.
    family: String,
    line: String,
    pub(super) samples: u64,
    pub(super) skipped: Skipped,
}

impl<W: Write> Text<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, family: String::new(), line: String::new(), samples: 0, skipped: Skipped::default() }
    }

    /// The samples of a chunk between two times, ms, both inclusive; `head` first, if it is not the head of the last ones.
    pub(super) fn chunk(
        &mut self,
        head: &str,
        labels: &Labels,
        chunk: &Chunk,
        within: (i64, i64),
    ) -> Result<(), Error> {
        if chunk.encoding != XOR {
            let count = chunk.data.first_chunk().map_or(0, |b| u16::from_be_bytes(*b));
            self.skipped.histograms += u64::from(count);
            return Ok(());
        }
        let Some(series) = spelled(labels) else {
            self.skipped.series += 1;
            return Ok(());
        };
        self.line.clear();
        let (mut samples, mut stale) = (0, 0);
        let line = &mut self.line;
        chunk::decode(&chunk.data, |time_ms, value| {
            if time_ms < within.0 || time_ms > within.1 {
                return;
            }
            if value.to_bits() == STALE_NAN_BITS {
                stale += 1;
                return;
            }
            samples += 1;
            let sign = if time_ms < 0 { "-" } else { "" };
            let (seconds, ms) = (time_ms.unsigned_abs() / 1000, time_ms.unsigned_abs() % 1000);
            writeln!(line, "{series} {} {sign}{seconds}.{ms:03}", number(value))
                .expect("writing to a string does not fail");
        })
        .map_err(|e| Error::Export(format!("{series}: {e}")))?;
        self.skipped.stale += stale;
        if samples == 0 {
            return Ok(());
        }
        self.samples += samples;
        if self.family != head {
            head.clone_into(&mut self.family);
            self.out.write_all(head.as_bytes()).map_err(refused)?;
        }
        self.out.write_all(self.line.as_bytes()).map_err(refused)
    }

    /// Ends the text; what is to be said of it.
    pub(super) fn finish(mut self) -> Result<String, Error> {
        self.out.write_all(b"# EOF\n").and_then(|()| self.out.flush()).map_err(refused)?;
        let mut said = format!("{} samples\n", self.samples);
        let s = &self.skipped;
        if !s.names.is_empty() {
            let (count, listed) = (s.names.len(), s.names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", "));
            writeln!(said, "left out: {count} metrics whose names OpenMetrics cannot spell: {listed}")
                .expect("as above");
        }
        for (count, what) in [
            (s.series, "chunks of series whose labels OpenMetrics cannot spell"),
            (s.histograms, "native histograms"),
            (s.stale, "stale markers"),
        ] {
            if count > 0 {
                writeln!(said, "left out: {count} {what}").expect("as above");
            }
        }
        Ok(said)
    }
}

fn refused(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::BrokenPipe => Error::ReaderGone,
        _ => io_error("write the output")(error),
    }
}

/// Name and labels; None when a label's name is not of letters, digits and `_`.
fn spelled(labels: &Labels) -> Option<String> {
    let mut out = labels.get("__name__").cloned().unwrap_or_default();
    let others = labels.iter().filter(|(name, _)| *name != "__name__");
    for (position, (name, value)) in others.enumerate() {
        if !is_spelled(name) || name.contains(':') {
            return None;
        }
        out.push(if position == 0 { '{' } else { ',' });
        write!(out, "{name}=\"{}\"", escaped(value)).ok()?;
    }
    if labels.len() > 1 {
        out.push('}');
    }
    Some(out)
}

/// A number as OpenMetrics has it, of as many digits as it needs.
fn number(value: f64) -> String {
    match value.abs() {
        a if a.is_nan() => "NaN".to_owned(),
        f64::INFINITY => if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
        a if a != 0.0 && !(1e-6..1e21).contains(&a) => format!("{value:e}"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0.0, -0.0, 1.5, -3.0, 1e21, 1e-7, f64::MAX, f64::MIN_POSITIVE, 0.1 + 0.2, f64::INFINITY] {
            let text = number(value);
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
        }
        assert_eq!([number(f64::NAN), number(f64::NEG_INFINITY), number(3.0)], ["NaN", "-Inf", "3"]);
    }

    #[test]
    fn what_cannot_be_spelled_is_counted() {
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(spelled(&labels(&[("__name__", "up")])).as_deref(), Some("up"));
        assert_eq!(
            spelled(&labels(&[("__name__", "up"), ("a", "x\"y\\"), ("b", "1\n2")])).as_deref(),
            Some("up{a=\"x\\\"y\\\\\",b=\"1\\n2\"}")
        );
        assert_eq!(spelled(&labels(&[("__name__", "up"), ("a.b", "x")])), None);
        let mut text = Text::new(Vec::new());
        let histogram = Chunk { encoding: 2, data: vec![0, 7, 1] };
        text.chunk("# TYPE h unknown\n", &labels(&[("__name__", "h")]), &histogram, (0, 10)).unwrap();
        let damaged = Chunk { encoding: XOR, data: vec![0, 7, 1] };
        assert!(text.chunk("# TYPE h unknown\n", &labels(&[("__name__", "h")]), &damaged, (0, 10)).is_err());
        text.skipped.names.push("a.b".to_owned());
        let said = text.finish().unwrap();
        assert!(said.contains("left out: 7 native histograms") && said.contains("spell: a.b"), "{said}");
    }
}
