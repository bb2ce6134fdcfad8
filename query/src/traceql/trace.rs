//! A whole trace, put together from its spans: each once, in order, with parents and nested-set numbers.
use std::collections::{BTreeMap, HashMap};

use trine_store::model::events::{Event, Link, decode_events, decode_links};
use trine_store::model::{Value, intrinsic};

use crate::error::{Error, Result};
use crate::traceql::ast::Kind;
use crate::traceql::model::{ROOT_MISSING, ServiceStats, SpanRow};

/// Which encoded parts of spans an evaluation looks into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) events: bool,
    pub(crate) links: bool,
}

/// One span and its place in the trace.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) row: SpanRow,
    pub(crate) events: Vec<Event>,
    pub(crate) links: Vec<Link>,
    /// Position of the parent; `None` for roots, and when the parent has not arrived.
    pub(crate) parent: Option<usize>,
    pub(crate) child_count: i64,
    /// Nested-set numbers: 0 when the span is not connected to a root; `nested_parent` of a root is -1.
    pub(crate) nested_left: i64,
    pub(crate) nested_right: i64,
    pub(crate) nested_parent: i64,
}

/// A trace with at least one span.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) id: [u8; 16],
    /// By start, then span id, then kind.
    pub(crate) spans: Vec<Span>,
    /// Positions such that parents come before their children.
    pub(crate) order: Vec<usize>,
    /// The earliest span without a parent id.
    pub(crate) root: Option<usize>,
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
}

/// Sorts by start, span id and kind, and keeps the first of those with equal span id and kind.
pub(crate) fn deduplicated(mut rows: Vec<SpanRow>) -> Vec<SpanRow> {
    rows.sort_by(|a, b| (a.time_ns, a.span_id(), a.kind()).cmp(&(b.time_ns, b.span_id(), b.kind())));
    let mut seen = std::collections::HashSet::new();
    rows.retain(|row| seen.insert((row.span_id().to_vec(), row.kind())));
    rows
}

impl Trace {
    /// `None` without spans; [`Error::Corrupt`] when events or links do not decode.
    pub(crate) fn assemble(id: [u8; 16], rows: Vec<SpanRow>, needs: Needs) -> Result<Option<Self>> {
        let rows = deduplicated(rows);
        let Some(start_ns) = rows.first().map(|r| r.time_ns) else { return Ok(None) };
        let end_ns = rows.iter().map(SpanRow::end_ns).max().unwrap_or(start_ns);
        let root = rows.iter().position(|r| r.parent_span_id().is_empty());
        let parents = parents(&rows);
        let spans: Vec<Span> =
            rows.into_iter().zip(parents).map(|(row, parent)| span(row, parent, needs)).collect::<Result<_>>()?;
        let mut trace = Self { id, spans, order: Vec::new(), root, start_ns, end_ns };
        trace.number();
        Ok(Some(trace))
    }

    /// Whether any part of the trace lies in the closed range.
    pub(crate) fn overlaps(&self, start_ns: i64, end_ns: i64) -> bool {
        self.start_ns <= end_ns && self.end_ns >= start_ns
    }

    pub(crate) fn duration_ns(&self) -> i64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    /// Name of the root span, or "".
    pub(crate) fn root_name(&self) -> &str {
        self.root.map_or("", |r| self.spans[r].row.name())
    }

    /// Service of the root span, or "".
    pub(crate) fn root_service(&self) -> &str {
        self.root.map_or("", |r| self.spans[r].row.stream.service_name())
    }

    /// As search results show it.
    pub(crate) fn root_service_shown(&self) -> String {
        if self.root.is_some() { self.root_service() } else { ROOT_MISSING }.to_owned()
    }

    pub(crate) fn service_stats(&self) -> BTreeMap<String, ServiceStats> {
        let mut stats: BTreeMap<String, ServiceStats> = BTreeMap::new();
        for span in &self.spans {
            let entry = stats.entry(span.row.stream.service_name().to_owned()).or_default();
            entry.span_count += 1;
            entry.error_count += u32::from(span.row.status_code() == 2);
        }
        stats
    }

