//! Range aggregations beside the data: every row into the states of its series, on the grid of the query.
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use trine_store::model::{Labels, LabelsBuilder};

use super::Job;
use crate::error::{Error, Result};
use crate::logql::ast::{Conversion, Expr, Grouping, RangeOp};
use crate::logql::fragment::{FRAME_BYTES, MetricAsk, Reply, SeriesList};
use crate::logql::parser::parse_unchecked;
use crate::logql::pipeline::{
    EntryLabels, Filter, Pipeline, Wanted, filter_names, needles, reads_lines, required_labels,
};
use crate::logql::plan::{Grid, RangePlan, StateKind};
use crate::logql::source::{LogScan, MetadataNeed, SourceRow};
use crate::logql::state::{SAMPLE_BYTES, SeriesState};
use crate::logql::units::{parse_bytes, parse_duration_ns};
use crate::memory::{Account, Charge};

const SAMPLE_ERROR: &str = "SampleExtractionErr";
/// Most states that one fragment holds: series times steps, and raw samples.
const CELLS_MAX: usize = 1 << 24;

pub(super) fn run(job: &mut Job<'_, '_>, ask: &MetricAsk) -> Result<()> {
    let Expr::Metric(expr) = parse_unchecked(&ask.query)? else {
        return Err(Error::Execution { message: "the fragment is no metric query".to_owned() });
    };
    let Some(plan) = RangePlan::of(&expr)? else {
        return Err(Error::Unsupported { what: format!("fragment {}", ask.query) });
    };
    let grid = Grid { start_ns: ask.start_ns, step_ns: ask.step_ns, steps: ask.steps as usize };
    let mut table = Table::new(&plan, grid, job.replies.memory())?;
    let lines = table.reads_lines();
    let metadata = match table.pipeline.wanted() {
        Wanted::All => MetadataNeed::All,
        Wanted::Names(names) => MetadataNeed::Names(metadata_names(names)),
    };
    let last = grid.time_ns(grid.steps.saturating_sub(1));
    let range = &plan.range;
    for source in job.sources {
        let scan = LogScan {
            tenant: job.tenant,
            matchers: &range.log.matchers,
            start_ns: grid.start_ns.saturating_sub(range.offset_ns).saturating_sub(range.range_ns).saturating_add(1),
            end_ns: last.saturating_sub(range.offset_ns).saturating_add(1),
            order: None,
            needles: needles(&range.log.stages),
            labels: required_labels(&range.log.stages),
            lines,
            metadata: metadata.clone(),
            memory: job.replies.memory(),
        };
        table.stream = None;
        source.scan(&scan, &mut |row| {
            job.replies.tick()?;
            job.cost.lines += 1;
            job.cost.bytes += row.line.len() as u64;
            job.cost.structured_metadata_bytes +=
                row.metadata.iter().map(|(n, v)| (n.len() + v.len()) as u64).sum::<u64>();
            job.cost.post_filter_lines += u64::from(table.add(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    send(job, table)
}

/// Names to read: a label that is wanted with the suffix of a clash needs the one that it clashes with.
fn metadata_names(wanted: &HashSet<String>) -> Vec<String> {
    let mut names: HashSet<&str> = wanted.iter().map(String::as_str).collect();
    names.extend(wanted.iter().filter_map(|n| n.strip_suffix("_extracted")));
    names.into_iter().map(str::to_owned).collect()
}

fn send(job: &mut Job<'_, '_>, table: Table<'_>) -> Result<()> {
    let mut frame = SeriesList::default();
    let mut bytes = 0;
    let mut states: Vec<Option<SeriesState>> = table.states.into_iter().map(Some).collect();
    let mut sending = job.replies.memory().open();
    for (labels, at) in table.positions {
        let Some(state) = states[at].take() else { continue };
        // The series as messages, beside its state and the frame.
        sending.set(state.parts_weight())?;
        for part in state.parts(&labels) {
            bytes += part.labels.len() + 2 * part.steps.len() + 8 * (part.values.len() + part.times_ns.len());
            frame.series.push(part);
            if bytes >= FRAME_BYTES / 2 {
                job.replies.send(Reply::Series(std::mem::take(&mut frame)))?;
                bytes = 0;
            }
        }
    }
    if frame.series.is_empty() { Ok(()) } else { job.replies.send(Reply::Series(frame)) }
}

/// The series met so far.
struct Table<'p> {
    plan: &'p RangePlan,
    grid: Grid,
    pipeline: Pipeline,
    /// Filters after the unwrap.
    filters: Vec<Filter>,
    labels: EntryLabels,
    stream: Option<Labels>,
    positions: HashMap<Vec<u8>, usize>,
    states: Vec<SeriesState>,
    cells: usize,
    /// For states, their keys and raw samples.
    held: Charge,
    builder: LabelsBuilder,
    key: Vec<u8>,
}

impl<'p> Table<'p> {
    fn new(plan: &'p RangePlan, grid: Grid, memory: &Account) -> Result<Self> {
        let filters = match &plan.range.unwrap {
            Some(unwrap) => unwrap.filters.iter().map(Filter::compile).collect::<Result<_>>()?,
            None => Vec::new(),
        };
        Ok(Self {
            plan,
            grid,
            pipeline: Pipeline::compile(&plan.range.log.stages, wanted(plan))?,
            filters,
            labels: EntryLabels::new(memory),
            stream: None,
            positions: HashMap::new(),
            states: Vec::new(),
            cells: 0,
            held: memory.open(),
            builder: LabelsBuilder::default(),
            key: Vec::new(),
        })
    }

    /// Whether lines matter: to a stage or to the aggregation.
    fn reads_lines(&self) -> bool {
        self.plan.kind == StateKind::Bytes || reads_lines(&self.plan.range.log.stages)
    }

    /// Counts a row; `false` when the pipeline dropped it.
    fn add(&mut self, row: &SourceRow<'_>) -> Result<bool> {
        let range = &self.plan.range;
        let time_ns = row.time_ns.saturating_add(range.offset_ns);
        let Some((first, last)) = self.grid.steps_of(time_ns, range.range_ns) else { return Ok(false) };
        if self.stream.as_ref() != Some(row.labels) {
            self.labels.begin_stream(row.labels);
            self.stream = Some(row.labels.clone());
        }
        self.labels.begin_entry();
        for (name, value) in &row.metadata {
            self.labels.push_metadata(name, value);
        }
        let mut line = Cow::Borrowed(row.line.as_ref());
        if !self.pipeline.process(&mut line, &mut self.labels, row.time_ns)? {
            return Ok(false);
        }
        let Some(value) = self.value(&line)? else { return Ok(false) };
        let at = self.series()?;
        if self.plan.kind == StateKind::Samples {
            self.count_cells(1)?;
            self.held.add(SAMPLE_BYTES)?;
        }
        self.states[at].add(first, last, row.time_ns, value);
        Ok(true)
    }

    /// The sample of the row, or `None` when a filter after the unwrap or a missing label drops it.
    fn value(&mut self, line: &str) -> Result<Option<f64>> {
        let mut value = match self.plan.kind {
            StateKind::Bytes => line.len() as f64,
            _ => 1.0,
        };
        if let Some(unwrap) = &self.plan.range.unwrap {
            let Some(text) = self.labels.get(&unwrap.label) else { return Ok(None) };
            match convert(text, unwrap.conversion) {
                Some(number) if self.plan.kind != StateKind::Count => value = number,
                Some(_) => {}
                None => {
                    let details = format!("cannot read the value of {}: {text:?}", unwrap.label);
                    self.labels.set_error(SAMPLE_ERROR, &details);
                }
            }
            let labels = &mut self.labels;
            if !self.filters.iter().all(|f| f.keeps(labels)) {
                return Ok(None);
            }
        }
        match self.labels.error() {
            Some(error) => Err(pipeline_error(error, &self.labels)),
            None => Ok(Some(value)),
        }
    }

    /// Position of the series that the row belongs to.
    fn series(&mut self) -> Result<usize> {
        self.builder.clear();
        let (range, builder) = (&self.plan.range, &mut self.builder);
        let unwrapped = range.unwrap.as_ref().map(|u| u.label.as_str());
        let keep = |grouping: Option<&Grouping>, name: &str| {
            grouping.is_none_or(|g| g.labels.iter().any(|l| l == name) != g.without)
        };
        let inner = range.grouping.as_ref();
        // The unwrapped label is the value, not a part of the series, unless it is asked for.
        let drops_unwrapped = inner.is_none_or(|g| g.without);
        let absent = range.op == RangeOp::Absent;
        self.labels.for_each(&mut |name, value| {
            let dropped = absent || (drops_unwrapped && unwrapped == Some(name));
            if !dropped && keep(inner, name) && keep(self.plan.outer.as_ref(), name) {
                builder.push(name, value);
            }
        });
        self.key.clear();
        self.builder.encode_into(&mut self.key).map_err(|e| Error::Execution { message: e.to_string() })?;
        if let Some(at) = self.positions.get(self.key.as_slice()) {
            return Ok(*at);
        }
        self.count_cells(self.grid.steps)?;
        self.held.add(SeriesState::weight(self.plan.kind, self.grid.steps) + self.key.len() as u64)?;
        self.states.push(SeriesState::new(self.plan.kind, self.grid.steps));
        self.positions.insert(self.key.clone(), self.states.len() - 1);
        Ok(self.states.len() - 1)
    }

    fn count_cells(&mut self, more: usize) -> Result<()> {
        self.cells += more;
        if self.cells <= CELLS_MAX {
            return Ok(());
        }
        Err(Error::Limit {
            message: format!(
                "the query needs more than {CELLS_MAX} intermediate values; consider reducing query cardinality by adding \
                 more specific stream selectors, reducing the time range, or aggregating results"
            ),
        })
    }
}

/// The labels that the series and the filters after the unwrap need.
fn wanted(plan: &RangePlan) -> Wanted {
    let by = |g: &Option<Grouping>| g.as_ref().filter(|g| !g.without).map(|g| g.labels.clone());
    let absent = (plan.range.op == RangeOp::Absent).then(Vec::new);
    let Some(labels) = absent.or_else(|| by(&plan.outer)).or_else(|| by(&plan.range.grouping)) else {
        return Wanted::All;
    };
    let mut names: HashSet<String> = labels.into_iter().collect();
    if let Some(unwrap) = &plan.range.unwrap {
        names.insert(unwrap.label.clone());
        unwrap.filters.iter().for_each(|f| filter_names(f, &mut names));
    }
    Wanted::Names(names)
}

fn convert(text: &str, conversion: Option<Conversion>) -> Option<f64> {
    match conversion {
        None => text.trim().parse().ok(),
        Some(Conversion::Bytes) => parse_bytes(text).map(|b| b as f64),
        Some(Conversion::Duration | Conversion::DurationSeconds) => parse_duration_ns(text).map(|ns| ns as f64 / 1e9),
    }
}

fn pipeline_error(error: &str, labels: &EntryLabels) -> Error {
    let mut pairs = std::collections::BTreeMap::new();
    labels.for_each(&mut |name, value| {
        pairs.insert(name.to_owned(), value.to_owned());
    });
    let series = Labels::from_pairs(pairs).unwrap_or_else(|_| Labels::empty());
    Error::Execution {
        message: format!(
            "pipeline error: '{error}' for series: '{series}'.\nUse a label filter to intentionally skip this error. (e.g \
             | __error__!=\"{error}\").\nTo skip all potential errors you can match empty errors.(e.g \
             __error__=\"\")\nThe label filter can also be specified after unwrap. (e.g | unwrap latency | \
             __error__=\"\" )\n"
        ),
    }
}
