//! Binary operators between scalars, vectors, and both, with vector matching.
use std::sync::Arc;

use hashbrown::HashMap;
use trine_store::model::Labels;

use super::{Computed, Evaluator, Sample, Series, Val, execution, retain_present, same_labelset};
use crate::error::Result;
use crate::memory::{Charge, labels_bytes};
use crate::promql::ast::{BinaryOp, Cardinality, Matching};
use crate::promql::functions::{ABSENT, is_absent};
use crate::promql::histogram::{Histogram, Keep, ResetHint};
use crate::promql::labels;
use crate::promql::parser::METRIC_NAME;
use crate::promql::plan::{BinaryNode, Grid};

/// An operator between numbers; comparisons yield 0 or 1, set operators and bucket trimming nothing.
pub(in crate::promql) fn scalar_binary(op: BinaryOp, a: f64, b: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::TrimUpper | BinaryOp::TrimLower => return None,
        comparison => f64::from(compare(comparison, a, b)),
    })
}

fn compare(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Eq => a == b,
        BinaryOp::NotEq => a != b,
        BinaryOp::Less => a < b,
        BinaryOp::LessEq => a <= b,
        BinaryOp::Greater => a > b,
        BinaryOp::GreaterEq => a >= b,
        _ => false,
    }
}

/// The value of `a op b` between floats of a vector: `None` if a comparison filters it out.
fn element(op: BinaryOp, is_bool: bool, a: f64, b: f64) -> Option<f64> {
    if !op.is_comparison() {
        return scalar_binary(op, a, b);
    }
    match (is_bool, compare(op, a, b)) {
        (true, holds) => Some(f64::from(holds)),
        (false, true) => Some(a),
        (false, false) => None,
    }
}

