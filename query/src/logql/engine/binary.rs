//! Binary operations between vectors and numbers.
use std::collections::{HashMap, HashSet};

use trine_store::model::{Labels, LabelsBuilder};

use super::metric::Evaluated;
use super::series::{Collector, Series, Work, project};
use crate::error::{Error, Result};
use crate::logql::ast::{BinaryExpr, BinaryOp, Group, Matching};
use crate::memory::labels_bytes;

/// What a series weighs while it is matched, besides its group's labels.
const MATCHED_BYTES: u64 = 96;

pub(super) fn binary(expr: &BinaryExpr, lhs: Evaluated, rhs: Evaluated, work: &mut Work) -> Result<Evaluated> {
    Ok(match (lhs, rhs) {
        (Evaluated::Scalar(a), Evaluated::Scalar(b)) => Evaluated::Scalar(expr.op.apply(a, b)),
        (Evaluated::Series(series), Evaluated::Scalar(b)) => Evaluated::Series(with_number(expr, series, |v| (v, b))),
        (Evaluated::Scalar(a), Evaluated::Series(series)) => Evaluated::Series(with_number(expr, series, |v| (a, v))),
        (Evaluated::Series(lhs), Evaluated::Series(rhs)) => {
            let matching = expr.matching.clone().unwrap_or_default();
            // A match group for each series at most.
            work.hold(lhs.iter().chain(&rhs).map(|s| labels_bytes(&s.labels) + MATCHED_BYTES).sum())?;
            Evaluated::Series(if expr.op.is_set() {
                set_operation(expr.op, &matching, lhs, rhs, work)?
            } else {
                Join { expr, matching: &matching }.run(lhs, rhs, work)?
            })
        }
    })
}

/// The result of the operation on two numbers; a comparison that does not hold gives none, one that holds gives `kept`.
fn combine(expr: &BinaryExpr, a: f64, b: f64, kept: f64) -> Option<f64> {
    let value = expr.op.apply(a, b);
    match expr.op {
        BinaryOp::Compare(_) if !expr.return_bool => (value != 0.0).then_some(kept),
        _ => Some(value),
    }
}

fn with_number(expr: &BinaryExpr, mut series: Vec<Series>, operands: impl Fn(f64) -> (f64, f64)) -> Vec<Series> {
    for s in &mut series {
        for value in &mut s.values {
            *value = value.and_then(|v| {
                let (a, b) = operands(v);
                combine(expr, a, b, v)
            });
        }
    }
    series.retain(|s| s.values.iter().any(Option::is_some));
    series
}

/// The labels by which samples match.
fn signature(labels: &Labels, matching: &Matching) -> Labels {
    project(labels, |name| matching.labels.iter().any(|l| l == name) == matching.on)
}

fn set_operation(
    op: BinaryOp,
    matching: &Matching,
    lhs: Vec<Series>,
    rhs: Vec<Series>,
    work: &mut Work,
) -> Result<Vec<Series>> {
    let steps = work.grid.steps;
    // Presence by group and step, a byte each.
    let decider = if matches!(op, BinaryOp::And | BinaryOp::Unless) { &rhs } else { &lhs };
    work.hold((decider.len() * steps) as u64)?;
    let presence = |series: &[Series]| {
        let mut out: HashMap<Labels, Vec<bool>> = HashMap::new();
        for s in series {
            let present = out.entry(signature(&s.labels, matching)).or_insert_with(|| vec![false; steps]);
            present.iter_mut().zip(&s.values).for_each(|(p, v)| *p |= v.is_some());
        }
        out
    };
    let mut out = Collector::new(work);
    let mut put_if = |series: Vec<Series>, other: &HashMap<Labels, Vec<bool>>, wanted: bool| -> Result<()> {
        for s in series {
            let present = other.get(&signature(&s.labels, matching));
            let at = out.position(s.labels)?;
            for (step, value) in s.values.into_iter().enumerate() {
                let is_there = present.is_some_and(|p| p[step]);
                if let (Some(value), true) = (value, is_there == wanted) {
                    out.put(at, step, value)?;
                }
            }
        }
        Ok(())
    };
    match op {
        BinaryOp::And => put_if(lhs, &presence(&rhs), true)?,
        BinaryOp::Unless => put_if(lhs, &presence(&rhs), false)?,
        _ => {
            let left = presence(&lhs);
            put_if(lhs, &HashMap::new(), false)?;
            put_if(rhs, &left, false)?;
        }
    }
    Ok(out.finish())
}

