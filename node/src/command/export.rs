//! `trine export`: samples of a cluster as OpenMetrics text.
//!
//! A metric at a time, read as a stream of chunks: what is held is a frame of them. A metric that a node will not read at once
//! is read a series at a time, and a series that is too long in windows, so the text's order never changes: families, in them
//! series, in them times. Native histograms go as classic ones; exemplars stand behind the samples that they came with.
mod classic;
mod exemplar;
mod family;
mod series;
mod skipped;
mod source;
mod text;
mod wire;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write, stderr, stdout};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use trine_query::promql::ast::Expr;
use trine_query::promql::parser::parse;
use trine_store::index::Matcher;

use self::exemplar::Exemplars;
use self::family::{Families, Head, is_spelled, parts};
use self::series::Labels;
use self::source::Source;
use self::text::{Series, Text};
use super::moment::{Moment, now_ms};
use crate::cli::ExportFlags;
use crate::error::{Error, io};

const BAR: &str = "{bar:32} {pos} of {len} metrics, {msg}, {elapsed}";
/// The shortest window that a series is split into, ms.
const WINDOW_MS_MIN: i64 = 60_000;

pub(crate) fn run(flags: &ExportFlags) -> Result<(), Error> {
    let now = now_ms();
    let range = Range { start_ms: flags.start.resolve(now), end_ms: flags.end.unwrap_or(Moment::Ago(0)).resolve(now) };
    if range.end_ms < range.start_ms {
        return Err(Error::Export("--end is before --start".into()));
    }
    let selectors = flags.selectors.iter().map(|s| selector(s)).collect::<Result<Vec<_>, _>>()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io("start the runtime"))?;
    let source = Source::new(&flags.url, flags.tenant.clone())?;
    let left_out = if flags.output == Path::new("-") {
        runtime.block_on(export(&source, &flags.selectors, &selectors, range, stdout().lock()))?
    } else {
        let partial = Partial::create(&flags.output)?;
        let file = partial.file.try_clone().map_err(io("open the output again"))?;
        let left_out = runtime.block_on(export(&source, &flags.selectors, &selectors, range, file))?;
        partial.keep()?;
        left_out
    };
    stderr().write_all(left_out.as_bytes()).map_err(io("write to the standard error"))
}

/// Times from which to which, both inclusive, Unix ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start_ms: i64,
    end_ms: i64,
}

impl Range {
    /// Its two halves, unless it is short.
    fn halves(self) -> Option<[Self; 2]> {
        let span = self.end_ms.saturating_sub(self.start_ms);
        let middle = self.start_ms.saturating_add(span / 2);
        (span >= 2 * WINDOW_MS_MIN)
            .then_some([Self { end_ms: middle, ..self }, Self { start_ms: middle.saturating_add(1), ..self }])
    }
}

/// The matchers of a selector.
fn selector(text: &str) -> Result<Vec<Matcher>, Error> {
    match parse(text) {
        Ok(Expr::Vector(selector)) => Ok(selector.matchers),
        Ok(_) => Err(Error::Export(format!("--match {text}: it is no selector like up{{job=\"api\"}}"))),
        Err(error) => Err(Error::Export(format!("--match {text}: {error}"))),
    }
}

/// An output file that has its name once it is whole.
struct Partial {
    file: File,
    at: PathBuf,
    name: PathBuf,
}

impl Partial {
    fn create(name: &Path) -> Result<Self, Error> {
        let mut at = name.as_os_str().to_owned();
        at.push(".partial");
        let at = PathBuf::from(at);
        let file = File::create(&at).map_err(io(format!("create {}", at.display())))?;
        Ok(Self { file, at, name: name.to_owned() })
    }

    fn keep(self) -> Result<(), Error> {
        self.file.sync_all().map_err(io(format!("write {}", self.at.display())))?;
        std::fs::rename(&self.at, &self.name).map_err(io(format!("rename {}", self.at.display())))
    }
}

/// Writes everything; what is said about it at the end.
async fn export(
    source: &Source,
    texts: &[String],
    selectors: &[Vec<Matcher>],
    range: Range,
    out: impl Write,
) -> Result<String, Error> {
    let names = source.names(texts, range).await?;
    let mut families = Families::new(source.metadata().await?);
    let bar = ProgressBar::new(names.len() as u64);
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    let everything = [Vec::new()];
    let selectors = if selectors.is_empty() { &everything } else { selectors };
    let added = source.external_labels().await?;
    let mut text = Text::new(BufWriter::new(out));
    for name in &names {
        if is_spelled(name) {
            let sets: Vec<Vec<Matcher>> = selectors.iter().map(|matchers| of_metric(name, matchers)).collect();
            let exemplars = match source.exemplars(&sets, range).await? {
                Ok(found) => Exemplars::new(found, &added),
                Err(refusal) => {
                    text.skipped.unread.push(format!("{name} ({refusal})"));
                    Exemplars::default()
                }
            };
            let head = families.head(name, !exemplars.is_empty());
            let is_classic_too = parts(name).iter().any(|part| names.contains(part));
            let mut metric = Metric { source, head, is_classic_too, exemplars, text: &mut text, seen: BTreeSet::new() };
            for matchers in &sets {
                metric.write(matchers, range, sets.len() > 1).await?;
            }
            metric.end();
        } else {
            text.skipped.names.push(name.clone());
        }
        bar.inc(1);
        bar.set_message(format!("{} samples", text.samples));
    }
    bar.finish_and_clear();
    text.finish()
}