/// What an operator has to say of two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remark {
    /// It is not for samples of these types.
    Types(&'static str, &'static str),
    /// Exponential and custom buckets do not go together.
    Buckets,
    ResetsCollide(&'static str),
    Reconciled(&'static str),
}

/// As [`element`], for samples of any type; `Err` where there is no result at all.
fn sample_element(
    op: BinaryOp,
    is_bool: bool,
    a: Sample<'_>,
    b: Sample<'_>,
) -> std::result::Result<(Option<Computed>, Option<Remark>), Remark> {
    let histogram = |h: Histogram| Ok((Some(Computed::Histogram(Arc::new(h))), None));
    let is_trim = matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
    match (a, b) {
        (Sample::Float(_), Sample::Float(_)) if is_trim => Err(Remark::Types("float", "float")),
        (Sample::Float(a), Sample::Float(b)) => Ok((element(op, is_bool, a, b).map(Computed::Float), None)),
        (Sample::Float(factor), Sample::Histogram(h)) => match op {
            BinaryOp::Mul => histogram(scaled(h, |h| h.mul(factor))),
            _ => Err(Remark::Types("float", "histogram")),
        },
        (Sample::Histogram(h), Sample::Float(v)) => match op {
            BinaryOp::Mul => histogram(scaled(h, |h| h.mul(v))),
            BinaryOp::Div => histogram(scaled(h, |h| h.div(v))),
            BinaryOp::TrimUpper => histogram(Histogram::clone(h).trimmed(v, Keep::Below)),
            BinaryOp::TrimLower => histogram(Histogram::clone(h).trimmed(v, Keep::Above)),
            _ => Err(Remark::Types("histogram", "float")),
        },
        (Sample::Histogram(a), Sample::Histogram(b)) => match op {
            BinaryOp::Add | BinaryOp::Sub => joined(op, a, b),
            BinaryOp::Eq | BinaryOp::NotEq => {
                let holds = a.same_data(b) == (op == BinaryOp::Eq);
                let value = match (is_bool, holds) {
                    (true, holds) => Some(Computed::Float(f64::from(holds))),
                    (false, true) => Some(Computed::Histogram(a.clone())),
                    (false, false) => None,
                };
                Ok((value, None))
            }
            _ => Err(Remark::Types("histogram", "histogram")),
        },
    }
}

fn scaled(h: &Histogram, f: impl FnOnce(&mut Histogram)) -> Histogram {
    let mut out = h.clone();
    f(&mut out);
    out.compacted()
}

/// A sum or a difference, which is a gauge.
fn joined(
    op: BinaryOp,
    a: &Histogram,
    b: &Histogram,
) -> std::result::Result<(Option<Computed>, Option<Remark>), Remark> {
    let mut out = a.clone();
    let (outcome, during) = match op {
        BinaryOp::Add => (out.add(b), "addition"),
        _ => (out.sub(b), "subtraction"),
    };
    let outcome = outcome.map_err(|_| Remark::Buckets)?;
    if outcome.resets_collide {
        return Err(Remark::ResetsCollide(during));
    }
    if op == BinaryOp::Sub {
        out.hint = ResetHint::Gauge;
    }
    let remark = outcome.bounds_reconciled.then_some(Remark::Reconciled(during));
    Ok((Some(Computed::Histogram(Arc::new(out.compacted()))), remark))
}

/// Arithmetic makes another quantity of it, so that the metric's name and type no longer hold.
fn changes_metric(op: BinaryOp) -> bool {
    !op.is_comparison() && !op.is_set() && !matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

impl Evaluator {
    pub(super) fn binary(&mut self, node: &BinaryNode, grid: &Grid) -> Result<Val> {
        let lhs = self.eval(&node.lhs, grid)?;
        let rhs = self.eval(&node.rhs, grid)?;
        match (lhs, rhs) {
            (Val::Scalar(a), Val::Scalar(b)) => {
                let values = a.iter().zip(&b).map(|(a, b)| scalar_binary(node.op, *a, *b).unwrap_or(f64::NAN));
                Ok(Val::Scalar(values.collect()))
            }
            (Val::Vector(series), Val::Scalar(scalar)) => Ok(self.with_scalar(node, series, &scalar, false)),
            (Val::Scalar(scalar), Val::Vector(series)) => Ok(self.with_scalar(node, series, &scalar, true)),
            (Val::Vector(lhs), Val::Vector(rhs)) => self.vectors(node, lhs, rhs, grid).map(Val::Vector),
            _ => execution("binary expression must contain only scalar and instant vector types"),
        }
    }

    fn with_scalar(&mut self, node: &BinaryNode, mut series: Vec<Series>, scalar: &[f64], swap: bool) -> Val {
        let is_trim = matches!(node.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        for s in &mut series {
            s.drop_name |= node.is_bool || changes_metric(node.op);
            if is_trim || !s.histograms.is_empty() {
                self.samples_with_scalar(node, s, scalar, swap);
                continue;
            }
            for (v, scalar) in s.values.iter_mut().zip(scalar).filter(|(v, _)| !is_absent(**v)) {
                let (a, b) = if swap { (*scalar, *v) } else { (*v, *scalar) };
                *v = match element(node.op, node.is_bool, a, b) {
                    // A filter keeps the vector's value, on whichever side it stands.
                    Some(_) if node.op.is_comparison() && !node.is_bool => *v,
                    Some(value) => value,
                    None => ABSENT,
                };
            }
        }
        retain_present(&mut series);
        Val::Vector(series)
    }

    fn samples_with_scalar(&mut self, node: &BinaryNode, s: &mut Series, scalar: &[f64], swap: bool) {
        for (step, scalar) in scalar.iter().enumerate() {
            let Some(sample) = s.at(step) else { continue };
            let own = Computed::from(sample);
            let scalar = Sample::Float(*scalar);
            let (a, b) = if swap { (scalar, sample) } else { (sample, scalar) };
            match sample_element(node.op, node.is_bool, a, b) {
                Ok((Some(_), _)) if node.op.is_comparison() && !node.is_bool => s.set(step, own),
                Ok((Some(value), _)) => s.set(step, value),
                Ok((None, _)) => s.remove(step),
                Err(remark) => {
                    self.remark(remark, node);
                    s.remove(step);
                }
            }
        }
    }

    fn remark(&mut self, remark: Remark, node: &BinaryNode) {
        let (op, span) = (node.op.as_str(), node.span);
        match remark {
            Remark::Types(lhs, rhs) => self.annotations.incompatible_types(op, lhs, rhs, span),
            Remark::Buckets => self.annotations.incompatible_buckets(op, span),
            Remark::ResetsCollide(during) => self.annotations.resets_collide(during, span),
            Remark::Reconciled(during) => self.annotations.bounds_reconciled(during, span),
        }
    }

    fn vectors(&mut self, node: &BinaryNode, lhs: Vec<Series>, rhs: Vec<Series>, grid: &Grid) -> Result<Vec<Series>> {
        let default = Matching::default();
        let matching = node.matching.as_ref().unwrap_or(&default);
        let mut signatures = Signatures::default();
        let lhs_groups: Vec<usize> = lhs.iter().map(|s| signatures.of(&s.labels, matching)).collect();
        let rhs_groups: Vec<usize> = rhs.iter().map(|s| signatures.of(&s.labels, matching)).collect();
        self.hold_matching(&lhs, &rhs)?;
        if node.op.is_set() {
            // Presence by group and step, one byte each.
            self.hold((signatures.count() as u64).saturating_mul(grid.count as u64))?;
            let mut out = set_operation(node.op, lhs, &lhs_groups, rhs, &rhs_groups, signatures.count(), grid)?;
            retain_present(&mut out);
            return Ok(out);
        }
        let swap = matching.cardinality == Cardinality::OneToMany;
        let (many, many_groups, one, one_groups) =
            if swap { (rhs, rhs_groups, lhs, lhs_groups) } else { (lhs, lhs_groups, rhs, rhs_groups) };
        let mut join = Join {
            node,
            matching,
            swap,
            steps: grid.count,
            held: self.held.account().open(),
            many: &many,
            one: &one,
            one_of_group: vec![FILLED; signatures.count()],
            matched: vec![false; signatures.count()],
            outcomes: Vec::new(),
            by_labels: HashMap::new(),
            by_pair: HashMap::new(),
            remark: None,
        };
        for step in 0..grid.count {
            self.stop.check()?;
            join.step(step, &many_groups, &one_groups)?;
            // Of all that there is to say of a step, Prometheus says the last.
            if let Some(remark) = join.remark.take() {
                self.remark(remark, node);
            }
        }
        let (mut out, held) = join.finish();
        self.held.absorb(held);
        retain_present(&mut out);
        Ok(out)
    }

    /// Charges the table of match groups: at most a group for each series.
    fn hold_matching(&mut self, lhs: &[Series], rhs: &[Series]) -> Result<()> {
        self.hold(lhs.iter().chain(rhs).map(|s| s.labels.as_bytes().len() as u64 + MATCH_BYTES).sum())
    }
}

/// Numbers the match groups.
#[derive(Default)]
struct Signatures(HashMap<Labels, usize>);

impl Signatures {
    fn of(&mut self, series: &Labels, matching: &Matching) -> usize {
        let next = self.0.len();
        *self.0.entry(match_labels(series, matching)).or_insert(next)
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

/// The labels by which a series is matched.
fn match_labels(series: &Labels, matching: &Matching) -> Labels {
    let is_listed = |name: &str| matching.labels.iter().any(|l| l == name);
    if matching.on {
        labels::keep(series, is_listed)
    } else {
        labels::keep(series, |name| name != METRIC_NAME && !is_listed(name))
    }
}

/// A result's labels, whether its name is still to go, the series of it once it has a value, and the match that yielded it
/// last.
struct Outcome {
    labels: Labels,
    drop_name: bool,
    series: Option<Series>,
    last_match: Option<(usize, usize)>,
}

/// One-to-one and many-to-one matching; one-to-many with the sides swapped.
struct Join<'a> {
    node: &'a BinaryNode,
    matching: &'a Matching,
    swap: bool,
    steps: usize,
    /// For outcomes and pairs.
    held: Charge,
    many: &'a [Series],
    one: &'a [Series],
    /// By group, at the present step: the series of the one side, and whether it is matched.
    one_of_group: Vec<usize>,
    matched: Vec<bool>,
    outcomes: Vec<Outcome>,
    by_labels: HashMap<Labels, usize>,
    by_pair: HashMap<(usize, usize), usize>,
    /// The last one of the present step.
    remark: Option<Remark>,
}

/// What a series or outcome of a match weighs besides its labels' bytes and its values.
const MATCH_BYTES: u64 = 128;
/// What a pair of series that matched weighs.
const PAIR_BYTES: u64 = 48;
/// Stands for the side that a fill value replaces.
const FILLED: usize = usize::MAX;

impl Join<'_> {
    fn step(&mut self, step: usize, many_groups: &[usize], one_groups: &[usize]) -> Result<()> {
        let none = |series: &[Series]| series.iter().all(|s| s.at(step).is_none());
        let fills = self.matching.fill_left.is_some() || self.matching.fill_right.is_some();
        if !fills && (none(self.many) || none(self.one)) {
            // Nothing matches, so nothing is a duplicate either.
            return Ok(());
        }
        self.one_of_group.fill(FILLED);
        self.matched.fill(false);
        for (i, group) in one_groups.iter().enumerate() {
            if self.one[i].at(step).is_none() {
                continue;
            }
            let known = std::mem::replace(&mut self.one_of_group[*group], i);
            if known != FILLED {
                return self.duplicate_on_one_side(i, known);
            }
        }
        let (many, one) = (self.many, self.one);
        for (i, group) in many_groups.iter().enumerate() {
            let Some(value) = many[i].at(step) else { continue };
            let matched = self.one_of_group[*group];
            let other = match (matched, self.matching.fill_right) {
                (FILLED, None) => continue,
                (FILLED, Some(fill)) => Some(Sample::Float(fill)),
                (matched, _) => one[matched].at(step),
            };
            if let Some(other) = other {
                self.pair(step, *group, (i, matched), value, other)?;
            }
        }
        let Some(fill) = self.matching.fill_left else { return Ok(()) };
        for (i, group) in one_groups.iter().enumerate() {
            if let Some(value) = one[i].at(step)
                && !self.matched[*group]
            {
                self.pair(step, *group, (FILLED, i), Sample::Float(fill), value)?;
            }
        }
        Ok(())
    }

    fn pair(&mut self, step: usize, group: usize, pair: (usize, usize), a: Sample<'_>, b: Sample<'_>) -> Result<()> {
        let (left, right) = if self.swap { (b, a) } else { (a, b) };
        let (value, remark) = match sample_element(self.node.op, self.node.is_bool, left, right) {
            Ok(found) => found,
            Err(remark) => {
                self.remark = Some(remark);
                return Ok(());
            }
        };
        self.remark = remark.or(self.remark);
        let id = self.outcome(pair)?;
        if self.matching.cardinality == Cardinality::OneToOne {
            if self.matched[group] {
                return execution(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                );
            }
        } else if self.outcomes[id].last_match.replace((step, group)) == Some((step, group)) {
            return execution("multiple matches for labels: grouping labels must ensure unique matches");
        }
        self.matched[group] = true;
        let Some(value) = value else { return Ok(()) };
        let outcome = &mut self.outcomes[id];
        if outcome.series.is_none() {
            self.held.add((self.steps * size_of::<f64>()) as u64)?;
        }
        let (labels, drop_name, steps) = (&outcome.labels, outcome.drop_name, self.steps);
        let series = outcome.series.get_or_insert_with(|| Series::empty(labels.clone(), drop_name, steps));
        if series.at(step).is_some() {
            return same_labelset();
        }
        if let Computed::Histogram(h) = &value {
            self.held.add(h.bytes())?;
        }
        series.set(step, value);
        Ok(())
    }

    /// The results that have a value, in the order in which they first matched.
    fn finish(self) -> (Vec<Series>, Charge) {
        (self.outcomes.into_iter().filter_map(|o| o.series).collect(), self.held)
    }

    fn side(&self, series: &[Series], index: usize, other: &Labels) -> Labels {
        if index == FILLED { match_labels(other, self.matching) } else { series[index].labels.clone() }
    }

    fn outcome(&mut self, pair: (usize, usize)) -> Result<usize> {
        if let Some(id) = self.by_pair.get(&pair) {
            return Ok(*id);
        }
        self.held.add(PAIR_BYTES)?;
        let labels = self.result_labels(pair);
        let next = self.outcomes.len();
        let id = *self.by_labels.entry(labels.clone()).or_insert(next);
        // A filter's result has the name of the many side, unless that was to go already.
        let drop_name = self.node.is_bool || self.many.get(pair.0).is_some_and(|s| s.drop_name);
        if id == next {
            self.held.add(labels_bytes(&labels) + MATCH_BYTES)?;
            self.outcomes.push(Outcome { labels, drop_name, series: None, last_match: None });
        } else {
            self.outcomes[id].drop_name |= drop_name;
        }
        self.by_pair.insert(pair, id);
        Ok(id)
    }

    fn result_labels(&self, (many, one): (usize, usize)) -> Labels {
        let empty = Labels::empty();
        let many_labels = self.side(self.many, many, self.one.get(one).map_or(&empty, |s| &s.labels));
        let one_labels = self.side(self.one, one, self.many.get(many).map_or(&empty, |s| &s.labels));
        let m = self.matching;
        let mut out = many_labels;
        if changes_metric(self.node.op) {
            out = labels::drop_metric(&out);
        }
        if m.cardinality == Cardinality::OneToOne {
            out = labels::keep(&out, |name| m.labels.iter().any(|l| l == name) == m.on);
        }
        for name in &m.include {
            out = labels::set(&out, name, one_labels.get(name).unwrap_or_default());
        }
        out
    }

    fn duplicate_on_one_side(&self, a: usize, b: usize) -> Result<()> {
        let group = match_labels(&self.one[a].labels, self.matching);
        let mut both = [self.one[a].labels.to_string(), self.one[b].labels.to_string()];
        both.sort();
        let side = if self.swap { "left" } else { "right" };
        execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}];\
             many-to-many matching not allowed: matching labels must be unique on one side",
            both[0], both[1]
        ))
    }
}

