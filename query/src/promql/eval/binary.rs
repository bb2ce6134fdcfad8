//! Binary operators between scalars, vectors, and both, with vector matching.
use hashbrown::HashMap;
use trine_store::model::Labels;

use super::{Evaluator, Series, Val, execution, retain_present, same_labelset};
use crate::error::Result;
use crate::memory::{Charge, labels_bytes};
use crate::promql::ast::{BinaryOp, Cardinality, Matching};
use crate::promql::functions::{ABSENT, is_absent};
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

/// The value of `a op b` in a vector: `None` if a comparison filters it out.
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
        if matches!(node.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
            if !series.is_empty() {
                self.annotations.incompatible_types(node.op.as_str(), node.span);
            }
            return Val::Vector(Vec::new());
        }
        for s in &mut series {
            for (v, scalar) in s.values.iter_mut().zip(scalar).filter(|(v, _)| !is_absent(**v)) {
                let (a, b) = if swap { (*scalar, *v) } else { (*v, *scalar) };
                *v = match element(node.op, node.is_bool, a, b) {
                    // A filter keeps the vector's value, on whichever side it stands.
                    Some(_) if node.op.is_comparison() && !node.is_bool => *v,
                    Some(value) => value,
                    None => ABSENT,
                };
            }
            s.drop_name |= node.is_bool || changes_metric(node.op);
        }
        retain_present(&mut series);
        Val::Vector(series)
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
        if matches!(node.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
            self.annotations.incompatible_types(node.op.as_str(), node.span);
            return Ok(Vec::new());
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
        };
        for step in 0..grid.count {
            self.stop.check()?;
            join.step(step, &many_groups, &one_groups)?;
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

/// A result's labels, the series of it once it has a value, and the match that yielded it last.
struct Outcome {
    labels: Labels,
    values: Vec<f64>,
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
}

/// What a series or outcome of a match weighs besides its labels' bytes and its values.
const MATCH_BYTES: u64 = 128;
/// What a pair of series that matched weighs.
const PAIR_BYTES: u64 = 48;
/// Stands for the side that a fill value replaces.
const FILLED: usize = usize::MAX;

impl Join<'_> {
    fn step(&mut self, step: usize, many_groups: &[usize], one_groups: &[usize]) -> Result<()> {
        self.one_of_group.fill(FILLED);
        self.matched.fill(false);
        for (i, group) in one_groups.iter().enumerate() {
            if is_absent(self.one[i].values[step]) {
                continue;
            }
            let known = std::mem::replace(&mut self.one_of_group[*group], i);
            if known != FILLED {
                return self.duplicate_on_one_side(i, known);
            }
        }
        for (i, group) in many_groups.iter().enumerate() {
            let value = self.many[i].values[step];
            if is_absent(value) {
                continue;
            }
            let one = self.one_of_group[*group];
            let other = match (one, self.matching.fill_right) {
                (FILLED, None) => continue,
                (FILLED, Some(fill)) => fill,
                (one, _) => self.one[one].values[step],
            };
            self.pair(step, *group, (i, one), value, other)?;
        }
        let Some(fill) = self.matching.fill_left else { return Ok(()) };
        for (i, group) in one_groups.iter().enumerate() {
            let value = self.one[i].values[step];
            if !is_absent(value) && !self.matched[*group] {
                self.pair(step, *group, (FILLED, i), fill, value)?;
            }
        }
        Ok(())
    }

    fn pair(&mut self, step: usize, group: usize, pair: (usize, usize), a: f64, b: f64) -> Result<()> {
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
        let (left, right) = if self.swap { (b, a) } else { (a, b) };
        let Some(value) = element(self.node.op, self.node.is_bool, left, right) else { return Ok(()) };
        let outcome = &mut self.outcomes[id];
        if outcome.values.is_empty() {
            self.held.add((self.steps * size_of::<f64>()) as u64)?;
            outcome.values = vec![ABSENT; self.steps];
        }
        if !is_absent(std::mem::replace(&mut outcome.values[step], value)) {
            return same_labelset();
        }
        Ok(())
    }

    /// The results that have a value, in the order in which they first matched.
    fn finish(self) -> (Vec<Series>, Charge) {
        let drop_name = self.node.is_bool;
        let with_values = self.outcomes.into_iter().filter(|o| !o.values.is_empty());
        (with_values.map(|o| Series { labels: o.labels, drop_name, values: o.values }).collect(), self.held)
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
        if id == next {
            self.held.add(labels_bytes(&labels) + MATCH_BYTES)?;
            self.outcomes.push(Outcome { labels, values: Vec::new(), last_match: None });
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
        for (step, v) in s.values.iter().enumerate() {
            present[group * grid.count + step] |= !is_absent(*v);
        }
    }
    let filter = |mut series: Vec<Series>, series_groups: &[usize], wanted: bool| {
        for (s, group) in series.iter_mut().zip(series_groups) {
            for (step, v) in s.values.iter_mut().enumerate() {
                if present[group * grid.count + step] != wanted {
                    *v = ABSENT;
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