/// The matchers, of one metric.
fn of_metric(name: &str, matchers: &[Matcher]) -> Vec<Matcher> {
    let mut all = vec![Matcher::equal("__name__", name)];
    all.extend(matchers.iter().cloned());
    all
}

/// One metric on its way.
struct Metric<'a, W: Write> {
    source: &'a Source,
    head: Head,
    /// Whether the parts of a classic histogram of this name are exported.
    is_classic_too: bool,
    exemplars: Exemplars,
    text: &'a mut Text<W>,
    /// Series that an earlier selector has written, when there are several.
    seen: BTreeSet<Labels>,
}

impl<W: Write> Metric<'_, W> {
    async fn write(&mut self, matchers: &[Matcher], range: Range, is_one_of_many: bool) -> Result<(), Error> {
        let before = self.seen.clone();
        let at_once = self.read(matchers, range, &before, is_one_of_many).await?;
        let Err(refusal) = at_once else { return Ok(()) };
        // Nothing is written yet: the node refuses before it answers. A series at a time is less for it.
        let series = self.source.series(matchers, range).await?;
        if series.is_empty() {
            return Err(Error::Export(refusal));
        }
        for labels in series {
            let exact: Vec<Matcher> = labels.iter().map(|(n, v)| Matcher::equal(n, v)).collect();
            self.windows(&exact, range, &before, is_one_of_many).await?;
        }
        Ok(())
    }

    fn end(self) {
        self.text.end(&self.head, self.exemplars.left());
    }

    /// One series, in as many windows as it takes.
    async fn windows(
        &mut self,
        exact: &[Matcher],
        range: Range,
        before: &BTreeSet<Labels>,
        is_one_of_many: bool,
    ) -> Result<(), Error> {
        let mut left = vec![range];
        while let Some(window) = left.pop() {
            if let Err(refusal) = self.read(exact, window, before, is_one_of_many).await? {
                let [first, second] = window.halves().ok_or(Error::Export(refusal))?;
                left.extend([second, first]);
            }
        }
        Ok(())
    }

    /// Reads and writes. The inner error is a node's refusal, before anything was written.
    async fn read(
        &mut self,
        matchers: &[Matcher],
        range: Range,
        before: &BTreeSet<Labels>,
        is_one_of_many: bool,
    ) -> Result<Result<(), String>, Error> {
        let mut stream = match self.source.read(matchers, range).await? {
            Ok(stream) => stream,
            Err(refusal) => return Ok(Err(refusal)),
        };
        while let Some(frame) = stream.next().await? {
            for series in frame.chunked_series {
                let labels: Labels = series.labels.into_iter().map(|l| (l.name, l.value)).collect();
                if before.contains(&labels) {
                    continue;
                }
                let mut on_its_way = Series {
                    head: &self.head,
                    labels: &labels,
                    is_classic_too: self.is_classic_too,
                    exemplars: self.exemplars.of(&labels),
                    within: (range.start_ms, range.end_ms),
                };
                for chunk in &series.chunks {
                    self.text.chunk(&mut on_its_way, chunk)?;
                }
                if is_one_of_many {
                    self.seen.insert(labels);
                }
            }
        }
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_split_without_a_gap() {
        let range = Range { start_ms: 0, end_ms: 600_000 };
        let [a, b] = range.halves().unwrap();
        assert_eq!((a.start_ms, a.end_ms + 1, b.end_ms), (0, b.start_ms, 600_000));
        assert_eq!(Range { start_ms: 5, end_ms: 60_000 }.halves(), None);
        assert!(Range { start_ms: i64::MIN, end_ms: i64::MAX }.halves().is_some());
    }

    #[test]
    fn only_selectors_select() {
        assert_eq!(selector("up{job=\"a\"}").unwrap().len(), 2);
        for text in ["up[5m]", "sum(up)", "up{", "1"] {
            assert!(selector(text).unwrap_err().to_string().contains(text));
        }
    }
}