fn set_operation(
    op: BinaryOp,
    lhs: Vec<Series>,
    lhs_groups: &[usize],
    rhs: Vec<Series>,
    rhs_groups: &[usize],
    groups: usize,
    grid: &Grid,
) -> Result<Vec<Series>> {
    // The other side decides, group by group and step by step.
    let (decider, decider_groups) = if op == BinaryOp::Or { (&lhs, lhs_groups) } else { (&rhs, rhs_groups) };
    let mut present = vec![false; groups * grid.count];
    for (s, group) in decider.iter().zip(decider_groups) {
        for step in 0..grid.count {
            present[group * grid.count + step] |= s.at(step).is_some();
        }
    }
    let filter = |mut series: Vec<Series>, series_groups: &[usize], wanted: bool| {
        for (s, group) in series.iter_mut().zip(series_groups) {
            for step in 0..grid.count {
                if present[group * grid.count + step] != wanted {
                    s.remove(step);
                }
            }
        }
        series
    };
    match op {
        BinaryOp::And => Ok(filter(lhs, lhs_groups, true)),
        BinaryOp::Unless => Ok(filter(lhs, lhs_groups, false)),
        _ => {
            let rest = filter(rhs, rhs_groups, false);
            super::merge_same_labels(lhs.into_iter().chain(rest).collect())
        }
    }
}