    /// Fills in children, the order, and nested-set numbers, by walking down from the roots. Spans of a cycle are not
    /// reached from any root: they lose their parent.
    fn number(&mut self) {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.spans.len()];
        for (i, span) in self.spans.iter().enumerate() {
            if let Some(parent) = span.parent {
                children[parent].push(i);
            }
        }
        let numbered = !self.has_ambiguous_ids();
        let mut reached = vec![false; self.spans.len()];
        let mut next = 1;
        for top in 0..self.spans.len() {
            if self.spans[top].parent.is_none() {
                let is_root = self.spans[top].row.parent_span_id().is_empty();
                self.walk(top, &children, &mut reached, (is_root && numbered).then_some(&mut next));
            }
        }
        for top in 0..self.spans.len() {
            if !reached[top] {
                self.spans[top].parent = None;
                self.walk(top, &children, &mut reached, None);
            }
        }
        for (span, children) in self.spans.iter_mut().zip(&children) {
            span.child_count = children.len() as i64;
        }
    }

    /// Depth first from `top`; numbers the spans when `next` is given.
    fn walk(&mut self, top: usize, children: &[Vec<usize>], reached: &mut [bool], mut next: Option<&mut i64>) {
        let mut take = |span: &mut i64| {
            if let Some(next) = next.as_deref_mut() {
                *span = *next;
                *next += 1;
            }
        };
        let mut stack = vec![(top, 0)];
        while let Some((at, child)) = stack.pop() {
            if child == 0 {
                reached[at] = true;
                self.order.push(at);
                take(&mut self.spans[at].nested_left);
                let left = self.spans[at].nested_left;
                if left > 0 {
                    let parent_left = self.spans[at].parent.map_or(-1, |p| self.spans[p].nested_left);
                    self.spans[at].nested_parent = parent_left;
                }
            }
            match children[at].get(child) {
                Some(&to) => {
                    stack.push((at, child + 1));
                    if !reached[to] {
                        stack.push((to, 0));
                    }
                }
                None => take(&mut self.spans[at].nested_right),
            }
        }
    }

    /// More than two spans share an id: nobody can say whose children are whose.
    fn has_ambiguous_ids(&self) -> bool {
        let mut counts: HashMap<&[u8], u32> = HashMap::new();
        self.spans.iter().any(|s| {
            let count = counts.entry(s.row.span_id()).or_default();
            *count += 1;
            *count > 2
        })
    }
}

fn span(row: SpanRow, parent: Option<usize>, needs: Needs) -> Result<Span> {
    let corrupt = |what, e: trine_store::codec::Error| Error::Corrupt { what, reason: e.to_string() };
    let events = match row.intrinsic(intrinsic::EVENTS) {
        Some(Value::Bytes(b)) if needs.events => decode_events(b).map_err(|e| corrupt("span events", e))?,
        _ => Vec::new(),
    };
    let links = match row.intrinsic(intrinsic::LINKS) {
        Some(Value::Bytes(b)) if needs.links => decode_links(b).map_err(|e| corrupt("span links", e))?,
        _ => Vec::new(),
    };
    let (nested_left, nested_right, nested_parent) = (0, 0, 0);
    Ok(Span { row, events, links, parent, child_count: 0, nested_left, nested_right, nested_parent })
}

/// Parent of each row. Where a client and a server span share an id, as Zipkin has it, the server span is the client's
/// child and the parent of the others.
fn parents(rows: &[SpanRow]) -> Vec<Option<usize>> {
    let is_server = |i: usize| rows[i].kind() == Kind::Server as i64;
    let mut by_id: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (i, row) in rows.iter().enumerate() {
        by_id.entry(row.span_id()).or_default().push(i);
    }
    let parent = |(i, row): (usize, &SpanRow)| {
        let shared = &by_id[row.span_id()];
        if let (true, Some(&client)) = (is_server(i), shared.iter().find(|j| rows[**j].kind() == Kind::Client as i64)) {
            return Some(client);
        }
        let candidates = by_id.get(row.parent_span_id()).filter(|_| !row.parent_span_id().is_empty())?;
        candidates.iter().find(|j| is_server(**j)).or(candidates.first()).copied().filter(|p| *p != i)
    };
    rows.iter().enumerate().map(parent).collect()
}
