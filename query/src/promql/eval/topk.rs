//! Aggregations that choose series: `topk`, `bottomk`, `limitk`, `limit_ratio`.
use super::aggregate::group;
use super::{Evaluator, Sample, Series, execution};
use crate::error::Result;
use crate::promql::ast::AggregateOp;
use crate::promql::labels::prometheus_hash;
use crate::promql::plan::{AggregateNode, Grid};

impl Evaluator {
    pub(super) fn select_series(
        &mut self,
        node: &AggregateNode,
        series: Vec<Series>,
        grid: &Grid,
    ) -> Result<Vec<Series>> {
        let param = self.param(node, grid)?;
        if !self.judge_param(node, &param)? || series.is_empty() {
            return Ok(Vec::new());
        }
        let by_value = matches!(node.op, AggregateOp::TopK | AggregateOp::BottomK);
        if by_value {
            self.ignore_histograms(node, &series, node.span);
        }
        let grouped = group(&series, node.without, &node.grouping);
        self.hold_columns(series.len(), grid)?;
        let mut kept: Vec<Series> =
            series.iter().map(|s| Series::empty(s.labels.clone(), s.drop_name, grid.count)).collect();
        let is_candidate = |i: &usize, step: usize| match series[*i].at(step) {
            None => false,
            Some(Sample::Float(_)) => true,
            Some(Sample::Histogram(_)) => !by_value,
        };
        let mut order: Vec<usize> = Vec::new();
        for (step, param) in param.iter().enumerate() {
            order.clear();
            self.stop.check()?;
            for members in &grouped.members {
                let present: Vec<usize> = members.iter().copied().filter(|i| is_candidate(i, step)).collect();
                order.extend(choose(node.op, *param, &present, &series, step));
            }
            for i in &order {
                if let Some(sample) = series[*i].at(step) {
                    kept[*i].set(step, sample.into());
                }
            }
        }
        // An instant query answers in the order of choice, any other in the order of the input.
        if self.is_range || grid.count != 1 {
            order = (0..series.len()).collect();
        }
        let mut kept: Vec<Option<Series>> = kept.into_iter().map(Some).collect();
        Ok(order.iter().filter_map(|i| kept[*i].take()).collect())
    }

    /// Whether any series can be chosen; refuses parameters that mean nothing.
    fn judge_param(&mut self, node: &AggregateNode, param: &[f64]) -> Result<bool> {
        let max = param.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = param.iter().copied().fold(f64::INFINITY, f64::min);
        let has_nan = param.iter().any(|p| p.is_nan());
        if node.op == AggregateOp::LimitRatio {
            if max == 0.0 && min == 0.0 && !has_nan {
                return Ok(false);
            }
            if has_nan {
                return execution("Ratio value is NaN");
            }
            if max > 1.0 {
                self.annotations.invalid_ratio(max, 1.0, node.param_span);
            }
            if min < -1.0 {
                self.annotations.invalid_ratio(min, -1.0, node.param_span);
            }
            return Ok(true);
        }
        if max < 1.0 && !has_nan {
            return Ok(false);
        }
        if has_nan {
            return execution("Parameter value is NaN");
        }
        if min <= i64::MIN as f64 {
            return execution(format!("Scalar value {min} underflows int64"));
        }
        if max >= i64::MAX as f64 {
            return execution(format!("Scalar value {max} overflows int64"));
        }
        Ok(true)
    }
}

/// The chosen of the `present` series of a group at one step.
fn choose(op: AggregateOp, param: f64, present: &[usize], series: &[Series], step: usize) -> Vec<usize> {
    let k = if param < 1.0 { 0 } else { param as usize };
    let value = |i: usize| series[i].values[step];
    match op {
        AggregateOp::LimitK => present.iter().copied().take(k).collect(),
        AggregateOp::LimitRatio => {
            let ratio = param.clamp(-1.0, 1.0);
            present.iter().copied().filter(|i| is_sampled(ratio, &series[*i])).collect()
        }
        AggregateOp::TopK => best(k, present, value, |a, b| a < b),
        _ => best(k, present, value, |a, b| a > b),
    }
}

fn is_sampled(ratio: f64, series: &Series) -> bool {
    let offset = prometheus_hash(&series.labels) as f64 / u64::MAX as f64;
    if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
}

/// The best `k`, best first, by Prometheus' heap: among equals it keeps those that the heap keeps. `is_worse` compares
/// numbers; NaN is worse than all.
fn best(k: usize, present: &[usize], value: impl Fn(usize) -> f64, is_worse: impl Fn(f64, f64) -> bool) -> Vec<usize> {
    let less = |a: usize, b: usize| value(a).is_nan() || is_worse(value(a), value(b));
    let mut heap: Vec<usize> = Vec::with_capacity(k.min(present.len()));
    for &i in present {
        if heap.len() < k {
            heap.push(i);
            let last = heap.len() - 1;
            sift_up(&mut heap, last, &less);
        } else if k > 0 && (is_worse(value(heap[0]), value(i)) || (value(heap[0]).is_nan() && !value(i).is_nan())) {
            heap[0] = i;
            sift_down(&mut heap, &less);
        }
    }
    heap.sort_by(|a, b| match (value(*a).is_nan(), value(*b).is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Greater,
        (false, true) => std::cmp::Ordering::Less,
        (false, false) if is_worse(value(*a), value(*b)) => std::cmp::Ordering::Greater,
        (false, false) if is_worse(value(*b), value(*a)) => std::cmp::Ordering::Less,
        (false, false) => std::cmp::Ordering::Equal,
    });
    heap
}

fn sift_up(heap: &mut [usize], mut at: usize, less: &impl Fn(usize, usize) -> bool) {
    while at > 0 {
        let parent = (at - 1) / 2;
        if !less(heap[at], heap[parent]) {
            break;
        }
        heap.swap(at, parent);
        at = parent;
    }
}

fn sift_down(heap: &mut [usize], less: &impl Fn(usize, usize) -> bool) {
    let mut at = 0;
    loop {
        let mut child = 2 * at + 1;
        if child >= heap.len() {
            break;
        }
        if child + 1 < heap.len() && less(heap[child + 1], heap[child]) {
            child += 1;
        }
        if !less(heap[child], heap[at]) {
            break;
        }
        heap.swap(at, child);
        at = child;
    }
}