/// An arithmetic operation or comparison between two vectors.
struct Join<'e> {
    expr: &'e BinaryExpr,
    matching: &'e Matching,
}

impl Join<'_> {
    fn run(&self, lhs: Vec<Series>, rhs: Vec<Series>, work: &mut Work) -> Result<Vec<Series>> {
        let steps = work.grid.steps;
        // The many side may have several samples with one signature; without grouping neither may.
        let many_is_left = self.matching.group.as_ref().is_none_or(|g| g.left);
        let (many, one) = if many_is_left { (lhs, rhs) } else { (rhs, lhs) };
        let mut ones: HashMap<Labels, Vec<Series>> = HashMap::new();
        for s in one {
            ones.entry(signature(&s.labels, self.matching)).or_default().push(s);
        }
        // By signature: the steps that have matched, a byte each.
        let mut matched: HashMap<Labels, Vec<bool>> = HashMap::new();
        if self.matching.group.is_none() {
            work.hold((many.len() * steps) as u64)?;
        }
        let mut out = Collector::new(work);
        for m in many {
            let signature = signature(&m.labels, self.matching);
            let Some(candidates) = ones.get(&signature) else { continue };
            let mut matched = match self.matching.group {
                None => Some(matched.entry(signature.clone()).or_insert_with(|| vec![false; steps])),
                Some(_) => None,
            };
            for step in 0..steps {
                let Some(value) = m.values[step] else { continue };
                let Some((other, o)) = self.only(candidates, step, &signature, many_is_left)? else { continue };
                if let Some(matched) = &mut matched
                    && std::mem::replace(&mut matched[step], true)
                {
                    return Err(many_matches());
                }
                let (a, b) = if many_is_left { (value, o) } else { (o, value) };
                if let Some(result) = combine(self.expr, a, b, a) {
                    let at = out.position(self.result_labels(&m.labels, &other.labels))?;
                    out.put(at, step, result)?;
                }
            }
        }
        Ok(out.finish())
    }

    /// The one sample of `candidates` at `step`, if any; two are an error.
    fn only<'s>(
        &self,
        candidates: &'s [Series],
        step: usize,
        signature: &Labels,
        one_is_right: bool,
    ) -> Result<Option<(&'s Series, f64)>> {
        let mut present = candidates.iter().filter_map(|s| Some((s, s.values[step]?)));
        let first = present.next();
        if present.next().is_some() {
            let side = if one_is_right { "right" } else { "left" };
            return Err(Error::Execution {
                message: format!(
                    "found duplicate series on the {side} hand-side for the match group {signature};many-to-many matching \
                     not allowed: matching labels must be unique on one side"
                ),
            });
        }
        Ok(first)
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        match &self.matching.group {
            None => signature(many, self.matching),
            Some(Group { include, .. }) => {
                let mut builder = LabelsBuilder::default();
                for (name, value) in many.iter().filter(|(n, _)| !include.iter().any(|i| i == n)) {
                    builder.push(name, value);
                }
                let included: HashSet<&str> = include.iter().map(String::as_str).collect();
                for name in included {
                    if let Some(value) = one.get(name) {
                        builder.push(name, value);
                    }
                }
                builder.build().unwrap_or_else(|_| many.clone())
            }
        }
    }
}

fn many_matches() -> Error {
    Error::Execution {
        message: "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            .to_owned(),
    }
}
