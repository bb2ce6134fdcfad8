//! Structural operators between sets of spans of one trace.
use crate::traceql::ast::{Form, Relation};
use crate::traceql::trace::Trace;

/// Spans of a trace by position; as long as the trace.
pub(crate) type Marks = Vec<bool>;

/// Spans that `left op right` yields.
pub(crate) fn related(trace: &Trace, relation: Relation, form: Form, left: &Marks, right: &Marks) -> Marks {
    let of_left = marks(trace, relation, left);
    let pairs = right.iter().zip(&of_left);
    match form {
        Form::Plain => pairs.map(|(r, m)| *r && *m).collect(),
        Form::Not => pairs.map(|(r, m)| *r && !*m).collect(),
        Form::Union => {
            let of_right = marks(trace, inverse(relation), right);
            pairs.zip(left.iter().zip(&of_right)).map(|((r, m), (l, n))| (*r && *m) || (*l && *n)).collect()
        }
    }
}

fn inverse(relation: Relation) -> Relation {
    match relation {
        Relation::Child => Relation::Parent,
        Relation::Parent => Relation::Child,
        Relation::Descendant => Relation::Ancestor,
        Relation::Ancestor => Relation::Descendant,
        Relation::Sibling => Relation::Sibling,
    }
}

/// All spans that are children, ancestors … of a span of `of`.
fn marks(trace: &Trace, relation: Relation, of: &Marks) -> Marks {
    let parent = |i: usize| trace.spans[i].parent;
    let mut out = vec![false; of.len()];
    match relation {
        Relation::Child => (0..of.len()).for_each(|i| out[i] = parent(i).is_some_and(|p| of[p])),
        // `order` has parents before children.
        Relation::Descendant => {
            trace.order.iter().for_each(|&i| out[i] = parent(i).is_some_and(|p| of[p] || out[p]));
        }
        Relation::Parent => {
            (0..of.len()).filter(|&i| of[i]).filter_map(parent).for_each(|p| out[p] = true);
        }
        Relation::Ancestor => {
            for &i in trace.order.iter().rev() {
                if let Some(p) = parent(i).filter(|_| of[i] || out[i]) {
                    out[p] = true;
                }
            }
        }
        Relation::Sibling => {
            let mut counts = vec![0usize; of.len()];
            (0..of.len()).filter(|&i| of[i]).filter_map(parent).for_each(|p| counts[p] += 1);
            (0..of.len()).for_each(|i| out[i] = parent(i).is_some_and(|p| counts[p] > usize::from(of[i])));
        }
    }
    out
}
